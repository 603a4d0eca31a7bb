"""The Merkle tree: its root, proofs of inclusion and of absence, and their verification.

The tree is that of RFC 9162 (section 2.1), over the distinct leaves of an artifact in ascending
order. A leaf's hash is SHA-256(0x00 ‖ leaf), a node's hash is SHA-256(0x01 ‖ left ‖ right), and a
tree is split at the largest power of two below its size. The prefixes keep an inner node from being
presented as a leaf (a second preimage). Trees that hash sorted pairs lose the positions of leaves;
this tree keeps them, so a leaf is proved absent by the proofs of its two neighbours, which must be
at adjacent positions.

`builder` builds trees, `reader` reads paths from tiles, `proof` checks them.

All functions are pure. Leaves are one buffer of 32-byte rows. ``(height, index)`` is the node above
the leaves from ``index << height`` up to, not including, ``(index + 1) << height``; it is
*complete* if all these leaves exist. The *frontier* is the list of the largest complete subtrees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alithis.base.files import Buffer
from alithis.errors import ProofError, RootMismatchError
from alithis.forms.hashing import SIZE, of_matrix
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
    """A tree without its leaves and tiles/1, which are files; all together suffice for proofs.

    Attributes:
        size: number of leaves.
        root: the tree hash, 32 bytes.
        frontier: hashes of the largest complete subtrees, left to right: one for each one-bit of
            the size. Folded, they give the root.
        upper_tiles: for each level L = 2, 3, …, the joined hashes of the complete subtrees of
            256**L leaves, in order; only levels with at least one. Level 1 is about 256 times as
            large as all of them, so `TreeHasher` streams it.
    """

    size: int
    root: bytes
    frontier: tuple[bytes, ...]
    upper_tiles: tuple[bytes, ...]


def _ignore(_: bytes) -> None:
    """Discard tiles/1, for callers that need the root only."""


class TreeHasher:
    """Builds a tree over leaves that arrive in pieces, like a hashlib object.

    It keeps one hash for each complete run of 16,384 leaves: 2 MB of memory for 10^9 leaves.
    """

    def __init__(self, write: Callable[[bytes], object] = _ignore) -> None:
        """Start without leaves.

        Args:
            write: is called with level 1 of the tiles, in pieces, in order.
        """
        self._write = write
        self._held = bytearray()  # leaves of the next run, which is not complete yet
        self._run_hashes = bytearray()

    def update(self, leaves: Buffer) -> None:
        """Add the next leaves; a piece may have any length."""
        self._held += memoryview(leaves).cast("B")
        step = _RUN * SIZE
        complete = len(self._held) - len(self._held) % step
        for start in range(0, complete, step):
            tile, (run_hash,) = _subtree(bytes(self._held[start : start + step]))
            self._write(tile)
            self._run_hashes += run_hash
        del self._held[:complete]

    def finish(self) -> Tree:
        """Return the tree over all leaves; call it once, at the end.

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
    """Build the tree over a stream of leaves.

    Args:
        blocks: the leaves, in pieces of any length.
        write: is called with level 1 of the tiles, in pieces, in order.

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
    """Return the root that a frontier gives: its hashes are joined from the right.

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
    """Return the inclusion path of a leaf, from leaf to root, computed from a tree's nodes.

    Tiles contain complete nodes only, so only these are requested. The hash of an incomplete node
    at the right edge is folded from the frontier.

    Args:
        index: the leaf's position, from 0.
        size: number of leaves in the tree.
        node: returns the hash of a complete node.
        frontier: the frontier of the tree.

    Raises:
        ProofError: the index is outside the tree, or the frontier does not fit the size.
    """
    _check_position(index, size)
    if len(frontier) != size.bit_count():
        raise ProofError(f"a frontier of {len(frontier)} hashes does not fit size {size}")
    siblings, last, height = [], size - 1, 0
    while last:
        sibling = index ^ 1
        if sibling < size >> height:  # complete
            siblings.append(node(height, sibling))
        elif sibling == last:
            # The last node of a level is over the leaves of the size's lower bits, and each of
            # their one-bits is one hash at the end of the frontier.
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

    The RFC's loop also steps through levels without a sibling, in order to notice a path of the
    wrong length. Here the length is checked first, so these levels need no step: the hash is the
    same before and after them.

    Args:
        leaf_hash: hash of the leaf, 32 bytes.
        index: the leaf's position, from 0.
        size: number of leaves in the tree.
        path: sibling hashes, leaf to root, 32 bytes each.

    Raises:
        ProofError: the index is outside the tree, or the path does not have the length that
            this index needs in a tree of this size.
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
    """Check that a leaf is at an index in the committed tree.

    Args:
        root: the committed tree hash, 32 bytes.
        size: the committed number of leaves.
        leaf: 32 bytes.
        index: its position, from 0.
        path: sibling hashes, leaf to root.

    Raises:
        RootMismatchError: the path leads to another root.
        ProofError: the proof is malformed; see `root_from_path`.
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
    """Check that a leaf is absent from the committed tree, if all leaves of the tree ascend.

    The two neighbours are at adjacent positions, one less and one greater than the leaf. A root
    does not show that all leaves ascend: that takes an audit (see `disorder`).

    Args:
        root: the committed tree hash, 32 bytes.
        size: the committed number of leaves.
        leaf: the absent leaf, 32 bytes.
        index: the position that the leaf would have: 0 to ``size``.
        left: the leaf at ``index - 1``; None if ``index`` is 0.
        left_path: its inclusion path; empty if there is no left leaf.
        right: the leaf at ``index``; None if ``index`` is ``size``.
        right_path: its inclusion path; empty if there is no right leaf.

    Raises:
        ProofError: a neighbour is missing, unexpected, out of order or not proved.
    """
    _check_leaf(leaf)
    if not 0 <= index <= size or not 0 < size <= MAX_SIZE:
        raise ProofError(f"position {index} is outside a tree of {size} leaves")
    for name, neighbour, neighbour_path, wanted in (
        ("left", left, left_path, index > 0),
        ("right", right, right_path, index < size),
    ):
        # A forger could otherwise leave a neighbour out, and hide the leaf in the gap.
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
    """Return a run's part of tiles/1, and its frontier, left to right."""
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
    """Return SHA-256(prefix ‖ row) of each row."""
    import numpy as np

    messages = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    messages[:, 0], messages[:, 1:] = prefix, rows
    return of_matrix(messages)


def _count(leaves: Buffer) -> int:
    size, rest = divmod(memoryview(leaves).nbytes, SIZE)
    if rest or not size:
        raise ProofError(
            f"leaves are rows of 32 bytes, at least one; not {size * SIZE + rest} bytes"
        )
    return size


def _check_position(index: int, size: int) -> None:
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"index {index} is outside a tree of {size} leaves")


def _check_length(index: int, size: int, path: Sequence[bytes]) -> None:
    # Below the level where the path meets the right edge, each level has a sibling. From there on,
    # only the levels have one in which the path comes from a right child: the index's one-bits.
    inner = (index ^ (size - 1)).bit_length()
    wanted = inner + (index >> inner).bit_count()
    if len(path) != wanted:
        raise ProofError(
            f"the path has {len(path)} hashes; index {index} of {size} leaves needs {wanted}"
        )
