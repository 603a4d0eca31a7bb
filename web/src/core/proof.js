/** Proof files (docs/format.md), read and written as alithis/manifest/proof.py does. */

import { MAX_NAME, MAX_PATH, MAX_PROOF_BYTES, PROOF_VERSION } from "../generated/terms.js";
import { toHex } from "./bytes.js";
import { FormatError } from "./errors.js";
import { isObject, parseObject } from "./json.js";
import { checkOpening } from "./keyed.js";
import { verifyExclusion, verifyInclusion } from "./merkle.js";
import { Checked, isPrintable } from "./values.js";

/** @import {Opening} from "./keyed.js" */
/** @import {Json, JsonObject} from "./json.js" */

/**
 * @typedef {object} Subject which commitment a proof speaks of, by hints
 * @property {string} [name]
 * @property {string} [metadata] SHA-256 of metadata.json, hexadecimal
 * @property {number} [chain]
 * @property {string} [registry]
 * @property {number} [token]
 */
/** @typedef {{leaf: Uint8Array, index: number, path: Uint8Array[]}} Neighbour */
/** @typedef {{kind: "inclusion", leaf: Uint8Array, index: number, path: Uint8Array[], opening: Opening | null}} Inclusion */
/** @typedef {{kind: "absence", leaf: Uint8Array, index: number, left: Neighbour | null, right: Neighbour | null}} Exclusion */
/** @typedef {Inclusion | Exclusion} Proof */

/** @type {Checked} */
const checked = new Checked("proof");

/**
 * Check a proof against a commitment.
 * @param {Proof} proof
 * @param {Uint8Array} root
 * @param {number} size
 */
export function checkProof(proof, root, size) {
  if (proof.kind === "absence") {
    verifyExclusion(root, size, proof.leaf, proof.index, proof.left, proof.right);
    return;
  }
  if (proof.opening) checkOpening(proof.opening, proof.leaf);
  verifyInclusion(root, size, proof.leaf, proof.index, proof.path);
}

/**
 * Read a proof file from an untrusted source.
 * @param {Uint8Array} data
 * @returns {{proof: Proof, subject: Subject}}
 * @throws {FormatError}
 */
export function loadProof(data) {
  if (data.length > MAX_PROOF_BYTES) checked.fail(`${data.length} bytes; at most ${MAX_PROOF_BYTES} are allowed`);
  const document = parseObject(data, checked.name);
  if (document.alithis !== "proof") checked.fail("is no proof file");
  const version = number(document.version, "version");
  if (version !== PROOF_VERSION)
    throw new FormatError(`proof: format version ${version}; this page reads ${PROOF_VERSION}`);
  return { proof: proofOf(document), subject: subjectOf(document.about) };
}

/**
 * Whether bytes are meant as a proof file, well-formed or not.
 * @param {Uint8Array} data
 */
export function isProof(data) {
  if (data.length > MAX_PROOF_BYTES) return false;
  try {
    return parseObject(data, checked.name).alithis === "proof";
  } catch {
    return false;
  }
}

/**
 * Whether bytes look like a proof file that was damaged: as a data point it would be absent.
 * @param {Uint8Array} data
 */
export function looksLikeProof(data) {
  return /"alithis"\s*:\s*"proof"/.test(new TextDecoder("latin1").decode(data.subarray(0, MAX_PROOF_BYTES + 1)));
}

/**
 * Write a proof file.
 * @param {Proof} proof
 * @param {Subject} subject
 */
export function dumpProof(proof, subject) {
  const head = { alithis: "proof", version: PROOF_VERSION, leaf: toHex(proof.leaf), index: proof.index };
  const body =
    proof.kind === "inclusion"
      ? { inclusion: { path: proof.path.map(toHex) }, ...dumpOpening(proof.opening) }
      : { absence: { left: dumpSide(proof.left), right: dumpSide(proof.right) } };
  return `${JSON.stringify({ ...head, ...body, about: subject }, null, 1)}\n`;
}

/** @param {Opening | null} opening */
function dumpOpening(opening) {
  return opening ? { opening: { digest: toHex(opening.digest), key: toHex(opening.key) } } : {};
}

/** @param {Neighbour | null} side */
function dumpSide(side) {
  return side && { leaf: toHex(side.leaf), path: side.path.map(toHex) };
}

/**
 * @param {JsonObject} document
 * @returns {Proof}
 */
function proofOf(document) {
  const leaf = checked.hash(document.leaf, "leaf");
  const index = number(document.index, "index");
  const { inclusion = null, absence = null } = document;
  const opening = openingOf(document.opening ?? null);
  if (isObject(inclusion) && absence === null) {
    return { kind: "inclusion", leaf, index, path: pathOf(inclusion), opening };
  }
  if (!isObject(absence) || inclusion !== null) checked.fail("states neither inclusion nor absence, or both");
  if (opening) checked.fail("opening goes with inclusion: it shows nothing of what is absent");
  const left = sideOf(absence.left ?? null, index - 1);
  const right = sideOf(absence.right ?? null, index);
  return { kind: "absence", leaf, index, left, right };
}

/**
 * @param {Json} value
 * @returns {Opening | null}
 */
function openingOf(value) {
  if (value === null) return null;
  const opening = checked.object(value, "opening");
  return { digest: checked.hash(opening.digest, "digest"), key: checked.hash(opening.key, "key") };
}

/**
 * @param {Json} value
 * @param {number} index
 * @returns {Neighbour | null}
 */
function sideOf(value, index) {
  if (value === null) return null;
  const side = checked.object(value, "a neighbour");
  return { leaf: checked.hash(side.leaf, "leaf"), index, path: pathOf(side) };
}

/** @param {JsonObject} value */
function pathOf(value) {
  const nodes = checked.list(value.path, "path");
  if (nodes.length > MAX_PATH) checked.fail(`path has more than ${MAX_PATH} hashes`);
  return nodes.map((node) => checked.hash(node, "path"));
}

/**
 * @param {Json | undefined} value
 * @returns {Subject}
 */
function subjectOf(value) {
  const about = checked.object(value === undefined ? {} : value, "about");
  /** @type {Subject} */
  const subject = {};
  const { name = null, metadata = null, registry = null, chain = null, token = null } = about;
  if (name !== null) {
    if (typeof name !== "string" || !isPrintable(name)) checked.fail("name is no printable text");
    if (name) subject.name = [...name].slice(0, MAX_NAME).join("");
  }
  if (metadata !== null) subject.metadata = toHex(checked.hash(metadata, "metadata"));
  if (registry !== null) {
    if (typeof registry !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(registry))
      checked.fail("registry is no address 0x…");
    subject.registry = registry;
  }
  if (chain !== null) subject.chain = number(chain, "chain");
  if (token !== null) subject.token = number(token, "token");
  return subject;
}

/**
 * A whole number below 2^64. Those that a double does not hold lie outside every tree: they come
 * as the double next to them.
 * @param {Json | undefined} value
 * @param {string} key
 */
function number(value, key) {
  const whole = typeof value === "number" || typeof value === "bigint";
  if (!whole || value < 0 || value >= 2n ** 64n) checked.fail(`${key} is no whole number below 2^64`);
  return Number(value);
}
