/** Checked values from untrusted documents. */

import { MAX_SIZE } from "../generated/terms.js";
import { fromHex, HASH } from "./bytes.js";
import { FormatError } from "./errors.js";
import { isObject } from "./json.js";

/** @import {Json} from "./json.js" */

const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/** Checks the values of one document. Its errors name the document and the key. */
export class Checked {
  /** @param {string} name the document's name in errors */
  constructor(name) {
    this.name = name;
  }

  /**
   * @param {string} what
   * @returns {never}
   */
  fail(what) {
    throw new FormatError(`${this.name}: ${what}`);
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  hash(value, key) {
    if (typeof value !== "string" || !HASH.test(value)) {
      this.fail(`${key} must be 64 lower-case hexadecimal digits`);
    }
    return fromHex(value);
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  count(value, key) {
    if (typeof value !== "number" || value < 1 || value > MAX_SIZE)
      this.fail(`${key} must be a whole number from 1 to 2^48`);
    return value;
  }

  /**
   * @template {string} T
   * @param {Json | undefined} value
   * @param {string} key
   * @param {readonly T[]} words
   */
  oneOf(value, key, words) {
    const found = words.find((word) => word === value);
    return found ?? this.fail(`${key} must be one of ${words.join(", ")}`);
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  text(value, key) {
    if (typeof value !== "string") this.fail(`${key} must be text`);
    return value;
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  object(value, key) {
    return isObject(value) ? value : this.fail(`${key} must be an object`);
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  list(value, key) {
    return Array.isArray(value) ? value : this.fail(`${key} must be a list`);
  }
}

/**
 * Return whether a text is printable: no control characters, no half surrogates, and no space other than U+0020.
 * @param {string} text
 */
export function isPrintable(text) {
  return !UNPRINTABLE.test(text);
}
