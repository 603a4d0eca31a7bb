/**
 * Content by its CID from gateways, by range (RFC 9110, section 14). Nothing they say is believed:
 * metadata must have the SHA-256 that is asked for, and what is read of leaves and tiles must lead
 * to the root.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { equal, toHex } from "../core/bytes.js";
import { checkedCid, rawCid } from "../core/cid.js";
import { IntegrityError, said, UnavailableError } from "../core/errors.js";
import { loadMetadata } from "../core/metadata.js";
import { MAX_METADATA_BYTES } from "../generated/terms.js";
import { bodyOf, request } from "../work/http.js";

/** @import {FileEntry, Metadata} from "../core/metadata.js" */

const MAX_KEPT = 1024; // ranges, of at most 8 KiB each

/** A gateway that has an artifact. */
export class Gateway {
  /** @param {string} url */
  constructor(url) {
    this.url = url.replace(/\/+$/, "");
    this.who = `the gateway ${new URL(url).host}`;
    /** @type {Map<string, Promise<Uint8Array>>} */
    this.kept = new Map();
  }

  /** @param {string} cid */
  place(cid) {
    return `${this.url}/ipfs/${checkedCid(cid)}`;
  }

  /**
   * metadata.json, which must have a SHA-256.
   * @param {Uint8Array} digest
   * @returns {Promise<Metadata>}
   */
  async metadata(digest) {
    const response = await request(this.place(rawCid(digest)), this.who);
    if (response.status !== 200) throw new UnavailableError(`${this.who} ${meaning(response.status)}`);
    const data = await bodyOf(response, MAX_METADATA_BYTES, this.who);
    const found = sha256(data);
    if (!equal(found, digest)) {
      throw new IntegrityError(`SHA-256 of metadata.json from ${this.who}`, toHex(digest), toHex(found));
    }
    return loadMetadata(data);
  }

  /** Ask anew: what was kept did not lead to the root. */
  forget() {
    this.kept.clear();
  }

  /**
   * A part of a file, kept for the next look-up: many files are checked against the same tiles.
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
   * A part of a file; that it is what was committed to, the path to the root must show.
   * @param {FileEntry} entry
   * @param {number} offset
   * @param {number} length
   */
  async fetchRange(entry, offset, length) {
    const last = offset + length - 1;
    const headers = { Range: `bytes=${offset}-${last}` };
    const response = await request(this.place(entry.cid), this.who, { headers });
    if (response.status === 200) {
      response.body?.cancel().catch(() => {});
      throw new UnavailableError(`${this.who} ignores ranges, and would send all of ${entry.name}`);
    }
    if (response.status !== 206) {
      throw new UnavailableError(`${this.who} ${meaning(response.status)} for ${entry.name}`);
    }
    const stated = response.headers.get("Content-Range"); // hidden, unless the gateway exposes it
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
   * A whole file, which must have the SHA-256 that the metadata states.
   * @param {FileEntry} entry
   */
  async whole(entry) {
    const response = await request(this.place(entry.cid), this.who);
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

/** Finds artifacts in several gateways, and remembers their metadata. */
export class Shelf {
  /** @param {readonly string[]} urls */
  constructor(urls) {
    this.gateways = urls.map((url) => new Gateway(url));
    /** @type {Map<string, Promise<Found>>} */
    this.found = new Map();
  }

  /**
   * @param {Uint8Array} digest SHA-256 of metadata.json
   * @returns {Promise<Found>}
   */
  open(digest) {
    const name = toHex(digest);
    const known = this.found.get(name) ?? this.search(digest);
    this.found.set(name, known);
    known.catch(() => this.found.delete(name)); // a gateway may be back the next time
    return known;
  }

  /** @param {Uint8Array} digest */
  async search(digest) {
    const failures = [];
    for (const gateway of this.gateways) {
      try {
        return { gateway, metadata: await gateway.metadata(digest) };
      } catch (error) {
        failures.push(said(error));
      }
    }
    throw new UnavailableError(failures.join("; ") || "no gateway is configured: see Settings");
  }
}

/** @param {number} status */
function meaning(status) {
  if (status === 404 || status === 410) return "has nothing";
  if (status === 416) return "has a shorter file than is committed to";
  if (status === 429) return "asks to come back later (status 429)";
  return `answers with status ${status}`;
}
