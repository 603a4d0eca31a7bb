"""Trees, and altered proofs of their leaves, each named after the attack."""

from __future__ import annotations

from functools import partial
from hashlib import sha256

from helpers import reference
from helpers.registry_model import Kind
from helpers.samples import digest, mint


def leaves(size, seed=0):
    """Distinct leaves in ascending order, the same for the same seed."""
    return sorted(sha256(b"%d %d" % (seed, number)).digest() for number in range(size))


def verify_all(registry, proofs):
    """The result of verifyInclusion for each (id, leaf, index, path), in one call."""
    calls = [registry.verifyInclusion.encode_input(*proof) for proof in proofs]
    return [int.from_bytes(answer) == 1 for answer in registry.multicall.call(calls)]


def mint_tree(registry, owner, root, size):
    mint(registry, Kind.DATASET, (root, size, 0, digest("metadata")), sender=owner)
    return registry.totalSupply()


def flip(data, bit):
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def forgeries(rng, leaves, index, path, path_of=None):
    """Altered proofs (leaf, index, path) of a true one, by the name of the attack."""
    path_of = path_of or partial(reference.path, leaves=leaves)
    leaf, size = leaves[index], len(leaves)
    yield "flipped-leaf", (flip(leaf, rng.randrange(256)), index, path)
    yield "leaf-hash-for-leaf", (reference.leaf_hash(leaf), index, path)
    for bit in range(0, 256, 51):
        yield f"index-plus-2^{bit}", (leaf, index + (1 << bit), path)
    yield "index-past-the-end", (leaf, size, path)
    yield "index-of-2^256-1", (leaf, 2**256 - 1, path)
    yield "extended", (leaf, index, [*path, digest("garbage")])
    yield "extended-below", (leaf, index, [digest("garbage"), *path])
    yield "extended-by-zero", (leaf, index, [*path, bytes(32)])
    yield (
        "extended-by-the-root",
        (
            leaf,
            index,
            [*path, reference.root_from_path(leaf, index, size, path)],
        ),
    )
    yield "overlong", (leaf, index, [*path, *[bytes(32)] * 300])
    if size > 1:
        other = rng.choice([number for number in range(size) if number != index])
        yield "leaf-of-another-index", (leaves[other], index, path)
        yield "index-of-another-leaf", (leaf, other, path)
        yield "path-of-another-leaf", (leaf, index, path_of(other))
        yield "emptied", (leaf, index, [])
        yield "doubled", (leaf, index, [*path, *path])
        yield "reversed-index", (leaf, size - 1 - index if 2 * index != size - 1 else other, path)
    for place, element in enumerate(path):
        before, after = path[:place], path[place + 1 :]
        yield f"dropped-{place}", (leaf, index, [*before, *after])
        yield f"doubled-{place}", (leaf, index, [*before, element, element, *after])
        yield f"zeroed-{place}", (leaf, index, [*before, bytes(32), *after])
        flipped = flip(element, rng.randrange(256))
        yield f"flipped-bit-{place}", (leaf, index, [*before, flipped, *after])
        if place:
            swapped = [*path[: place - 1], element, path[place - 1], *after]
            yield f"swapped-{place}", (leaf, index, swapped)
            # An inner node posing as a leaf: what the 0x00 and 0x01 prefixes are for.
            node = reference.root_from_path(leaf, *subtree(index, size, place), path[:place])
            if node is not None:
                yield f"shortened-{place}", (node, index >> place, path[place:])


def subtree(index, size, depth):
    """Place and size in the complete subtree of 2^depth leaves over the leaf, or at the edge."""
    start = index >> depth << depth
    return index - start, min(1 << depth, size - start)
