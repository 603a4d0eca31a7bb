"""Proofs on-chain against RFC 9162's reference, the library, and altered proofs."""

import random
from functools import cache, partial
from itertools import count

import pytest
from eth.exceptions import OutOfGas
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alithis.errors import ProofError
from alithis.manifest import merkle
from helpers import reference
from helpers.chains import per_example
from helpers.forgeries import forgeries, leaves, mint_tree, verify_all
from helpers.registry_model import MAX_SIZE, Kind
from helpers.samples import commitment, digest, mint
from helpers.session import examples
from helpers.solidity import helper, refused, refused_unexplained

SEEDS = st.integers(0, 2**32)


def held_by_either(registry, token, root, size, named):
    """Names of the proofs of inclusion that the contract or the library takes."""
    answers = verify_all(registry, [(token, *proof) for proof in named.values()])
    return [
        name
        for (name, proof), held in zip(named.items(), answers, strict=True)
        if held or library_includes(root, size, *proof)
    ]


def library_includes(root, size, leaf, index, path):
    try:
        merkle.verify_inclusion(root, size, leaf, index, path)
    except ProofError:
        return False
    return True


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


@settings(max_examples=examples(15), deadline=None)
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


@settings(max_examples=examples(15), deadline=None)
@given(size=st.integers(1, 300), seed=SEEDS, data=st.data())
def test_every_forgery_is_rejected(registry, owner, size, seed, data):
    tree = leaves(size, seed)
    index = data.draw(st.integers(0, size - 1))
    path = reference.path(index, tree)
    with per_example():
        token = mint_tree(registry, owner, reference.mth(tree), size)
        named = dict(forgeries(random.Random(seed), tree, index, path))
        assert held_by_either(registry, token, reference.mth(tree), size, named) == []


@settings(max_examples=examples(15), deadline=None)
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


@settings(max_examples=examples(25), deadline=None)
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


@settings(max_examples=examples(25), deadline=None)
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
    rng, tree = random.Random(size), leaves(size)
    joined = b"".join(tree)
    root = merkle.root(joined)
    path_of = partial(merkle.inclusion_path, joined)
    places = [0, 1, size // 2, 65_535, 65_536, size - 2, size - 1]
    token = mint_tree(registry, owner, root, size)
    proofs = [(tree[index], index, path_of(index)) for index in places]
    assert verify_all(registry, [(token, *proof) for proof in proofs]) == [True] * len(places)
    assert all(library_includes(root, size, *proof) for proof in proofs)
    for leaf, index, path in proofs:
        named = dict(forgeries(rng, tree, index, path, path_of))
        named["moved"] = (leaf, index ^ 1, path)
        assert held_by_either(registry, token, root, size, named) == []


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


def test_small_trees_one_by_one(registry, owner):
    """All leaves and all forgeries of a few: quick, and the same in every run."""
    for size in (1, 2, 3, 5, 6):
        tree = leaves(size)
        token = mint_tree(registry, owner, reference.mth(tree), size)
        true = [(tree[index], index, reference.path(index, tree)) for index in range(size)]
        assert verify_all(registry, [(token, *proof) for proof in true]) == [True] * size
        rng = random.Random(size)
        forged = [proof for each in true for _, proof in forgeries(rng, tree, *each[1:])]
        assert not any(verify_all(registry, [(token, *proof) for proof in forged]))


class TestPrecompile:
    """The chain hashes. Were it to fail, no answer must come of it, not even false."""

    SHA_256 = (2).to_bytes(20)

    @pytest.fixture
    def verify(self, registry, owner):
        tree = leaves(5)
        token = mint_tree(registry, owner, reference.mth(tree), 5)
        proof = (token, tree[2], 2, reference.path(2, tree))
        assert registry.verifyInclusion(*proof)
        return lambda: registry.verifyInclusion(*proof)

    @pytest.fixture
    def precompiles(self, registry, monkeypatch):
        """The chain's precompiled contracts by their addresses."""
        chain = registry.provider.tester.ethereum_tester.backend.chain
        computation = chain.get_vm().get_state_class().computation_class
        monkeypatch.setattr(computation, "_precompiles", dict(computation._precompiles))
        return computation._precompiles

    def test_missing(self, precompiles, verify):
        del precompiles[self.SHA_256]
        with refused_unexplained():
            verify()

    @pytest.mark.parametrize("failing", range(4))
    def test_failing_once(self, precompiles, verify, failing):
        """The leaf's hash, or that of any node above it."""
        sha_256, calls = precompiles[self.SHA_256], count()

        def fail_once(computation):
            if next(calls) == failing:
                raise OutOfGas
            return sha_256(computation)

        precompiles[self.SHA_256] = fail_once
        with refused_unexplained():
            verify()
        assert next(calls) == 4, "it went on with the rest, and minded all the same"


NONE = (bytes(32), [])
"""The neighbour that there is not, at an edge of the tree, and its path."""


def neighbour(leaves, index):
    """The leaf at an index and its path, or NONE outside the tree."""
    return (leaves[index], reference.path(index, leaves)) if 0 <= index < len(leaves) else NONE


def exclusion(leaves, index, leaf):
    """A proof (leaf, index, left, left path, right, right path) made from the whole tree."""
    return (leaf, index, *neighbour(leaves, index - 1), *neighbour(leaves, index))


def between(leaves, index, rng):
    """A leaf that would stand at an index: the least, the greatest or any other of them."""
    low = int.from_bytes(leaves[index - 1]) + 1 if index else 0
    high = int.from_bytes(leaves[index]) - 1 if index < len(leaves) else 2**256 - 1
    return rng.choice([low, high, rng.randint(low, high)]).to_bytes(32)


def absent_all(registry, token, proofs):
    """What verifyExclusion says of each proof, in one call."""
    calls = [registry.verifyExclusion.encode_input(token, *proof) for proof in proofs]
    return [int.from_bytes(answer) == 1 for answer in registry.multicall.call(calls)]


def library_says(root, size, proof):
    """Whether the library takes an exclusion proof, whose missing neighbour is None to it."""
    leaf, index, left, left_path, right, right_path = proof
    left = None if (left, left_path) == NONE else left
    right = None if (right, right_path) == NONE else right
    try:
        merkle.verify_exclusion(root, size, leaf, index, left, left_path, right, right_path)
    except ProofError:
        return False
    return True


def exclusion_forgeries(rng, leaves, index, leaf, path):
    """Altered proofs of absence, by the name of the attack. ``path`` gives a leaf's path."""
    size = len(leaves)

    def at(place):
        return (leaves[place], path(place)) if 0 <= place < size else NONE

    left, right = at(index - 1), at(index)
    for place in (index - 1, index):
        if 0 <= place < size:
            name = "left" if place < index else "right"
            present = leaves[place]
            yield f"equal-{name}", (present, index, *left, *right)
            yield f"present-{name}-hidden-below", (present, place, *at(place - 1), *right)
            yield f"present-{name}-hidden-above", (present, place + 1, *left, *at(place + 1))
            yield f"skipped-{name}-below", (present, place, *at(place - 1), *at(place + 1))
            yield f"skipped-{name}-above", (present, place + 1, *at(place - 1), *at(place + 1))
            yield f"wrong-first-edge-at-{name}", (present, 0, *NONE, *at(place + 1))
            yield f"wrong-last-edge-at-{name}", (present, size, *at(place - 1), *NONE)
            yield f"no-neighbours-of-{name}", (present, index, *NONE, *NONE)
    for other in {0, 1, index - 1, index + 1, index + 2, size - 1, size, size + 1} - {index}:
        if other >= 0:
            yield f"index-{other}", (leaf, other, *left, *right)
            yield f"neighbours-of-{other}", (leaf, index, *at(other - 1), *at(other))
            yield f"all-of-{other}", (leaf, other, *at(other - 1), *at(other))
    for bit in (48, 64, 255):
        yield f"index-plus-2^{bit}", (leaf, index + (1 << bit), *left, *right)
    yield "index-of-2^256-1", (leaf, 2**256 - 1, *left, *right)
    yield "no-neighbours", (leaf, index, *NONE, *NONE)
    yield "no-neighbours-at-0", (leaf, 0, *NONE, *NONE)
    yield "no-neighbours-at-the-end", (leaf, size, *NONE, *NONE)
    yield "swapped", (leaf, index, *right, *left)
    yield "left-twice", (leaf, index, *left, *left)
    yield "right-twice", (leaf, index, *right, *right)
    if left != NONE:
        yield "below-the-left", (between(leaves, index - 1, rng), index, *left, *right)
        yield "left-withheld", (leaf, index, *NONE, *right)
        yield "left-without-path", (leaf, index, left[0], [bytes(32)] * 3, *right)
        yield "left-invented", (leaf, index, bytes(32), left[1], *right)
    else:
        yield "uncalled-for-left", (leaf, 0, digest("garbage"), [], *right)
        yield "uncalled-for-left-path", (leaf, 0, bytes(32), [bytes(32)], *right)
        yield "last-for-left", (leaf, 0, *at(size - 1), *right)
    if right != NONE:
        yield "above-the-right", (between(leaves, index + 1, rng), index, *left, *right)
        yield "right-withheld", (leaf, index, *left, *NONE)
        yield "right-without-path", (leaf, index, *left, right[0], [bytes(32)] * 3)
        yield "right-invented", (leaf, index, *left, b"\xff" * 32, right[1])
    else:
        yield "uncalled-for-right", (leaf, size, *left, digest("garbage"), [])
        yield "uncalled-for-right-path", (leaf, size, *left, bytes(32), [bytes(32)])
        yield "first-for-right", (leaf, size, *left, *at(0))
    for name, side, place in (("left", left, index - 1), ("right", right, index)):
        if side == NONE:
            continue
        for attack, (forged, _, forged_path) in path_forgeries(rng, leaves, place, side[1]):
            sides = (forged, forged_path, *right) if side is left else (*left, forged, forged_path)
            yield f"{name}-{attack}", (leaf, index, *sides)


def path_forgeries(rng, leaves, place, path):
    """The forgeries of an inclusion that keep the index, which in an exclusion is implied."""
    named = forgeries(rng, leaves, place, path) if len(leaves) <= 300 else ()
    yield from ((name, proof) for name, proof in named if proof[1] == place)


@settings(max_examples=examples(20), deadline=None)
@given(size=st.integers(1, 300), seed=SEEDS)
@example(size=1, seed=0)
@example(size=2, seed=0)
@example(size=256, seed=0)
@example(size=257, seed=0)
def test_whatever_is_not_in_a_tree_is_absent(registry, owner, size, seed):
    rng, tree = random.Random(seed), leaves(size, seed)
    places = {0, size, *rng.sample(range(size + 1), min(size + 1, 8))}
    proofs = [exclusion(tree, index, between(tree, index, rng)) for index in sorted(places)]
    with per_example():
        token = mint_tree(registry, owner, reference.mth(tree), size)
        assert absent_all(registry, token, proofs) == [True] * len(proofs)
        assert all(library_says(reference.mth(tree), size, proof) for proof in proofs)


@settings(max_examples=examples(15), deadline=None)
@given(size=st.integers(1, 300), seed=SEEDS, data=st.data())
@example(size=1, seed=0, data=None)
@example(size=2, seed=1, data=None)
@example(size=3, seed=2, data=None)
def test_every_forged_absence_is_rejected_by_both(registry, owner, size, seed, data):
    rng, tree = random.Random(seed), leaves(size, seed)
    index = data.draw(st.sampled_from([0, size]) | st.integers(0, size)) if data else seed % 2
    leaf = between(tree, index, rng)

    def path(place):
        return reference.path(place, tree)

    named = dict(exclusion_forgeries(rng, tree, index, leaf, path))
    true = exclusion(tree, index, leaf)
    forged = {name: proof for name, proof in named.items() if proof != true}
    assert len(forged) > 15
    with per_example():
        token = mint_tree(registry, owner, reference.mth(tree), size)
        answers = absent_all(registry, token, forged.values())
        assert [name for name, held in zip(forged, answers, strict=True) if held] == []
        root = reference.mth(tree)
        assert [name for name in forged if library_says(root, size, forged[name])] == []


@settings(max_examples=examples(10), deadline=None)
@given(size=st.integers(2, 60), seed=SEEDS, data=st.data())
def test_neighbours_of_another_token_are_none(registry, owner, size, seed, data):
    """Two trees that share all leaves but one: what the other's proof hides is in this one."""
    rng, tree = random.Random(seed), leaves(size, seed)
    index = data.draw(st.integers(0, size - 1))
    smaller = [*tree[:index], *tree[index + 1 :]]
    proof = exclusion(smaller, index, tree[index])
    other_root, root = reference.mth(smaller), reference.mth(tree)
    with per_example():
        other = mint_tree(registry, owner, other_root, size - 1)
        token = mint_tree(registry, owner, root, size)
        assert absent_all(registry, other, [proof]) == [True]
        assert absent_all(registry, token, [proof]) == [False]
        assert library_says(other_root, size - 1, proof)
        assert not library_says(root, size, proof)
        absent = exclusion(tree, index, between(tree, index, rng))
        assert absent_all(registry, other, [absent]) == [library_says(other_root, size - 1, absent)]


def test_absence_from_small_trees_one_by_one(registry, owner):
    """All places, and all forgeries: quick, and the same in every run."""
    rng = random.Random(0)
    for size in (1, 2, 3, 4):
        tree = leaves(size)
        token = mint_tree(registry, owner, reference.mth(tree), size)

        def path(place, tree=tree):
            return reference.path(place, tree)

        for index in range(size + 1):
            leaf = between(tree, index, rng)
            true = exclusion(tree, index, leaf)
            named = exclusion_forgeries(rng, tree, index, leaf, path)
            proofs = [true, *(proof for _, proof in named if proof != true)]
            assert absent_all(registry, token, proofs) == [True] + [False] * (len(proofs) - 1)


@pytest.mark.parametrize("size", [100_000, 131_072])
def test_absence_from_large_trees(registry, owner, size):
    rng, tree = random.Random(size), leaves(size)
    joined = b"".join(tree)
    built = merkle.tree([joined])

    @cache
    def path(place):
        return merkle.inclusion_path(joined, place)

    token = mint_tree(registry, owner, built.root, size)
    for index in (0, 1, size // 2, 65_536, size):
        leaf = between(tree, index, rng)
        sides = [(tree[at], path(at)) if 0 <= at < size else NONE for at in (index - 1, index)]
        true = (leaf, index, *sides[0], *sides[1])
        assert absent_all(registry, token, [true]) == [True]
        forged = dict(exclusion_forgeries(rng, tree, index, leaf, path))
        forged = {name: proof for name, proof in forged.items() if proof != true}
        answers = absent_all(registry, token, forged.values())
        assert [name for name, held in zip(forged, answers, strict=True) if held] == []
        assert [name for name in forged if library_says(built.root, size, forged[name])] == []


def test_leaf_of_zeros_is_a_leaf_like_any_other(registry, owner):
    """Zero means that there is no neighbour at an edge only, where none is looked at."""
    tree = [bytes(32), b"\xff" * 32]
    token = mint_tree(registry, owner, reference.mth(tree), 2)
    leaf = digest("leaf")
    assert registry.verifyExclusion(token, *exclusion(tree, 1, leaf))
    assert not registry.verifyExclusion(token, bytes(32), *exclusion(tree, 1, leaf)[1:])
    assert not registry.verifyExclusion(token, bytes(32), 0, *NONE, *neighbour(tree, 0))
    assert not registry.verifyExclusion(token, b"\xff" * 32, 2, *neighbour(tree, 1), *NONE)


@pytest.mark.parametrize("length", [49, 300, 5_000])
def test_cost_of_overlong_neighbours_is_bounded(registry, owner, length):
    probe = owner.deploy(helper("GasProbe"))
    tree = leaves(3)
    token = mint_tree(registry, owner, reference.mth(tree), 3)
    long = [bytes(32)] * length
    proof = (between(tree, 1, random.Random(0)), 1, tree[0], long, tree[1], long)
    output, gas = probe.measure(registry, registry.verifyExclusion.encode_input(token, *proof))
    assert int.from_bytes(output) == 0
    assert gas < 10_000


@pytest.mark.parametrize("number", [0, 1, 2**256 - 1])
def test_absence_from_a_token_that_does_not_exist(registry, number):
    with refused(registry.ERC721NonexistentToken, tokenId=number):
        registry.verifyExclusion(number, bytes(32), 0, *NONE, *NONE)
