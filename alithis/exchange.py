"""Single exchanges over HTTP with servers that nobody vouches for.

Whatever stands in a URL beside the host is kept a secret: errors name the host alone. Answers are
bounded in bytes and in time, come as they are (no decompression, so no bombs), and redirects are
the caller's to follow.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from alithis.errors import AlithisError

# requests takes a quarter of a second to load: it is imported where it is used.
if TYPE_CHECKING:
    import requests

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
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


class Content(Protocol):
    """What is sent: its pieces can be had more than once."""

    def __len__(self) -> int:
        """Return how many bytes it has."""

    def __iter__(self) -> Iterator[bytes]:
        """Give them, piece by piece."""


class Client:
    """Asks servers, and says in one line what is wrong with an answer."""

    def __init__(self, called: str, error: type[AlithisError], timeout: float) -> None:
        """Choose how servers are spoken of; nothing is sent yet.

        Args:
            called: what a server is called in errors: ``RPC endpoint``.
            error: what is raised.
            timeout: seconds for an answer.
        """
        self._called, self._error, self._timeout = called, error, timeout
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

    def no_use(self, url: str, what: str) -> AlithisError:
        """Return the error that says what is wrong with the server at a URL."""
        return self._error(f"{self._called} {self.host(url)} {what}")

    def ask(
        self,
        url: str,
        *,
        json: Any = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int,
        only: int | None = None,
    ) -> Answer:
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
        import requests
        from urllib3.exceptions import HTTPError, TimeoutError

        self._session = self._session or _session()
        # "from None": the libraries' own messages hold the whole URL.
        try:
            body = json, content
            return self._exchange(self._session, url, body, headers or {}, limit, only)
        except (requests.Timeout, TimeoutError):
            raise self.no_use(url, f"gives no answer within {self._timeout:g} s") from None
        except requests.exceptions.SSLError:
            raise self.no_use(url, "has no TLS certificate that can be trusted") from None
        except (requests.ConnectionError, HTTPError):
            raise self.no_use(url, "cannot be reached, or broke off") from None
        except (requests.RequestException, OSError, ValueError) as error:
            raise self.no_use(url, f"cannot be asked ({type(error).__name__})") from None

    def _exchange(
        self,
        session: requests.Session,
        url: str,
        body: tuple[Any, Content | None],
        headers: Mapping[str, str],
        limit: int,
        only: int | None,
    ) -> Answer:
        json, content = body
        deadline = time.monotonic() + self._timeout
        with session.request(
            "GET" if body == (None, None) else "POST",
            url,
            json=json,
            data=content,
            headers={"Accept-Encoding": "identity", **headers},
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            if content is not None:
                deadline = time.monotonic() + self._timeout
            if only is not None and response.status_code != only:
                return Answer(response.status_code, response.headers, b"", cut=False)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise self.no_use(url, "answers compressed, which it was not asked to")
            answer = bytearray()
            while piece := response.raw.read1(min(_PIECE, limit + 1 - len(answer))):
                answer += piece
                if len(answer) > limit:
                    break
                if time.monotonic() > deadline:
                    raise self.no_use(url, f"takes longer than {self._timeout:g} s")
            cut = len(answer) > limit
            return Answer(response.status_code, response.headers, bytes(answer[:limit]), cut)


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


def meaning(status: int) -> str:
    """Return what an HTTP status that is of no use says, to follow the server's name."""
    if status == 429:
        return "answers HTTP 429, too many requests: wait, or name another endpoint"
    if 300 <= status < 400:
        return f"answers HTTP {status}, a redirect: name the endpoint it leads to"
    return f"answers HTTP {status}"
