"""Content identifiers (CIDs): IPFS's names for files, derived from their content.

A file becomes a UnixFS tree: chunks are the leaves, and each node above lists its children.
The file's CID contains the hash of the root block. The size of chunks and the number of links in a
node are not fixed, so a file has a different CID with each choice of them, called a profile. Our
profile is ``unixfs-v1-2025`` (IPIP-499): CIDv1, raw leaves, chunks of 1 MiB, 1,024 links per node,
balanced. A file of one chunk is one raw block, so its CID contains the SHA-256 of the file itself.
CIDs with other common profiles are recognised.

Sources: the multiformats CID specification, and the IPFS specifications of DAG-PB and UnixFS.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from alithis.base.files import Buffer, check_unchanged, read_at, regular_file
from alithis.base.text import quoted
from alithis.errors import FormatError

RAW = 0x55
"""Multicodec of a block that consists of content only."""
DAG_PB = 0x70
"""Multicodec of a node of a UnixFS tree."""
CHUNK_SIZE = 1 << 20
"""Size of a leaf in bytes, in our profile."""
MAX_LINKS = 1024
"""Maximum number of children of a node, in our profile."""

_LARGE = 8 << 20  # bytes; for smaller files a second thread costs more than it saves
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
        """Refuse a CID that cannot be that of a file."""
        if (self.version, self.codec) not in ((0, DAG_PB), (1, DAG_PB), (1, RAW)):
            raise FormatError(
                f"CID version {self.version} with codec 0x{self.codec:x} is not that of a file: "
                "use version 1 with raw or dag-pb, or version 0"
            )
        if len(self.digest) != 32:
            raise FormatError(f"the CID's digest has {len(self.digest)} bytes; SHA-256 has 32")

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read a CID in base32 (``b…``), base16 (``f…``) or version 0 (``Qm…``).

        Args:
            text: the CID, with or without ``ipfs://`` before it, and nothing after it.

        Raises:
            FormatError: the text is not a CID of a file in its canonical encoding.
        """
        bare = text.removeprefix(_SCHEME)
        if not _CHARACTERS.fullmatch(bare):
            raise _not_a_cid(text)
        data = _decode(bare)
        if data is None or bare != _encode(bare[0], data):
            raise _not_a_cid(text)
        return cls._of_form(data, text)

    @classmethod
    def from_bytes(cls, data: bytes) -> Cid:
        """Read a CID's binary form, with nothing after it.

        Raises:
            FormatError: it is not the CID of a file.
        """
        return cls._of_form(data, data[:40].hex())

    @classmethod
    def _of_form(cls, data: bytes, text: str) -> Cid:
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
        """Return the usual encoding: base32, or base58btc for version 0."""
        return _encode("Q" if self.version == 0 else "b", bytes(self))

    def __bytes__(self) -> bytes:
        """Return the binary form."""
        multihash = _SHA2_256 + self.digest
        return multihash if self.version == 0 else bytes((1, self.codec)) + multihash

    @property
    def base16(self) -> str:
        """The CID in base16, as the contract encodes it; version 0 is converted to version 1."""
        return _encode("f", bytes(Cid(1, self.codec, self.digest)))

    @property
    def uri(self) -> str:
        """The URI: ``ipfs://`` and the CID."""
        return f"{_SCHEME}{self}"


@dataclass(frozen=True, slots=True)
class Profile:
    """How a file is cut into a balanced tree of blocks.

    Attributes:
        name: its name.
        version: version of the CIDs, 0 or 1.
        raw_leaves: whether a leaf is a raw block; otherwise it is a DAG-PB block.
        chunk_size: size of a leaf in bytes, at least 1.
        max_links: maximum number of children of a node, at least 2.
    """

    name: str
    version: int
    raw_leaves: bool
    chunk_size: int
    max_links: int


UNIXFS_V1_2025 = Profile("unixfs-v1-2025", 1, True, CHUNK_SIZE, MAX_LINKS)
"""Our profile, from IPIP-499."""
PROFILES = (
    UNIXFS_V1_2025,
    Profile("unixfs-v0-2015", 0, False, 1 << 18, 174),  # IPIP-499; the old default of `ipfs add`
    Profile("kubo-cid-v1", 1, True, 1 << 18, 174),  # `ipfs add --cid-version=1`
    Profile("kubo-test-cid-v1", 1, True, 1 << 20, 174),  # Kubo's configuration of that name
    Profile("kubo-cid-v1-dag-pb", 1, False, 1 << 18, 174),  # … --cid-version=1 --raw-leaves=false
)
"""The profiles that are recognised, ours first."""


class FileDigests(NamedTuple):
    """The digests of a file's content.

    Attributes:
        cid: the CID with our profile.
        sha256: SHA-256 of the whole content, 32 bytes.
        size: size in bytes.
    """

    cid: Cid
    sha256: bytes
    size: int


class Dag:
    """Computes the CID of content that arrives in pieces.

    Memory does not grow with the content: each level of the tree keeps the links of one node.
    """

    def __init__(self, profile: Profile = UNIXFS_V1_2025) -> None:
        """Start with no content."""
        self._profile = profile
        self._tree = _Tree(profile)
        self._start_leaf()

    def update(self, data: Buffer) -> None:
        """Add the next piece, of any length."""
        view = memoryview(data).cast("B")
        while view:
            if self._leaf_size == self._profile.chunk_size:
                self._end_leaf()
            piece = view[: self._profile.chunk_size - self._leaf_size]
            if self._profile.raw_leaves:
                self._leaf.update(piece)
            else:  # a DAG-PB leaf begins with its length, so it cannot be hashed before its end
                self._chunk += piece
            self._leaf_size += len(piece)
            view = view[len(piece) :]

    def finish(self) -> Cid:
        """Return the CID of everything that was added; call it once, at the end."""
        self._end_leaf()
        return self._tree.root()

    def _start_leaf(self) -> None:
        self._leaf, self._chunk, self._leaf_size = hashlib.sha256(), bytearray(), 0

    def _end_leaf(self) -> None:
        size = self._leaf_size
        if self._profile.raw_leaves:
            self._tree.add(DagNode(Cid.raw(self._leaf.digest()), size, size))
        else:
            block = _leaf_block(self._chunk)
            self._tree.add(DagNode(block_cid(block, self._profile.version), len(block), size))
        self._start_leaf()


class Hasher:
    """Computes the SHA-256 and our CID of content that arrives in pieces.

    For a large file, two threads compute the two digests at the same time.
    """

    def __init__(self) -> None:
        """Start with no content."""
        self._whole, self._dag, self._size = hashlib.sha256(), Dag(), 0
        self._second: ThreadPoolExecutor | None = None

    def update(self, data: Buffer) -> None:
        """Add the next piece, of any length; the caller may change the buffer afterwards."""
        view = memoryview(data).cast("B")
        self._size += len(view)
        if self._size < _LARGE:
            self._whole.update(view)
            self._dag.update(view)
            return
        self._second = self._second or ThreadPoolExecutor(1, "alithis-cid")
        blocks = self._second.submit(self._dag.update, view)
        self._whole.update(view)  # hashlib releases the GIL, so the two run in parallel
        blocks.result()

    def finish(self) -> FileDigests:
        """Return the digests of everything that was added; call it once, at the end."""
        if self._second is not None:
            self._second.shutdown()
        return FileDigests(self._dag.finish(), self._whole.digest(), self._size)


def of_bytes(data: Buffer) -> Cid:
    """Return the CID of a buffer."""
    return of_chunks([data])


def of_chunks(chunks: Iterable[Buffer]) -> Cid:
    """Return the CID of content that arrives in pieces of any length."""
    dag = Dag()
    for chunk in chunks:
        dag.update(chunk)
    return dag.finish()


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


def recognise(path: str | os.PathLike[str], cid: Cid) -> Profile | None:
    """Find the profile with which a file has a CID.

    Args:
        path: a regular file; it is read once for all profiles.
        cid: the CID. No profile gives a raw CID to a file that is longer than a chunk, but such a
            CID still identifies the file: the result is then a profile ``single-block``.

    Returns:
        The profile; None if the CID belongs to another file, or to an unknown profile.

    Raises:
        SourceError: the file cannot be read, or is not a regular one.
        ChangedError: the file changed while it was read.
    """
    if cid.codec == RAW:
        digests = describe(path)
        if digests.sha256 != cid.digest:
            return None
        one = Profile("single-block", 1, True, max(digests.size, 1), MAX_LINKS)
        return UNIXFS_V1_2025 if digests.cid == cid else one
    dags = [Dag(profile) for profile in PROFILES]
    with ThreadPoolExecutor(os.cpu_count(), "alithis-cid") as threads:
        for block in blocks(path):
            list(threads.map(Dag.update, dags, repeat(block)))
    return _by_digest(cid, [dag.finish() for dag in dags])


def _by_digest(cid: Cid, found: Sequence[Cid]) -> Profile | None:
    """Compare codec and digest only: a CID of version 0 is often converted to version 1."""
    for profile, each in zip(PROFILES, found, strict=True):
        if (each.codec, each.digest) == (cid.codec, cid.digest):
            return profile
    return None


def blocks(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Read a file in blocks of at most 1 MiB.

    Raises:
        SourceError: the file cannot be read, or is not a regular one.
        ChangedError: the file changed while it was read.
    """
    name, count = os.fspath(path), 0
    with regular_file(path) as (handle, before):
        # No `try` around this loop: it would also catch errors that the consumer of the generator
        # raises at the `yield`.
        while block := read_at(handle, count, CHUNK_SIZE, name):
            count += len(block)
            yield block
        check_unchanged(name, before, os.fstat(handle), count)


class DagNode(NamedTuple):
    """What a node's parent records about it.

    Attributes:
        cid: the CID of the node's block.
        tree_size: bytes in this block and all blocks below it: DAG-PB's Tsize.
        file_size: bytes of file content in this block and all blocks below it.
    """

    cid: Cid
    tree_size: int
    file_size: int


class _Tree:
    """The balanced layout, built from left to right.

    A full row is joined only when the next node arrives; if none does, `root` joins it. So no row
    is ever empty, which would give the tree one node too many.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._rows: list[list[DagNode]] = []

    def add(self, node: DagNode, level: int = 0) -> None:
        if level == len(self._rows):
            self._rows.append([])
        row = self._rows[level]
        if len(row) == self._profile.max_links:
            self.add(self._joined(row), level + 1)
            row.clear()
        row.append(node)

    def root(self) -> Cid:
        level = 0
        while level < len(self._rows) - 1 or len(self._rows[level]) > 1:
            self.add(self._joined(self._rows[level]), level + 1)
            level += 1
        return self._rows[level][0].cid

    def _joined(self, children: Sequence[DagNode]) -> DagNode:
        return join(children, self._profile.version)[0]


def join(children: Sequence[DagNode], version: int = 1) -> tuple[DagNode, bytes]:
    """Return the parent of some nodes, and its block.

    The block is DAG-PB with a UnixFS message in its data field. As in all IPFS implementations,
    the links come before the data, although their field number is higher: a different order would
    give a different CID.

    Args:
        children: from left to right.
        version: version of the parent's CID.
    """
    file_size = sum(child.file_size for child in children)
    links = b"".join(_bytes_field(2, _link(child)) for child in children)
    sizes = b"".join(_int_field(4, child.file_size) for child in children)
    file = _int_field(1, 2) + _int_field(3, file_size) + sizes
    block = links + _bytes_field(1, file)
    tree_size = len(block) + sum(child.tree_size for child in children)
    return DagNode(block_cid(block, version), tree_size, file_size), block


def block_cid(block: Buffer, version: int = 1) -> Cid:
    """Return the CID of a DAG-PB block."""
    return Cid(version, DAG_PB, hashlib.sha256(block).digest())


def _leaf_block(chunk: Buffer) -> bytes:
    data = _bytes_field(2, bytes(chunk)) if chunk else b""
    return _bytes_field(1, _int_field(1, 2) + data + _int_field(3, len(chunk)))


def _link(child: DagNode) -> bytes:
    return _bytes_field(1, bytes(child.cid)) + _bytes_field(2, b"") + _int_field(3, child.tree_size)


def _bytes_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def _int_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    """Encode a number as unsigned LEB128, as DAG-PB and CAR do."""
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
    """Encode bytes as base58btc; the first must not be zero."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return text


def _not_a_cid(text: str) -> FormatError:
    return FormatError(
        f"{quoted(text)}: not the CID of a file. Give a SHA-256 CID that begins with b, f01 or Qm"
    )
