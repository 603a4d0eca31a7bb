"""An S3 bucket, through fsspec."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alithis.base.remote_files import open_file_system
from alithis.errors import AlithisError, NotStoredError, StorageError
from alithis.ipfs.car import LocalFile
from alithis.ipfs.cid import Cid, Dag
from alithis.manifest.reader import RangeReader
from alithis.storage.hosts.host import ReportBytes


class Bucket:
    """A bucket of S3 or a compatible service; objects are named ``PREFIX/ipfs/CID``.

    Gateways use the same paths, so a public bucket can serve as one. Its owner decides whether
    others may read it.
    """

    public = False

    def __init__(self, url: str) -> None:
        """Choose the bucket; fsspec finds credentials and endpoint.

        Args:
            url: ``s3://BUCKET/PREFIX``.

        Raises:
            MissingExtraError: s3fs is not installed.
            StorageError: it is not such a URL.
        """
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[\w=][\w.=-]*)*/?", url, re.ASCII):
            raise StorageError("the bucket's URL is not s3://BUCKET/PREFIX")
        self.name = url.rstrip("/")
        self._stopped = threading.Event()
        with self._errors("opened"):
            self._system, self._folder = open_file_system(self.name)

    def has(self, local: LocalFile) -> bool:
        """Return whether the bucket has an object with the file's CID as name, and of its size."""
        with self._errors("read"):
            try:
                return bool(self._info(local)["size"] == local.size)
            except FileNotFoundError:
                return False

    def put(self, local: LocalFile, report: ReportBytes) -> Cid:
        """Upload a file, and read it back to compute its CID: a bucket does not compute CIDs."""
        from fsspec.callbacks import Callback

        class Watched(Callback):  # type: ignore[misc]
            def relative_update(_, inc: int = 1) -> None:  # noqa: N805
                self._check_stopped()
                report(inc)

        self._check_stopped()
        with self._errors("written"):
            self._system.put_file(str(local.path), self._key(local), callback=Watched())
        dag = Dag()
        for block in self._blocks(local):
            dag.update(block)
        return dag.finish()

    def open(self, local: LocalFile) -> RangeReader:
        """Open a file for reading by range.

        Raises:
            NotStoredError: the bucket does not have it.
            StorageError: the bucket cannot be read.
        """
        with self._errors("read"):
            try:
                return _Object(self, self._key(local), int(self._info(local)["size"]))
            except FileNotFoundError as error:
                raise NotStoredError(f"{local.cid} is not in {self.name}") from error

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Read a range of an object.

        Raises:
            StorageError: the bucket does not return it.
        """
        with self._errors("read"):
            data: bytes = self._system.cat_file(key, start=offset, end=offset + length)
        if len(data) != length:
            raise StorageError(f"{self.name} does not return the {length} requested bytes")
        return data

    def stop(self) -> None:
        """Abort uploads: see `Host.stop`."""
        self._stopped.set()

    def _blocks(self, local: LocalFile) -> Iterator[bytes]:
        file, step = self.open(local), 8 << 20
        for offset in range(0, file.size, step):
            self._check_stopped()
            yield file.read(offset, min(step, file.size - offset))

    def _key(self, local: LocalFile) -> str:
        return f"{self._folder}/ipfs/{local.cid}"

    def _info(self, local: LocalFile) -> Mapping[str, Any]:
        self._system.invalidate_cache()
        info: Mapping[str, Any] = self._system.info(self._key(local))
        return info

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise StorageError("stopped")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Translate errors: libraries raise many kinds, and their messages may show secrets."""
        try:
            yield
        except AlithisError:
            raise
        except Exception as error:  # each file system raises the errors of its own library
            raise StorageError(f"{self.name}: cannot be {what} ({type(error).__name__})") from error


class _Object:
    """A reader of an object in a bucket."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self.size = bucket, key, size

    def read(self, offset: int, length: int) -> bytes:
        return self._bucket.read(self._key, offset, length)
