/**
 * Looks up a leaf in a remote manifest by reading ranges, as alithis/manifest/reader.py does. Leaves
 * are uniformly distributed hashes in ascending order, so a leaf's value tells roughly where it is.
 */

import { TILE, TILE_HEIGHT } from "../generated/terms.js";
import { compare, equal, rows, SIZE } from "./bytes.js";
import { FormatError, IntegrityError, UnavailableError } from "./errors.js";
import { leafHash, pathFromNodes, subtreeRoot } from "./merkle.js";

/** @import {FileEntry, Metadata} from "./metadata.js" */
/** @import {Neighbour, Proof} from "./proof.js" */

/** Limits of one lookup: range reads, and the bytes that they return. */
const MAX_READS = 8;
const MAX_READ_BYTES = 64 * 1024;

const INTERPOLATIONS = 4; // guesses by value; if they fail, the leaves are skewed, and bisection is safer
const KEY = 2n ** 64n;

/** @typedef {(entry: FileEntry, offset: number, length: number) => Promise<Uint8Array>} ReadRange */

/** One lookup in a manifest, with limited reads. */
export class Lookup {
  /**
   * @param {Metadata} metadata already checked
   * @param {ReadRange} read
   */
  constructor(metadata, read) {
    this.metadata = metadata;
    this.read = read;
    this.reads = 0;
    this.bytes = 0;
    /** @type {Map<string, Promise<Uint8Array[]>>} */
    this.groups = new Map();
  }

  /**
   * Return a proof that a leaf is included or absent. The caller must check it: nothing read here is trusted.
   * @param {Uint8Array} leaf
   * @returns {Promise<Proof>}
   */
  async prove(leaf) {
    const { index, found } = await this.find(leaf);
    if (found) return { kind: "inclusion", leaf, index, path: await this.path(index), opening: null };
    const left = index > 0 ? await this.at(index - 1) : null;
    const right = index < this.metadata.size ? await this.at(index) : null;
    return { kind: "absence", leaf, index, left, right };
  }

  /**
   * Find the index of a leaf, or the index at which it would be inserted.
   * @param {Uint8Array} leaf
   */
  async find(leaf) {
    const key = keyOf(leaf);
    let [low, high, lowKey, highKey] = [0, this.metadata.size, 0n, KEY];
    for (let attempt = 0; low < high; attempt++) {
      const byValue = attempt < INTERPOLATIONS && lowKey <= key && key < highKey;
      const guess = byValue
        ? low + Number((BigInt(high - low) * (key - lowKey)) / (highKey - lowKey))
        : Math.floor((low + high) / 2);
      const number = Math.floor(guess / TILE);
      const group = await this.group(0, number);
      const [first, last] = [/** @type {Uint8Array} */ (group[0]), /** @type {Uint8Array} */ (group.at(-1))];
      const start = number * TILE;
      if (compare(leaf, first) < 0) [high, highKey] = [start, keyOf(first)];
      else if (compare(leaf, last) > 0) [low, lowKey] = [start + group.length, keyOf(last)];
      else {
        const place = group.findIndex((each) => compare(each, leaf) >= 0);
        return { index: start + place, found: equal(/** @type {Uint8Array} */ (group[place]), leaf) };
      }
    }
    return { index: low, found: false };
  }

  /**
   * @param {number} index
   * @returns {Promise<Neighbour>}
   */
  async at(index) {
    const group = await this.group(0, Math.floor(index / TILE));
    return { leaf: /** @type {Uint8Array} */ (group[index % TILE]), index, path: await this.path(index) };
  }

  /** @param {number} index */
  path(index) {
    const { size, frontier } = this.metadata;
    return pathFromNodes(index, size, (height, at) => this.node(height, at), frontier);
  }

  /**
   * Return the hash of a complete node, computed from one tile.
   * @param {number} height
   * @param {number} index
   */
  async node(height, index) {
    const level = Math.floor(height / TILE_HEIGHT);
    const width = 2 ** (height % TILE_HEIGHT);
    const first = index * width;
    const group = await this.group(level, Math.floor(first / TILE));
    const hashes = group.slice(first % TILE, (first % TILE) + width);
    return subtreeRoot(level ? hashes : hashes.map(leafHash));
  }

  /**
   * Return a run of 256 leaves (level 0) or of a tile level's hashes, in one read; each run is read once.
   * @param {number} level
   * @param {number} number
   */
  group(level, number) {
    const name = `${level}/${number}`;
    const known = this.groups.get(name) ?? this.fetchGroup(level, number);
    this.groups.set(name, known);
    return known;
  }

  /**
   * @param {number} level
   * @param {number} number
   */
  async fetchGroup(level, number) {
    const count = Math.floor(this.metadata.size / TILE ** level);
    const start = number * TILE;
    const length = Math.min(TILE, count - start) * SIZE;
    const entry = this.entry(level ? `tiles/${level}` : "leaves", count * SIZE);
    this.reads += 1;
    this.bytes += length;
    if (this.reads > MAX_READS || this.bytes > MAX_READ_BYTES) {
      throw new UnavailableError(
        `not found within ${MAX_READS} reads, because the list is unusually distributed: check with the command alithis verify`,
      );
    }
    const data = await this.read(entry, start * SIZE, length);
    if (data.length !== length) throw new IntegrityError(`bytes read of ${entry.name}`, length, data.length);
    return rows(data, SIZE);
  }

  /**
   * @param {string} name
   * Return a file's entry in the metadata, and check its size.
   * @param {string} name
   * @param {number} size the bytes that a tree of this size needs
   */
  entry(name, size) {
    const entry = this.metadata.files.find((file) => file.name === name);
    if (!entry) throw new FormatError(`metadata.json: distribution lacks the file '${name}'`);
    if (entry.size !== size) throw new IntegrityError(`bytes in ${name}`, size, entry.size);
    return entry;
  }
}

/** @param {Uint8Array} leaf */
function keyOf(leaf) {
  return new DataView(leaf.buffer, leaf.byteOffset).getBigUint64(0);
}
