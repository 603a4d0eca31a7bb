/**
 * Reads content by CID from gateways, in ranges (RFC 9110, section 14). Gateways are untrusted:
 * metadata must have the requested SHA-256, and what is read of leaves and tiles must lead to the
 * root, which the caller checks.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { equal, toHex } from "../core/bytes.js";
import { checkedCid, rawCid } from "../core/cid.js";
import { allFailed, IntegrityError, UnavailableError } from "../core/errors.js";
import { loadMetadata } from "../core/metadata.js";
import { MAX_METADATA_BYTES } from "../generated/terms.js";
import { bodyOf, request } from "../work/http.js";

/** @import {FileEntry, Metadata} from "../core/metadata.js" */

const MAX_KEPT = 1024; // ranges, of at most 8 KiB each

/** One gateway. */
export class Gateway {
  /** @param {string} url */
  constructor(url) {
    this.base = url.replace(/\/+$/, "");
    this.who = `the gateway ${new URL(url).host}`;
    /** @type {Map<string, Promise<Uint8Array>>} */
    this.kept = new Map();
  }

  /** @param {string} cid */
  url(cid) {
    return `${this.base}/ipfs/${checkedCid(cid)}`;
  }

  /**
   * Read metadata.json, and check its SHA-256.
   * @param {Uint8Array} digest the SHA-256 that it must have
   * @returns {Promise<Metadata>}
   */
  async metadata(digest) {
    const response = await request(this.url(rawCid(digest)), this.who);
    if (response.status !== 200) throw new UnavailableError(`${this.who} ${meaning(response.status)}`);
    const data = await bodyOf(response, MAX_METADATA_BYTES, this.who);
    const found = sha256(data);
    if (!equal(found, digest)) {
      throw new IntegrityError(`SHA-256 of metadata.json from ${this.who}`, toHex(digest), toHex(found));
    }
    return loadMetadata(data);
  }

  /** Drop the cached ranges: they did not lead to the root. */
  forget() {
    this.kept.clear();
  }

  /**
   * Read a part of a file. It is cached, because lookups of many files read the same tiles.
   * @param {FileEntry} entry
   * @param {number} offset
   * @param {number} length
   */
  range(entry, offset, length) {
    const name = `${entry.cid} ${offset} ${length}`;
    const known = this.kept.get(name) ?? this.fetchRange(entry, offset, length);
    if (this.kept.size >= MAX_KEPT) this.kept.clear();
    this.kept.set(name, known);
    return known;
  }

  /**
   * Read a part of a file, unchecked: it has no hash of its own.
   * @param {FileEntry} entry
   * @param {number} offset
   * @param {number} length
   */
  async fetchRange(entry, offset, length) {
    const last = offset + length - 1;
    const headers = { Range: `bytes=${offset}-${last}` };
    const response = await request(this.url(entry.cid), this.who, { headers });
    if (response.status === 200) {
      response.body?.cancel().catch(() => {});
      throw new UnavailableError(`${this.who} does not support range requests for ${entry.name}`);
    }
    if (response.status !== 206) {
      throw new UnavailableError(`${this.who} ${meaning(response.status)} for ${entry.name}`);
    }
    const stated = response.headers.get("Content-Range"); // null unless the gateway exposes it (CORS)
    const wanted = `bytes ${offset}-${last}/${entry.size}`;
    if (stated !== null && stated !== wanted) {
      throw new IntegrityError(`the range of ${entry.name} from ${this.who}`, wanted, stated.slice(0, 80));
    }
    const data = await bodyOf(response, length, this.who);
    if (data.length !== length)
      throw new IntegrityError(`bytes of ${entry.name} from ${this.who}`, length, data.length);
    return data;
  }

  /**
   * Read a whole file, and check the SHA-256 that the metadata states.
   * @param {FileEntry} entry
   */
  async whole(entry) {
    const response = await request(this.url(entry.cid), this.who);
    if (response.status !== 200) throw new UnavailableError(`${this.who} ${meaning(response.status)}`);
    const data = await bodyOf(response, entry.size, this.who);
    const found = sha256(data);
    if (!equal(found, entry.sha256)) {
      throw new IntegrityError(`SHA-256 of ${entry.name} from ${this.who}`, toHex(entry.sha256), toHex(found));
    }
    return data;
  }
}

/** @typedef {{gateway: Gateway, metadata: Metadata}} Found */

/** Finds artifacts on several gateways, and caches their metadata. */
export class Shelf {
  /** @param {readonly string[]} urls */
  constructor(urls) {
    this.gateways = urls.map((url) => new Gateway(url));
    /** @type {Map<string, Promise<Found>>} */
    this.found = new Map();
  }

  /**
   * Return an artifact's metadata, and the gateway that has it.
   * @param {Uint8Array} digest SHA-256 of metadata.json
   * @returns {Promise<Found>}
   */
  open(digest) {
    const name = toHex(digest);
    const known = this.found.get(name) ?? this.search(digest);
    this.found.set(name, known);
    known.catch(() => this.found.delete(name)); // so that the next call tries again
    return known;
  }

  /** @param {Uint8Array} digest */
  async search(digest) {
    const failures = [];
    for (const gateway of this.gateways) {
      try {
        return { gateway, metadata: await gateway.metadata(digest) };
      } catch (error) {
        failures.push(error);
      }
    }
    throw failures.length ? allFailed(failures) : new UnavailableError("no gateway is set: add one in Settings");
  }
}

/** @param {number} status */
function meaning(status) {
  if (status === 404 || status === 410) return `does not have it (HTTP ${status})`;
  if (status === 416) return "has a shorter file than its description states (HTTP 416)";
  if (status === 429) return "limits the number of requests (HTTP 429)";
  return `fails (HTTP ${status})`;
}
