/** Requests with a time limit, and bodies with a length limit. */

import { join } from "../core/bytes.js";
import { UnavailableError } from "../core/errors.js";

const TIMEOUT = 30_000; // milliseconds

/**
 * @param {string} url
 * @param {string} who is asked, for errors
 * @param {RequestInit} [options]
 */
export async function request(url, who, options = {}) {
  try {
    return await fetch(url, {
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(TIMEOUT),
      ...options,
    });
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new UnavailableError(`${who} ${late ? "does not answer in time" : "cannot be reached"}`);
  }
}

/**
 * Read a body, but no more of it than is allowed.
 * @param {Response} response
 * @param {number} limit bytes
 * @param {string} who
 */
export async function bodyOf(response, limit, who) {
  const reader = response.body?.getReader();
  /** @type {Uint8Array[]} */
  const parts = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
      if (done || !value) return join(parts);
      length += value.length;
      if (length > limit) break;
      parts.push(value);
    }
  } catch {
    throw new UnavailableError(`${who} breaks off its answer`);
  }
  reader?.cancel().catch(() => {});
  throw new UnavailableError(`${who} answers more than the ${limit} bytes that are expected`);
}
