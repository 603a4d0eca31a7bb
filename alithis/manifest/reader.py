"""Opens manifests, and finds and proves leaves in them.

A manifest is a directory (docs/format.md): ``metadata.json``, ``items.parquet``, ``leaves`` and
``tiles/1``, ``tiles/2``, …. `builder` writes it, `audit` checks all of it. A proof needs a few
small reads of ``leaves`` and ``tiles/``, so the same code works on a local directory and on remote
files through HTTP ranges. It only needs a reader with ``size`` and ``read(offset, length)``.
"""

from __future__ import annotations

import os
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Protocol, Self

from alithis.base.files import open_regular, read_at
from alithis.errors import (
    FormatError,
    IntegrityError,
    RootMismatchError,
    SourceError,
    StorageError,
)
from alithis.forms.hashing import SIZE
from alithis.manifest import merkle, metadata
from alithis.manifest.metadata import LEAVES, FileEntry
from alithis.manifest.proof import Exclusion, Inclusion, Proof

_INTERPOLATIONS = 4  # guesses by value; if they all miss, the leaves are not uniform: bisect
_BLOCK = 1 << 20
_KEY = 1 << 64
_MAX_GROUPS = 1 << 10  # runs of 256 hashes in memory at most: 17 MB
_MAX_WHOLE = 1 << 18
"""Before a leaf is called absent from a local manifest of at most this size, all leaves are read.

To read 8 MiB, hash the tree and check the order takes about 0.03 seconds, less than it takes to
start the command. More leaves would slow down a look-up, and `alithis audit` checks them.
"""


class RangeReader(Protocol):
    """A file that is read in ranges, on the disk or on a server."""

    @property
    def size(self) -> int:
        """Bytes in the file."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes.

        Raises:
            StorageError: they cannot be read.
        """


@dataclass(frozen=True, slots=True)
class DataPoints:
    """A batch of hashed data points: readers yield them, and manifests are built from them.

    Attributes:
        digests: their digests, 32 bytes each, joined.
        paths: their names in the source, POSIX and relative.
        sizes: their sizes in bytes, as stored.
        columns: additional columns by name (``label``, …); the same names in every batch.
    """

    digests: bytes
    paths: Sequence[str]
    sizes: Sequence[int]
    columns: Mapping[str, Sequence[str] | Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a verification or audit.

    Attributes:
        step: what was checked.
        ok: whether it held.
        detail: what was found, and after a failure also what was expected.
    """

    step: str
    ok: bool
    detail: str


class Manifest:
    """An open manifest, in which leaves are found and proved.

    Attributes:
        metadata: its well-formed metadata. Whether a chain commits to it is not checked here.
        data: the bytes of metadata.json.
        origin: the host that the metadata came from, if any: ``gateway ipfs.io``.
        notes: one line for each host that failed.
        ordered: whether all leaves were read, led to the root, and ascend. Without that, two
            neighbours prove absence only if the publisher sorted the leaves.
    """

    origin: str | None = None
    ordered: bool = False

    def __init__(self, data: bytes, open_file: Callable[[FileEntry], RangeReader]) -> None:
        """Open a manifest, wherever its files are.

        Args:
            data: the bytes of metadata.json.
            open_file: returns a reader for a file of the manifest.

        Raises:
            FormatError: the metadata is malformed, or its frontier does not give its root.
        """
        self.metadata, self.data = metadata.load(data), data
        self._open_file = open_file
        self.notes: list[str] = []
        self._readers: dict[str, RangeReader] = {}
        self._groups: dict[tuple[int, int], list[bytes]] = {}
        if merkle.fold(self.metadata.frontier) != self.metadata.root:
            raise FormatError(f"{metadata.FILE}: the frontier does not fold to the root")

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open a manifest in a directory.

        Raises:
            FormatError: the directory is not a manifest, or its metadata is malformed.
        """
        data = _read_metadata(directory)
        try:
            return cls(data, lambda entry: FileReader(directory / entry.name))
        except FormatError as error:
            raise type(error)(f"{directory}: {error}") from error

    def prove(self, leaf: bytes) -> Proof:
        """Prove that a leaf is included, or that it is absent.

        Absence rests on the order of the leaves. So each run of leaves that is read must ascend,
        and a short or small local file is checked as a whole: see `check_order`.

        Args:
            leaf: 32 bytes.

        Returns:
            A proof that holds against the metadata's root and size.

        Raises:
            ProofError: the leaf does not have 32 bytes.
            IntegrityError: the files do not match the root: they are damaged or altered. Or the
                leaf was not found, but leaves are out of order, so it may be anywhere.
            FormatError: a file is missing.
            StorageError: a file cannot be read.
        """
        try:
            index, found = self._find(leaf)
            proof = self._inclusion(leaf, index) if found else self._exclusion(leaf, index)
            proof.check(self.metadata.root, self.metadata.size)
            if not found:
                self.check_order()
        except RootMismatchError as error:
            raise IntegrityError(
                f"root from {LEAVES} and tiles/ (run alithis audit to see what is damaged)",
                expected=error.expected,
                found=error.calculated,
            ) from error
        return proof

    def check_order(self) -> None:
        """Check all leaves against the root and for their order, if that is cheap.

        It is for one run of leaves, which a look-up reads anyway, and for a local file of at most
        8 MiB. For others nothing is read and `ordered` stays False.

        Raises:
            IntegrityError: the leaves are out of order, or the file does not have the size that the
                metadata states.
            RootMismatchError: the leaves do not lead to the root.
            FormatError: the file is missing.
            StorageError: it cannot be read.
        """
        size = self.metadata.size
        if self.ordered or size > _MAX_WHOLE:
            return
        reader = self._reader(LEAVES, size * SIZE)
        if size <= merkle.TILE:
            leaves = b"".join(self._group(0, 0))
        elif isinstance(reader, FileReader):
            leaves = _exactly(reader, 0, reader.size)
        else:
            return
        # The order of the file shows something about the tree only if the file has the tree's
        # leaves: a publisher can offer a sorted file beside an unsorted tree.
        if (found := merkle.root(leaves)) != self.metadata.root:
            raise RootMismatchError(expected=self.metadata.root, calculated=found)
        if (at := first_disorder(leaves)) is not None:
            raise self._disorder(at, at + 1)
        self.ordered = True

    def at(self, index: int) -> Inclusion:
        """Return the leaf at an index, with its path.

        Args:
            index: 0 to the size - 1.

        Returns:
            A proof that is not checked yet; `Inclusion.check` does that.

        Raises:
            IntegrityError: a file does not have the size that the metadata states.
            FormatError: a file is missing.
            StorageError: a file cannot be read.
        """
        return self._inclusion(self._leaf(index), index)

    def leaves(self) -> Iterator[bytes]:
        """Yield all leaves in order, 32 bytes each. They are read in blocks.

        Raises:
            AlithisError: as `blocks` does.
        """
        for block in self.blocks():
            yield from (block[at : at + SIZE] for at in range(0, len(block), SIZE))

    def blocks(self) -> Iterator[bytes]:
        """Yield all leaves in order, joined, up to 32,768 at a time.

        Raises:
            IntegrityError: the file does not have the size that the metadata states.
            StorageError: the file cannot be read.
        """
        reader = self._reader(LEAVES, self.metadata.size * SIZE)
        for offset in range(0, reader.size, _BLOCK):
            yield _exactly(reader, offset, min(_BLOCK, reader.size - offset))

    def _find(self, leaf: bytes) -> tuple[int, bool]:
        """Return the index that a leaf has or would have, and whether the leaf is there.

        Interpolation search: digests are uniform, so the value of a leaf predicts its index. That
        takes a few reads, while bisection of 10^8 leaves takes about 19. A hostile publisher can
        choose leaves for which the guesses are wrong, so after four guesses it bisects.

        Raises:
            IntegrityError: the leaf was not found, and leaves that were read are out of order.
            RootMismatchError: … because they are not the tree's leaves.
        """
        low, high = 0, self.metadata.size
        before, after = b"", b"\xff" * (SIZE + 1)  # the leaves at low - 1 and at high
        low_key, high_key, key = 0, _KEY, int.from_bytes(leaf[:8], "big")
        attempt = 0
        while low < high:
            guess = (low + high) // 2
            if attempt < _INTERPOLATIONS and low_key <= key < high_key:
                guess = low + (high - low) * (key - low_key) // (high_key - low_key)
            attempt += 1
            group = self._group(0, guess // merkle.TILE)
            start = guess // merkle.TILE * merkle.TILE
            # A path to the root shows inclusion in any order, so the leaf is looked for everywhere
            # in the run before the order is checked.
            if leaf in group:
                return start + group.index(leaf), True
            if pair := _first_pair(group, start, low, high, before, after):
                raise self._disorder(*pair)
            if leaf < group[0]:
                high, high_key = start, int.from_bytes(group[0][:8], "big")
                after = group[0]
            elif leaf > group[-1]:
                low, low_key = start + len(group), int.from_bytes(group[-1][:8], "big")
                before = group[-1]
            else:
                return start + bisect_left(group, leaf), False
        return low, False

    def _disorder(self, index: int, later: int) -> IntegrityError:
        """Return the error for two leaves that are out of order.

        Raises:
            RootMismatchError: the tree does not have these leaves: the file or its host is at
                fault, not the order of the tree.
        """
        first, second = self.at(index), self.at(later)
        for each in (first, second):
            each.check(self.metadata.root, self.metadata.size)
        return IntegrityError(
            f"not found, but the leaves are out of order at {index} and {later}, so absence cannot "
            "be proved (run alithis audit)",
            expected=f"more than {first.leaf.hex()[:12]}…",
            found=f"{second.leaf.hex()[:12]}…",
        )

    def _inclusion(self, leaf: bytes, index: int) -> Inclusion:
        data = self.metadata
        return Inclusion(
            leaf,
            index,
            tuple(merkle.path_from_nodes(index, data.size, self._node, data.frontier)),
        )

    def _exclusion(self, leaf: bytes, index: int) -> Exclusion:
        left, right = (
            self.at(neighbour) if 0 <= neighbour < self.metadata.size else None
            for neighbour in (index - 1, index)
        )
        return Exclusion(leaf, index, left, right)

    def _leaf(self, index: int) -> bytes:
        return self._group(0, index // merkle.TILE)[index % merkle.TILE]

    def _node(self, height: int, index: int) -> bytes:
        """Return the hash of a complete node, computed from one tile."""
        level, rest = divmod(height, merkle.TILE_HEIGHT)
        first = index << rest
        group = self._group(level, first // merkle.TILE)
        start = first % merkle.TILE
        hashes = group[start : start + (1 << rest)]
        return merkle.subtree_root(hashes if level else merkle.leaf_hashes(b"".join(hashes)))

    def _group(self, level: int, number: int) -> list[bytes]:
        """Return a run of 256 leaves (level 0), or of hashes of a tile level, with one read."""
        if (level, number) not in self._groups:
            count = self.metadata.size >> (merkle.TILE_HEIGHT * level)
            start = number * merkle.TILE
            length = min(merkle.TILE, count - start) * SIZE
            reader = self._reader(f"tiles/{level}" if level else LEAVES, count * SIZE)
            data = _exactly(reader, start * SIZE, length)
            if len(self._groups) == _MAX_GROUPS:
                self._groups.clear()
            self._groups[level, number] = [
                data[offset : offset + SIZE] for offset in range(0, length, SIZE)
            ]
        return self._groups[level, number]

    def reader(self, name: str) -> RangeReader:
        """Return a reader of one of the manifest's files.

        Raises:
            FormatError: the metadata does not list such a file.
            NotStoredError: the file is not available.
            IntegrityError: its size differs from the size in the metadata.
        """
        return self._reader(name, self.metadata.file(name).size)

    def _reader(self, name: str, size: int) -> RangeReader:
        if name not in self._readers:
            reader = self._open_file(self.metadata.file(name))
            if reader.size != size:
                raise IntegrityError(
                    f"{self.metadata.name}: bytes in {name}", expected=size, found=reader.size
                )
            self._readers[name] = reader
        return self._readers[name]


def ascending_blocks(manifest: Manifest) -> Iterator[bytes]:
    """Yield all leaves as `Manifest.blocks` does, and check that they ascend.

    Raises:
        IntegrityError: they do not ascend, or the file does not have the size in the metadata.
        StorageError: the file cannot be read.
    """
    last = b""
    for block in manifest.blocks():
        if first_disorder(last + block) is not None:
            raise IntegrityError(
                f"{manifest.metadata.name}: {LEAVES} (find the position with alithis audit)",
                expected="ascending leaves",
                found="another order",
            )
        last = block[-SIZE:]
        yield block


def first_disorder(leaves: bytes) -> int | None:
    """Return the first position after which the next leaf is not greater; None if all ascend.

    Args:
        leaves: rows of 32 bytes.
    """
    import numpy as np

    # NumPy compares the first eight bytes of all leaves at once. Digests rarely share them; only
    # the few pairs that do, or that are out of order, are compared in full.
    keys = np.frombuffer(leaves, ">u8")[::4]
    for at in np.flatnonzero(keys[1:] <= keys[:-1]).tolist():
        middle = (at + 1) * SIZE
        if leaves[middle - SIZE : middle] >= leaves[middle : middle + SIZE]:
            return int(at)
    return None


def _first_pair(
    run: Sequence[bytes], start: int, low: int, high: int, before: bytes, after: bytes
) -> tuple[int, int] | None:
    """Return the indexes of two leaves that do not ascend; None if a run is in order.

    Args:
        run: leaves from the index ``start`` on.
        start: their first index.
        low: the index after the leaf ``before``, which must be less than the run.
        high: the index of the leaf ``after``, which must be greater.
        before: a leaf that was read earlier; empty if there is none.
        after: another.
    """
    for at, (first, second) in enumerate(pairwise(run), start):
        if first >= second:
            return at, at + 1
    if before >= run[0]:
        return low - 1, start
    return (start + len(run) - 1, high) if run[-1] >= after else None


def _exactly(reader: RangeReader, offset: int, length: int) -> bytes:
    data = reader.read(offset, length)
    if len(data) != length:
        raise IntegrityError(f"bytes read at {offset}", expected=length, found=len(data))
    return data


class FileReader:
    """A reader of a local file, which is closed when the reader is garbage-collected."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            FormatError: it is missing, is not a regular file, or cannot be read.
        """
        try:
            self._handle, status = open_regular(path)
        except SourceError as error:
            raise FormatError(str(error)) from error
        weakref.finalize(self, os.close, self._handle)
        self._path = path
        self.size = status.st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from an offset on; fewer at the end of the file.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            return read_at(self._handle, offset, length, self._path)
        except SourceError as error:
            raise StorageError(str(error)) from error


def _read_metadata(directory: Path) -> bytes:
    try:
        return FileReader(directory / metadata.FILE).read(0, metadata.MAX_BYTES + 1)
    except FormatError as error:
        raise FormatError(f"{error}; check that {directory} is a manifest") from error
