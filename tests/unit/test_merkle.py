"""The tree against the recursion of RFC 9162, and proofs against forgers."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alithis.errors import ProofError, RootMismatchError
from alithis.manifest import merkle
from helpers import reference
from helpers.artifacts import tree_with_tiles
from helpers.paths import VECTOR_FILES
from helpers.strategies import digests, leaf_sets

VECTORS = json.loads((VECTOR_FILES / "merkle.json").read_text())


def sample(size: int) -> list[bytes]:
    """Return the SHA-256 of the decimal numbers 0, 1, 2, …, ascending: the test vectors' leaves."""
    return sorted(hashlib.sha256(str(number).encode()).digest() for number in range(size))


def flipped(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


class TestTree:
    def test_root_is_the_merkle_tree_hash(self):
        for size in (*range(1, 601), 65535, 65536, 65537):
            leaves = sample(size)
            assert merkle.root(b"".join(leaves)) == reference.mth(leaves), size

    @given(leaves=st.lists(digests, min_size=1, max_size=70))
    def test_order_and_repeats_are_not_checked(self, leaves):
        assert merkle.root(b"".join(leaves)) == reference.mth(leaves)

    @pytest.mark.parametrize("vector", VECTORS["trees"], ids=lambda vector: str(vector["size"]))
    def test_tree_matches_the_test_vectors(self, vector):
        leaves = sample(vector["size"])
        tree = merkle.tree([b"".join(leaves)])
        assert reference.mth(leaves).hex() == tree.root.hex() == vector["root"]
        assert [node.hex() for node in tree.frontier] == vector["frontier"]
        for path in vector["paths"]:
            found = merkle.inclusion_path(b"".join(leaves), path["index"])
            assert [node.hex() for node in found] == path["path"]
            assert found == reference.path(path["index"], leaves)

    @pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537])
    def test_tiles_are_the_hashes_of_complete_subtrees(self, size):
        leaves = sample(size)
        tree, tiles = tree_with_tiles(b"".join(leaves))
        assert tree.size == size
        assert len(tiles) == sum(256**level <= size for level in range(1, 4))
        for level, tile in enumerate(tiles, start=1):
            width = 256**level
            assert tile == b"".join(
                reference.mth(leaves[start : start + width])
                for start in range(0, size - size % width, width)
            )

    @given(leaves=leaf_sets(max_size=300))
    def test_frontier_is_the_maximal_complete_subtrees(self, leaves):
        expected, start = [], 0
        for bit in reversed(range(len(leaves).bit_length())):
            if len(leaves) >> bit & 1:
                expected.append(reference.mth(leaves[start : start + (1 << bit)]))
                start += 1 << bit
        tree = merkle.tree([b"".join(leaves)])
        assert list(tree.frontier) == expected
        assert merkle.fold(tree.frontier) == tree.root

    @pytest.mark.parametrize("size", [3 * 65536 - 1, 3 * 65536, 2 * 65536 + 256])
    @pytest.mark.parametrize("step", [32, 1 << 14, (1 << 19) - 1, 1 << 23])
    def test_stream_gives_the_same_tree(self, size, step):
        """The sizes of the pieces do not matter."""
        if step == 32:
            size //= 64
        leaves, first = np.random.default_rng(size).bytes(size * 32), bytearray()
        blocks = (leaves[start : start + step] for start in range(0, len(leaves), step))
        streamed, (tree, tiles) = merkle.tree(blocks, first.extend), tree_with_tiles(leaves)
        assert streamed == tree
        assert (tree.size, tree.root) == (size, merkle.root(leaves))
        assert first == tiles[0]

    @pytest.mark.parametrize("blocks", [[], [b""], [b"", b""]])
    def test_stream_without_leaves_is_refused(self, blocks):
        with pytest.raises(ProofError, match="at least one; not 0 bytes"):
            merkle.tree(blocks)

    def test_stream_that_ends_within_a_leaf_is_refused(self):
        with pytest.raises(ProofError, match="not 33 bytes"):
            merkle.tree([bytes(32), bytes(1)])

    @given(rows=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
    def test_many_hashes_at_once_are_those_of_hashlib(self, rows):
        """StringZilla gives the same digests as hashlib."""
        array = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
        assert merkle._hashes(0, array).tobytes() == b"".join(map(merkle.leaf_hash, rows))

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_is_accepted(self, kind):
        leaves = sample(300)
        assert merkle.root(kind(b"".join(leaves))) == reference.mth(leaves)

    def test_array_of_rows_is_accepted(self):
        leaves = sample(300)
        rows = np.frombuffer(b"".join(leaves), np.uint8).reshape(-1, 32)
        assert merkle.root(rows) == reference.mth(leaves)

    @pytest.mark.parametrize("length", [0, 1, 31, 33, 63])
    def test_refuses_anything_but_rows_of_32_bytes(self, length):
        with pytest.raises(ProofError, match=f"not {length} bytes"):
            merkle.root(bytes(length))

    def test_empty_frontier_has_no_root(self):
        with pytest.raises(ProofError, match="empty frontier"):
            merkle.fold([])


class TestCertificateTransparency:
    """The eight leaves of 0 to 16 bytes that implementations of RFC 6962 test with."""

    LEAVES = tuple(bytes.fromhex(leaf) for leaf in VECTORS["certificate_transparency"]["leaves"])
    ROOTS = tuple(VECTORS["certificate_transparency"]["roots"])

    def test_roots(self):
        for size, root in enumerate(self.ROOTS, start=1):
            assert reference.mth(self.LEAVES[:size]).hex() == root

    def test_hashes_give_the_roots(self):
        hashes = [merkle.leaf_hash(leaf) for leaf in self.LEAVES]
        assert merkle.subtree_root(hashes).hex() == self.ROOTS[7]
        assert merkle.subtree_root(hashes[:4]).hex() == self.ROOTS[3]
        frontier = [merkle.subtree_root(hashes[:4]), merkle.subtree_root(hashes[4:6]), hashes[6]]
        assert merkle.fold(frontier).hex() == self.ROOTS[6]

    @pytest.mark.parametrize("size", range(1, 9))
    def test_every_path_leads_to_the_root(self, size):
        for index in range(size):
            path = reference.path(index, self.LEAVES[:size])
            leaf = merkle.leaf_hash(self.LEAVES[index])
            assert merkle.root_from_path(leaf, index, size, path).hex() == self.ROOTS[size - 1]

    def test_published_paths(self):
        for proof in VECTORS["certificate_transparency"]["paths"]:
            path = [bytes.fromhex(node) for node in proof["path"]]
            leaf = merkle.leaf_hash(self.LEAVES[proof["index"]])
            found = merkle.root_from_path(leaf, proof["index"], proof["size"], path)
            assert found.hex() == self.ROOTS[proof["size"] - 1]


@st.composite
def inclusions(draw):
    """Return a tree's root and size, and one of its leaves with index and path."""
    leaves = draw(leaf_sets(max_size=70))
    index = draw(st.integers(0, len(leaves) - 1))
    return (
        reference.mth(leaves),
        len(leaves),
        leaves[index],
        index,
        reference.path(index, leaves),
    )


class TestInclusion:
    @given(leaves=leaf_sets(max_size=300), data=st.data())
    def test_path_is_that_of_the_rfc(self, leaves, data):
        index = data.draw(st.integers(0, len(leaves) - 1))
        assert merkle.inclusion_path(b"".join(leaves), index) == reference.path(index, leaves)

    @given(proof=inclusions())
    def test_honest_proof_holds(self, proof):
        merkle.verify_inclusion(*proof)

    @pytest.mark.parametrize("index", [0, 255, 256, 65534, 65535, 65536])
    def test_paths_through_several_tiles_are_correct(self, index):
        leaves = sample(65537)
        path = merkle.inclusion_path(b"".join(leaves), index)
        assert path == reference.path(index, leaves)

    @given(leaves=leaf_sets(max_size=300), data=st.data())
    def test_only_complete_nodes_are_requested(self, leaves, data):
        index = data.draw(st.integers(0, len(leaves) - 1))
        tree, asked = merkle.tree([b"".join(leaves)]), []

        def node(height, position):
            asked.append((height, position))
            return reference.mth(leaves[position << height : (position + 1) << height])

        path = merkle.path_from_nodes(index, len(leaves), node, tree.frontier)
        assert path == reference.path(index, leaves)
        assert all((position + 1) << height <= len(leaves) for height, position in asked)

    @given(proof=inclusions())
    def test_wrong_leaf(self, proof):
        root, size, leaf, index, path = proof
        with pytest.raises(RootMismatchError):
            merkle.verify_inclusion(root, size, flipped(leaf), index, path)

    @given(proof=inclusions())
    def test_wrong_root(self, proof):
        root, size, leaf, index, path = proof
        with pytest.raises(RootMismatchError) as caught:
            merkle.verify_inclusion(flipped(root), size, leaf, index, path)
        assert (caught.value.expected, caught.value.calculated) == (flipped(root), root)

    @given(proof=inclusions(), data=st.data())
    def test_wrong_index(self, proof, data):
        root, size, leaf, index, path = proof
        wrong = data.draw(st.integers(-2, size + 2).filter(lambda number: number != index))
        with pytest.raises(ProofError):
            merkle.verify_inclusion(root, size, leaf, wrong, path)

    @given(leaves=leaf_sets(max_size=70), data=st.data())
    def test_proof_of_the_last_leaf_holds_for_no_other_size(self, leaves, data):
        size = len(leaves)
        wrong = data.draw(st.integers(0, 2 * size + 2).filter(lambda number: number != size))
        path = reference.path(size - 1, leaves)
        with pytest.raises(ProofError):
            merkle.verify_inclusion(reference.mth(leaves), wrong, leaves[-1], size - 1, path)

    @given(proof=inclusions(), wrong=st.integers(0, 200))
    def test_wrong_size_gives_the_same_result_as_the_rfcs_algorithm(self, proof, wrong):
        root, _, leaf, index, path = proof
        expected = reference.root_from_path(leaf, index, wrong, path)
        try:
            found = merkle.root_from_path(merkle.leaf_hash(leaf), index, wrong, path)
        except ProofError:
            found = None
        assert found == expected
        assert found in (None, root)

    @given(proof=inclusions().filter(lambda proof: proof[4]), data=st.data())
    def test_path_element_with_a_flipped_bit(self, proof, data):
        root, size, leaf, index, path = proof
        at, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
        bent = (int.from_bytes(path[at], "big") ^ 1 << bit).to_bytes(32, "big")
        with pytest.raises(RootMismatchError):
            merkle.verify_inclusion(root, size, leaf, index, [*path[:at], bent, *path[at + 1 :]])

    @given(proof=inclusions().filter(lambda proof: proof[4]), data=st.data())
    def test_path_element_dropped(self, proof, data):
        root, size, leaf, index, path = proof
        at = data.draw(st.integers(0, len(path) - 1))
        with pytest.raises(ProofError, match="needs"):
            merkle.verify_inclusion(root, size, leaf, index, path[:at] + path[at + 1 :])

    @given(proof=inclusions().filter(lambda proof: proof[4]), data=st.data())
    def test_path_element_doubled(self, proof, data):
        root, size, leaf, index, path = proof
        at = data.draw(st.integers(0, len(path) - 1))
        with pytest.raises(ProofError, match="needs"):
            merkle.verify_inclusion(root, size, leaf, index, path[: at + 1] + path[at:])

    @given(proof=inclusions().filter(lambda proof: len(proof[4]) > 1), data=st.data())
    def test_path_elements_swapped(self, proof, data):
        root, size, leaf, index, path = proof
        at = data.draw(st.integers(0, len(path) - 2))
        path[at], path[at + 1] = path[at + 1], path[at]
        with pytest.raises(RootMismatchError):
            merkle.verify_inclusion(root, size, leaf, index, path)

    @given(proof=inclusions(), more=st.lists(digests, min_size=1, max_size=3))
    def test_trailing_garbage(self, proof, more):
        root, size, leaf, index, path = proof
        with pytest.raises(ProofError, match="needs"):
            merkle.verify_inclusion(root, size, leaf, index, [*path, *more])

    @given(proof=inclusions().filter(lambda proof: proof[4]))
    def test_empty_path(self, proof):
        root, size, leaf, index, _ = proof
        with pytest.raises(ProofError, match="needs"):
            merkle.verify_inclusion(root, size, leaf, index, [])

    @given(proof=inclusions().filter(lambda proof: proof[4]), length=st.sampled_from([0, 31, 33]))
    def test_path_element_of_another_length(self, proof, length):
        root, size, leaf, index, path = proof
        with pytest.raises(ProofError, match=f"32 bytes, not {length}"):
            merkle.verify_inclusion(root, size, leaf, index, [*path[:-1], bytes(length)])

    def test_hash_boundaries_moved_within_the_path(self):
        leaves = sample(4)
        joined = b"".join(reference.path(0, leaves))
        with pytest.raises(ProofError):
            merkle.verify_inclusion(
                reference.mth(leaves), 4, leaves[0], 0, [joined[:31], joined[31:]]
            )

    def test_inner_node_passed_off_as_a_leaf(self):
        leaves = sample(4)
        pair = merkle.leaf_hash(leaves[0]) + merkle.leaf_hash(leaves[1])
        path = reference.path(0, leaves)[1:]
        for fake in (pair, merkle.node_hash(pair[:32], pair[32:])):
            with pytest.raises(ProofError):
                merkle.verify_inclusion(reference.mth(leaves), 2, fake, 0, path)

    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_leaf_of_another_length(self, length):
        with pytest.raises(ProofError, match=f"a leaf has 32 bytes, not {length}"):
            merkle.verify_inclusion(bytes(32), 1, bytes(length), 0, [])

    @pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0), (0, 2**48 + 1)])
    def test_position_outside_any_tree(self, index, size):
        with pytest.raises(ProofError, match="outside"):
            merkle.root_from_path(bytes(32), index, size, [])
        with pytest.raises(ProofError, match="outside"):
            merkle.path_from_nodes(index, size, lambda *_: bytes(32), [bytes(32)])

    def test_largest_tree_is_accepted(self):
        path = [bytes(32)] * 48
        assert len(merkle.root_from_path(bytes(32), 0, merkle.MAX_SIZE, path)) == 32

    def test_path_outside_the_leaves(self):
        with pytest.raises(ProofError, match="outside"):
            merkle.inclusion_path(bytes(64), 2)

    def test_frontier_of_another_size(self):
        with pytest.raises(ProofError, match="2 hashes does not fit size 4"):
            merkle.path_from_nodes(0, 4, lambda *_: bytes(32), [bytes(32)] * 2)


@st.composite
def absences(draw):
    """Return ascending leaves, and a leaf that is not among them."""
    leaves = draw(leaf_sets(max_size=70))
    return leaves, draw(digests.filter(lambda leaf: leaf not in leaves))


def absence(leaves: list[bytes], leaf: bytes, index: int | None = None) -> list:
    """Return the proof that a leaf is absent, for an index that may be wrong."""
    index = sum(other < leaf for other in leaves) if index is None else index
    sides = []
    for neighbour in (index - 1, index):
        there = 0 <= neighbour < len(leaves)
        sides.append(leaves[neighbour] if there else None)
        sides.append(reference.path(neighbour, leaves) if there else [])
    return [reference.mth(leaves), len(leaves), leaf, index, *sides]


ROOT, SIZE, LEAF, INDEX, LEFT, LEFT_PATH, RIGHT, RIGHT_PATH = range(8)


class TestExclusion:
    @given(case=absences())
    def test_honest_proof_holds(self, case):
        merkle.verify_exclusion(*absence(*case))

    @given(leaf=digests)
    def test_tree_of_one_leaf(self, leaf):
        only = hashlib.sha256(leaf).digest()
        merkle.verify_exclusion(*absence([only], leaf))

    @given(leaves=leaf_sets(max_size=70), data=st.data())
    def test_included_leaf_is_never_absent(self, leaves, data):
        """At any claimed position, with the true neighbours there, a neighbour equals the leaf."""
        leaf = data.draw(st.sampled_from(leaves))
        for index in range(len(leaves) + 1):
            with pytest.raises(ProofError, match="does not"):
                merkle.verify_exclusion(*absence(leaves, leaf, index))

    @given(case=absences(), data=st.data())
    def test_wrong_position(self, case, data):
        leaves, leaf = case
        right = sum(other < leaf for other in leaves)
        wrong = data.draw(st.integers(0, len(leaves)).filter(lambda index: index != right))
        with pytest.raises(ProofError, match="does not"):
            merkle.verify_exclusion(*absence(leaves, leaf, wrong))

    @given(leaves=leaf_sets(min_size=3, max_size=70), data=st.data())
    def test_neighbours_that_are_not_adjacent(self, leaves, data):
        """The attack: hide the leaf between them."""
        hidden = data.draw(st.integers(1, len(leaves) - 2))
        for index in (hidden, hidden + 1):
            proof = absence(leaves, leaves[hidden], index)
            proof[LEFT], proof[LEFT_PATH] = (
                leaves[hidden - 1],
                reference.path(hidden - 1, leaves),
            )
            proof[RIGHT], proof[RIGHT_PATH] = (
                leaves[hidden + 1],
                reference.path(hidden + 1, leaves),
            )
            with pytest.raises(ProofError):
                merkle.verify_exclusion(*proof)

    @given(leaves=leaf_sets(min_size=2, max_size=70))
    def test_wrong_edge(self, leaves):
        """The attack: hide the first or last leaf behind the edge."""
        first, last = leaves[0], leaves[-1]
        hidden_first = absence(leaves, first, 1)
        hidden_first[INDEX : LEFT_PATH + 1] = [0, None, []]
        hidden_last = absence(leaves, last, len(leaves) - 1)
        hidden_last[INDEX] = len(leaves)
        hidden_last[RIGHT:] = [None, []]
        for proof in (hidden_first, hidden_last):
            with pytest.raises(ProofError):
                merkle.verify_exclusion(*proof)

    @given(case=absences(), side=st.sampled_from([LEFT, RIGHT]))
    def test_neighbour_missing_or_unexpected(self, case, side):
        proof = absence(*case)
        proof[side] = bytes(32) if proof[side] is None else None
        with pytest.raises(ProofError, match=r"neighbour is (missing|unexpected)"):
            merkle.verify_exclusion(*proof)

    @pytest.mark.parametrize(("leaf", "path"), [(bytes(32), LEFT_PATH), (b"\xff" * 32, RIGHT_PATH)])
    def test_path_without_its_neighbour(self, leaf, path):
        proof = absence(sample(5), leaf)
        proof[path] = [bytes(32)]
        with pytest.raises(ProofError, match="unexpected"):
            merkle.verify_exclusion(*proof)

    @given(leaves=leaf_sets(min_size=4, max_size=70), data=st.data())
    def test_neighbour_of_another_tree(self, leaves, data):
        """In another tree of the same size, without the leaf, the neighbours are adjacent."""
        hidden = data.draw(st.integers(1, len(leaves) - 2))
        other = sorted({*leaves, flipped(leaves[hidden])} - {leaves[hidden]})
        proof = absence(other, leaves[hidden])
        proof[ROOT], proof[SIZE] = reference.mth(leaves), len(leaves)
        with pytest.raises(ProofError):
            merkle.verify_exclusion(*proof)

    @given(case=absences(), side=st.sampled_from([LEFT, RIGHT]))
    def test_neighbour_with_a_flipped_bit(self, case, side):
        proof = absence(*case)
        assume(proof[side] is not None)
        proof[side] = (int.from_bytes(proof[side], "big") ^ 1).to_bytes(32, "big")
        with pytest.raises(ProofError):
            merkle.verify_exclusion(*proof)

    @given(case=absences(), side=st.sampled_from([LEFT_PATH, RIGHT_PATH]), data=st.data())
    def test_path_hash_with_a_flipped_bit(self, case, side, data):
        proof = absence(*case)
        assume(proof[side])
        at = data.draw(st.integers(0, len(proof[side]) - 1))
        proof[side][at] = flipped(proof[side][at])
        with pytest.raises(RootMismatchError):
            merkle.verify_exclusion(*proof)

    @given(case=absences())
    def test_wrong_root(self, case):
        proof = absence(*case)
        proof[ROOT] = flipped(proof[ROOT])
        with pytest.raises(RootMismatchError):
            merkle.verify_exclusion(*proof)

    @given(case=absences(), wrong=st.integers(-1, 200))
    def test_wrong_size_at_the_right_edge(self, case, wrong):
        """A leaf after the last one is absent for the true size only."""
        leaves, _ = case
        assume(leaves[-1] != b"\xff" * 32 and wrong != len(leaves))
        proof = absence(leaves, b"\xff" * 32)
        proof[SIZE] = wrong
        with pytest.raises(ProofError):
            merkle.verify_exclusion(*proof)

    @pytest.mark.parametrize("size", [0, -1, merkle.MAX_SIZE + 1])
    def test_refuses_trees_of_impossible_size(self, size):
        with pytest.raises(ProofError, match="outside"):
            merkle.verify_exclusion(bytes(32), size, bytes(32), 0, None, [], None, [])

    @pytest.mark.parametrize("index", [-1, 5])
    def test_position_outside_the_tree(self, index):
        leaves = sample(4)
        proof = absence(leaves, b"\xff" * 32)
        proof[INDEX] = index
        with pytest.raises(ProofError, match="outside"):
            merkle.verify_exclusion(*proof)

    @pytest.mark.parametrize("leaf", [b"", bytes(31), b"\xff" * 33])
    def test_leaf_of_another_length(self, leaf):
        with pytest.raises(ProofError, match="a leaf has 32 bytes"):
            merkle.verify_exclusion(*absence(sample(4), leaf))

    def test_neighbour_of_another_length(self):
        proof = absence(sample(4), b"\xff" * 32)
        proof[LEFT] += b"\x00"
        with pytest.raises(ProofError, match="a leaf has 32 bytes, not 33"):
            merkle.verify_exclusion(*proof)
