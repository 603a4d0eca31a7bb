/**
 * The worker that computes digests, so that large files do not freeze the page. It is started from a
 * blob, so the page's Content-Security-Policy applies to it: it cannot send anything elsewhere.
 */

import { createSHA256 } from "hash-wasm";
import { messageOf, SourceError } from "../core/errors.js";
import { decodedDigest, MAX_ENCODED } from "../forms/digest.js";
import { rowOf } from "./items.js";

/** @import {Form} from "../core/metadata.js" */

/** @typedef {{id: number, task: "digest", file: File, form: Form} | {id: number, task: "row", data: Uint8Array<ArrayBuffer>, leaf: Uint8Array}} Task */

const SLICE = 16 * 2 ** 20;

/** @param {MessageEvent<Task>} event */
self.onmessage = async ({ data: task }) => {
  try {
    const answer =
      task.task === "row" ? await rowOf(task.data, task.leaf) : await digest(task.id, task.file, task.form);
    self.postMessage({ id: task.id, answer });
  } catch (error) {
    self.postMessage({ id: task.id, refused: messageOf(error) });
  }
};

/**
 * @param {number} id
 * @param {File} file
 * @param {Form} form
 */
async function digest(id, file, form) {
  if (form.name === "bytes") return { digest: await streamed(id, file), lossy: false };
  if (file.size > MAX_ENCODED)
    throw new SourceError(`the file has ${file.size} bytes, too many for this page: use the command alithis verify`);
  return decodedDigest(new Uint8Array(await contentOf(file)), form);
}

/**
 * @param {number} id
 * @param {File} file
 */
async function streamed(id, file) {
  const hasher = await createSHA256();
  for (let at = 0; at < file.size; at += SLICE) {
    hasher.update(new Uint8Array(await contentOf(file.slice(at, at + SLICE))));
    self.postMessage({ id, done: Math.min(at + SLICE, file.size) });
  }
  return hasher.digest("binary");
}

/** @param {Blob} blob */
function contentOf(blob) {
  return blob.arrayBuffer().catch(() => {
    throw new SourceError("the file cannot be read, or changed while it was read: choose it again");
  });
}
