/** Lineage: what was made from what, by the tokens' links. */

import { MADE_FROM } from "../generated/terms.js";

/** @import {Link, Relation, Token} from "./registry.js" */

/** @type {ReadonlySet<Relation>} */
const MADE = new Set(MADE_FROM);

const MAX_WALK = 1000; // tokens

/** @typedef {{token: Token, links: Link[]}} Reached a token, and the links that lead to it from the first token */

/**
 * Return the links from newer tokens to each token.
 * @param {readonly Token[]} tokens
 */
export function linksTo(tokens) {
  /** @type {Map<number, Link[]>} */
  const found = new Map();
  for (const link of tokens.flatMap((token) => token.links)) {
    const known = found.get(link.target);
    if (known) known.push(link);
    else found.set(link.target, [link]);
  }
  return found;
}

/**
 * Return what was made from a token, directly and through others, each by a shortest path. Tokens
 * that only measured it (validated_on, tested_on) are returned if they link to it directly.
 * @param {readonly Token[]} tokens
 * @param {number} id
 * @returns {Reached[]}
 */
export function madeFrom(tokens, id) {
  const newer = linksTo(tokens);
  /** @type {Map<string, Reached>} */
  const found = new Map();
  /** @type {Array<{id: number, links: Link[]}>} */
  const waiting = [{ id, links: [] }];
  const seen = new Set([id]);
  for (let step = waiting.shift(); step && found.size < MAX_WALK; step = waiting.shift()) {
    for (const link of newer.get(step.id) ?? []) {
      const token = /** @type {Token} */ (tokens[link.source - 1]);
      const made = MADE.has(link.relation);
      const direct = step.links.length === 0 && link.relation !== "supersedes";
      if (!made && !direct) continue;
      const links = [...step.links, link];
      const key = direct ? `${token.id} ${link.relation}` : String(token.id);
      if (direct || !seen.has(token.id)) found.set(key, { token, links });
      if (made && !seen.has(token.id)) {
        seen.add(token.id);
        waiting.push({ id: token.id, links });
      }
    }
  }
  return [...found.values()];
}

/**
 * Return the versions of an artifact, the oldest first: those that a token replaces, and those that replace it.
 * @param {readonly Token[]} tokens
 * @param {number} id
 * @returns {Token[]}
 */
export function versionsOf(tokens, id) {
  const found = [];
  /** @type {(token: Token | undefined) => Token | undefined} */
  const before = (token) => tokens[(token?.links.find((link) => link.relation === "supersedes")?.target ?? 0) - 1];
  for (let at = tokens[id - 1]; at && found.length < MAX_WALK; at = before(at)) found.unshift(at);
  const after = (/** @type {Token} */ token) => (token.supersededBy ? tokens[token.supersededBy - 1] : undefined);
  for (let at = found.at(-1); at && found.length < MAX_WALK; ) {
    at = after(at);
    if (at && at.id <= (found.at(-1)?.id ?? 0)) break; // newer versions have greater ids: the node lies
    if (at) found.push(at);
  }
  return found;
}

/**
 * Return the tokens around one: those it came from, and those that came from it, by any relation.
 * @param {readonly Token[]} tokens
 * @param {number} id
 * @param {number} limit tokens
 */
export function around(tokens, id, limit = 60) {
  const newer = linksTo(tokens);
  /** @type {(at: number) => number[]} */
  const older = (at) => tokens[at - 1]?.links.map((link) => link.target) ?? [];
  /** @type {(at: number) => number[]} */
  const younger = (at) => newer.get(at)?.map((link) => link.source) ?? [];
  const chosen = new Set([id]);
  let cut = false;
  for (const neighbours of [older, younger]) {
    const waiting = [id];
    const walked = new Set([id]);
    for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) {
      for (const next of neighbours(at)) {
        if (walked.has(next)) continue;
        if (!chosen.has(next) && chosen.size >= limit) {
          cut = true;
          continue;
        }
        walked.add(next);
        chosen.add(next);
        waiting.push(next);
      }
    }
  }
  const nodes = tokens.filter((token) => chosen.has(token.id));
  const links = nodes.flatMap((token) => token.links.filter((link) => chosen.has(link.target)));
  return { nodes, links, cut };
}
