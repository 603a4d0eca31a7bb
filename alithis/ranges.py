"""Manifests at a distance: their files read by HTTP range (RFC 9110, section 14).

A proof takes one request for metadata.json and then one for each run of 256 hashes, never a whole
file. Nothing that a server says is believed: metadata states how long a file is, every answer must
be exactly the range that was asked for out of a file of that length, of one version from the first
read to the last, and what was read is checked by the paths to the root.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

from alithis import metadata
from alithis.cid import Cid
from alithis.digest import of_bytes
from alithis.errors import FormatError, IntegrityError, NotStoredError, StorageError
from alithis.exchange import Answer, Client, meaning
from alithis.manifest import Manifest
from alithis.metadata import FileEntry

TIMEOUT = 30.0
"""Seconds for an answer."""

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


def is_url(place: str) -> bool:
    """Tell whether a place is meant as a URL, not as a folder."""
    return re.match("https?://", place, re.IGNORECASE) is not None


def open_manifest(place: str) -> Manifest:
    """Open a manifest in a folder, or at a URL.

    Args:
        place: the folder, or the ``http://`` or ``https://`` URL of it or its metadata.json.

    Raises:
        FormatError: there is none, or not a well-formed one.
        StorageError: the server gives no usable answer.
    """
    return RemoteFolder(place).open() if is_url(place) else Manifest.open(Path(place))


class RemoteFolder:
    """The folder of a manifest on an HTTP server.

    Attributes:
        requests: how many requests were sent to read from it; redirects count.
        received: bytes of content that they brought.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Name the folder; nothing is sent yet.

        Args:
            url: of the folder or its metadata.json, ``http://`` or ``https://``. A query stays.
            timeout: seconds for an answer.

        Raises:
            StorageError: the URL is no such URL.
        """
        self._client = Client("server", StorageError, timeout)
        self.host = self._client.host(url)
        parts = urlsplit(url)
        path = parts.path.removesuffix(metadata.FILE).rstrip("/") + "/"
        self._parts = parts._replace(path=path, fragment="")
        self.requests = self.received = 0

    def __repr__(self) -> str:
        """Name the host alone."""
        return f"RemoteFolder({self.host!r})"

    def open(self) -> Manifest:
        """Open the manifest; of its other files nothing is read yet.

        Raises:
            FormatError: metadata.json is not well-formed.
            StorageError: the server gives no usable answer.
        """
        data = self._metadata()
        try:
            return Manifest(data, lambda entry: RemoteFile(self, entry))
        except FormatError as error:
            raise type(error)(f"server {self.host}: {error}") from error

    def url(self, name: str) -> str:
        """Return a file's URL."""
        return urlunsplit(self._parts._replace(path=self._parts.path + name))

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, limit: int, only: int
    ) -> tuple[str, Answer]:
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
            if answer.status not in _REDIRECTS:
                return url, answer
            url = self._redirected(url, answer.headers.get("Location", ""))
        raise self.no_use(f"redirects more than {MAX_REDIRECTS} times")

    def no_use(self, what: str) -> StorageError:
        """Return the error that says what is wrong with the server."""
        return StorageError(f"server {self.host} {what}")

    def _redirected(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            parts, host = urlsplit(target), urlsplit(url).hostname
        except ValueError as error:
            raise self.no_use("redirects to no URL") from error
        if not location or parts.scheme not in ("http", "https") or not parts.hostname:
            raise self.no_use("redirects to no HTTP URL")
        if url.lower().startswith("https:") and parts.scheme != "https":
            raise self.no_use("redirects to an unencrypted URL")
        if parts.hostname != host and _is_private(parts.hostname):
            raise self.no_use("redirects into a private network")
        return target

    def _metadata(self) -> bytes:
        name = metadata.FILE
        _, answer = self.get(self.url(name), limit=metadata.MAX_BYTES, only=200)
        if answer.status in (404, 410):
            raise NotStoredError(f"server {self.host} has no {name} there: name its folder's URL")
        if answer.status != 200:
            raise self.no_use(meaning(answer.status))
        if answer.cut:
            raise self.no_use(f"answers a {name} of more than {metadata.MAX_BYTES} bytes")
        if answer.body.lstrip()[:1] == b"<":
            raise self.no_use(f"answers a web page, not {name}: name its folder's URL")
        return answer.body


class Gateway:
    """An IPFS gateway, from which manifests are read by their CIDs.

    Source: the path gateway specification of IPFS (``/ipfs/CID``).
    """

    def __init__(self, url: str) -> None:
        """Name the gateway; nothing is sent yet.

        Args:
            url: its ``http://`` or ``https://`` URL, without ``/ipfs``.

        Raises:
            StorageError: the URL is no such URL.
        """
        self._folder = RemoteFolder(f"{url.rstrip('/')}/ipfs")

    def open(self, digest: bytes) -> Manifest:
        """Open the manifest whose metadata.json has a SHA-256; of other files nothing is read yet.

        Raises:
            NotStoredError: the gateway has it not.
            IntegrityError: it answers something else.
            FormatError: the metadata is not well-formed.
            StorageError: it gives no usable answer.
        """
        url = self._folder.url(str(Cid.raw(digest)))
        _, answer = self._folder.get(url, limit=metadata.MAX_BYTES, only=200)
        if answer.status in (404, 410):
            raise NotStoredError(f"server {self._folder.host} has no {Cid.raw(digest)}")
        if answer.status != 200:
            raise self._folder.no_use(meaning(answer.status))
        found = of_bytes(answer.body)
        if found != digest:
            raise IntegrityError(
                f"SHA-256 of {metadata.FILE} from server {self._folder.host}",
                expected=digest,
                found=found,
            )
        return Manifest(
            answer.body, lambda entry: RemoteFile(self._folder, replace(entry, name=entry.cid))
        )


def _is_private(host: str) -> bool:
    """Tell whether a host is named as one of a private network; its name may still lead there."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class RemoteFile:
    """Reads a file of a remote manifest by range.

    Attributes:
        size: bytes in the file, as metadata.json states it; each answer must agree.
    """

    def __init__(self, folder: RemoteFolder, entry: FileEntry) -> None:
        """Name the file; nothing is read yet."""
        self._folder, self._name, self.size = folder, entry.name, entry.size
        self._url = folder.url(entry.name)
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
        self._url, answer = self._folder.get(self._url, headers=headers, limit=length, only=206)
        self._check_status(answer.status)
        self._check_range(answer, offset, length)
        self._check_version(answer)
        return answer.body

    def _check_status(self, status: int) -> None:
        if status == 206:
            return
        if status == 200:
            raise self._folder.no_use(
                f"ignores ranges, and would send all of {self._name}: "
                "fetch the manifest, and name its folder"
            )
        if status == 416:
            raise self._folder.no_use(
                f"has fewer bytes of {self._name} than metadata.json states: {self.size}"
            )
        if status in (404, 410):
            raise NotStoredError(f"server {self._folder.host} has no {self._name}")
        raise self._folder.no_use(meaning(status))

    def _check_range(self, answer: Answer, offset: int, length: int) -> None:
        stated = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if stated is None:
            raise self._folder.no_use(f"does not say which range of {self._name} it answers")
        first, last, size = map(int, stated.groups())
        if size != self.size:
            raise IntegrityError(
                f"bytes in {self._name} on server {self._folder.host}",
                expected=self.size,
                found=size,
            )
        if (first, last) != (offset, offset + length - 1):
            raise self._folder.no_use(f"answers another range of {self._name} than it was asked")
        if answer.cut or len(answer.body) != length:
            raise self._folder.no_use(
                f"answers {'more' if answer.cut else 'less'} of {self._name} than the {length} "
                "bytes it announces"
            )

    def _check_version(self, answer: Answer) -> None:
        version = (answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
        if self._version is not None and version != self._version:
            raise self._folder.no_use(f"changed {self._name} while it was read: ask again")
        self._version = version
