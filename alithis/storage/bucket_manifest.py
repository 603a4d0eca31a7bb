"""Manifests in buckets (s3, gs, …), read with fsspec: all of metadata.json, other files by range.

As with a manifest on an HTTP server, nothing that the bucket returns is trusted: reads are bounded,
each file must have the size that metadata.json states, and ranges are checked by the inclusion
paths to the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alithis.base.remote_files import open_file_system, shown_url, url_problem
from alithis.errors import AlithisError, FormatError, IntegrityError, NotStoredError, StorageError
from alithis.manifest import metadata
from alithis.manifest.metadata import FileEntry
from alithis.manifest.reader import Manifest


class BucketFolder:
    """The folder of a manifest in a bucket."""

    def __init__(self, url: str) -> None:
        """Choose the folder; nothing is read yet.

        Args:
            url: URL of the folder or its metadata.json, such as ``s3://BUCKET/PREFIX``.

        Raises:
            MissingExtraError: the library for such URLs is not installed.
            StorageError: fsspec does not know such URLs.
        """
        self.name = shown_url(url).removesuffix(metadata.FILE).rstrip("/")
        if problem := url_problem(url):
            raise StorageError(problem)
        with self._errors():
            try:
                self._system, path = open_file_system(url)
            except (ImportError, ValueError) as error:  # fsspec's own errors contain no secrets
                raise StorageError(f"{self.name}: cannot be opened: {error}") from error
        self._path = path.removesuffix(metadata.FILE).rstrip("/")

    def open(self) -> Manifest:
        """Open the manifest; only metadata.json is read.

        Raises:
            NotStoredError: there is no metadata.json.
            FormatError: metadata.json is not well-formed.
            StorageError: the bucket cannot be read.
        """
        data = self.read(metadata.FILE, 0, metadata.MAX_BYTES + 1)
        if len(data) > metadata.MAX_BYTES:
            raise FormatError(
                f"{self.name}: {metadata.FILE} has more than {metadata.MAX_BYTES:,} bytes"
            )
        try:
            return Manifest(data, lambda entry: BucketFile(self, entry))
        except FormatError as error:
            raise type(error)(f"{self.name}: {error}") from error

    def size(self, name: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            NotStoredError: there is no such file.
            StorageError: the bucket cannot be read.
        """
        with self._errors(name):
            return int(self._system.info(f"{self._path}/{name}")["size"])

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes if the file ends before.

        Raises:
            NotStoredError: there is no such file.
            StorageError: the bucket cannot be read.
        """
        with self._errors(name):
            data = self._system.cat_file(f"{self._path}/{name}", start=offset, end=offset + length)
            return bytes(data)

    @contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        """Translate errors: libraries raise many kinds, and their messages may show secrets."""
        try:
            yield
        except AlithisError:
            raise
        except FileNotFoundError as error:
            raise NotStoredError(
                f"{self.name}: has no {name}. Give the URL of the manifest's folder"
            ) from error
        except Exception as error:  # each file system raises the errors of its own library
            raise StorageError(
                f"{self.name}: cannot be read ({type(error).__name__}). "
                "Check the address and the credentials"
            ) from error


class BucketFile:
    """Reads a file in a bucket by range.

    Attributes:
        size: bytes in the file.
    """

    def __init__(self, folder: BucketFolder, entry: FileEntry) -> None:
        """Look the file up, and take its size.

        Raises:
            NotStoredError: there is no such file.
            StorageError: the bucket cannot be read.
        """
        self._folder, self._name = folder, entry.name
        self.size = folder.size(entry.name)

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly these bytes.

        Raises:
            IntegrityError: the file is shorter than it was when it was opened.
            StorageError: the bucket cannot be read.
        """
        data = self._folder.read(self._name, offset, length)
        if len(data) != length:
            what = f"bytes of {self._name} in {self._folder.name}"
            raise IntegrityError(what, expected=length, found=len(data))
        return data
