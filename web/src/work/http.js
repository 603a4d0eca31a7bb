/** HTTP requests with a time limit, and bodies with a length limit. */

import { join } from "../core/bytes.js";
import { UnavailableError } from "../core/errors.js";

const TIMEOUT = 30_000; // milliseconds
const [TRIES, LONGEST_WAIT] = [6, 30]; // after a 429: attempts, and seconds to wait at most

/**
 * Send a request, and repeat it after the time in Retry-After if the server limits the rate (429).
 * @param {string} url
 * @param {string} who the server, for errors
 * @param {RequestInit} [options]
 */
export async function request(url, who, options = {}) {
  for (let tries = 1; ; tries++) {
    const response = await requestOnce(url, who, options);
    const wait = Number(response.headers.get("Retry-After") ?? Number.NaN); // null unless the server exposes it (CORS)
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
    throw new UnavailableError(
      `${who} ${late ? `does not respond within ${TIMEOUT / 1000} seconds` : "cannot be reached"}`,
    );
  }
}

/**
 * Read a body of limited length.
 * @param {Response} response
 * @param {number} limit bytes
 * @param {string} who the server, for errors
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
    throw new UnavailableError(`${who} closed the connection before the end of its response`);
  }
  reader?.cancel().catch(() => {});
  throw new UnavailableError(`the response of ${who} has more than the ${limit} bytes that are expected`);
}
