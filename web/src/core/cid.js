/** Content identifiers. The CID of a raw block contains its SHA-256 (docs/format.md, "metadata.json"). */

import { join } from "./bytes.js";
import { FormatError } from "./errors.js";

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const RAW = Uint8Array.of(1, 0x55, 0x12, 0x20); // version 1, raw, SHA-256 of 32 bytes
const SPELLINGS = /^(?:b[a-z2-7]{58}|f[0-9a-f]{72}|Qm[1-9A-HJ-NP-Za-km-z]{44})$/;

/**
 * Return the CID, in base32, of the raw block that has a SHA-256.
 * @param {Uint8Array} digest 32 bytes
 */
export function rawCid(digest) {
  return `b${base32(join([RAW, digest]))}`;
}

/**
 * Return a CID of a file. Anything else is refused: a gateway's URL is made from it.
 * @param {string} text
 * @throws {FormatError} the text has another form
 */
export function checkedCid(text) {
  if (!SPELLINGS.test(text)) throw new FormatError(`${text.slice(0, 80)}: not the CID of a file`);
  return text;
}

/** @param {Uint8Array} bytes */
function base32(bytes) {
  let [text, held, bits] = ["", 0, 0];
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += BASE32[(held >> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return bits ? text + BASE32[(held << (5 - bits)) & 31] : text;
}
