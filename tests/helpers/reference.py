"""RFC 9162's Merkle tree, as its text has it: slow, plain, and independent of the library.

The tests hold ``alithis.manifest.merkle`` and ``MerkleTree.sol`` against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf_hash(leaf: bytes) -> bytes:
    """Section 2.1.1: MTH({d[0]}) = HASH(0x00 || d[0])."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Section 2.1.1: HASH(0x01 || MTH(D[0:k]) || MTH(D[k:n]))."""
    return sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """Section 2.1.1: k, the largest power of two smaller than n (k < n <= 2k)."""
    return 1 << (size - 1).bit_length() - 1


def mth(leaves: Sequence[bytes]) -> bytes:
    """Section 2.1.1: the Merkle Tree Hash of the leaves."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = split(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Section 2.1.3.1: PATH(m, D[n]), the inclusion path of the leaf at the index."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), mth(leaves[k:])]
    return [*path(index - k, leaves[k:]), mth(leaves[:k])]


def path_length(index: int, size: int) -> int:
    """The length of PATH(m, D[n])."""
    if size == 1:
        return 0
    k = split(size)
    return 1 + (path_length(index, k) if index < k else path_length(index - k, size - k))


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Section 2.1.3.2: the root that a path leads to, or None where the algorithm fails."""
    if index >= size:  # step 1
        return None
    fn, sn = index, size - 1  # step 2
    r = leaf_hash(leaf)  # step 3
    for p in path:  # step 4
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not (fn & 1 or fn == 0):
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return r if sn == 0 else None  # step 5, without the comparison to the root
