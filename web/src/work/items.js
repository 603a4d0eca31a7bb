/** Reads what a publisher says about a data point: its rows in items.parquet (docs/format.md). */

import { parquetReadObjects } from "hyparquet";
import { equal, SIZE } from "../core/bytes.js";
import { FormatError } from "../core/errors.js";

/** @typedef {{rows: Array<Record<string, string>>, more: boolean}} Rows */

const MAX_ROWS = 10;
const MAX_TEXT = 300;

/**
 * Return the rows of a leaf, at most ten.
 * @param {Uint8Array<ArrayBuffer>} data the whole file; the caller checked its SHA-256
 * @param {Uint8Array} leaf
 * @returns {Promise<Rows>}
 */
export async function rowOf(data, leaf) {
  /** @type {Array<Record<string, unknown>>} */
  let leaves;
  const file = data.buffer;
  try {
    leaves = await parquetReadObjects({ file, columns: ["leaf"], utf8: false });
  } catch {
    throw new FormatError("items.parquet is malformed: ask the publisher for another file");
  }
  const first = leaves.findIndex((row) => isLeaf(row.leaf) && equal(row.leaf, leaf));
  if (first < 0) return { rows: [], more: false };
  let last = first;
  while (
    last + 1 < leaves.length &&
    isLeaf(leaves[last + 1]?.leaf) &&
    equal(/** @type {Uint8Array} */ (leaves[last + 1]?.leaf), leaf)
  )
    last++;
  const rowEnd = Math.min(last + 1, first + MAX_ROWS);
  const found = await parquetReadObjects({ file, rowStart: first, rowEnd });
  return { rows: found.map(plain), more: rowEnd <= last };
}

/**
 * @param {unknown} value
 * @returns {value is Uint8Array}
 */
function isLeaf(value) {
  return value instanceof Uint8Array && value.length === SIZE;
}

/** @param {Record<string, unknown>} row */
function plain(row) {
  const stated = Object.entries(row).filter(
    ([name, value]) => name !== "leaf" && value !== null && value !== undefined,
  );
  return Object.fromEntries(stated.map(([name, value]) => [name, String(value).slice(0, MAX_TEXT)]));
}
