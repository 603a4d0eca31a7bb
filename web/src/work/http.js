/** Requests with a time limit, and bodies with a length limit. */

import { join } from "../core/bytes.js";
import { UnavailableError } from "../core/errors.js";

const TIMEOUT = 30_000; // milliseconds
const [TRIES, LONGEST_WAIT] = [6, 30]; // where a server asks to come back later: times, and seconds

/**
 * Ask, and ask again where the server wants that.
 * @param {string} url
 * @param {string} who is asked, for errors
 * @param {RequestInit} [options]
 */
export async function request(url, who, options = {}) {
  for (let tries = 1; ; tries++) {
    const response = await requestOnce(url, who, options);
    const wait = Number(response.headers.get("Retry-After") ?? Number.NaN); // hidden, unless it is exposed
    if (response.status !== 429 || tries === TRIES || !(wait >= 0 && wait <= LONGEST_WAIT)) return response;
    response.body?.cancel().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  }
}

/**
 * @param {string} url
 * @param {string} who
 * @param {RequestInit} options
 */
async function requestOnce(url, who, options) {
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
