"""Manifests on HTTP servers: their files are read by range (RFC 9110, section 14).

A proof needs one request for metadata.json and one for each tile of 256 hashes, never a whole file.
The server is untrusted: each answer must be exactly the requested range, from a file with the size
that metadata.json states, and the file's version must be the same from the first read to the last.
The bytes are then checked by the inclusion paths to the root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from alithis.base.http import (
    READS,
    Client,
    Response,
    RetryPolicy,
    describe_status,
    is_private,
)
from alithis.errors import FormatError, IntegrityError, NotStoredError, StorageError
from alithis.manifest import metadata
from alithis.manifest.metadata import FileEntry
from alithis.manifest.reader import Manifest

TIMEOUT = 30.0
"""Seconds to wait for an answer."""
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
"""HTTP statuses of redirects."""
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Server:
    """A server that files are read from by range.

    Attributes:
        host: its name and port.
        requests: number of requests that were sent, including redirects.
        received: number of bytes of content that were received.
    """

    called: ClassVar[str] = "server"
    """What errors call it."""
    versioned: ClassVar[bool] = True
    """Whether the content of a URL may change between two reads."""
    retries: ClassVar[RetryPolicy] = READS
    """Which failed requests are sent again."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Choose the server; nothing is sent yet.

        Args:
            url: any URL on it, ``http://`` or ``https://``.
            timeout: seconds to wait for an answer.

        Raises:
            StorageError: it is not such a URL.
        """
        self._client = Client(self.called, StorageError, timeout, self.retries)
        self.host = self._client.host(url)
        self.requests = self.received = 0

    def __repr__(self) -> str:
        """Show only the host: the URL may contain secrets."""
        return f"{type(self).__name__}({self.host!r})"

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, limit: int, only: int
    ) -> tuple[str, Response]:
        """Request a file, and follow redirects.

        Args:
            url: the file's URL.
            headers: additional headers.
            limit: maximum number of bytes of the body to read.
            only: the status whose body is read.

        Returns:
            The URL that answered, and its answer.

        Raises:
            StorageError: there is no answer, or too many redirects.
        """
        for _ in range(MAX_REDIRECTS + 1):
            self.requests += 1
            answer = self._client.ask(url, headers=headers, limit=limit, only=only)
            self.received += len(answer.body)
            if answer.status not in REDIRECTS:
                return url, answer
            url = self.redirected(url, answer.headers.get("Location", ""))
        raise self.too_many_redirects()

    def failure(self, what: str) -> StorageError:
        """Return an error about the server."""
        return StorageError(f"{self.called} {self.host} {what}")

    def refused(self, status: int, name: str) -> StorageError:
        """Return the error for an answer without the requested content."""
        if status in (404, 410):
            return NotStoredError(f"{self.called} {self.host} has no {name}")
        return self.failure(describe_status(status))

    def too_many_redirects(self) -> StorageError:
        """Return the error for too many redirects."""
        return self.failure(f"redirects more than {MAX_REDIRECTS} times")

    def redirected(self, url: str, location: str) -> str:
        """Return where a redirect leads.

        Raises:
            StorageError: it must not be followed.
        """
        try:
            target = urljoin(url, location)
            parts, asked = urlsplit(target), urlsplit(url)
        except ValueError as error:
            raise self.failure("redirects to something that is not a URL") from error
        if not location or parts.scheme not in ("http", "https") or not parts.hostname:
            raise self.failure("redirects to something that is not an HTTP URL")
        if url.lower().startswith("https:") and parts.scheme != "https":
            raise self.failure("redirects to an unencrypted URL")
        self.check_redirect(asked, parts)
        return target

    def check_redirect(self, asked: SplitResult, target: SplitResult) -> None:
        """Check that a redirect may be followed: a public server must not lead into our network.

        Raises:
            StorageError: it must not be followed.
        """
        if target.hostname != asked.hostname and is_private(target.hostname or ""):
            raise self.failure("redirects into a private network")


class RemoteFolder(Server):
    """The folder of a manifest on an HTTP server."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Choose the folder; nothing is sent yet.

        Args:
            url: URL of the folder or its metadata.json, ``http://`` or ``https://``. Its query is
                sent with each request.
            timeout: seconds to wait for an answer.

        Raises:
            StorageError: it is not such a URL.
        """
        super().__init__(url, timeout=timeout)
        parts = urlsplit(url)
        path = parts.path.removesuffix(metadata.FILE).rstrip("/") + "/"
        self._parts = parts._replace(path=path, fragment="")

    def open(self) -> Manifest:
        """Open the manifest; only metadata.json is read.

        Raises:
            FormatError: metadata.json is not well-formed.
            StorageError: the server gives no usable answer.
        """
        data = self._metadata()
        try:
            return Manifest(data, lambda entry: RemoteFile(self, entry, self.url(entry.name)))
        except FormatError as error:
            raise type(error)(f"server {self.host}: {error}") from error

    def url(self, name: str) -> str:
        """Return a file's URL."""
        return urlunsplit(self._parts._replace(path=self._parts.path + name))

    def _metadata(self) -> bytes:
        name = metadata.FILE
        _, answer = self.get(self.url(name), limit=metadata.MAX_BYTES, only=200)
        if answer.status in (404, 410):
            raise NotStoredError(
                f"server {self.host} has no {name} at this URL: "
                "give the URL of the manifest's folder"
            )
        if answer.status != 200:
            raise self.failure(describe_status(answer.status))
        if answer.cut:
            raise self.failure(f"returns a {name} of more than {metadata.MAX_BYTES:,} bytes")
        if answer.body.lstrip()[:1] == b"<":
            raise self.failure(
                f"returns a web page, not {name}: give the URL of the manifest's folder"
            )
        return answer.body


class RemoteFile:
    """Reads a file on a server by range.

    Attributes:
        size: the file's size in bytes, as metadata.json states it; each answer must agree.
    """

    def __init__(self, server: Server, entry: FileEntry, url: str) -> None:
        """Choose the file; nothing is read yet."""
        self._server, self._name, self.size = server, entry.name, entry.size
        self._url = url
        self._version: tuple[str | None, str | None] | None = None

    def read(self, offset: int, length: int) -> bytes:
        """Read a range with one request.

        Args:
            offset: first byte.
            length: number of bytes, at least one; the range must lie within the file.

        Raises:
            StorageError: the server does not return exactly this range.
            IntegrityError: its file does not have the size that metadata.json states.
        """
        if offset < 0 or length < 1 or offset + length > self.size:
            raise StorageError(
                f"{self._name}: {length} bytes at {offset} are outside its {self.size} bytes"
            )
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        self._url, answer = self._server.get(self._url, headers=headers, limit=length, only=206)
        self._check_status(answer.status)
        self._check_range(answer, offset, length)
        self._check_version(answer)
        return answer.body

    def _check_status(self, status: int) -> None:
        if status == 206:
            return
        if status == 200:
            raise self._server.failure(
                f"does not support ranges, and would send all of {self._name}: "
                "download the manifest with `alithis store get`, and use the folder"
            )
        if status == 416:
            raise self._server.failure(
                f"has fewer bytes of {self._name} than metadata.json states: {self.size}"
            )
        raise self._server.refused(status, self._name)

    def _check_range(self, answer: Response, offset: int, length: int) -> None:
        stated = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if stated is None:
            raise self._server.failure(f"does not state which range of {self._name} it returns")
        first, last, size = map(int, stated.groups())
        if size != self.size:
            raise IntegrityError(
                f"bytes in {self._name} on {self._server.called} {self._server.host}",
                expected=self.size,
                found=size,
            )
        if (first, last) != (offset, offset + length - 1):
            raise self._server.failure(f"returns another range of {self._name} than requested")
        if answer.cut or len(answer.body) != length:
            count = "more" if answer.cut else "fewer"
            raise self._server.failure(
                f"returns {count} than the {length} bytes of {self._name} that it announces"
            )

    def _check_version(self, answer: Response) -> None:
        if not self._server.versioned:
            return
        version = (answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
        if self._version is not None and version != self._version:
            raise self._server.failure(f"changed {self._name} while it was read: try again")
        self._version = version
