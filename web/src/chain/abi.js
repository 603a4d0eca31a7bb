/**
 * The part of Solidity's contract ABI that the page needs: encodes calls of the registry, and decodes
 * what they return. Only the canonical encoding is accepted, because the node is untrusted.
 */

import { fromHex, SIZE, toHex } from "../core/bytes.js";
import { UnavailableError } from "../core/errors.js";
import { ERRORS, SELECTORS } from "../generated/contract.js";

/** Why the registry refuses a call, in words. @type {Partial<Record<keyof typeof ERRORS, string>>} */
const REFUSALS = {
  "AlreadyCountersigned(uint256,uint256)": "the link is already confirmed",
  "ERC721NonexistentToken(uint256)": "there is no such dataset or model",
  "InvalidAnswer(uint256,uint256,uint8,uint8)": "an answer can only change in the claimant's favour",
  "NonexistentClaim(uint256,uint256)": "there is no such claim",
  "NonexistentLink(uint256,uint256)": "there is no such link",
  "NotCountersigned(uint256,uint256)": "the link is not confirmed",
  "NotIncluded(uint256,bytes32,uint256)": "the proof is not valid",
  "NotOwner(uint256,address,address)": "only the owner can do this",
  "NotSuperseded(uint256)": "no newer version replaces it yet",
  "UriTooLong(uint256,uint256)": "the text has more than 1,024 bytes",
};

/** @typedef {keyof typeof SELECTORS} Signature */
/** @typedef {number | bigint | string | Uint8Array | readonly Uint8Array[] | readonly string[]} Value a `string` is text for the type string, and hexadecimal for all others */

/**
 * Encode a call.
 * @param {Signature} signature
 * @param {Value[]} values in the signature's order
 * @returns {string} hexadecimal, without 0x
 */
export function encodeCall(signature, ...values) {
  const types = signature
    .slice(signature.indexOf("(") + 1, -1)
    .split(",")
    .filter(Boolean);
  let [head, tail] = ["", ""];
  types.forEach((type, at) => {
    const value = /** @type {Value} */ (values[at]);
    if (/\[\]$|^string$/.test(type)) {
      head += word(types.length * SIZE + tail.length / 2);
      tail += dynamic(type, value);
    } else head += fixed(type, value);
  });
  return SELECTORS[signature] + head + tail;
}

/**
 * @param {string} type
 * @param {Value} value
 */
function fixed(type, value) {
  if (value instanceof Uint8Array) return toHex(value).padEnd(2 * SIZE, "0");
  if (type === "bytes4") return String(value).padEnd(2 * SIZE, "0");
  return word(/** @type {number | bigint} */ (value));
}

/**
 * @param {string} type
 * @param {Value} value
 */
function dynamic(type, value) {
  if (type === "string") return packed(toHex(new TextEncoder().encode(String(value))));
  if (type === "bytes32[]") {
    const hashes = /** @type {Uint8Array[]} */ (value);
    return word(hashes.length) + hashes.map(toHex).join("");
  }
  const items = /** @type {string[]} */ (value).map(packed);
  let [offsets, at] = ["", items.length * SIZE];
  for (const item of items) {
    offsets += word(at);
    at += item.length / 2;
  }
  return word(items.length) + offsets + items.join("");
}

/** @param {string} hex */
function packed(hex) {
  return word(hex.length / 2) + hex.padEnd(Math.ceil(hex.length / 64) * 64, "0");
}

/** @param {number | bigint} value */
function word(value) {
  return BigInt(value)
    .toString(16)
    .padStart(2 * SIZE, "0");
}

/** A response is not what the contract could return. */
export class DecodingError extends UnavailableError {}

/** Reads the 32-byte words of a response, one after the other, and refuses values out of range. */
export class Words {
  /**
   * @param {string} hex without 0x
   * @param {string} what the call or request, for errors
   */
  constructor(hex, what) {
    this.hex = hex;
    this.what = what;
    this.at = 0;
    if (hex.length % 64) this.fail();
  }

  take() {
    const found = this.hex.slice(this.at, this.at + 64);
    if (found.length < 64) this.fail();
    this.at += 64;
    return found;
  }

  /** @param {number} [limit] the smallest value that is not allowed */
  number(limit = Number.MAX_SAFE_INTEGER) {
    const value = BigInt(`0x${this.take()}`);
    if (value >= limit) this.fail();
    return Number(value);
  }

  bool() {
    return this.number(2) === 1;
  }

  hash() {
    return fromHex(this.take());
  }

  address() {
    const found = this.take();
    if (!found.startsWith("0".repeat(24))) this.fail();
    return `0x${found.slice(24)}`;
  }

  /**
   * @template {string} T
   * @param {readonly T[]} terms of an enum
   * @returns {T}
   */
  term(terms) {
    return terms[this.number(terms.length)] ?? this.fail();
  }

  /** Read the head of a response that is one dynamic array, and return its number of elements. */
  length() {
    if (this.number() !== SIZE) this.fail();
    return this.number(this.hex.length / 64);
  }

  end() {
    if (this.at !== this.hex.length) this.fail();
  }

  /** @returns {never} */
  fail() {
    throw new DecodingError(`the node's response to ${this.what} is malformed: choose another node in Settings`);
  }
}

/**
 * Split the response to a multicall into the responses to its calls. Each must begin where the one
 * before it ends.
 * @param {string} hex
 * @param {number} count
 */
export function decodeMany(hex, count) {
  const words = new Words(hex, "multicall");
  if (words.length() !== count) words.fail();
  const offsets = Array.from({ length: count }, () => words.number());
  const answers = offsets.map((offset) => {
    if (2 * SIZE + offset !== words.at / 2) words.fail();
    const length = words.number(hex.length / 2);
    const item = hex.slice(words.at, words.at + 2 * length);
    for (let rest = length; rest > 0; rest -= SIZE) words.take();
    return item;
  });
  words.end();
  return answers;
}

/**
 * Return why the contract reverted, in words; null if the error is unknown.
 * @param {string} data hexadecimal, with or without 0x
 */
export function refusal(data) {
  const selector = data.replace(/^0x/, "").slice(0, 8).toLowerCase();
  const signatures = /** @type {Array<keyof typeof ERRORS>} */ (Object.keys(ERRORS));
  const known = signatures.find((signature) => ERRORS[signature] === selector);
  return (known && REFUSALS[known]) ?? null;
}
