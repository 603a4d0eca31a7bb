"""Files, here and elsewhere: opened for reading, unpacked, and known again.

A `Place` is small and goes to worker processes; what it opens must stand still while it is read.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from alithis.base import files
from alithis.errors import ChangedError, SourceError
from alithis.forms.form import Form
from alithis.forms.pool import Pool
from alithis.readers.source import check_name, stamp, utf8

GZIP, BZIP2, XZ, ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
MAX_READ = 1 << 26
"""Bytes that are asked for at a time; whatever states a longer piece is refused."""

_XZ_MEMORY = 1 << 28
_BLOCK = 1 << 20


_HASHED, _PARSED = 1 << 29, 1 << 25  # bytes from which on workers, a second to start, pay


class Place(Protocol):
    """A file that can be opened again and again."""

    @property
    def name(self) -> str:
        """Its path in the source, POSIX and relative."""

    @property
    def where(self) -> str:
        """Where it is, for people."""

    @property
    def stamp(self) -> tuple[Any, ...]:
        """What differs once it was changed; its size first."""

    @property
    def is_local(self) -> bool:
        """Whether worker processes can open it."""

    def open(self) -> Any:
        """Open it for reading: a context manager that gives a buffered file.

        Raises:
            SourceError: it cannot be read.
            ChangedError: it changed since it was listed, or while it was open.
        """


def worth(pool: Pool, places: Sequence[Place], form: Form) -> Pool | None:
    """Return the workers of a pool, where they save more time than they take to start."""
    size = sum(place.stamp[0] or 0 for place in places)
    least = _HASHED if form.name in ("bytes", "sample") else _PARSED
    return pool if pool.workers > 1 and size >= least else None


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine."""

    path: str
    name: str
    stamp: tuple[int, int]
    is_local: bool = True

    @classmethod
    def at(cls, path: Path, name: str | None = None) -> LocalFile:
        """Look at a file; by default its own name is its path in the source.

        Raises:
            SourceError: it is not there, or its name is not UTF-8.
        """
        check_name(str(path.parent), path.name)
        handle, status = files.open_regular(path)
        os.close(handle)
        return cls(str(path), utf8(path.name) if name is None else name, stamp(status))

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return self.path

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open it: see `Place.open`."""
        handle, before = files.open_regular(self.path)
        with io.BufferedReader(io.FileIO(handle), _BLOCK) as file:
            if stamp(before) != self.stamp:
                raise ChangedError(f"{self.path}: changed since it was opened")
            with readable(self.path):
                yield file
            files.check_unchanged(self.path, before, os.fstat(handle), before.st_size)


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Name the file in the errors that reading it brings."""
    import lzma

    try:
        yield
    except ChangedError:
        raise
    except SourceError as error:
        if str(error).startswith(where):
            raise
        raise SourceError(f"{where}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{where}: damaged gzip data: {error}") from error
    except lzma.LZMAError as error:
        raise SourceError(f"{where}: damaged xz data: {error}") from error
    except OSError as error:
        raise SourceError(f"{where}: cannot be read: {error.strerror or error}") from error


def unpacked(file: Any) -> Any:
    """Return what a file holds, unpacked where it is packed (gzip, bzip2, xz, Zstandard).

    What it holds is known by its first bytes. The result is read forward only.
    """
    head = file.peek(6)
    if head.startswith(GZIP):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(BZIP2):
        import bz2

        return io.BufferedReader(_Streams(file, bz2.BZ2Decompressor, "bzip2"), _BLOCK)
    if head.startswith(XZ):
        return io.BufferedReader(_Streams(file, _xz, "xz"), _BLOCK)
    if head.startswith(ZSTD):
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(_Open(file), "zstd"), _BLOCK)
    return file


class _Open:
    """A file that stays open when what reads it is closed."""

    closed = False

    def __init__(self, file: Any) -> None:
        self.read, self.tell = file.read, file.tell

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        pass


def is_packed(head: bytes) -> bool:
    """Tell by a file's first bytes whether it is packed."""
    return head.startswith((GZIP, BZIP2, XZ, ZSTD))


def _xz() -> Any:
    import lzma

    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


class _Streams(io.RawIOBase):
    """One packed stream after the other; unlike the standard library's, none is left out.

    (`bz2` and `lzma` take a second stream that is damaged for the end of the file.)
    """

    def __init__(self, file: BinaryIO, decompressor: Callable[[], Any], kind: str) -> None:
        self._file, self._new, self._kind = file, decompressor, kind
        self._one: Any = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._read(len(buffer))
        except OSError as error:
            raise SourceError(f"damaged {self._kind} data: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        while True:
            packed = b""
            if self._one.eof:
                if not (packed := self._after()):
                    return b""
                self._one = self._new()
            elif self._one.needs_input and not (packed := self._file.read(_BLOCK)):
                raise SourceError(f"damaged {self._kind} data: it ends too early")
            if data := self._one.decompress(packed, size):
                return bytes(data)

    def _after(self) -> bytes:
        """Return what follows a stream and its padding."""
        rest = self._one.unused_data.lstrip(b"\0")
        while not rest and (block := self._file.read(_BLOCK)):
            rest = block.lstrip(b"\0")
        return bytes(rest)
