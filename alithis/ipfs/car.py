"""CAR files: the blocks of files in one stream, to move them between stores.

CARv1: a header that names the roots, then for each block its CID and its bytes. Files are written
by our profile, each tree depth first. An archive that is read is untrusted: every block is checked
against its CID, and sizes are bounded.

Source: the IPLD specification of CARv1 (Content Addressable aRchives).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from alithis.base import files
from alithis.errors import FormatError, IntegrityError
from alithis.ipfs import unixfs
from alithis.ipfs.cid import Cid, varint

MAX_HEADER = 1 << 16
"""Bytes in a header at most: 1,500 roots."""
MAX_BLOCKS = 1 << 20
"""Blocks in an archive that is read, at most: a tebibyte by our profile."""
MAX_REPEATED = 1 << 30
"""Bytes that a file in an archive may always have; beyond them, no more than the archive has."""

# DAG-CBOR has one spelling for a value: a map of "roots" and "version", and a CID under tag 42.
_HEAD, _TAIL = b"\xa2\x65roots", b"\x67version\x01"
_VERSION_2 = b"\xa1\x67version\x02"
_LINK = b"\xd8\x2a\x58"


@dataclass(frozen=True, slots=True)
class Part:
    """A file with the CID that it should have.

    Attributes:
        name: what it is called: ``leaves``.
        cid: by our profile.
        path: where its content is.
        size: bytes in it.
    """

    name: str
    cid: Cid
    path: Path
    size: int


class Car:
    """The archive of some files, as a stream that can be read more than once.

    Attributes:
        length: its bytes.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """Compute the layout; each file is read once for it.

        Args:
            parts: the files; their CIDs are the roots, in this order.

        Raises:
            SourceError: a file cannot be read, or changed while it was.
            IntegrityError: a file is not what its CID says.
        """
        self._parts = parts
        self._outlines = [_outline(part) for part in parts]
        self._header = header([part.cid for part in parts])
        self.length = len(self._header) + sum(
            len(varint(36 + length)) + 36 + length
            for outline in self._outlines
            for length in outline.lengths()
        )

    def __iter__(self) -> Iterator[bytes]:
        """Give the stream's bytes, piece by piece.

        Raises:
            SourceError: a file cannot be read.
            IntegrityError: a file has changed.
        """
        yield self._header
        for part, outline in zip(self._parts, self._outlines, strict=True):
            with files.regular_file(part.path) as (handle, _):
                read = partial(files.read_at, handle, name=part.path)
                for cid, block in outline.blocks(read):
                    yield varint(36 + len(block)) + bytes(cid)
                    yield block


def write(parts: Sequence[Part], target: Path) -> int:
    """Write an archive, which appears whole or not at all; return its bytes.

    Raises:
        SourceError: a file cannot be read, or the target not written.
        IntegrityError: a file is not what its CID says.
    """
    car = Car(parts)
    with files.write_errors(target), files.atomic_file(target) as file:
        for piece in car:
            file.write(piece)
    return car.length


def header(roots: Sequence[Cid]) -> bytes:
    """Return a CAR's header, with its length before it."""
    data = _header(roots)
    return varint(len(data)) + data


def _header(roots: Sequence[Cid]) -> bytes:
    count = len(roots)
    if count < 24:
        array = bytes([0x80 | count])
    else:
        array = bytes([0x98, count]) if count < 256 else b"\x99" + count.to_bytes(2, "big")
    links = (_LINK + bytes([len(bytes(root)) + 1, 0]) + bytes(root) for root in roots)
    return _HEAD + array + b"".join(links) + _TAIL


def _outline(part: Part) -> unixfs.Outline:
    outline = unixfs.outline(part.path)
    if outline.root != part.cid:
        raise IntegrityError(f"{part.path}: CID", expected=part.cid, found=outline.root)
    return outline


# -- Reading -------------------------------------------------------------------------------------


class Archive:
    """A CAR file of which every block has been checked; a context manager.

    Attributes:
        roots: the CIDs that its header names, at least one.
        count: blocks in it, of those that repeat one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file from end to end.

        Raises:
            SourceError: it cannot be read, or is not a regular file.
            FormatError: it is no CARv1, is cut, or holds what is not of a file or too large.
            IntegrityError: a block is not what its CID says.
        """
        self._path = Path(path)
        self._handle, status = files.open_regular(path)
        try:
            self._size = status.st_size
            self._places: dict[bytes, tuple[int, int]] = {}
            with os.fdopen(os.dup(self._handle), "rb", 1 << 20) as file:
                self._read(Sections(file, str(self._path)))
        except OSError as error:
            self.close()
            raise files.unreadable(str(self._path), error) from error
        except BaseException:
            self.close()
            raise
        self.count = len(self._places)

    def __enter__(self) -> Archive:
        """Return the archive."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its file."""
        self.close()

    def close(self) -> None:
        """Close its file; nothing can be read afterwards."""
        os.close(self._handle)

    def __contains__(self, cid: Cid) -> bool:
        """Tell whether a block is there."""
        return cid.digest in self._places

    def block(self, cid: Cid) -> bytes:
        """Return a block, checked once more: the file may have changed.

        Raises:
            FormatError: it is not there.
            IntegrityError: it is no longer what its CID says.
            SourceError: the file cannot be read.
        """
        found = self._places.get(cid.digest)
        if found is None:
            raise self._bad(f"the block {cid} is not in it")
        offset, length = found
        data = files.read_at(self._handle, offset, length, self._path)
        unixfs.check(cid, data)
        return data

    def content(self, cid: Cid) -> Iterator[bytes]:
        """Give a file's content, chunk by chunk; blocks that it does not lead to stay out of it.

        Raises:
            FormatError: a block is missing, or of no file; or the file has more than
                `MAX_REPEATED` bytes and more than the archive.
            IntegrityError: a block is no longer what its CID says.
            SourceError: the archive cannot be read.
        """
        return unixfs.content(cid, self.block, max(self._size, MAX_REPEATED))

    def _read(self, sections: Sections) -> None:
        self.roots = sections.roots
        for cid, block in sections:
            self._places[cid.digest] = (sections.at - len(block), len(block))
            if len(self._places) > MAX_BLOCKS:
                raise self._bad(f"more than {MAX_BLOCKS:,} blocks")

    def _bad(self, what: str) -> FormatError:
        return FormatError(f"{self._path}: {what}")


class Sections:
    """Reads a CAR from its beginning, block by block, each checked.

    Attributes:
        roots: the CIDs that its header names, at least one.
        at: where in the stream the reading is.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read the header.

        Args:
            file: the stream; it need not be one that can seek.
            name: what it is called in errors.

        Raises:
            FormatError: it is no CARv1.
        """
        self._file, self._name = file, name
        self.at = 0
        self.roots = self._read_header()

    def __iter__(self) -> Iterator[unixfs.Block]:
        """Give the blocks.

        Raises:
            FormatError: the stream is cut, or holds what is not of a file or too large.
            IntegrityError: a block is not what its CID says.
        """
        while (length := self._varint()) is not None:
            start = self.at
            if length > unixfs.MAX_BLOCK + 36:
                raise self._bad(f"a block of more than {unixfs.MAX_BLOCK:,} bytes at {start}")
            cid, block = self._split(self._exactly(length), start)
            unixfs.check(cid, block)
            yield cid, block

    def _read_header(self) -> tuple[Cid, ...]:
        length = self._varint()
        if not length or length > MAX_HEADER:
            raise self._bad(f"no CAR: its header has no length from 1 to {MAX_HEADER}")
        data = self._exactly(length)
        if data == _VERSION_2:
            raise self._bad(
                "a CAR of version 2; only version 1 is read: extract the one that it contains"
            )
        roots = _read_roots(data)
        if not roots:
            raise self._bad("no CARv1 with roots that are files")
        return roots

    def _split(self, section: bytes, start: int) -> unixfs.Block:
        end = 34 if section[:2] == b"\x12\x20" else 36  # version 0 begins with its multihash
        try:
            return Cid.from_bytes(section[:end]), section[end:]
        except FormatError as error:
            raise self._bad(f"at {start}: {error}") from None

    def _varint(self) -> int | None:
        """Read a length; None at the end of the stream."""
        data = b""
        while byte := self._file.read(1):
            data += byte
            if byte < b"\x80" or len(data) == 9:
                break
        if not data:
            return None
        self.at += len(data)
        try:
            return unixfs.read_varint(data, 0)[0]
        except ValueError:
            raise self._bad(f"no length before {self.at}") from None

    def _exactly(self, length: int) -> bytes:
        data = self._file.read(length)
        self.at += len(data)
        if len(data) != length:
            raise self._bad(f"cut: {length} bytes should stand before its end, {self.at}")
        return data

    def _bad(self, what: str) -> FormatError:
        return FormatError(f"{self._name}: {what}")


def _read_roots(data: bytes) -> tuple[Cid, ...]:
    """Read a header by its fixed parts; what spells otherwise has no roots."""
    body = data.removeprefix(_HEAD).removesuffix(_TAIL)
    rest = body[{0x98: 2, 0x99: 3}.get(body[0], 1) :] if body else b""
    roots = []
    try:
        while rest:
            end = 4 + rest[3]
            roots.append(Cid.from_bytes(rest[5:end]))
            rest = rest[end:]
    except (FormatError, IndexError):
        return ()
    return tuple(roots) if _header(roots) == data else ()
