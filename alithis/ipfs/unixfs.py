"""The blocks of a file: how a file is cut into blocks, and how it is read from blocks.

A file of one chunk is that chunk; any other file is a tree (`cid`). Blocks are written depth first,
each node before its children and children from left to right, so that a receiver can check and use
each block when it arrives.

Blocks that are read are untrusted. A node's sizes must add up, the depth and the number of blocks
have a limit, and no content is used that does not match its CID. Without these limits a few blocks
that link to each other many times could stand for exabytes, or for any number of reads.

Sources: the IPFS specifications of DAG-PB and UnixFS.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from alithis.base.files import check_unchanged, read_at, regular_file
from alithis.errors import FormatError, IntegrityError
from alithis.ipfs.cid import CHUNK_SIZE, DAG_PB, MAX_LINKS, Cid, DagNode, join

MAX_BLOCK = 2 << 20
"""Maximum size of a block in bytes; IPFS nodes do not exchange larger ones."""
MAX_BLOCKS = 1 << 21
"""Maximum number of blocks that are read for a file."""
MAX_DEPTH = 16
"""Maximum number of nodes above a chunk; two are enough for a tebibyte."""

_RANGE_BLOCKS = 64  # maximum number of blocks that are read for a range
_BATCH = 1 << 12  # chunks that are queued for the threads at a time
_DIRECTORY, _FILE, _RAW_LEAF = 1, 2, 0  # UnixFS types

Block = tuple[Cid, bytes]
Read = Callable[[int, int], bytes]
"""Takes an offset and a length, and returns these bytes of a file."""


class Outline:
    """The tree over a file's chunks with our profile, without the chunks themselves.

    Attributes:
        size: the file's size in bytes.
        root: the file's CID.
    """

    def __init__(self, leaves: bytes, size: int) -> None:
        """Build the tree.

        Args:
            leaves: SHA-256 of each chunk, 32 bytes, joined in order.
            size: the file's size in bytes.
        """
        self.size = size
        self._leaves = leaves
        self._rows: list[list[DagNode]] = []
        width = len(leaves) // 32
        while width > 1:
            width = -(-width // MAX_LINKS)
            self._rows.append([join(self._children(len(self._rows), at))[0] for at in range(width)])
        self.root = (self._rows[-1][0] if self._rows else self._leaf(0)).cid

    def blocks(self, read: Read) -> Iterator[Block]:
        """Yield the tree's blocks, depth first.

        Args:
            read: reads the file.

        Raises:
            IntegrityError: the file has changed since the tree was built.
        """
        yield from self._below(len(self._rows), 0, read)

    def lengths(self) -> Iterator[int]:
        """Yield the size in bytes of each block, in no particular order."""
        yield from (self._leaf(at).file_size for at in range(len(self._leaves) // 32))
        for level, row in enumerate(self._rows):
            for at, node in enumerate(row):
                below = sum(child.tree_size for child in self._children(level, at))
                yield node.tree_size - below

    def _below(self, level: int, at: int, read: Read) -> Iterator[Block]:
        if level == 0:
            yield self._chunk(at, read)
            return
        children = self._children(level - 1, at)
        node, block = join(children)
        yield node.cid, block
        for child in range(at * MAX_LINKS, at * MAX_LINKS + len(children)):
            yield from self._below(level - 1, child, read)

    def _chunk(self, at: int, read: Read) -> Block:
        leaf = self._leaf(at)
        block = read(at * CHUNK_SIZE, leaf.file_size)
        check(leaf.cid, block)
        return leaf.cid, block

    def _children(self, level: int, at: int) -> Sequence[DagNode]:
        """Return the children of node ``at`` in the row above ``level``."""
        first = at * MAX_LINKS
        if level:
            return self._rows[level - 1][first : first + MAX_LINKS]
        last = min(first + MAX_LINKS, len(self._leaves) // 32)
        return [self._leaf(number) for number in range(first, last)]

    def _leaf(self, at: int) -> DagNode:
        length = min(CHUNK_SIZE, self.size - at * CHUNK_SIZE)
        return DagNode(Cid.raw(self._leaves[32 * at : 32 * at + 32]), length, length)


def outline(path: str | os.PathLike[str]) -> Outline:
    """Build the tree of a file; its chunks are hashed on all processors.

    Raises:
        SourceError: the file cannot be read, or is not a regular one.
        ChangedError: it changed while it was read.
    """
    with regular_file(path) as (handle, before):
        leaves = _leaves(handle, before.st_size, os.fspath(path))
        check_unchanged(os.fspath(path), before, os.fstat(handle), before.st_size)
    return Outline(leaves, before.st_size)


def _leaves(handle: int, size: int, name: str) -> bytes:
    def digest(offset: int) -> bytes:
        return hashlib.sha256(read_at(handle, offset, CHUNK_SIZE, name)).digest()

    offsets = range(0, max(size, 1), CHUNK_SIZE)
    if len(offsets) == 1:
        return digest(0)
    # Threads are enough for blocks of this size: reading and hashing both release the GIL.
    leaves = bytearray()
    with ThreadPoolExecutor(os.cpu_count(), "alithis-cid") as threads:
        for first in range(0, len(offsets), _BATCH):
            leaves += b"".join(threads.map(digest, offsets[first : first + _BATCH]))
    return bytes(leaves)


# -- Reading -------------------------------------------------------------------------------------


def check(cid: Cid, block: bytes) -> None:
    """Check a block against its CID.

    Raises:
        IntegrityError: it does not match.
    """
    found = hashlib.sha256(block).digest()
    if found != cid.digest:
        raise IntegrityError(f"block {cid}: SHA-256", expected=cid.digest, found=found)


@dataclass(frozen=True, slots=True)
class DagLink:
    """A link to a child.

    Attributes:
        cid: the child's.
        name: its name in a directory; empty in a file.
    """

    cid: Cid
    name: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A DAG-PB block with UnixFS in it.

    Attributes:
        is_directory: whether it is a directory; otherwise it is part of a file.
        links: its children.
        sizes: for a file, the bytes of content below each child.
        data: for a file, the content in the block itself.
        file_size: for a file, the bytes of content in and below this block.
    """

    is_directory: bool
    links: tuple[DagLink, ...]
    sizes: tuple[int, ...]
    data: bytes
    file_size: int


def content(
    cid: Cid, get: Callable[[Cid], bytes], limit: int, blocks: int | None = None
) -> Iterator[bytes]:
    """Yield a file's content from its blocks, chunk by chunk; any profile can be read.

    Args:
        cid: the file's CID.
        get: returns a block that has been checked against its CID.
        limit: the file's maximum size in bytes: a small tree with repeated blocks could expand to
            any size (a decompression bomb).
        blocks: the maximum number of blocks; by default `MAX_BLOCKS`.

    Raises:
        FormatError: a block is not part of a file, sizes do not add up, or a limit is exceeded.
    """
    most = blocks or MAX_BLOCKS
    yield from _content(cid, get, None, limit, 0, [most, most])


def _content(
    cid: Cid,
    get: Callable[[Cid], bytes],
    size: int | None,
    limit: int,
    depth: int,
    budget: list[int],
) -> Iterator[bytes]:
    if depth > MAX_DEPTH:
        raise FormatError(f"block {cid}: the tree is more than {MAX_DEPTH} nodes deep")
    # A node may link to the same child many times, and so may the child: a few blocks could cause
    # any number of reads. So the whole recursion shares one budget.
    budget[0] -= 1
    if budget[0] < 0:
        raise FormatError(f"block {cid}: the file has more than {budget[1]:,} blocks")
    block = get(cid)
    node = decode(cid, block) if cid.codec == DAG_PB else _chunk(block)
    if node.is_directory:
        raise FormatError(f"block {cid}: is a directory, not a file")
    if size not in (None, node.file_size):
        raise FormatError(f"block {cid}: has {node.file_size} bytes, but its parent states {size}")
    if node.file_size > limit:
        raise FormatError(f"block {cid}: has {node.file_size:,} bytes; at most {limit:,} are read")
    if node.data:
        yield node.data
    for link, below in zip(node.links, node.sizes, strict=True):
        yield from _content(link.cid, get, below, limit, depth + 1, budget)


def read(cid: Cid, get: Callable[[Cid], bytes], offset: int, length: int) -> bytes:
    """Read a range of a file from the blocks that contain it.

    Args:
        cid: the file's CID.
        get: returns a block that has been checked against its CID.
        offset: first byte.
        length: number of bytes; the range must lie within the file.

    Raises:
        FormatError: a block is not part of a file, sizes do not add up, or a limit is exceeded.
    """
    pieces = b"".join(_range(cid, get, None, offset, offset + length, 0, [_RANGE_BLOCKS]))
    if len(pieces) != length:
        raise FormatError(f"block {cid}: the file does not have {length} bytes at {offset}")
    return pieces


def _range(
    cid: Cid,
    get: Callable[[Cid], bytes],
    size: int | None,
    start: int,
    end: int,
    depth: int,
    budget: list[int],
) -> Iterator[bytes]:
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise FormatError(f"block {cid}: the range needs too many blocks")
    block = get(cid)
    node = decode(cid, block) if cid.codec == DAG_PB else _chunk(block)
    if node.is_directory or size not in (None, node.file_size):
        raise FormatError(f"block {cid}: is not the part of a file that its parent states")
    yield node.data[start:end]
    for link, below in zip(node.links, node.sizes, strict=True):
        if start < below and end > 0:
            part = max(start, 0), min(end, below)
            yield from _range(link.cid, get, below, *part, depth + 1, budget)
        start, end = start - below, end - below


def _chunk(block: bytes) -> Decoded:
    return Decoded(False, (), (), block, len(block))


def decode(cid: Cid, block: bytes) -> Decoded:
    """Read a DAG-PB block.

    Raises:
        FormatError: it is not well-formed, or is neither a file nor a plain directory.
    """
    try:
        return _decoded(block)
    except (ValueError, FormatError) as error:  # UnicodeDecodeError is a ValueError
        raise FormatError(f"block {cid}: is not a UnixFS file or directory: {error}") from None


def _decoded(block: bytes) -> Decoded:
    links: list[DagLink] = []
    data: bytes | None = None
    for number, value in _fields(block):
        if number == 2 and isinstance(value, bytes):
            links.append(_read_link(value))
        elif number == 1 and isinstance(value, bytes) and data is None:
            data = value
        else:
            raise ValueError("it has an unknown or repeated field")
    if data is None:
        raise ValueError("it has no UnixFS data")
    return _unixfs(data, tuple(links))


def _read_link(data: bytes) -> DagLink:
    fields = dict(_fields(data))
    cid, name = fields.get(1), fields.get(2, b"")
    if not isinstance(cid, bytes) or not isinstance(name, bytes):
        raise ValueError("it has a link without a CID")
    return DagLink(Cid.from_bytes(cid), name.decode())


def _unixfs(data: bytes, links: tuple[DagLink, ...]) -> Decoded:
    kind, content, stated, sizes = -1, b"", None, list[int]()
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            content = value
        elif number == 3 and isinstance(value, int):
            stated = value
        elif number == 4 and isinstance(value, int):
            sizes.append(value)
        # Protobuf encodes repeated numbers one by one or packed; UnixFS writers use both.
        elif number == 4 and isinstance(value, bytes):
            sizes.extend(_packed(value))
    if kind == _DIRECTORY:
        return Decoded(True, links, (), b"", 0)
    if kind not in (_FILE, _RAW_LEAF):
        raise ValueError(f"its UnixFS type is {kind}")
    # With sizes of zero, an empty file could be a tree with any number of nodes.
    if len(sizes) != len(links) or not all(sizes):
        raise ValueError("each link needs a size, which must not be zero")
    if content and links:
        raise ValueError("it has both content and links, which a balanced tree never has")
    size = len(content) + sum(sizes)
    if stated not in (None, size):
        raise ValueError(f"it states {stated} bytes, but its parts have {size}")
    return Decoded(False, links, tuple(sizes), content, size)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield protobuf fields; only the wire types that DAG-PB and UnixFS use are accepted."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and at + value <= len(data):
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError("a field is truncated, or has another wire type")


def _packed(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = read_varint(data, at)
        yield value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a LEB128 number of at most 63 bits.

    Returns:
        The number, and the offset after it.

    Raises:
        ValueError: it is truncated or too long.
    """
    value = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is truncated, or has more than 63 bits")


def children(cid: Cid, block: bytes) -> dict[str, Cid]:
    """Return the entries of a directory by name; empty if the block is not a directory.

    Raises:
        FormatError: the block is not well-formed.
    """
    if cid.codec != DAG_PB:
        return {}
    node = decode(cid, block)
    return {link.name: link.cid for link in node.links} if node.is_directory else {}
