"""CAR files: the blocks of files in one stream, to move them between stores.

CARv1: a header with the roots, then each block after its CID. Archives are written with our
profile, each tree depth first. An archive that is read is untrusted: every block is checked against
its CID, and the header, each block and the number of blocks have a maximum size, so that a small
archive cannot make a reader use much memory.

Source: the IPLD specification of CARv1 (Content Addressable aRchives).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from alithis.base import files as base_files
from alithis.errors import FormatError, IntegrityError
from alithis.ipfs import unixfs
from alithis.ipfs.cid import Cid, varint

MAX_HEADER = 1 << 16
"""Maximum size of a header in bytes: about 1,500 roots."""
MAX_BLOCKS = 1 << 20
"""Maximum number of blocks in an archive that is read: a tebibyte with our profile."""
MAX_REPEATED = 1 << 30
"""Size in bytes up to which a file may be larger than its archive.

A file may repeat a block, so it can be larger than the archive that contains it. Without a limit, a
few kilobytes could expand to any number of bytes.
"""

# DAG-CBOR has exactly one encoding of a value: here a map with the keys "roots" and "version", and
# CIDs with tag 42.
_HEAD, _TAIL = b"\xa2\x65roots", b"\x67version\x01"
_VERSION_2 = b"\xa1\x67version\x02"
_LINK = b"\xd8\x2a\x58"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A local file and the CID that it should have.

    Attributes:
        name: its name in the manifest, such as ``leaves``.
        cid: its CID with our profile.
        path: where its content is.
        size: its size in bytes.
    """

    name: str
    cid: Cid
    path: Path
    size: int


class Car:
    """An archive of some files, as a stream that can be read more than once.

    Attributes:
        length: its size in bytes.
    """

    def __init__(self, files: Sequence[LocalFile]) -> None:
        """Compute the layout; each file is read once for it.

        Args:
            files: the files; their CIDs are the roots, in this order.

        Raises:
            SourceError: a file cannot be read, or changed while it was read.
            IntegrityError: a file does not match its CID.
        """
        self._files = files
        self._outlines = [_outline(local) for local in files]
        self._header = header([local.cid for local in files])
        self.length = len(self._header) + sum(
            len(varint(36 + length)) + 36 + length
            for outline in self._outlines
            for length in outline.lengths()
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive's bytes, piece by piece.

        Raises:
            SourceError: a file cannot be read.
            IntegrityError: a file has changed.
        """
        yield self._header
        for local, outline in zip(self._files, self._outlines, strict=True):
            with base_files.regular_file(local.path) as (handle, _):
                read = partial(base_files.read_at, handle, name=local.path)
                for cid, block in outline.blocks(read):
                    yield varint(36 + len(block)) + bytes(cid)
                    yield block


def write(files: Sequence[LocalFile], target: Path) -> int:
    """Write an archive atomically, and return its size in bytes.

    Raises:
        SourceError: a file cannot be read, or the target cannot be written.
        IntegrityError: a file does not match its CID.
    """
    car = Car(files)
    with base_files.write_errors(target), base_files.atomic_file(target) as file:
        for piece in car:
            file.write(piece)
    return car.length


def header(roots: Sequence[Cid]) -> bytes:
    """Return a CAR's header, preceded by its length."""
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


def _outline(local: LocalFile) -> unixfs.Outline:
    outline = unixfs.outline(local.path)
    if outline.root != local.cid:
        raise IntegrityError(f"{local.path}: CID", expected=local.cid, found=outline.root)
    return outline


# -- Reading -------------------------------------------------------------------------------------


class Archive:
    """A CAR file, every block of which has been checked; a context manager.

    Attributes:
        roots: the CIDs in its header, at least one.
        count: the number of different blocks.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read and check the whole file.

        Only the positions of the blocks are kept in memory.

        Raises:
            SourceError: it cannot be read, or is not a regular file.
            FormatError: it is not a CARv1 of files, is truncated, or exceeds a limit.
            IntegrityError: a block does not match its CID.
        """
        self._path = Path(path)
        self._handle, status = base_files.open_regular(path)
        try:
            self._size = status.st_size
            self._places: dict[bytes, tuple[int, int]] = {}
            with os.fdopen(os.dup(self._handle), "rb", 1 << 20) as file:
                self._read(Sections(file, str(self._path)))
        except OSError as error:
            self.close()
            raise base_files.unreadable(str(self._path), error) from error
        except BaseException:
            self.close()
            raise
        self.count = len(self._places)

    def __enter__(self) -> Archive:
        """Return the archive."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        os.close(self._handle)

    def __contains__(self, cid: Cid) -> bool:
        """Return whether the archive contains a block."""
        return cid.digest in self._places

    def block(self, cid: Cid) -> bytes:
        """Return a block, checked again because the file may have changed since.

        Raises:
            FormatError: the archive does not contain it.
            IntegrityError: it no longer matches its CID.
            SourceError: the file cannot be read.
        """
        found = self._places.get(cid.digest)
        if found is None:
            raise self._bad(f"block {cid} is missing. Export the archive again")
        offset, length = found
        data = base_files.read_at(self._handle, offset, length, self._path)
        unixfs.check(cid, data)
        return data

    def content(self, cid: Cid) -> Iterator[bytes]:
        """Yield a file's content, chunk by chunk.

        Raises:
            FormatError: a block is missing or is not part of a file; or the file is larger than
                both the archive and `MAX_REPEATED` bytes.
            IntegrityError: a block no longer matches its CID.
            SourceError: the archive cannot be read.
        """
        return unixfs.content(cid, self.block, max(self._size, MAX_REPEATED))

    def _read(self, sections: Sections) -> None:
        self.roots = sections.roots
        for cid, block in sections:
            self._places[cid.digest] = (sections.at - len(block), len(block))
            if len(self._places) > MAX_BLOCKS:
                raise self._bad(f"has more than {MAX_BLOCKS:,} blocks, the most that are read")

    def _bad(self, what: str) -> FormatError:
        return FormatError(f"{self._path}: {what}")


class Sections:
    """Reads a CAR from beginning to end, and checks each block.

    Attributes:
        roots: the CIDs in its header, at least one.
        at: number of bytes read so far.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read the header.

        Args:
            file: the stream; it does not need to be seekable.
            name: its name in errors.

        Raises:
            FormatError: it is not a CARv1.
        """
        self._file, self._name = file, name
        self.at = 0
        self.roots = self._read_header()

    def __iter__(self) -> Iterator[unixfs.Block]:
        """Yield the blocks.

        Raises:
            FormatError: the stream is truncated, a block is too large, or a CID is not that of a
                file.
            IntegrityError: a block does not match its CID.
        """
        while (length := self._varint()) is not None:
            start = self.at
            if length > unixfs.MAX_BLOCK + 36:
                raise self._bad(f"the block at {start} has more than {unixfs.MAX_BLOCK:,} bytes")
            cid, block = self._split(self._exactly(length), start)
            unixfs.check(cid, block)
            yield cid, block

    def _read_header(self) -> tuple[Cid, ...]:
        length = self._varint()
        if not length or length > MAX_HEADER:
            raise self._bad("is not a CAR file, or is damaged at its beginning. Download it again")
        data = self._exactly(length, "its header")
        if data == _VERSION_2:
            raise self._bad(
                "is a CAR of version 2; only version 1 is supported. Extract the CARv1 inside it"
            )
        roots = _read_roots(data)
        if not roots:
            raise self._bad("is not a CARv1 with roots that are files")
        return roots

    def _split(self, section: bytes, start: int) -> unixfs.Block:
        end = 34 if section[:2] == b"\x12\x20" else 36  # a version 0 CID is just its multihash
        try:
            return Cid.from_bytes(section[:end]), section[end:]
        except FormatError as error:
            raise self._bad(
                f"is damaged: the block at byte {start} has a bad CID: {error}. Download it again"
            ) from None

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
            raise self._bad(
                f"is damaged before byte {self.at}: its structure is wrong. Download it again"
            ) from None

    def _exactly(self, length: int, what: str = "a block") -> bytes:
        data = self._file.read(length)
        self.at += len(data)
        if len(data) != length:
            raise self._bad(
                f"is cut short: it ends at byte {self.at}, inside {what} of {length} bytes; or it "
                "is not a CAR file. Download it again"
            )
        return data

    def _bad(self, what: str) -> FormatError:
        return FormatError(f"{self._name}: {what}")


def _read_roots(data: bytes) -> tuple[Cid, ...]:
    """Read a header's roots; a header that our writer would encode differently has none.

    DAG-CBOR allows one encoding of a value, so no general CBOR decoder is needed: the roots are
    taken from between the fixed bytes, encoded again and compared.
    """
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
