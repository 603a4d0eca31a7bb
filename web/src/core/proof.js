/** Reads and writes proof files (docs/format.md), with the rules of alithis/manifest/proof.py. */

import { MAX_NAME, MAX_PATH, MAX_PROOF_BYTES, PROOF_VERSION } from "../generated/terms.js";
import { toHex } from "./bytes.js";
import { isObject, parseObject } from "./json.js";
import { checkOpening } from "./keyed.js";
import { verifyExclusion, verifyInclusion } from "./merkle.js";
import { Checked, isPrintable } from "./values.js";

/** @import {Opening} from "./keyed.js" */
/** @import {Json, JsonObject} from "./json.js" */

/**
 * @typedef {object} Subject which commitment a proof is about; untrusted
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
 * Check a proof against a root and a size.
 * @param {Proof} proof
 * @param {Uint8Array} root
 * @param {number} size
 * @throws {ProofError}
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
  if (document.alithis !== "proof") checked.fail("not a proof file");
  const version = number(document.version, "version");
  if (version !== PROOF_VERSION)
    checked.fail(`format version ${version}; this page reads version ${PROOF_VERSION}: use a newer page`);
  return { proof: proofOf(document), subject: subjectOf(document.about) };
}

/**
 * Return whether bytes are a proof file, even a malformed one.
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
 * Return what bytes seem to be instead of a proof file: a damaged one, or one in UTF-16; null for
 * anything else. As a data point it would be reported absent, which its reader would take for the
 * verdict of the proof.
 * @param {Uint8Array} data
 */
export function looksLikeProof(data) {
  const head = data.subarray(0, MAX_PROOF_BYTES + 1);
  const mark = /"alithis"\s*:\s*"proof"/;
  if (mark.test(new TextDecoder("latin1").decode(head))) {
    const marked = head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf;
    return marked
      ? "looks like a proof file with a byte order mark: save it as UTF-8 without one"
      : "looks like a damaged proof file: get it again";
  }
  // ASCII has one zero byte a character in UTF-16, three in UTF-32, with or without a byte order mark.
  const shown = head.filter((byte) => byte !== 0);
  if (!mark.test(new TextDecoder("latin1").decode(shown))) return null;
  const name = head.length - shown.length > (head.length * 5) / 8 ? "UTF-32" : "UTF-16";
  return `looks like a proof file in ${name}: save it as UTF-8`;
}

/**
 * Return the text of a proof file.
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
  if (!isObject(absence) || inclusion !== null) checked.fail("inclusion or absence must be there, and not both");
  if (opening) checked.fail("opening is allowed with inclusion only: of absence it shows nothing");
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
  if (nodes.length > MAX_PATH) checked.fail(`path has ${nodes.length} elements; at most ${MAX_PATH} are allowed`);
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
    if (typeof name !== "string" || !isPrintable(name)) checked.fail("name must be printable text");
    if (name) subject.name = [...name].slice(0, MAX_NAME).join("");
  }
  if (metadata !== null) subject.metadata = toHex(checked.hash(metadata, "metadata"));
  if (registry !== null) {
    if (typeof registry !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(registry))
      checked.fail("registry must be an address, 0x and 40 hexadecimal digits");
    subject.registry = registry;
  }
  if (chain !== null) subject.chain = number(chain, "chain");
  if (token !== null) subject.token = number(token, "token");
  return subject;
}

/**
 * Return a whole number below 2^64. One that a double cannot represent is rounded: it is an index
 * outside every tree all the same.
 * @param {Json | undefined} value
 * @param {string} key
 */
function number(value, key) {
  const whole = typeof value === "number" || typeof value === "bigint";
  if (!whole || value < 0 || value >= 2n ** 64n) checked.fail(`${key} must be a whole number below 2^64`);
  return Number(value);
}
