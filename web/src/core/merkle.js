/**
 * The Merkle tree of RFC 9162 (section 2.1): proofs of inclusion and absence, and their checks.
 * alithis/manifest/merkle.py and contracts/MerkleTree.sol have the same rules, and are tested with
 * the same vectors.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { MAX_SIZE } from "../generated/terms.js";
import { compare, equal, join, SIZE, toHex } from "./bytes.js";
import { ProofError } from "./errors.js";

/** @typedef {(height: number, index: number) => Promise<Uint8Array>} Node */

/**
 * Return the hash of a leaf: SHA-256(0x00 ‖ leaf) (section 2.1.1).
 * @param {Uint8Array} leaf
 */
export function leafHash(leaf) {
  return prefixed(0, leaf);
}

/**
 * Return the hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (section 2.1.1).
 * @param {Uint8Array} left
 * @param {Uint8Array} right
 */
function nodeHash(left, right) {
  return prefixed(1, left, right);
}

/**
 * @param {number} prefix
 * @param {Uint8Array[]} parts
 */
function prefixed(prefix, ...parts) {
  return sha256(join([Uint8Array.of(prefix), ...parts]));
}

/**
 * Return the root of a frontier.
 * @param {readonly Uint8Array[]} frontier the hashes of its complete subtrees, from left to right
 */
export function fold(frontier) {
  const last = frontier.at(-1);
  if (!last) throw new ProofError("an empty frontier has no root");
  return frontier.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), last);
}

/**
 * Return the root over the hashes of 2^k adjacent complete subtrees of equal size.
 * @param {readonly Uint8Array[]} hashes
 * @returns {Uint8Array}
 */
export function subtreeRoot(hashes) {
  if (hashes.length === 1) return /** @type {Uint8Array} */ (hashes[0]);
  const half = hashes.length / 2;
  return nodeHash(subtreeRoot(hashes.slice(0, half)), subtreeRoot(hashes.slice(half)));
}

/**
 * Return the root over the hashes of all leaves (section 2.1.1).
 * @param {readonly Uint8Array[]} hashes
 * @returns {Uint8Array}
 */
export function rootOf(hashes) {
  let left = 1; // the largest power of two below the number of leaves
  while (left * 2 < hashes.length) left *= 2;
  return hashes.length < 2 ? subtreeRoot(hashes) : nodeHash(rootOf(hashes.slice(0, left)), rootOf(hashes.slice(left)));
}

/**
 * Return the inclusion path of a leaf, from the leaf to the root. The complete nodes are read; the
 * few incomplete ones, at the right edge of the tree, are computed from the frontier.
 * @param {number} index the leaf's index, from 0
 * @param {number} size number of leaves
 * @param {Node} node returns the hash of a complete node
 * @param {readonly Uint8Array[]} frontier
 */
export async function pathFromNodes(index, size, node, frontier) {
  checkPlace(index, size);
  const path = [];
  let [at, last] = [index, size - 1];
  for (let height = 0; last > 0; height++) {
    const sibling = at % 2 ? at - 1 : at + 1;
    const complete = Math.floor(size / 2 ** height);
    if (sibling < complete) path.push(await node(height, sibling));
    else if (sibling === last) path.push(fold(frontier.slice(-ones(size % 2 ** height))));
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  return path;
}

/**
 * Return the root that a path leads to (section 2.1.3.2).
 * @param {Uint8Array} hash the leaf's hash
 * @param {number} index
 * @param {number} size
 * @param {readonly Uint8Array[]} path
 */
export function rootFromPath(hash, index, size, path) {
  checkPlace(index, size);
  const wanted = pathLength(index, size);
  if (path.length !== wanted) {
    throw new ProofError(`the path has ${path.length} hashes; index ${index} of ${size} leaves takes ${wanted}`);
  }
  let [first, last, result] = [index, size - 1, hash];
  for (const sibling of path) {
    if (sibling.length !== SIZE) throw new ProofError(`a path's hashes have 32 bytes, not ${sibling.length}`);
    const onTheRight = first % 2 === 1 || first === last;
    result = onTheRight ? nodeHash(sibling, result) : nodeHash(result, sibling);
    [first, last] = [Math.floor(first / 2), Math.floor(last / 2)];
  }
  return result;
}

/**
 * Check that a leaf is at an index of the tree with a root and a size.
 * @param {Uint8Array} root
 * @param {number} size
 * @param {Uint8Array} leaf
 * @param {number} index
 * @param {readonly Uint8Array[]} path
 * @throws {ProofError} the proof is malformed, or leads to another root
 */
export function verifyInclusion(root, size, leaf, index, path) {
  checkLeaf(leaf);
  const found = rootFromPath(leafHash(leaf), index, size, path);
  if (!equal(found, root)) {
    throw new ProofError(`the path leads to root ${toHex(found)}, not to the committed ${toHex(root)}`);
  }
}

/** @typedef {{leaf: Uint8Array, path: readonly Uint8Array[]}} Neighbour */

/**
 * Check that a leaf is absent from the tree with a root and a size: its two neighbours are next to
 * each other. This shows absence only if the leaves are in ascending order, which is not checked here.
 * @param {Uint8Array} root
 * @param {number} size
 * @param {Uint8Array} leaf
 * @param {number} index where it would be inserted: 0 to `size`
 * @param {Neighbour | null} left the leaf at `index - 1`; null if `index` is 0
 * @param {Neighbour | null} right the leaf at `index`; null if `index` is `size`
 * @throws {ProofError} the proof is malformed, or leads to another root
 */
export function verifyExclusion(root, size, leaf, index, left, right) {
  checkLeaf(leaf);
  if (!isCount(index) || !isCount(size) || index > size || size < 1 || size > MAX_SIZE) {
    throw new ProofError(`position ${index} lies outside a tree of ${size} leaves`);
  }
  checkSide("left", left, index > 0, index, size);
  checkSide("right", right, index < size, index, size);
  if (left) {
    if (compare(left.leaf, leaf) >= 0) throw new ProofError("the left neighbour does not precede the leaf");
    verifyInclusion(root, size, left.leaf, index - 1, left.path);
  }
  if (right) {
    if (compare(leaf, right.leaf) >= 0) throw new ProofError("the right neighbour does not follow the leaf");
    verifyInclusion(root, size, right.leaf, index, right.path);
  }
}

/**
 * @param {string} side
 * @param {Neighbour | null} neighbour
 * @param {boolean} wanted
 * @param {number} index
 * @param {number} size
 */
function checkSide(side, neighbour, wanted, index, size) {
  if ((neighbour !== null) !== wanted) {
    throw new ProofError(
      `the ${side} neighbour is ${wanted ? "missing" : "unexpected"} at position ${index} of ${size}`,
    );
  }
}

/**
 * Return the number of hashes in the path of an index.
 * @param {number} index
 * @param {number} size
 */
function pathLength(index, size) {
  const inner = (BigInt(index) ^ BigInt(size - 1)).toString(2).replace(/^0$/, "").length;
  return inner + ones(Math.floor(index / 2 ** inner));
}

/**
 * Count the one-bits of a whole number.
 * @param {number} value
 */
export function ones(value) {
  return value.toString(2).replaceAll("0", "").length;
}

/** @param {number} value */
function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

/** @param {Uint8Array} leaf */
function checkLeaf(leaf) {
  if (leaf.length !== SIZE) throw new ProofError(`a leaf has 32 bytes, not ${leaf.length}`);
}

/**
 * @param {number} index
 * @param {number} size
 */
function checkPlace(index, size) {
  if (!isCount(index) || !isCount(size) || index >= size || size > MAX_SIZE) {
    throw new ProofError(`index ${index} lies outside a tree of ${size} leaves`);
  }
}
