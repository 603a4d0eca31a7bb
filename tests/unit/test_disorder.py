"""Evidence of disorder: found in manifests and between proofs, and accepted by the contract."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alithis.errors import ProofError
from alithis.forms.hashing import of_bytes
from alithis.manifest import merkle
from alithis.manifest.disorder import Disorder
from alithis.manifest.proof import Exclusion, Inclusion
from helpers.artifacts import build_as_given
from helpers.session import examples

LEAVES = sorted(of_bytes(b"%d" % number) for number in range(700))


def swapped(first, second, leaves=LEAVES):
    """Return the leaves with two of them swapped."""
    return [
        leaves[{first: second, second: first}.get(index, index)] for index in range(len(leaves))
    ]


def inclusion(leaves, index):
    tree = merkle.tree([b"".join(leaves)])

    def node(height, position):
        start = position << height
        return merkle.root(b"".join(leaves[start : start + (1 << height)]))

    path = merkle.path_from_nodes(index, len(leaves), node, tree.frontier)
    return Inclusion(leaves[index], index, tuple(path))


def absence(leaves, leaf, index):
    left, right = (
        inclusion(leaves, at) if 0 <= at < len(leaves) else None for at in (index - 1, index)
    )
    return Exclusion(leaf, index, left, right)


def holds(leaves, found):
    found.check(merkle.root(b"".join(leaves)), len(leaves))
    return True


class TestBetweenProofs:
    @given(data=st.data())
    @settings(max_examples=examples(60))
    def test_proofs_that_hide_a_leaf_are_evidence(self, data):
        size = data.draw(st.integers(2, 24))
        leaves = data.draw(st.permutations(LEAVES[:size]))
        index = data.draw(st.integers(0, size - 1))
        places = [
            place
            for place in range(size + 1)
            if (place == 0 or leaves[place - 1] < leaves[index])
            and (place == size or leaves[index] < leaves[place])
        ]
        for place in places:
            proofs = [inclusion(leaves, index), absence(leaves, leaves[index], place)]
            for proof in proofs:
                proof.check(merkle.root(b"".join(leaves)), size)
            for given_ in (proofs, reversed(proofs)):
                assert holds(leaves, Disorder.between(given_))

    def test_consistent_proofs_are_no_evidence(self):
        proofs = [inclusion(LEAVES, 3), absence(LEAVES, bytes(32), 0), inclusion(LEAVES, 699)]
        assert Disorder.between(proofs) is None
        assert Disorder.between([]) is None

    def test_two_proofs_of_absence_can_be_evidence(self):
        leaves = swapped(2, 9, LEAVES[:12])
        middle = bytes(31) + b"\1"
        first, second = absence(leaves, middle, 3), absence(leaves, middle, 10)
        assert holds(leaves, Disorder.between([first, second]))

    def test_repeated_leaf_is_evidence(self):
        leaves = [*LEAVES[:5], LEAVES[4], *LEAVES[5:9]]
        found = Disorder.between([inclusion(leaves, 4), inclusion(leaves, 5)])
        assert holds(leaves, found)


class TestCheck:
    ROOT = merkle.root(b"".join(LEAVES[:8]))

    def test_refuses_ascending_leaves(self):
        found = Disorder(inclusion(LEAVES[:8], 2), inclusion(LEAVES[:8], 5))
        with pytest.raises(ProofError, match="the leaves at 2 and 5 ascend"):
            found.check(self.ROOT, 8)

    @pytest.mark.parametrize(("lower", "upper"), [(5, 2), (2, 2)])
    def test_refuses_indexes_that_do_not_ascend(self, lower, upper):
        found = Disorder(inclusion(LEAVES[:8], lower), inclusion(LEAVES[:8], upper))
        with pytest.raises(ProofError, match="ascend"):
            found.check(self.ROOT, 8)

    def test_refuses_a_path_of_another_tree(self):
        leaves = swapped(2, 5, LEAVES[:8])
        found = Disorder(inclusion(leaves, 2), inclusion(leaves, 5))
        assert holds(leaves, found)
        with pytest.raises(ProofError):
            found.check(self.ROOT, 8)


class TestInManifest:
    def test_sorted_manifest_has_no_evidence(self, tmp_path):
        assert Disorder.in_manifest(build_as_given(tmp_path / "set", LEAVES)) is None

    @pytest.mark.parametrize("index", [0, 255, 300, 698])
    def test_first_unsorted_pair_of_a_manifest_is_found(self, tmp_path, index):
        leaves = swapped(index, index + 1)
        found = Disorder.in_manifest(build_as_given(tmp_path / "set", leaves))

        assert (found.lower.index, found.upper.index) == (index, index + 1)
        assert holds(leaves, found)
