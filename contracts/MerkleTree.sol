// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Merkle trees of RFC 9162, section 2.1, over SHA-256
/// @author The Alithis authors
/// @notice Unlike trees of sorted pairs these keep positions, so that they can prove absence too.
library MerkleTree {
    /// @notice Whether an inclusion path leads from a leaf to the root.
    /// @dev Gives what the algorithm of RFC 9162, section 2.1.3.2, gives. A path of any other length than the leaf's
    /// place asks for is refused before anything is hashed, so the work is bounded by the bits of `size`.
    /// @param root Merkle tree hash.
    /// @param size Number of leaves in the tree.
    /// @param leaf The leaf, before its leaf hash.
    /// @param index The leaf's place, from 0.
    /// @param path Hashes of the siblings, from the leaf up.
    /// @return Whether the leaf stands at the index.
    function verifyInclusion(
        bytes32 root,
        uint256 size,
        bytes32 leaf,
        uint256 index,
        bytes32[] calldata path
    ) internal view returns (bool) {
        if (index >= size) return false;
        // Below the level where the leaf's branch meets the last leaf's, every node has a sibling, on the side that the
        // bit of the index tells. From there on the branch is the tree's right edge: a node has a sibling where the bit
        // is set, always on the left, and is carried up unhashed where it is not.
        unchecked {
            uint256 meet = _bitLength(index ^ (size - 1));
            if (path.length != meet + _bitCount(index >> meet)) return false;
            return _climb(leaf, index | (type(uint256).max << meet), path) == root;
        }
    }

    /// @notice Whether a leaf is absent from a tree whose leaves ascend: its neighbours stand side by side.
    /// @dev At an edge of the tree the neighbour that there is not is zero, and its path empty: an absence has one proof.
    /// @param root Merkle tree hash.
    /// @param size Number of leaves in the tree, not zero.
    /// @param leaf The absent leaf.
    /// @param index Where it would stand: how many leaves are below it.
    /// @param left The leaf at `index - 1`.
    /// @param leftPath Its inclusion path.
    /// @param right The leaf at `index`.
    /// @param rightPath Its inclusion path.
    /// @return Whether the leaf is strictly between its neighbours, and these stand where they should.
    function verifyExclusion(
        bytes32 root,
        uint256 size,
        bytes32 leaf,
        uint256 index,
        bytes32 left,
        bytes32[] calldata leftPath,
        bytes32 right,
        bytes32[] calldata rightPath
    ) internal view returns (bool) {
        // Orders first: what costs least may spare the hashing. An index past the size needs a left neighbour that is
        // past the end.
        if (index == 0 ? left != 0 || leftPath.length != 0 : left >= leaf) return false;
        if (index == size ? right != 0 || rightPath.length != 0 : right <= leaf) return false;
        unchecked {
            if (index != 0 && !verifyInclusion(root, size, left, index - 1, leftPath)) return false;
        }
        return index == size || verifyInclusion(root, size, right, index, rightPath);
    }

    /// @notice Hashes a leaf, then at each step what it has with the next sibling.
    /// @dev Leaf hash: SHA-256(0x00 ‖ leaf). Node hash: SHA-256(0x01 ‖ left ‖ right).
    /// @param leaf The leaf.
    /// @param sides Bit i: whether sibling i stands on the left.
    /// @param path Hashes of the siblings, from the leaf up.
    /// @return hash The hash at the path's end.
    function _climb(bytes32 leaf, uint256 sides, bytes32[] calldata path) private view returns (bytes32 hash) {
        // In Solidity alone a step costs half as much again.
        // slither-disable-next-line assembly
        assembly ("memory-safe") { // solhint-disable-line no-inline-assembly
            // The preimage is laid out past the free memory pointer, which stays where it is; each hash lands at 0x00.
            let node := mload(0x40)
            let left := add(node, 0x01)
            let right := add(node, 0x21)

            mstore8(node, 0x00)
            mstore(left, leaf)
            let ok := staticcall(gas(), 0x02, node, 0x21, 0x00, 0x20)

            mstore8(node, 0x01)
            let end := add(path.offset, shl(5, path.length))
            for { let sibling := path.offset } lt(sibling, end) { sibling := add(sibling, 0x20) } {
                let side := shl(5, and(sides, 1))
                mstore(add(left, side), mload(0x00))
                mstore(sub(right, side), calldataload(sibling))
                ok := and(ok, staticcall(gas(), 0x02, node, 0x41, 0x00, 0x20))
                sides := shr(1, sides)
            }

            // The precompile fails only when gas runs out, and where it is missing nothing is returned.
            if iszero(and(ok, eq(returndatasize(), 0x20))) { revert(0x00, 0x00) }
            hash := mload(0x00)
        }
    }

    // How many bits there are up to the highest that is set.
    function _bitLength(uint256 bits) private pure returns (uint256) {
        unchecked {
            return bits == 0 ? 0 : Math.log2(bits) + 1;
        }
    }

    // How many bits are set: each step clears the lowest.
    function _bitCount(uint256 bits) private pure returns (uint256 count) {
        unchecked {
            for (; bits != 0; bits &= bits - 1) ++count;
        }
    }
}
