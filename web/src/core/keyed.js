/** Keyed leaves: what an item's key opens (docs/format.md, "Leaves and tree"). */

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { equal, toHex } from "./bytes.js";
import { ProofError } from "./errors.js";

/** @typedef {{digest: Uint8Array, key: Uint8Array}} Opening */

/**
 * The leaf of a digest under its item key.
 * @param {Uint8Array} key
 * @param {Uint8Array} digest
 */
export function keyedLeaf(key, digest) {
  return hmac(sha256, key, digest);
}

/**
 * @param {Opening} opening
 * @param {Uint8Array} leaf
 * @throws {ProofError} it does not open the leaf
 */
export function checkOpening(opening, leaf) {
  const found = keyedLeaf(opening.key, opening.digest);
  if (!equal(found, leaf)) {
    throw new ProofError(`the item key opens leaf ${toHex(found)}, not ${toHex(leaf)}`);
  }
}
