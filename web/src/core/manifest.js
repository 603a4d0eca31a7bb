/**
 * Looks up a leaf in a remote manifest by reading ranges, as alithis/manifest/reader.py does. Leaves
 * are uniformly distributed hashes in ascending order, so a leaf's value tells roughly where it is.
 */

import { TILE, TILE_HEIGHT } from "../generated/terms.js";
import { compare, equal, rows, SIZE, toHex } from "./bytes.js";
import { FormatError, IntegrityError, UnavailableError } from "./errors.js";
import { leafHash, pathFromNodes, rootFromPath, rootOf, subtreeRoot } from "./merkle.js";

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
    /** Whether all leaves were read, led to the root, and ascend; a look-up reads all if they are one run. */
    this.ordered = false;
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
    if (this.metadata.size <= TILE) await this.checkOrder();
    return { kind: "absence", leaf, index, left, right };
  }

  /** Check all leaves of a list of one run; find() has checked that the run ascends. */
  async checkOrder() {
    const found = rootOf((await this.group(0, 0)).map(leafHash));
    if (!equal(found, this.metadata.root)) {
      throw new IntegrityError("root of all leaves", toHex(this.metadata.root), toHex(found));
    }
    this.ordered = true;
  }

  /**
   * Find the index of a leaf, or the index at which it would be inserted.
   * @param {Uint8Array} leaf
   * @throws {IntegrityError} it was not found, and leaves that were read are out of order
   */
  async find(leaf) {
    const key = keyOf(leaf);
    let [low, high, lowKey, highKey] = [0, this.metadata.size, 0n, KEY];
    /** @type {[Uint8Array | null, Uint8Array | null]} the leaves at low - 1 and at high */
    let [before, after] = [null, null];
    for (let attempt = 0; low < high; attempt++) {
      const byValue = attempt < INTERPOLATIONS && lowKey <= key && key < highKey;
      const guess = byValue
        ? low + Number((BigInt(high - low) * (key - lowKey)) / (highKey - lowKey))
        : Math.floor((low + high) / 2);
      const number = Math.floor(guess / TILE);
      const group = await this.group(0, number);
      const [first, last] = [/** @type {Uint8Array} */ (group[0]), /** @type {Uint8Array} */ (group.at(-1))];
      const start = number * TILE;
      // A path to the root shows inclusion in any order; only absence rests on the order.
      const there = group.findIndex((each) => equal(each, leaf));
      if (there >= 0) return { index: start + there, found: true };
      const at = group.findIndex(
        (each, place) => place > 0 && compare(/** @type {Uint8Array} */ (group[place - 1]), each) >= 0,
      );
      if (at > 0) throw await this.disorder(start + at - 1, start + at);
      if (before && compare(before, first) >= 0) throw await this.disorder(low - 1, start);
      if (after && compare(last, after) >= 0) throw await this.disorder(start + group.length - 1, high);
      if (compare(leaf, first) < 0) [high, highKey, after] = [start, keyOf(first), first];
      else if (compare(leaf, last) > 0) [low, lowKey, before] = [start + group.length, keyOf(last), last];
      else return { index: start + group.findIndex((each) => compare(each, leaf) > 0), found: false };
    }
    return { index: low, found: false };
  }

  /**
   * Return the error for two leaves that are out of order. If the tree does not have these leaves, the
   * gateway is at fault, and that error is thrown instead.
   * @param {number} index
   * @param {number} later
   */
  async disorder(index, later) {
    const { root, size } = this.metadata;
    const [first, second] = [await this.at(index), await this.at(later)];
    for (const each of [first, second]) {
      const found = rootFromPath(leafHash(each.leaf), each.index, size, each.path);
      if (!equal(found, root)) throw new IntegrityError("root that the leaves lead to", toHex(root), toHex(found));
    }
    return new IntegrityError(
      `not found, but the leaves are out of order at ${index} and ${later}, so absence cannot be proved (run alithis audit)`,
      `more than ${toHex(first.leaf).slice(0, 12)}…`,
      `${toHex(second.leaf).slice(0, 12)}…`,
    );
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
