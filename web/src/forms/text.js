/** The form `text`: UTF-8 in NFC without a byte order mark (docs/format.md, "text"). */

import { SourceError } from "../core/errors.js";

const MAX_MARKS = 1000;
const NONCHARACTER = /^[\u{fdd0}-\u{fdef}]$/u;
const RUN = new RegExp(`\\p{M}{${MAX_MARKS + 1},}`, "gu");

/**
 * Return the canonical form of a stored text.
 * @param {Uint8Array} data
 * @throws {SourceError} the text has none
 */
export function canonicalText(data) {
  const text = decoded(data).replace(/^\ufeff/, "");
  for (const [character] of text.matchAll(/\p{Cn}/gu)) {
    const point = /** @type {number} */ (character.codePointAt(0));
    if ((point & 0xfffe) !== 0xfffe && !NONCHARACTER.test(character)) {
      const name = point.toString(16).toUpperCase().padStart(4, "0");
      throw new SourceError(
        `the text has the character U+${name}, which this browser does not know: update the browser`,
      );
    }
  }
  for (const [run] of text.matchAll(RUN)) checkRun(run);
  return new TextEncoder().encode(text.normalize("NFC"));
}

/** @param {Uint8Array} data */
function decoded(data) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new SourceError("the file is not a text in UTF-8");
  }
}

/** @param {string} marks */
function checkRun(marks) {
  let length = 0;
  for (const mark of marks) {
    length = isCombining(mark) ? length + 1 : 0;
    if (length > MAX_MARKS) throw new SourceError(`the text has a run of more than ${MAX_MARKS} combining marks`);
  }
}

/**
 * Return whether a mark has a combining class other than 0. JavaScript cannot read it, but NFD sorts
 * by it: such a mark moves before U+0345, which has the highest class, or after U+0334, the lowest.
 * @param {string} mark
 */
function isCombining(mark) {
  return (
    !`\u0345${mark}`.normalize("NFD").startsWith("\u0345") || `${mark}\u0334`.normalize("NFD").startsWith("\u0334")
  );
}
