/**
 * What a server says of the tokens out of its index: where to look first. Nothing is shown of it,
 * and nothing decided by it: names come out of metadata that the chain commits to, verdicts out of
 * proofs. No digest is asked about, and none is sent.
 */

import { isObject } from "../core/json.js";
import { bodyOf, request } from "../work/http.js";

const [PAGES, PAGE, MAX_PAGE] = [20, 500, 4 * 2 ** 20]; // answers, tokens in each, bytes of each
const LONGEST = 3000; // characters of what is searched

/** @import {Json} from "../core/json.js" */

/** @typedef {{words: string, stored: boolean}} Hint `stored`: the server says that it has the metadata */

/**
 * @param {string} api the server's base
 * @returns {Promise<Map<string, Hint>>} by the SHA-256 of metadata.json; what can be had of it
 */
export async function readHints(api) {
  /** @type {Map<string, Hint>} */
  const found = new Map();
  let before = "";
  for (let page = 0; page < PAGES; page++) {
    const answer = await list(`${api.replace(/\/+$/, "")}/api/tokens?limit=${PAGE}${before}`).catch(() => null);
    for (const each of Array.isArray(answer?.tokens) ? answer.tokens.slice(0, PAGE) : []) hint(each, found);
    if (!Number.isSafeInteger(answer?.next)) break;
    before = `&before=${answer?.next}`;
  }
  return found;
}

/**
 * @param {string} url
 * @returns {Promise<{tokens?: Json, next?: unknown} | null>}
 */
async function list(url) {
  const response = await request(url, "the server");
  if (response.status !== 200) return null;
  const answer = JSON.parse(new TextDecoder().decode(await bodyOf(response, MAX_PAGE, "the server")));
  return typeof answer === "object" ? answer : null;
}

/**
 * @param {Json} entry
 * @param {Map<string, Hint>} found
 */
function hint(entry, found) {
  if (!isObject(entry) || typeof entry.metadataDigest !== "string") return;
  const text = isObject(entry.text) ? entry.text : {};
  const words = [text.name, text.description, text.license, text.form].filter((each) => typeof each === "string");
  found.set(entry.metadataDigest, {
    words: words.join(" ").slice(0, LONGEST).toLowerCase(),
    stored: entry.stored === true,
  });
}
