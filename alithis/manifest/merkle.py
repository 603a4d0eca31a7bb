"""Leaves → root, proofs of inclusion and of absence, and their verification.

The tree is RFC 9162's (section 2.1) over the distinct leaves of an artifact in ascending order:
leaf hash SHA-256(0x00 ‖ leaf), node hash SHA-256(0x01 ‖ left ‖ right), split at the largest power
of two below the size. Unlike trees that hash sorted pairs, it keeps positions, and a leaf is
proved absent by the proofs of its two neighbours at adjacent positions.

`builder` makes trees, `reader` reads paths out of tiles, `proof` checks them.

Pure functions. Leaves come as one buffer of 32-byte rows. ``(height, index)`` names the node
over the leaves ``index << height`` to ``(index + 1) << height``; it is *complete* when all of
these exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alithis.base.files import Buffer
from alithis.errors import ProofError, RootMismatchError
from alithis.forms.hashing import SIZE
from alithis.manifest.terms import MAX_SIZE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TILE_HEIGHT = 8
"""Levels in a tile: it has 256 hashes (C2SP tlog-tiles)."""

TILE = 1 << TILE_HEIGHT
"""Hashes in a tile."""

_RUN_HEIGHT = 14
_RUN = 1 << _RUN_HEIGHT  # leaves hashed at a time: their levels stay in the processor's cache

NodeHash = Callable[[int, int], bytes]
"""Gives the hash of the complete node ``(height, index)``."""


def leaf_hash(leaf: Buffer) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 ‖ leaf) (RFC 9162 section 2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 9162 section 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Tree:
    """What is kept of a tree: with its leaves and tiles/1 beside it, enough to prove from.

    Attributes:
        size: number of leaves.
        root: the tree hash, 32 bytes.
        frontier: hashes of the maximal complete subtrees, left to right: one for each one-bit
            of the size. They fold to the root.
        upper_tiles: for each level L = 2, 3, …, the joined hashes of the complete subtrees of
            256**L leaves, in order; as many levels as have at least one. Level 1 is 256 times
            as large as the others together, so `TreeHasher` streams it.
    """

    size: int
    root: bytes
    frontier: tuple[bytes, ...]
    upper_tiles: tuple[bytes, ...]


def _ignore(_: bytes) -> None:
    """Drop tiles/1, for callers who want the root."""


class TreeHasher:
    """Builds a tree over leaves that are handed over piece by piece, like a hashlib object.

    Memory: the hash of each complete run of 16,384 leaves, so a 500th byte per leaf.
    """

    def __init__(self, write: Callable[[bytes], object] = _ignore) -> None:
        """Start without leaves.

        Args:
            write: takes level 1 of the tiles, in pieces, in order.
        """
        self._write = write
        self._held = bytearray()  # leaves that do not make a run yet
        self._run_hashes = bytearray()

    def update(self, leaves: Buffer) -> None:
        """Take the next leaves, in a piece of any length."""
        self._held += memoryview(leaves).cast("B")
        step = _RUN * SIZE
        complete = len(self._held) - len(self._held) % step
        for start in range(0, complete, step):
            tile, (run_hash,) = _subtree(bytes(self._held[start : start + step]))
            self._write(tile)
            self._run_hashes += run_hash
        del self._held[:complete]

    def finish(self) -> Tree:
        """Return the tree over all leaves that were taken; call it once, at the end.

        Raises:
            ProofError: there are none, or the last one is incomplete.
        """
        frontier, upper_tiles = _upper(self._run_hashes)
        size = len(self._run_hashes) // SIZE * _RUN
        if self._held or not size:
            size += _count(self._held)
            tile, edge = _subtree(bytes(self._held))
            self._write(tile)
            frontier += edge
        return Tree(size, fold(frontier), tuple(frontier), upper_tiles)


def tree(blocks: Iterable[Buffer], write: Callable[[bytes], object] = _ignore) -> Tree:
    """Build the tree over leaves that come in a stream.

    Args:
        blocks: the leaves, in pieces of any length.
        write: takes level 1 of the tiles, in pieces, in order.

    Raises:
        ProofError: there are no leaves, or the last one is incomplete.
    """
    hasher = TreeHasher(write)
    for block in blocks:
        hasher.update(block)
    return hasher.finish()


def root(leaves: Buffer) -> bytes:
    """Return the tree hash of the leaves (RFC 9162 section 2.1.1).

    Args:
        leaves: rows of 32 bytes, at least one.

    Raises:
        ProofError: the buffer is empty, or not made of 32-byte rows.
    """
    return tree([leaves]).root


def fold(frontier: Sequence[bytes]) -> bytes:
    """Return the root that a frontier's hashes, left to right, fold to.

    Raises:
        ProofError: the frontier is empty.
    """
    if not frontier:
        raise ProofError("an empty frontier has no root")
    result = frontier[-1]
    for left in reversed(frontier[:-1]):
        result = node_hash(left, result)
    return result


def path_from_nodes(
    index: int, size: int, node: NodeHash, frontier: Sequence[bytes]
) -> list[bytes]:
    """Return the inclusion path of a leaf, leaf to root, out of a tree's nodes.

    Only complete nodes are asked for; the ragged right edge folds out of the frontier.

    Args:
        index: the leaf's position, from 0.
        size: number of leaves in the tree.
        node: gives the hash of a complete node.
        frontier: the tree's.

    Raises:
        ProofError: the index lies outside the tree, or the frontier does not fit the size.
    """
    _check_position(index, size)
    if len(frontier) != size.bit_count():
        raise ProofError(f"a frontier of {len(frontier)} hashes does not fit size {size}")
    siblings, last, height = [], size - 1, 0
    while last:
        sibling = index ^ 1
        if sibling < size >> height:
            siblings.append(node(height, sibling))
        elif sibling == last:
            ragged = (size & ((1 << height) - 1)).bit_count()
            siblings.append(fold(frontier[-ragged:]))
        index, last, height = index >> 1, last >> 1, height + 1
    return siblings


def inclusion_path(leaves: Buffer, index: int) -> list[bytes]:
    """Return the inclusion path of the leaf at an index (RFC 9162 section 2.1.3.1).

    Args:
        leaves: rows of 32 bytes.
        index: the leaf's position, from 0.

    Raises:
        ProofError: the index lies outside the tree.
    """
    size = _count(leaves)
    view = memoryview(leaves).cast("B")

    def node(height: int, position: int) -> bytes:
        start = position << height
        return root(view[start * SIZE : (start + (1 << height)) * SIZE])

    return path_from_nodes(index, size, node, tree([leaves]).frontier)


def root_from_path(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a path leads to (RFC 9162 section 2.1.3.2).

    The RFC's loop also skips levels without a sibling, so that it notices a path of the wrong
    length. Here the length is checked first, so these levels need no step: they change nothing.

    Args:
        leaf_hash: hash of the leaf, 32 bytes.
        index: the leaf's position, from 0.
        size: number of leaves in the tree.
        path: sibling hashes, leaf to root, 32 bytes each.

    Raises:
        ProofError: the index lies outside the tree, or the length of the path is not that of
            this index in a tree of this size.
    """
    _check_position(index, size)
    _check_length(index, size, path)
    first, last, result = index, size - 1, leaf_hash
    for sibling in path:
        if len(sibling) != SIZE:
            raise ProofError(f"a path's hashes have 32 bytes, not {len(sibling)}")
        if first & 1 or first == last:
            result = node_hash(sibling, result)
        else:
            result = node_hash(result, sibling)
        first, last = first >> 1, last >> 1
    return result


def verify_inclusion(
    root: bytes, size: int, leaf: bytes, index: int, path: Sequence[bytes]
) -> None:
    """Check that a leaf is in the committed tree, at an index.

    Args:
        root: the committed tree hash, 32 bytes.
        size: the committed number of leaves.
        leaf: 32 bytes.
        index: its position, from 0.
        path: sibling hashes, leaf to root.

    Raises:
        RootMismatchError: the path leads to another root.
        ProofError: the proof is not well-formed, as `root_from_path` says.
    """
    _check_leaf(leaf)
    calculated = root_from_path(leaf_hash(leaf), index, size, path)
    if calculated != root:
        raise RootMismatchError(expected=root, calculated=calculated)


def verify_exclusion(
    root: bytes,
    size: int,
    leaf: bytes,
    index: int,
    left: bytes | None,
    left_path: Sequence[bytes],
    right: bytes | None,
    right_path: Sequence[bytes],
) -> None:
    """Check that a leaf is absent from the committed tree, whose leaves ascend.

    Args:
        root: the committed tree hash, 32 bytes.
        size: the committed number of leaves.
        leaf: the absent leaf, 32 bytes.
        index: the position it would have: 0 to ``size``.
        left: the leaf at ``index - 1``; None where ``index`` is 0.
        left_path: its inclusion path; empty where there is no left leaf.
        right: the leaf at ``index``; None where ``index`` is ``size``.
        right_path: its inclusion path; empty where there is no right leaf.

    Raises:
        ProofError: a neighbour is missing, unexpected, out of order or not proved.
    """
    _check_leaf(leaf)
    if not 0 <= index <= size or not 0 < size <= MAX_SIZE:
        raise ProofError(f"position {index} lies outside a tree of {size} leaves")
    for name, neighbour, neighbour_path, wanted in (
        ("left", left, left_path, index > 0),
        ("right", right, right_path, index < size),
    ):
        if (neighbour is not None) != wanted or (neighbour_path and not wanted):
            raise ProofError(
                f"the {name} neighbour is {'missing' if wanted else 'unexpected'} "
                f"at position {index} of {size}"
            )
    if left is not None:
        if not left < leaf:
            raise ProofError("the left neighbour does not precede the leaf")
        verify_inclusion(root, size, left, index - 1, left_path)
    if right is not None:
        if not leaf < right:
            raise ProofError("the right neighbour does not follow the leaf")
        verify_inclusion(root, size, right, index, right_path)


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over the hashes of 2**k equal, complete, adjacent subtrees."""
    level = list(hashes)
    while len(level) > 1:
        level = list(map(node_hash, level[::2], level[1::2]))
    return level[0]


def leaf_hashes(leaves: Buffer) -> list[bytes]:
    """Return the leaf hash of each 32-byte row."""
    view, sha256 = bytes(leaves), hashlib.sha256
    return [
        sha256(b"\x00" + view[start : start + SIZE]).digest() for start in range(0, len(view), SIZE)
    ]


def _check_leaf(leaf: bytes) -> None:
    if len(leaf) != SIZE:
        raise ProofError(f"a leaf has 32 bytes, not {len(leaf)}")


def _subtree(run: bytes) -> tuple[bytes, list[bytes]]:
    """Return the part of tiles/1 of a run, and its frontier, left to right."""
    import numpy as np

    level, tile = _hashes(0, np.frombuffer(run, np.uint8).reshape(-1, SIZE)), b""
    frontier: list[bytes] = []
    for height in range(_RUN_HEIGHT + 1):
        if height == TILE_HEIGHT:
            tile = level.tobytes()
        if len(level) & 1:
            frontier.append(level[-1].tobytes())
        level = _parents(level)
    return tile, frontier[::-1]


def _upper(run_hashes: bytearray) -> tuple[list[bytes], tuple[bytes, ...]]:
    """Return the frontier over the complete runs, left to right, and tiles/2, tiles/3, …."""
    import numpy as np

    level, height = np.frombuffer(bytes(run_hashes), np.uint8).reshape(-1, SIZE), _RUN_HEIGHT
    frontier, tiles = [], []
    while len(level):
        if height % TILE_HEIGHT == 0:
            tiles.append(level.tobytes())
        if len(level) & 1:
            frontier.append(level[-1].tobytes())
        level, height = _parents(level), height + 1
    return frontier[::-1], tuple(tiles)


def _parents(level: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pairs = level[: len(level) // 2 * 2]  # an odd last node has no sibling at this height
    return _hashes(1, pairs.reshape(-1, 2 * SIZE))


def _hashes(prefix: int, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return SHA-256(prefix ‖ row) of each row.

    A call of hashlib takes one message, and longer than hashing so short a one. StringZilla
    hashes many at once, on several lanes: the tree becomes about 8 times as fast.
    """
    import numpy as np
    import pyarrow as pa
    from stringzilla import Sha256s, Strs

    count, width = len(rows), rows.shape[1] + 1
    found = np.empty((count, SIZE), np.uint8)
    if count:
        messages = np.empty((count, width), np.uint8)
        messages[:, 0], messages[:, 1:] = prefix, rows
        offsets = np.arange(0, (count + 1) * width, width, np.int32)
        tape = pa.Array.from_buffers(
            pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(messages)]
        )
        Sha256s(count).update(Strs(tape, view=True)).digest(found)
    return found


def _count(leaves: Buffer) -> int:
    size, rest = divmod(memoryview(leaves).nbytes, SIZE)
    if rest or not size:
        raise ProofError(
            f"leaves are rows of 32 bytes, at least one; not {size * SIZE + rest} bytes"
        )
    return size


def _check_position(index: int, size: int) -> None:
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"index {index} lies outside a tree of {size} leaves")


def _check_length(index: int, size: int, path: Sequence[bytes]) -> None:
    inner = (index ^ (size - 1)).bit_length()  # levels until the path joins the right edge
    wanted = inner + (index >> inner).bit_count()
    if len(path) != wanted:
        raise ProofError(
            f"the path has {len(path)} hashes; index {index} of {size} leaves takes {wanted}"
        )
