"""HTTP requests to untrusted servers: RPC endpoints, gateways, stores, manifests' hosts.

Errors name only the host: the rest of a URL may be an API key. Responses are bounded in bytes and
in time. They are never decompressed, since a few bytes can decompress to gigabytes, and redirects
are not followed: the caller decides.
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
_SLOWEST = 1 << 14  # bytes a second that a long answer must bring on average

FIRST_WAIT = 1.0
"""Seconds that the second attempt waits at most; each further one waits up to twice as long."""
TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))
"""Statuses after which the same request may succeed (RFC 9110, sections 15.5 and 15.6)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is sent again.

    Attributes:
        attempts: how often it is sent at most.
        longest_wait: seconds that a server may ask us to wait (Retry-After); if it asks for more,
            the request fails at once.
        patience: seconds after which no further attempt begins: a server that used up its time
            without an answer gets no second one.
        statuses: those that are repeated, beside connections that fail or break off.
    """

    attempts: int
    longest_wait: float = 10.0
    patience: float = math.inf
    statuses: frozenset[int] = TRANSIENT


ONCE = RetryPolicy(1)
"""For one of several servers: another one is asked instead."""
READS = RetryPolicy(3, patience=20.0)
"""For a read that somebody waits for."""
UPLOADS = RetryPolicy(5, longest_wait=60.0)
"""For long work that would be expensive to begin again."""


@dataclass(frozen=True, slots=True)
class Response:
    """A server's response.

    Attributes:
        status: the HTTP status.
        headers: the headers; their names in any case.
        body: the body, up to the limit; empty for a status that the caller did not want.
        cut: whether the body is longer than the limit.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool


class RequestBody(Protocol):
    """The body of a request, in pieces; iterating again starts over, for a retry."""

    def __len__(self) -> int:
        """Return its number of bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield its pieces."""


class Client:
    """Sends requests, and turns whatever fails into an error of one line.

    Attributes:
        timeout: seconds for a response.
        stopped: once it is set, by another thread, nothing is waited for or sent again.
    """

    def __init__(
        self,
        called: str,
        error: type[AlithisError],
        timeout: float,
        retries: RetryPolicy = ONCE,
    ) -> None:
        """Set how errors name the server; nothing is sent yet.

        Args:
            called: what errors call the server: ``RPC endpoint``.
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
            AlithisError: of the client's own type: it is no ``http://`` or ``https://`` URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or parts.scheme not in ("http", "https"):
            raise self._error(f"the {self._called}'s URL is not http://HOST… or https://HOST…")
        return host if port is None else f"{host}:{port}"

    def failure(self, url: str, what: str) -> AlithisError:
        """Return the error for something that is wrong with the server at a URL."""
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
        """Send a request, again as the policy allows, and return the last response.

        Redirects are not followed.

        Args:
            url: where to send it.
            json: the body, as JSON.
            content: the body, as a stream; without either, the request is a GET. The timeout
                applies to each piece, and to the response once all is sent.
            headers: further headers.
            limit: bytes of the body that are read.
            only: the only status whose body is read; None for any.
            idempotent: whether sending it twice has the effect of sending it once; if not, it is
                never repeated, as a lost response does not show whether it was carried out.

        Raises:
            AlithisError: of the client's own type: there is no response, it is too slow, or it is
                compressed; or the server asks us to wait for too long.
        """
        with self.errors(url) as session:

            def send() -> Response:
                return self._exchange(session, url, (json, content), headers or {}, limit, only)

            if self._retries.attempts == 1 or not idempotent:
                return send()
            return self._retrying(url)(send)

    def _retrying(self, url: str) -> tenacity.Retrying:
        """Return what repeats a request.

        tenacity, and not urllib3's Retry in the session: that one sleeps where nothing can wake
        it, so that a stopped upload would wait on, obeys any Retry-After, and does not see an
        answer that breaks off in its body.
        """
        import tenacity

        policy = self._retries
        # At random up to the limit ("full jitter"): clients that failed together because a server
        # is overloaded do not come back together.
        backoff = tenacity.wait_random_exponential(FIRST_WAIT, max=policy.longest_wait)

        def wait(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None
            if state.outcome.failed:
                return backoff(state)
            return max(backoff(state), self._asked_to_wait(url, state.outcome.result()))

        def sleep(seconds: float) -> None:
            if self.stopped.wait(seconds):
                raise self.failure(url, "was not asked again: stopped")

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
        """Return the seconds that a server asks us to wait.

        Raises:
            AlithisError: of the client's own type: they are more than the policy allows.
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
        """Send a GET, and give the response: status and headers, and the body as a file.

        Redirects are not followed. The timeout applies to each piece of the body; all of it must
        arrive at 16 KiB a second on average, or a server could keep us forever.

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
        """Give the session, and turn the libraries' errors into ours.

        Raises:
            AlithisError: of the client's own type.
        """
        import requests
        from urllib3.exceptions import HTTPError, TimeoutError

        self._session = self._session or _session()
        # "from None": the libraries' own messages hold the whole URL.
        try:
            yield self._session
        except (requests.Timeout, TimeoutError):
            raise self.failure(url, f"gives no answer within {self.timeout:g} s") from None
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
    """The body of a response, as a file."""

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
    """Open a session that ignores redirects.

    Even with ``allow_redirects=False``, requests reads the whole body of a redirect and
    decompresses it. A response that does not count as a redirect is left alone.
    """
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            return None

    return Session()


def is_private(host: str) -> bool:
    """Tell whether a host is this machine, or in a network that others do not reach.

    Judged by the name alone: a public name may still lead to a private address.

    Args:
        host: a name or an address as `urlsplit` gives it, without brackets.
    """
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        name = host.rstrip(".").lower()
        if "." not in name or name.endswith((".local", ".localhost", ".internal", ".lan")):
            return True
        # No public name ends in a number. Resolvers read such a name as an IPv4 address in a
        # spelling of their own: 127.1 and 0x7f.0.0.1 are this machine.
        return bool(re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2]))


def _is_transient(error: BaseException) -> bool:
    """Tell whether an exchange failed in a way that the next one may not."""
    import requests
    from urllib3.exceptions import HTTPError

    broken = isinstance(error, requests.ConnectionError | requests.Timeout | HTTPError)
    return broken and not isinstance(error, requests.exceptions.SSLError)


def describe_status(status: int) -> str:
    """Return what to say about an unusable HTTP status, after the server's name."""
    if status == 429:
        return "answers HTTP 429, too many requests: wait, or name another endpoint"
    if 300 <= status < 400:
        return f"answers HTTP {status}, a redirect: name the endpoint it leads to"
    return f"answers HTTP {status}"


def retry_after(answer: Response) -> float:
    """Return the seconds that a response asks to wait; 0 by default (RFC 9110, section 10.2.3)."""
    from urllib3.exceptions import HTTPError
    from urllib3.util import Retry

    try:
        return Retry().parse_retry_after(answer.headers.get("Retry-After", "0"))
    except (HTTPError, ValueError, OverflowError):
        return 0
