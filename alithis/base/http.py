"""Single exchanges over HTTP with servers that nobody vouches for.

Whatever stands in a URL beside the host is kept a secret: errors name the host alone. Answers are
bounded in bytes and in time, come as they are (no decompression, so no bombs), and redirects are
the caller's to follow.
"""

from __future__ import annotations

import io
import ipaddress
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from alithis.errors import AlithisError

# requests takes a quarter of a second to load: it is imported where it is used.
if TYPE_CHECKING:
    import requests

_PIECE = 1 << 16
_SLOWEST = 1 << 14  # bytes a second that a long answer must bring on average


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered.

    Attributes:
        status: the HTTP status.
        headers: the headers; their names in any case.
        body: the body, up to the limit; empty where its status was not asked for.
        cut: whether the body is longer than the limit.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool


class RequestBody(Protocol):
    """What is sent: its pieces can be had more than once."""

    def __len__(self) -> int:
        """Return how many bytes it has."""

    def __iter__(self) -> Iterator[bytes]:
        """Give them, piece by piece."""


class Client:
    """Asks servers, and says in one line what is wrong with an answer.

    Attributes:
        timeout: seconds for an answer.
    """

    def __init__(self, called: str, error: type[AlithisError], timeout: float) -> None:
        """Choose how servers are spoken of; nothing is sent yet.

        Args:
            called: what a server is called in errors: ``RPC endpoint``.
            error: what is raised.
            timeout: seconds for an answer.
        """
        self._called, self._error, self.timeout = called, error, timeout
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
        """Return the error that says what is wrong with the server at a URL."""
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
    ) -> Response:
        """Send a request, and return what is answered. No redirect is followed.

        Args:
            url: whom to ask.
            json: what to send.
            content: what to send, as a stream; without either, the request is a GET. The time
                for an answer begins when it is sent; each piece of it has as much.
            headers: further headers.
            limit: bytes of the body that are read.
            only: the status whose body is read at all; None for any.

        Raises:
            AlithisError: of the client's own type: there is no answer, not within the time, or a
                compressed one.
        """
        with self.errors(url) as session:
            return self._exchange(session, url, (json, content), headers or {}, limit, only)

    @contextmanager
    def stream(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Response, io.BufferedReader]]:
        """Send a GET, and give what is answered: its head, and its body as a file to read.

        No redirect is followed. Each piece of the body has the time of an answer, and all of it
        must not come too slowly.

        Raises:
            AlithisError: of the client's own type, from here or from the reading: there is no
                answer, not within the time, or a compressed one.
        """
        with self.errors(url) as session:
            response = session.get(url, headers=_headers(headers), **self._options())
        with response:  # what the caller does in it is no fault of the server's
            self._check_encoding(url, response)
            body = io.BufferedReader(cast(Any, _Body(self, url, response)), _PIECE)
            yield Response(response.status_code, response.headers, b"", cut=False), body

    @contextmanager
    def errors(self, url: str) -> Iterator[requests.Session]:
        """Give the session; say of the libraries' errors what is wrong with the server.

        Raises:
            AlithisError: of the client's own type, in their place.
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
            raise self.failure(url, "has no TLS certificate that can be trusted") from None
        except (requests.ConnectionError, HTTPError):
            raise self.failure(url, "cannot be reached, or broke off") from None
        except (requests.RequestException, OSError, ValueError) as error:
            raise self.failure(url, f"cannot be asked ({type(error).__name__})") from None

    def _options(self) -> dict[str, Any]:
        return {"timeout": self.timeout, "allow_redirects": False, "stream": True}

    def _check_encoding(self, url: str, response: requests.Response) -> None:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self.failure(url, "answers compressed, which it was not asked to")

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
    """The body of an answer, as a file."""

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
    """Open a session that leaves redirects alone.

    Even where it is told not to follow one, requests reads its body, whatever its size, and
    unpacks it.
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


def describe_status(status: int) -> str:
    """Return what an HTTP status that is of no use says, to follow the server's name."""
    if status == 429:
        return "answers HTTP 429, too many requests: wait, or name another endpoint"
    if 300 <= status < 400:
        return f"answers HTTP {status}, a redirect: name the endpoint it leads to"
    return f"answers HTTP {status}"


def retry_after(answer: Response) -> float:
    """Return the seconds that an answer asks to wait; 0 if it does not (RFC 9110, 10.2.3)."""
    from urllib3.exceptions import HTTPError
    from urllib3.util import Retry

    try:
        return Retry().parse_retry_after(answer.headers.get("Retry-After", "0"))
    except (HTTPError, ValueError, OverflowError):
        return 0
