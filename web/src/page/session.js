/** The state that the views share: the registry after one block, and the metadata that was read. */

import { Shelf } from "../chain/gateway.js";
import { readHints } from "../chain/hints.js";
import { Registry } from "../chain/registry.js";
import { Rpc } from "../chain/rpc.js";
import { toHex } from "../core/bytes.js";
import { evidence } from "../core/grade.js";

/** @import {Config} from "./config.js" */
/** @import {Hint} from "../chain/hints.js" */
/** @import {Link, Token} from "../chain/registry.js" */
/** @import {Evidence} from "../core/grade.js" */
/** @import {Metadata} from "../core/metadata.js" */
/** @import {Hasher} from "../work/hasher.js" */

/** @typedef {{registry: Registry, tokens: Token[]}} Chain */

const PATIENCE = 500; // milliseconds

export class Session {
  /**
   * @param {Config} config
   * @param {Hasher} hasher
   */
  constructor(config, hasher) {
    this.config = config;
    this.hasher = hasher;
    this.shelf = new Shelf(config.gateways);
    /** @type {Promise<Chain> | null} */
    this.reading = null;
    /** @type {Map<string, Hint>} */
    this.hints = new Map();
    this.hinted = config.api
      ? readHints(config.api).then((hints) => {
          this.hints = hints;
        })
      : Promise.resolve();
  }

  /**
   * Return the server's hint about a token, if it has arrived.
   * @param {Token} token
   */
  hint(token) {
    return this.hints.get(toHex(token.metadataDigest));
  }

  /** Wait a short time for hints: they only save time. */
  async awaitHints() {
    await Promise.race([this.hinted, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  }

  /** Return the registry and its tokens, which are read once. */
  chain() {
    this.reading ??= this.read();
    this.reading.catch(() => {
      this.reading = null; // so that the next call tries again
    });
    return this.reading;
  }

  /** Read the chain again. */
  refresh() {
    this.reading = null;
    return this.chain();
  }

  /** @returns {Promise<Chain>} */
  async read() {
    const { rpc, registry: address, chain } = this.config;
    if (!address) throw new Error("no registry");
    const registry = await Registry.open(new Rpc(rpc), address, chain);
    return { registry, tokens: await registry.tokens() };
  }

  /**
   * Return a token's metadata; null if no gateway has metadata with the SHA-256 on the chain.
   * @param {Token} token
   * @returns {Promise<Metadata | null>}
   */
  metadata(token) {
    return this.shelf.open(token.metadataDigest).then(
      ({ metadata }) => metadata,
      () => null,
    );
  }

  /**
   * Show the grade of a link: first by the chain alone, then again with the newer artifact's metadata.
   * @param {Link} link
   * @param {readonly Token[]} tokens
   * @param {(found: Evidence) => void} show
   */
  async graded(link, tokens, show) {
    // Both exist: `Registry.tokens` returns tokens 1 to n, and only links between them.
    const source = /** @type {Token} */ (tokens[link.source - 1]);
    const target = /** @type {Token} */ (tokens[link.target - 1]);
    show(evidence(link, source, target, null));
    show(evidence(link, source, target, await this.metadata(source)));
  }
}

/**
 * Process items, a few in parallel.
 * @template T
 * @param {readonly T[]} items
 * @param {number} width
 * @param {(item: T) => Promise<void>} work
 */
export async function each(items, width, work) {
  const waiting = [...items];
  const lane = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
}
