/** Keyed leaves: the publisher's key for an item shows which digest its leaf stands for (docs/format.md, "Leaves and tree"). */

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { equal, toHex } from "./bytes.js";
import { ProofError } from "./errors.js";

/** @typedef {{digest: Uint8Array, key: Uint8Array}} Opening */

/**
 * Return the leaf of an item's key and digest.
 * @param {Uint8Array} key
 * @param {Uint8Array} digest
 */
export function keyedLeaf(key, digest) {
  return hmac(sha256, key, digest);
}

/**
 * Check that an item's key and digest give a leaf.
 * @param {Opening} opening
 * @param {Uint8Array} leaf
 * @throws {ProofError} they give another one
 */
export function checkOpening(opening, leaf) {
  const found = keyedLeaf(opening.key, opening.digest);
  if (!equal(found, leaf)) {
    throw new ProofError(`the item key and digest give leaf ${toHex(found)}, not ${toHex(leaf)}`);
  }
}
