"""An S3 bucket, through fsspec."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alithis.base.remote_files import open_file_system
from alithis.errors import AlithisError, NotStoredError, StorageError
from alithis.ipfs.car import Part
from alithis.ipfs.cid import Cid, Dag
from alithis.manifest.reader import RangeReader
from alithis.storage.hosts.host import ReportBytes


class Bucket:
    """A bucket of S3 or a compatible service, as a mirror: ``PREFIX/ipfs/CID``, as on a gateway.

    Its owner decides whether others may read it.
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

    def has(self, part: Part) -> bool:
        """Return whether an object with the file's CID as name, and its size, is there."""
        with self._errors("read"):
            try:
                return bool(self._info(part)["size"] == part.size)
            except FileNotFoundError:
                return False

    def put(self, part: Part, report: ReportBytes) -> Cid:
        """Upload a file, and read it back: a bucket does not compute CIDs."""
        from fsspec.callbacks import Callback

        class Watched(Callback):  # type: ignore[misc]
            def relative_update(_, inc: int = 1) -> None:  # noqa: N805
                self._check_stopped()
                report(inc)

        self._check_stopped()
        with self._errors("written"):
            self._system.put_file(str(part.path), self._key(part), callback=Watched())
        dag = Dag()
        for block in self._blocks(part):
            dag.update(block)
        return dag.finish()

    def open(self, part: Part) -> RangeReader:
        """Open a file that is there, to be read by range.

        Raises:
            NotStoredError: it is not there.
            StorageError: the bucket cannot be read.
        """
        with self._errors("read"):
            try:
                return _Object(self, self._key(part), int(self._info(part)["size"]))
            except FileNotFoundError as error:
                raise NotStoredError(f"{part.cid} is not in {self.name}") from error

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Read a range of an object.

        Raises:
            StorageError: the bucket does not give it.
        """
        with self._errors("read"):
            data: bytes = self._system.cat_file(key, start=offset, end=offset + length)
        if len(data) != length:
            raise StorageError(f"{self.name} does not give the {length} bytes that were asked for")
        return data

    def stop(self) -> None:
        """End what is being sent: see `Host.stop`."""
        self._stopped.set()

    def _blocks(self, part: Part) -> Iterator[bytes]:
        file, step = self.open(part), 8 << 20
        for offset in range(0, file.size, step):
            self._check_stopped()
            yield file.read(offset, min(step, file.size - offset))

    def _key(self, part: Part) -> str:
        return f"{self._folder}/ipfs/{part.cid}"

    def _info(self, part: Part) -> Mapping[str, Any]:
        self._system.invalidate_cache()
        info: Mapping[str, Any] = self._system.info(self._key(part))
        return info

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise StorageError("stopped")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Name the bucket in errors: libraries raise nearly anything, and may show secrets."""
        try:
            yield
        except AlithisError:
            raise
        except Exception as error:
            raise StorageError(f"{self.name}: cannot be {what} ({type(error).__name__})") from error


class _Object:
    """A reader of an object in a bucket."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self.size = bucket, key, size

    def read(self, offset: int, length: int) -> bytes:
        return self._bucket.read(self._key, offset, length)
