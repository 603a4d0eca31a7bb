/**
 * A parser for untrusted JSON (RFC 8259), with the rules of alithis/base/untrusted_json.py: a key
 * occurs once in an object, nesting and numbers are limited, and 1 and 1.0 are different. JSON.parse
 * accepts repeated keys and loses that difference, so it could accept a document that Python refuses.
 */

import { MAX_JSON_DEPTH, MAX_JSON_DIGITS } from "../generated/terms.js";
import { FormatError } from "./errors.js";

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
/** @type {Record<string, boolean | null>} */
const WORDS = { true: true, false: false, null: null };

/** A number with a fraction or an exponent. */
export class Real {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
}

/** @typedef {{[key: string]: Json | undefined}} JsonObject */
/** @typedef {null | boolean | number | bigint | string | Real | JsonList | JsonObject} Json */
/** @typedef {Array<Json>} JsonList */

/**
 * Parse one JSON object. Whole numbers beyond 2^53 become bigint.
 * @param {Uint8Array} data the caller limits its length
 * @param {string} name the document's name in errors
 */
export function parseObject(data, name) {
  const value = parseValue(data, name);
  if (!isObject(value)) throw new FormatError(`${name}: not a JSON object`);
  return value;
}

/**
 * @param {Json | undefined} value
 * @returns {value is JsonObject}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Real);
}

/**
 * @param {Uint8Array} data
 * @param {string} name
 */
function parseValue(data, name) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    return new Reader(text).document();
  } catch (error) {
    if (error instanceof FormatError) throw new FormatError(`${name}: ${error.message}`);
    throw new FormatError(`${name}: not UTF-8`);
  }
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  document() {
    const value = this.value(0);
    this.take(SPACE);
    if (this.at < this.text.length) this.fail();
    return value;
  }

  /**
   * @param {number} depth
   * @returns {Json}
   */
  value(depth) {
    this.take(SPACE);
    const next = this.text[this.at];
    if (next === "{" || next === "[") {
      if (depth >= MAX_JSON_DEPTH) throw new FormatError(`JSON nested more than ${MAX_JSON_DEPTH} deep`);
      return next === "{" ? this.object(depth + 1) : this.array(depth + 1);
    }
    if (next === '"') return this.string();
    for (const [word, value] of Object.entries(WORDS)) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  /**
   * @param {number} depth
   * @returns {JsonObject}
   */
  object(depth) {
    /** @type {JsonObject} */
    const found = Object.create(null); // "__proto__" is a key like any other
    this.at++;
    if (this.ends("}")) return found;
    do {
      this.take(SPACE);
      const key = this.string();
      if (key in found) throw new FormatError("not JSON: a key is repeated in one object");
      this.take(SPACE);
      if (this.text[this.at++] !== ":") this.fail();
      found[key] = this.value(depth);
    } while (this.hasMore("}"));
    return found;
  }

  /**
   * @param {number} depth
   * @returns {Json[]}
   */
  array(depth) {
    /** @type {Json[]} */
    const found = [];
    this.at++;
    if (this.ends("]")) return found;
    do found.push(this.value(depth));
    while (this.hasMore("]"));
    return found;
  }

  string() {
    const found = this.take(STRING);
    return /** @type {string} */ (found ? JSON.parse(found[0]) : this.fail());
  }

  number() {
    const [text, fraction, exponent] = this.take(NUMBER) ?? this.fail();
    if (fraction || exponent) {
      const value = Number(text);
      if (!Number.isFinite(value)) throw new FormatError("not JSON: a number is too large for a double");
      return new Real(value);
    }
    if (text.replace("-", "").length > MAX_JSON_DIGITS)
      throw new FormatError(`not JSON: a number has more than ${MAX_JSON_DIGITS} digits`);
    const value = Number(text);
    return Number.isSafeInteger(value) ? value + 0 : BigInt(text);
  }

  /** @param {string} bracket */
  ends(bracket) {
    this.take(SPACE);
    if (this.text[this.at] !== bracket) return false;
    this.at++;
    return true;
  }

  /** @param {string} bracket */
  hasMore(bracket) {
    if (this.ends(bracket)) return false;
    if (this.text[this.at++] !== ",") this.fail();
    return true;
  }

  /** @param {RegExp} pattern sticky */
  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found;
  }

  /** @returns {never} */
  fail() {
    throw new FormatError(`not JSON at character ${this.at}`);
  }
}
