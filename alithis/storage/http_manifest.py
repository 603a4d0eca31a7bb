"""Manifests at a distance: their files read by HTTP range (RFC 9110, section 14).

A proof takes one request for metadata.json and then one for each run of 256 hashes, never a whole
file. Nothing that a server says is believed: metadata states how long a file is, every answer must
be exactly the range that was asked for out of a file of that length, of one version from the first
read to the last, and what was read is checked by the paths to the root.
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
"""Seconds for an answer."""
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
"""The statuses that mean: elsewhere."""
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Server:
    """A server that files are read from by range.

    Attributes:
        host: its name and port.
        requests: how many requests were sent to read from it; redirects count.
        received: bytes of content that they brought.
    """

    called: ClassVar[str] = "server"
    """What it is called in errors."""
    versioned: ClassVar[bool] = True
    """Whether what is at a URL may change from one read to the next."""
    retries: ClassVar[RetryPolicy] = READS
    """When a request is sent again."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Name the server; nothing is sent yet.

        Args:
            url: one on it, ``http://`` or ``https://``.
            timeout: seconds for an answer.

        Raises:
            StorageError: the URL is no such URL.
        """
        self._client = Client(self.called, StorageError, timeout, self.retries)
        self.host = self._client.host(url)
        self.requests = self.received = 0

    def __repr__(self) -> str:
        """Name the host alone."""
        return f"{type(self).__name__}({self.host!r})"

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, limit: int, only: int
    ) -> tuple[str, Response]:
        """Ask for a file, following redirects.

        Args:
            url: the file's.
            headers: further headers.
            limit: bytes that are read of it.
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

    def no_use(self, what: str) -> StorageError:
        """Return the error that says what is wrong with the server."""
        return StorageError(f"{self.called} {self.host} {what}")

    def refused(self, status: int, name: str) -> StorageError:
        """Return the error that says what a status means that brings no content."""
        if status in (404, 410):
            return NotStoredError(f"{self.called} {self.host} has no {name}")
        return self.no_use(describe_status(status))

    def too_many_redirects(self) -> StorageError:
        """Return the error that says so."""
        return self.no_use(f"redirects more than {MAX_REDIRECTS} times")

    def redirected(self, url: str, location: str) -> str:
        """Return where a redirect leads.

        Raises:
            StorageError: it is nowhere that may be followed.
        """
        try:
            target = urljoin(url, location)
            parts, asked = urlsplit(target), urlsplit(url)
        except ValueError as error:
            raise self.no_use("redirects to no URL") from error
        if not location or parts.scheme not in ("http", "https") or not parts.hostname:
            raise self.no_use("redirects to no HTTP URL")
        if url.lower().startswith("https:") and parts.scheme != "https":
            raise self.no_use("redirects to an unencrypted URL")
        self.check_redirect(asked, parts)
        return target

    def check_redirect(self, asked: SplitResult, target: SplitResult) -> None:
        """Check that a redirect from one URL to another may be followed.

        Raises:
            StorageError: it may not.
        """
        if target.hostname != asked.hostname and is_private(target.hostname or ""):
            raise self.no_use("redirects into a private network")


class RemoteFolder(Server):
    """The folder of a manifest on an HTTP server."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Name the folder; nothing is sent yet.

        Args:
            url: of the folder or its metadata.json, ``http://`` or ``https://``. A query stays.
            timeout: seconds for an answer.

        Raises:
            StorageError: the URL is no such URL.
        """
        super().__init__(url, timeout=timeout)
        parts = urlsplit(url)
        path = parts.path.removesuffix(metadata.FILE).rstrip("/") + "/"
        self._parts = parts._replace(path=path, fragment="")

    def open(self) -> Manifest:
        """Open the manifest; of its other files nothing is read yet.

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
            raise NotStoredError(f"server {self.host} has no {name} there: name its folder's URL")
        if answer.status != 200:
            raise self.no_use(describe_status(answer.status))
        if answer.cut:
            raise self.no_use(f"answers a {name} of more than {metadata.MAX_BYTES} bytes")
        if answer.body.lstrip()[:1] == b"<":
            raise self.no_use(f"answers a web page, not {name}: name its folder's URL")
        return answer.body


class RemoteFile:
    """Reads a file on a server by range.

    Attributes:
        size: bytes in the file, as metadata.json states it; each answer must agree.
    """

    def __init__(self, server: Server, entry: FileEntry, url: str) -> None:
        """Name the file; nothing is read yet."""
        self._server, self._name, self.size = server, entry.name, entry.size
        self._url = url
        self._version: tuple[str | None, str | None] | None = None

    def read(self, offset: int, length: int) -> bytes:
        """Read a range by one request.

        Args:
            offset: first byte.
            length: number of bytes, at least one; the range must lie within the file.

        Raises:
            StorageError: the server does not answer just that.
            IntegrityError: its file has not the size that metadata.json states.
        """
        if offset < 0 or length < 1 or offset + length > self.size:
            raise StorageError(
                f"{self._name}: {length} bytes at {offset} are not within its {self.size}"
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
            raise self._server.no_use(
                f"ignores ranges, and would send all of {self._name}: "
                "fetch the manifest, and name its folder"
            )
        if status == 416:
            raise self._server.no_use(
                f"has fewer bytes of {self._name} than metadata.json states: {self.size}"
            )
        raise self._server.refused(status, self._name)

    def _check_range(self, answer: Response, offset: int, length: int) -> None:
        stated = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if stated is None:
            raise self._server.no_use(f"does not say which range of {self._name} it answers")
        first, last, size = map(int, stated.groups())
        if size != self.size:
            raise IntegrityError(
                f"bytes in {self._name} on {self._server.called} {self._server.host}",
                expected=self.size,
                found=size,
            )
        if (first, last) != (offset, offset + length - 1):
            raise self._server.no_use(f"answers another range of {self._name} than it was asked")
        if answer.cut or len(answer.body) != length:
            raise self._server.no_use(
                f"answers {'more' if answer.cut else 'less'} of {self._name} than the {length} "
                "bytes it announces"
            )

    def _check_version(self, answer: Response) -> None:
        if not self._server.versioned:
            return
        version = (answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
        if self._version is not None and version != self._version:
            raise self._server.no_use(f"changed {self._name} while it was read: ask again")
        self._version = version
