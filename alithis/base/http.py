"""HTTP requests to untrusted servers: RPC endpoints, gateways, storage services, other hosts.

Errors name only the host, since the rest of a URL may contain an API key. The size and the time of
responses are limited. Responses are never decompressed, since a few bytes can decompress to
gigabytes. Redirects are not followed: that is the caller's decision.
"""

from __future__ import annotations

import io
import ipaddress
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from alithis.base.text import one_line
from alithis.errors import AlithisError

# requests takes a quarter of a second to load: it is imported where it is used.
if TYPE_CHECKING:
    import requests
    import tenacity

_PIECE = 1 << 16
_SLOWEST = 1 << 14  # bytes a second on average, at least, for a streamed response

FIRST_WAIT = 1.0
"""Seconds before the second attempt at most; the limit doubles with each further attempt."""
TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))
"""Statuses after which the same request may succeed (RFC 9110, sections 15.5 and 15.6)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is sent again.

    Attributes:
        attempts: how often it is sent at most.
        longest_wait: seconds that a server may ask us to wait (Retry-After). If it asks for more,
            the request fails at once.
        patience: seconds after which no further attempt begins, so that a request that timed out
            is not repeated.
        statuses: HTTP statuses after which it is sent again, as after a failed connection.
    """

    attempts: int
    longest_wait: float = 10.0
    patience: float = math.inf
    statuses: frozenset[int] = TRANSIENT


ONCE = RetryPolicy(1)
"""For one of several servers: after a failure, the next server is asked."""
READS = RetryPolicy(3, patience=20.0)
"""For a read that a user waits for."""
UPLOADS = RetryPolicy(5, longest_wait=60.0)
"""For long work that would be expensive to repeat."""


@dataclass(frozen=True, slots=True)
class Response:
    """A server's response.

    Attributes:
        status: the HTTP status.
        headers: the headers; their names are case-insensitive.
        body: the body, up to the limit; empty if the status is not the expected one.
        cut: whether the body was longer than the limit.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool


class RequestBody(Protocol):
    """The body of a request, in pieces. A retry iterates over it again from the start."""

    def __len__(self) -> int:
        """Return its number of bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield its pieces."""


class Client:
    """Sends requests, and turns every failure into a one-line error.

    Attributes:
        timeout: seconds for a response.
        stopped: another thread can set this event to end all waiting and all retries.
    """

    def __init__(
        self,
        called: str,
        error: type[AlithisError],
        timeout: float,
        retries: RetryPolicy = ONCE,
    ) -> None:
        """Create the client; nothing is sent yet.

        Args:
            called: the server's name in errors: ``RPC endpoint``.
            error: the type of the errors.
            timeout: seconds for a response.
            retries: when a request is sent again.
        """
        self._called, self._error, self.timeout = called, error, timeout
        self._retries = retries
        self.stopped = threading.Event()
        self._session: requests.Session | None = None

    def host(self, url: str) -> str:
        """Return a URL's host and port.

        Raises:
            AlithisError: of the client's own type: it is not an ``http`` or ``https`` URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or parts.scheme not in ("http", "https"):
            raise self._error(
                f"the {self._called}'s URL is not http://HOST… or https://HOST… (it is not shown: "
                "it may contain a key)"
            )
        return host if port is None else f"{host}:{port}"

    def failure(self, url: str, what: str) -> AlithisError:
        """Return the error for a fault of the server at a URL."""
        return self._error(f"{self._called} {self.host(url)} {what}")

    def ask(
        self,
        url: str,
        *,
        json: Any = None,
        content: RequestBody | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int,
        only: int | None = None,
        idempotent: bool = True,
    ) -> Response:
        """Send a request, retry it as the policy allows, and return the last response.

        Redirects are not followed.

        Args:
            url: where to send it.
            json: the body, as JSON.
            content: the body, as a stream. Without ``json`` and ``content``, the request is a GET.
                The timeout applies to each piece, and then to the response.
            headers: additional headers.
            limit: bytes of the response's body to read at most.
            only: the only status whose body is read; None for any.
            idempotent: whether sending it twice has the effect of sending it once. If not, it is
                never repeated, since a lost response does not show whether it was carried out.

        Raises:
            AlithisError: of the client's own type: there is no response, it is too slow or
                compressed, or the server asks us to wait too long.
        """
        with self.errors(url) as session:

            def send() -> Response:
                return self._exchange(session, url, (json, content), headers or {}, limit, only)

            if self._retries.attempts == 1 or not idempotent:
                return send()
            return self._retrying(url)(send)

    def _retrying(self, url: str) -> tenacity.Retrying:
        """Return the retry loop.

        It uses tenacity instead of urllib3's Retry. The latter sleeps uninterruptibly, so a stopped
        upload would go on waiting; it obeys any Retry-After; and it does not retry a response that
        breaks off in its body.
        """
        import tenacity

        policy = self._retries
        # A random time up to the limit ("full jitter"): clients that failed together, because the
        # server was overloaded, do not return together.
        backoff = tenacity.wait_random_exponential(FIRST_WAIT, max=policy.longest_wait)

        def wait(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None
            if state.outcome.failed:
                return backoff(state)
            return max(backoff(state), self._asked_to_wait(url, state.outcome.result()))

        def sleep(seconds: float) -> None:
            if self.stopped.wait(seconds):
                raise self.failure(url, "was not asked again, because the work was stopped")

        def last(state: tenacity.RetryCallState) -> Response:
            assert state.outcome is not None
            return cast(Response, state.outcome.result())  # or raise its error

        return tenacity.Retrying(
            retry=tenacity.retry_any(
                tenacity.retry_if_exception(_is_transient),
                tenacity.retry_if_result(lambda answer: answer.status in policy.statuses),
            ),
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(policy.attempts),
                tenacity.stop_after_delay(policy.patience),
                tenacity.stop_when_event_set(self.stopped),
            ),
            wait=wait,
            sleep=sleep,
            retry_error_callback=last,
        )

    def _asked_to_wait(self, url: str, answer: Response) -> float:
        """Return the seconds that a server asks us to wait (Retry-After).

        Raises:
            AlithisError: of the client's own type: the policy does not allow so many.
        """
        seconds = retry_after(answer)
        if seconds > self._retries.longest_wait:
            what = f"answers HTTP {answer.status} and asks us to wait {seconds:,.0f} s"
            raise self.failure(url, f"{what}: try again then")
        return seconds

    @contextmanager
    def stream(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Response, io.BufferedReader]]:
        """Send a GET, and yield the response, with the body as a file.

        Redirects are not followed. The timeout applies to each piece of the body. All of it must
        arrive at 16 KiB a second on average; otherwise a slow server could block us forever.

        Raises:
            AlithisError: of the client's own type, from here or while the body is read: there is
                no response, it is too slow, or it is compressed.
        """
        with self.errors(url) as session:
            response = session.get(url, headers=_headers(headers), **self._options())
        with response:  # outside `errors`: what the caller does is not the server's fault
            self._check_encoding(url, response)
            body = io.BufferedReader(cast(Any, _Body(self, url, response)), _PIECE)
            yield Response(response.status_code, response.headers, b"", cut=False), body

    @contextmanager
    def errors(self, url: str) -> Iterator[requests.Session]:
        """Yield the session, and turn the libraries' errors into ours.

        Raises:
            AlithisError: of the client's own type.
        """
        import requests
        from urllib3.exceptions import HTTPError, TimeoutError

        self._session = self._session or _session()
        # "from None", since the libraries' messages contain the whole URL.
        try:
            yield self._session
        except (requests.Timeout, TimeoutError):
            raise self.failure(url, f"sent no answer within {self.timeout:g} s") from None
        except requests.exceptions.SSLError:
            raise self.failure(url, "has no trusted TLS certificate") from None
        except (requests.ConnectionError, HTTPError):
            raise self.failure(url, "cannot be reached, or closed the connection") from None
        except (requests.RequestException, OSError, ValueError) as error:
            raise self.failure(
                url, f"cannot be asked ({type(error).__name__}): check its URL"
            ) from None

    def _options(self) -> dict[str, Any]:
        return {"timeout": self.timeout, "allow_redirects": False, "stream": True}

    def _check_encoding(self, url: str, response: requests.Response) -> None:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise self.failure(
                url, f"sends an unexpected Content-Encoding: {one_line(encoding, 40)}"
            )

    def _exchange(
        self,
        session: requests.Session,
        url: str,
        body: tuple[Any, RequestBody | None],
        headers: Mapping[str, str],
        limit: int,
        only: int | None,
    ) -> Response:
        json, content = body
        deadline = time.monotonic() + self.timeout
        with session.request(
            "GET" if body == (None, None) else "POST",
            url,
            json=json,
            data=content,
            headers=_headers(headers),
            **self._options(),
        ) as response:
            if content is not None:
                deadline = time.monotonic() + self.timeout
            if only is not None and response.status_code != only:
                return Response(response.status_code, response.headers, b"", cut=False)
            self._check_encoding(url, response)
            answer = bytearray()
            while piece := response.raw.read1(min(_PIECE, limit + 1 - len(answer))):
                answer += piece
                if len(answer) > limit:
                    break
                if time.monotonic() > deadline:
                    raise self.failure(url, f"takes longer than {self.timeout:g} s")
            cut = len(answer) > limit
            return Response(response.status_code, response.headers, bytes(answer[:limit]), cut)


class _Body(io.RawIOBase):
    """The body of a response as a file."""

    def __init__(self, client: Client, url: str, response: requests.Response) -> None:
        self._client, self._url, self._raw = client, url, response.raw
        self._begun, self._count = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._client.errors(self._url):
            piece = self._raw.read1(len(buffer))
        self._count += len(piece)
        elapsed = time.monotonic() - self._begun
        if piece and self._count < _SLOWEST * (elapsed - self._client.timeout):
            raise self._client.failure(self._url, "is too slow")
        buffer[: len(piece)] = piece
        return len(piece)


def _headers(further: Mapping[str, str] | None) -> dict[str, str]:
    return {"Accept-Encoding": "identity", **(further or {})}


def _session() -> requests.Session:
    """Open a session that treats redirects like any other response.

    Even with ``allow_redirects=False``, requests reads the whole body of a redirect and
    decompresses it: a bomb. It does not do so for other responses.
    """
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            return None

    return Session()


def is_private(host: str) -> bool:
    """Tell whether a host is this machine, or in a private network.

    Only the name is examined: a public name can still resolve to a private address.

    Args:
        host: a name or an address as `urlsplit` gives it, without brackets.
    """
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        name = host.rstrip(".").lower()
        if "." not in name or name.endswith((".local", ".localhost", ".internal", ".lan")):
            return True
        # No public name ends in a number. Resolvers read such a name as an IPv4 address in an old
        # notation: 127.1 and 0x7f.0.0.1 are this machine.
        return bool(re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2]))


def _is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed the next time."""
    import requests
    from urllib3.exceptions import HTTPError

    broken = isinstance(error, requests.ConnectionError | requests.Timeout | HTTPError)
    return broken and not isinstance(error, requests.exceptions.SSLError)


def describe_status(status: int) -> str:
    """Return the end of an error about an HTTP status, after the server's name."""
    if status == 429:
        return "answers HTTP 429, too many requests: wait, or use another endpoint"
    if 300 <= status < 400:
        return f"answers HTTP {status}, a redirect: use the URL that it redirects to"
    return f"answers HTTP {status}"


def retry_after(answer: Response) -> float:
    """Return the seconds in Retry-After; 0 if there is none (RFC 9110, section 10.2.3)."""
    from urllib3.exceptions import HTTPError
    from urllib3.util import Retry

    try:
        return Retry().parse_retry_after(answer.headers.get("Retry-After", "0"))
    except (HTTPError, ValueError, OverflowError):
        return 0
