"""Compressed files: recognised by their first bytes, and decompressed as they are read."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any, BinaryIO

from alithis.errors import SourceError

GZIP, BZIP2, XZ, ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"

_XZ_MEMORY = 1 << 28  # an xz file states how much memory it takes to decompress
_BLOCK = 1 << 20


def decompressed(file: Any) -> Any:
    """Return a file to read the decompressed content of a file from.

    The compression (gzip, bzip2, xz, Zstandard or none) is recognised by the first bytes. A
    compressed file can only be read forward.
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

        return io.BufferedReader(pa.CompressedInputStream(_KeepOpen(file), "zstd"), _BLOCK)
    return file


class _KeepOpen:
    """A file that stays open: PyArrow closes what it was given, and the caller still needs it."""

    closed = False

    def __init__(self, file: Any) -> None:
        self.read, self.tell = file.read, file.tell

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        pass


def is_compressed(head: bytes) -> bool:
    """Tell by a file's first bytes whether it is compressed."""
    return head.startswith((GZIP, BZIP2, XZ, ZSTD))


def _xz() -> Any:
    import lzma

    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


class _Streams(io.RawIOBase):
    """Decompresses all streams of a file, one after the other.

    The standard library's `bz2.BZ2File` and `lzma.LZMAFile` treat a damaged second stream as the
    end of the file: data points would be lost without an error.
    """

    def __init__(self, file: BinaryIO, decompressor: Callable[[], Any], kind: str) -> None:
        self._file, self._new, self._kind = file, decompressor, kind
        self._decompressor: Any = decompressor()

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
            compressed = b""
            if self._decompressor.eof:
                if not (compressed := self._after()):
                    return b""
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not (compressed := self._file.read(_BLOCK)):
                raise SourceError(
                    f"damaged {self._kind} data: the file is cut short. Download it again"
                )
            if data := self._decompressor.decompress(compressed, size):
                return bytes(data)

    def _after(self) -> bytes:
        """Return the start of the next stream, after the padding of this one."""
        rest = self._decompressor.unused_data.lstrip(b"\0")
        while not rest and (block := self._file.read(_BLOCK)):
            rest = block.lstrip(b"\0")
        return bytes(rest)
