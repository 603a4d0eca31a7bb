/** Values out of untrusted documents. */

import { MAX_SIZE } from "../generated/terms.js";
import { fromHex, HASH } from "./bytes.js";
import { FormatError } from "./errors.js";
import { isObject } from "./json.js";

/** @import {Json} from "./json.js" */

const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/** Takes checked values out of one document, and names the key of what is wrong. */
export class Checked {
  /** @param {string} name what the document is called in errors */
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
      this.fail(`${key} is not 64 lower-case hexadecimal digits`);
    }
    return fromHex(value);
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  count(value, key) {
    if (typeof value !== "number" || value < 1 || value > MAX_SIZE) this.fail(`${key} is not 1 to 2^48`);
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
    return found ?? this.fail(`${key} is none of ${words.join(", ")}`);
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  text(value, key) {
    if (typeof value !== "string") this.fail(`${key} is no text`);
    return value;
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  object(value, key) {
    return isObject(value) ? value : this.fail(`${key} is no object`);
  }

  /**
   * @param {Json | undefined} value
   * @param {string} key
   */
  list(value, key) {
    return Array.isArray(value) ? value : this.fail(`${key} is no list`);
  }
}

/**
 * Whether a text has no control characters, half surrogates or spaces but the usual one.
 * @param {string} text
 */
export function isPrintable(text) {
  return !UNPRINTABLE.test(text);
}
