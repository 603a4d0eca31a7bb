/** Byte strings: hexadecimal, order, joining and splitting. */

import { FormatError } from "./errors.js";

/** Bytes in a digest, a leaf or a node. */
export const SIZE = 32;

/** 64 lower-case hexadecimal digits. */
export const HASH = /^[0-9a-f]{64}$/;

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** @param {Uint8Array} bytes */
export function toHex(bytes) {
  let text = "";
  for (const byte of bytes) text += DIGITS[byte];
  return text;
}

/**
 * @param {string} text an even number of hexadecimal digits
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function fromHex(text) {
  if (text.length % 2 || /[^0-9a-fA-F]/.test(text)) {
    throw new FormatError("must be an even number of hexadecimal digits");
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.substr(2 * at, 2), 16);
  return bytes;
}

/**
 * Compare byte strings: negative if `a` comes first, zero if they are equal, positive if `b` comes first.
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 */
export function compare(a, b) {
  const shared = Math.min(a.length, b.length);
  for (let at = 0; at < shared; at++) {
    const difference = /** @type {number} */ (a[at]) - /** @type {number} */ (b[at]);
    if (difference) return difference;
  }
  return a.length - b.length;
}

/**
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 */
export function equal(a, b) {
  return compare(a, b) === 0;
}

/**
 * @param {readonly Uint8Array[]} parts
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function join(parts) {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Split bytes into rows.
 * @param {Uint8Array} bytes their length is a multiple of `width`
 * @param {number} width bytes in a row
 */
export function rows(bytes, width) {
  const count = bytes.length / width;
  return Array.from({ length: count }, (_, row) => bytes.subarray(row * width, (row + 1) * width));
}
