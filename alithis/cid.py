"""Content identifiers: what IPFS calls a file by its content.

A file becomes a UnixFS tree: chunks are the leaves, and each node above lists its children.
The file's CID is the hash of the root block. Profile ``unixfs-v1-2025`` (IPIP-499): CIDv1,
raw leaves, chunks of 1 MiB, 1,024 links a node, balanced. A file of one chunk is one raw block,
so its CID holds the SHA-256 of the file itself.

Sources: the multiformats CID specification, and the IPFS specifications of DAG-PB and UnixFS.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from alithis.errors import ChangedError, FormatError, SourceError

RAW = 0x55
"""Multicodec of a block that is the content itself."""
DAG_PB = 0x70
"""Multicodec of a node of a UnixFS tree."""
CHUNK_SIZE = 1 << 20
"""Bytes in a leaf, by the profile."""
MAX_LINKS = 1024
"""Children of a node at most, by the profile."""

_SHA2_256 = b"\x12\x20"  # multihash: function, digest's length in bytes
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SCHEME = "ipfs://"
_CHARACTERS = re.compile(r"b[a-z2-7]{58}|f[0-9a-f]{72}|Qm[1-9A-HJ-NP-Za-km-z]{44}")


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier with a SHA-256 multihash.

    Attributes:
        version: 0 or 1.
        codec: `RAW` or `DAG_PB`; `DAG_PB` for version 0.
        digest: SHA-256 of the block, 32 bytes.
    """

    version: int
    codec: int
    digest: bytes

    def __post_init__(self) -> None:
        """Refuse what is no CID of a file."""
        if (self.version, self.codec) not in ((0, DAG_PB), (1, DAG_PB), (1, RAW)):
            raise FormatError(
                f"CID version {self.version} with codec 0x{self.codec:x}: "
                "a file's is version 1 with raw or dag-pb, or version 0"
            )
        if len(self.digest) != 32:
            raise FormatError(f"CID with a digest of {len(self.digest)} bytes: SHA-256 has 32")

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read a CID in base32 (``b…``), base16 (``f…``) or version 0 (``Qm…``).

        Args:
            text: the CID, with or without ``ipfs://`` before it, and nothing after it.

        Raises:
            FormatError: the text is something else, or not in the canonical spelling.
        """
        bare = text.removeprefix(_SCHEME)
        if not _CHARACTERS.fullmatch(bare):
            raise _not_a_cid(text)
        data = _decode(bare)
        if data is None or bare != _encode(bare[0], data):
            raise _not_a_cid(text)
        return cls._from_bytes(data, text)

    @classmethod
    def _from_bytes(cls, data: bytes, text: str) -> Cid:
        if len(data) == 34 and data[:2] == _SHA2_256:
            return cls(0, DAG_PB, data[2:])
        if len(data) == 36 and data[0] == 1 and data[2:4] == _SHA2_256:
            return cls(1, data[1], data[4:])
        raise _not_a_cid(text)

    @classmethod
    def raw(cls, digest: bytes) -> Cid:
        """Return the CID of the single block whose SHA-256 is given, 32 bytes."""
        return cls(1, RAW, digest)

    def __str__(self) -> str:
        """Return the usual spelling: base32, or base58btc for version 0."""
        return _encode("Q" if self.version == 0 else "b", bytes(self))

    def __bytes__(self) -> bytes:
        """Return the binary form."""
        multihash = _SHA2_256 + self.digest
        return multihash if self.version == 0 else bytes((1, self.codec)) + multihash

    @property
    def base16(self) -> str:
        """The CID in base16, as the contract spells it; of a version 0, its version 1."""
        return _encode("f", bytes(Cid(1, self.codec, self.digest)))

    @property
    def uri(self) -> str:
        """The URI: ``ipfs://`` and the CID."""
        return f"{_SCHEME}{self}"


class FileDigests(NamedTuple):
    """What a file's content is called.

    Attributes:
        cid: the CID by the profile.
        sha256: SHA-256 of the whole content, 32 bytes.
        size: bytes.
    """

    cid: Cid
    sha256: bytes
    size: int


class Hasher:
    """Takes a file's content piece by piece, and holds a node's worth of digests a level."""

    def __init__(self, *, chunk_size: int = CHUNK_SIZE, max_links: int = MAX_LINKS) -> None:
        """Start with no content.

        Args:
            chunk_size: bytes in a leaf, at least 1.
            max_links: children of a node at most, at least 2.
        """
        self._chunk_size = chunk_size
        self._tree = _Tree(max_links)
        self._whole = hashlib.sha256()
        self._size = 0
        self._leaf = hashlib.sha256()
        self._leaf_size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next piece, of any length."""
        view = memoryview(data).cast("B")
        self._whole.update(view)
        self._size += len(view)
        while view:
            if self._leaf_size == self._chunk_size:
                self._end_leaf()
            piece = view[: self._chunk_size - self._leaf_size]
            self._leaf.update(piece)
            self._leaf_size += len(piece)
            view = view[len(piece) :]

    def finish(self) -> FileDigests:
        """Return the digests of all that was taken; call it once, at the end."""
        self._end_leaf()
        return FileDigests(self._tree.root(), self._whole.digest(), self._size)

    def _end_leaf(self) -> None:
        size = self._leaf_size
        self._tree.add(_Node(Cid.raw(self._leaf.digest()), size, size))
        self._leaf, self._leaf_size = hashlib.sha256(), 0


def of_bytes(data: bytes | bytearray | memoryview) -> Cid:
    """Return the CID of a buffer."""
    return of_chunks([data])


def of_chunks(chunks: Iterable[bytes | bytearray | memoryview]) -> Cid:
    """Return the CID of content that comes in pieces of any length."""
    hasher = Hasher()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.finish().cid


def of_file(path: str | os.PathLike[str]) -> Cid:
    """Return the CID of a file.

    Raises:
        SourceError: the file cannot be read, or is not a regular one.
        ChangedError: the file changed while it was read.
    """
    return of_chunks(blocks(path))


def describe(path: str | os.PathLike[str]) -> FileDigests:
    """Return a file's CID, SHA-256 and size, in one pass over it.

    Raises:
        SourceError: the file cannot be read, or is not a regular one.
        ChangedError: the file changed while it was read.
    """
    hasher = Hasher()
    for block in blocks(path):
        hasher.update(block)
    return hasher.finish()


def blocks(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Read a file in blocks of at most 1 MiB.

    Raises:
        SourceError: the file cannot be read, or is not a regular one.
        ChangedError: the file changed while it was read.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        yield from _blocks(handle, path)
    finally:
        os.close(handle)


def _blocks(handle: int, path: str | os.PathLike[str]) -> Iterator[bytes]:
    before = os.fstat(handle)
    if not stat.S_ISREG(before.st_mode):
        raise SourceError(f"{os.fspath(path)}: not a regular file")
    count = 0
    while block := _read(handle, path):
        count += len(block)
        yield block
    after = os.fstat(handle)
    if count != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise ChangedError(f"{os.fspath(path)}: changed while it was read; try again at rest")


def _read(handle: int, path: str | os.PathLike[str]) -> bytes:
    # Errors are caught here and not around the loop, which would catch the consumer's too.
    try:
        return os.read(handle, CHUNK_SIZE)
    except OSError as error:
        raise _unreadable(path, error) from error


class _Node(NamedTuple):
    cid: Cid
    tree_size: int  # bytes of this block and all below it: DAG-PB's Tsize
    file_size: int  # bytes of the file below it


class _Tree:
    """The balanced layout, built from left to right.

    A full row is joined when the next node comes, not before: the last full row may be the root.
    """

    def __init__(self, max_links: int) -> None:
        self._max_links = max_links
        self._rows: list[list[_Node]] = []

    def add(self, node: _Node, level: int = 0) -> None:
        if level == len(self._rows):
            self._rows.append([])
        row = self._rows[level]
        if len(row) == self._max_links:
            self.add(_join(row), level + 1)
            row.clear()
        row.append(node)

    def root(self) -> Cid:
        level = 0
        while level < len(self._rows) - 1 or len(self._rows[level]) > 1:
            self.add(_join(self._rows[level]), level + 1)
            level += 1
        return self._rows[level][0].cid


def _join(children: list[_Node]) -> _Node:
    """Make the node above: a DAG-PB block, its links before its data, and UnixFS in its data."""
    file_size = sum(child.file_size for child in children)
    links = b"".join(_bytes_field(2, _link(child)) for child in children)
    sizes = b"".join(_int_field(4, child.file_size) for child in children)
    file = _int_field(1, 2) + _int_field(3, file_size) + sizes
    block = links + _bytes_field(1, file)
    tree_size = len(block) + sum(child.tree_size for child in children)
    return _Node(Cid(1, DAG_PB, hashlib.sha256(block).digest()), tree_size, file_size)


def _link(child: _Node) -> bytes:
    return _bytes_field(1, bytes(child.cid)) + _bytes_field(2, b"") + _int_field(3, child.tree_size)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _int_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode(base: str, data: bytes) -> str:
    if base == "b":
        return "b" + base64.b32encode(data).decode().lower().rstrip("=")
    if base == "f":
        return "f" + data.hex()
    return _to_base58(data)


def _decode(text: str) -> bytes | None:
    if text[0] == "b":
        return base64.b32decode(text[1:].upper() + "======")
    if text[0] == "f":
        return bytes.fromhex(text[1:])
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    return number.to_bytes(34, "big") if number.bit_length() <= 34 * 8 else None


def _to_base58(data: bytes) -> str:
    """Spell bytes of which the first is not zero."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return text


def _not_a_cid(text: str) -> FormatError:
    shown = repr(text if len(text) <= 80 else f"{text[:79]}…")
    return FormatError(f"{shown}: not the CID of a file (SHA-256; b…, f01… or Qm…)")


def _unreadable(path: str | os.PathLike[str], error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or error
    return SourceError(f"{os.fspath(path)}: cannot be read: {reason}")
