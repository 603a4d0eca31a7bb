"""verifyInclusion on-chain against RFC 9162's reference, and against whoever alters a proof."""

import random
from hashlib import sha256
from itertools import count

import pytest
import reference
from chains import per_example
from eth.exceptions import Revert
from hypothesis import example, given, settings
from hypothesis import strategies as st
from solidity import MAX_SIZE, Kind, commitment, digest, helper, mint, refused, refused_unexplained

from alithis import merkle

SEEDS = st.integers(0, 2**32)


def leaves(size, seed=0):
    """Distinct leaves in ascending order, the same for the same seed."""
    return sorted(sha256(b"%d %d" % (seed, number)).digest() for number in range(size))


def verify_all(registry, proofs):
    """What verifyInclusion says of each (id, leaf, index, path), in one call."""
    calls = [registry.verifyInclusion.encode_input(*proof) for proof in proofs]
    return [int.from_bytes(answer) == 1 for answer in registry.multicall.call(calls)]


def mint_tree(registry, owner, root, size):
    mint(registry, Kind.DATASET, (root, size, 0, digest("metadata")), sender=owner)
    return registry.totalSupply()


def flip(data, bit):
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def forgeries(rng, leaves, index, path):
    """Altered proofs (leaf, index, path) of a true one, by the name of the attack."""
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
    yield "extended-by-the-root", (leaf, index, [*path, reference.mth(leaves)])
    yield "overlong", (leaf, index, [*path, *[bytes(32)] * 300])
    if size > 1:
        other = rng.choice([number for number in range(size) if number != index])
        yield "leaf-of-another-index", (leaves[other], index, path)
        yield "index-of-another-leaf", (leaf, other, path)
        yield "path-of-another-leaf", (leaf, index, reference.path(other, leaves))
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


def careless_root(leaf, index, size, path):
    """Where section 2.1.3.2 leads without its checks of index and length: what a forger needs."""
    fn, sn = index, size - 1
    r = reference.leaf_hash(leaf)
    for p in path:
        if fn & 1 or fn == sn:
            r = reference.node_hash(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = reference.node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return r


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 300), seed=SEEDS)
@example(size=1, seed=0)
@example(size=2, seed=0)
@example(size=255, seed=0)
@example(size=256, seed=0)
@example(size=257, seed=0)
def test_every_leaf_of_any_tree_is_included(registry, owner, size, seed):
    tree = leaves(size, seed)
    places = range(size) if size <= 16 else sorted(random.Random(seed).sample(range(size), 16))
    with per_example():
        token = mint_tree(registry, owner, reference.mth(tree), size)
        proofs = [(token, tree[index], index, reference.path(index, tree)) for index in places]
        assert verify_all(registry, proofs) == [True] * len(proofs)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 300), seed=SEEDS, data=st.data())
def test_every_forgery_is_rejected(registry, owner, size, seed, data):
    tree = leaves(size, seed)
    index = data.draw(st.integers(0, size - 1))
    path = reference.path(index, tree)
    with per_example():
        token = mint_tree(registry, owner, reference.mth(tree), size)
        named = dict(forgeries(random.Random(seed), tree, index, path))
        answers = verify_all(registry, [(token, *proof) for proof in named.values()])
        assert [name for name, held in zip(named, answers, strict=True) if held] == []


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 300), claimed=st.integers(1, 300), seed=SEEDS, data=st.data())
def test_token_of_the_same_root_and_another_size(registry, owner, size, claimed, seed, data):
    """A path tells the size only by its length and the sides: where both agree the proof holds."""
    tree = leaves(size, seed)
    index = data.draw(st.integers(0, size - 1))
    path = reference.path(index, tree)
    root = reference.mth(tree)
    with per_example():
        token = mint_tree(registry, owner, root, claimed)
        expected = reference.root_from_path(tree[index], index, claimed, path) == root
        assert registry.verifyInclusion(token, tree[index], index, path) == expected


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 48).flatmap(lambda bits: st.integers(1, 2**bits - 1)),
    extra=st.integers(-2, 2),
    seed=SEEDS,
    data=st.data(),
)
@example(size=MAX_SIZE, extra=0, seed=0, data=None)
def test_same_answer_as_the_rfc_s_algorithm_up_to_the_largest_size(
    registry, owner, size, extra, seed, data
):
    """No tree is built: whatever path there is, the algorithm leads it to some root, or fails."""
    index = data.draw(st.integers(0, size - 1)) if data else size - 1
    length = max(0, reference.path_length(index, size) + extra)
    path = leaves(length, seed)
    root = reference.root_from_path(digest("leaf"), index, size, path)
    assert (root is not None) == (length == reference.path_length(index, size))
    with per_example():
        root_for_it = root or careless_root(digest("leaf"), index, size, path)
        token = mint_tree(registry, owner, root_for_it, size)
        held = registry.verifyInclusion(token, digest("leaf"), index, path)
        assert held == (root is not None)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, MAX_SIZE), past=st.integers(0, 2**49), seed=SEEDS)
@example(size=1, past=0, seed=0)
@example(size=2**20, past=0, seed=0)
@example(size=MAX_SIZE, past=0, seed=0)
@example(size=2**20, past=2**256 - 1 - 2**20, seed=0)
def test_no_root_makes_a_leaf_past_the_end(registry, owner, size, past, seed):
    """Not even one that the publisher made for it, with a path as long as the index asks for."""
    index = size + past
    meet = (index ^ (size - 1)).bit_length()
    path = leaves(meet + (index >> meet).bit_count(), seed)
    with per_example():
        root = careless_root(digest("leaf"), index, size, path)
        token = mint_tree(registry, owner, root, size)
        assert not registry.verifyInclusion(token, digest("leaf"), index, path)


@pytest.mark.parametrize("size", [100_000, 131_072, 131_073])
def test_large_trees_and_the_library_agree(registry, owner, size):
    tree = b"".join(leaves(size))
    places = [0, 1, size // 2, 65_535, 65_536, size - 2, size - 1]
    token = mint_tree(registry, owner, merkle.root(tree), size)
    proofs = [
        (token, tree[32 * index : 32 * index + 32], index, merkle.inclusion_path(tree, index))
        for index in places
    ]
    assert verify_all(registry, proofs) == [True] * len(places)
    moved = [(token, leaf, index ^ 1, path) for token, leaf, index, path in proofs]
    assert verify_all(registry, moved) == [False] * len(places)


def test_proof_against_another_token(registry, owner):
    first, second = leaves(7, seed=1), leaves(7, seed=2)
    token = mint_tree(registry, owner, reference.mth(first), 7)
    other = mint_tree(registry, owner, reference.mth(second), 7)
    path = reference.path(3, first)
    assert registry.verifyInclusion(token, first[3], 3, path)
    assert not registry.verifyInclusion(other, first[3], 3, path)


@pytest.mark.parametrize("number", [0, 1, 2**256 - 1])
def test_unknown_token_is_an_error_and_not_false(registry, number):
    with refused(registry.ERC721NonexistentToken, tokenId=number):
        registry.verifyInclusion(number, digest("leaf"), 0, [])


def test_overlong_path_is_refused_before_it_is_hashed(registry, owner):
    mint(registry, Kind.DATASET, commitment(size=MAX_SIZE), sender=owner)
    probe = owner.deploy(helper("GasProbe"))

    def gas(length):
        proof = (1, digest("leaf"), 0, [bytes(32)] * length)
        _, used = probe.measure(registry, registry.verifyInclusion.encode_input(*proof))
        return used

    assert gas(49) == gas(5_000) < gas(48)


class TestPrecompile:
    """A chain whose SHA-256 precompile fails gets no answer, neither true nor false."""

    ADDRESS = (2).to_bytes(20)

    @pytest.fixture
    def precompiles(self, registry, monkeypatch):
        """The embedded chain's precompiles by address, to be changed for a test."""
        evm = registry.provider.evm_backend.chain.get_vm().get_state_class().computation_class
        monkeypatch.setattr(evm, "_precompiles", dict(evm.get_precompiles()))
        return evm.get_precompiles()

    @pytest.fixture
    def proof(self, registry, owner):
        tree = leaves(4)
        token = mint_tree(registry, owner, reference.mth(tree), 4)
        return token, tree[1], 1, reference.path(1, tree)

    def test_that_works(self, registry, proof, precompiles):
        assert registry.verifyInclusion(*proof)

    def test_that_is_missing(self, registry, proof, precompiles):
        del precompiles[self.ADDRESS]
        with refused_unexplained():
            registry.verifyInclusion(*proof)

    @pytest.mark.parametrize("failing", range(3))
    def test_that_fails_once(self, registry, proof, precompiles, failing):
        sha256 = precompiles[self.ADDRESS]
        calls = count()

        def fail_once(computation):
            if next(calls) == failing:
                raise Revert(b"")
            return sha256(computation)

        precompiles[self.ADDRESS] = fail_once
        with refused_unexplained():
            registry.verifyInclusion(*proof)
