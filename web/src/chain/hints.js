/**
 * Hints from a server's index about where to look first. They are untrusted: none is shown, and none
 * changes a verdict. Names come from metadata whose SHA-256 is on the chain, and verdicts from
 * proofs. The page only asks for the list of tokens, so the server does not learn what is checked.
 */

import { isObject } from "../core/json.js";
import { bodyOf, request } from "../work/http.js";

const [PAGES, PAGE, MAX_PAGE] = [20, 500, 4 * 2 ** 20]; // responses, tokens in each, bytes of each
const LONGEST = 3000; // characters of an artifact's texts

/** @import {Json} from "../core/json.js" */

/** @typedef {{words: string, stored: boolean}} Hint `words`: texts for the search; `stored`: the server says that it has the metadata */

/**
 * Read the hints; those that cannot be read are left out.
 * @param {string} api the server's base URL
 * @returns {Promise<Map<string, Hint>>} by the SHA-256 of metadata.json
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
