/** Starts the worker that computes digests, and sends it tasks. */

import { SourceError } from "../core/errors.js";

/** @import {Digest} from "../forms/digest.js" */
/** @import {Form} from "../core/metadata.js" */
/** @import {Rows} from "./items.js" */

/** @typedef {{resolve: (answer: any) => void, reject: (error: Error) => void, progress: (done: number) => void}} Waiting */

export class Hasher {
  /** @param {string} program the worker's source */
  constructor(program) {
    this.worker = new Worker(URL.createObjectURL(new Blob([program], { type: "text/javascript" })));
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    this.asked = 0;
    this.worker.onmessage = ({ data }) => this.received(data);
    this.worker.onerror = () => {
      for (const { reject } of this.waiting.values())
        reject(new SourceError("the worker that reads files crashed: reload the page"));
      this.waiting.clear();
    };
  }

  /**
   * Compute the digest of a file in a form.
   * @param {File} file
   * @param {Form} form
   * @param {(done: number) => void} [progress] called with the number of bytes hashed so far
   * @returns {Promise<Digest>}
   */
  digest(file, form, progress = () => {}) {
    return this.ask({ task: "digest", file, form }, progress);
  }

  /**
   * Read the rows of a leaf in items.parquet.
   * @param {Uint8Array} data
   * @param {Uint8Array} leaf
   * @returns {Promise<Rows>}
   */
  rows(data, leaf) {
    return this.ask({ task: "row", data, leaf }, () => {});
  }

  /**
   * @param {object} task
   * @param {(done: number) => void} progress
   * @returns {Promise<any>}
   */
  ask(task, progress) {
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, progress });
      this.worker.postMessage({ id, ...task });
    });
  }

  /** @param {{id: number, answer?: unknown, refused?: string, done?: number}} message */
  received({ id, answer, refused, done }) {
    const waiting = this.waiting.get(id);
    if (done !== undefined) {
      waiting?.progress(done);
      return;
    }
    this.waiting.delete(id);
    if (refused !== undefined) waiting?.reject(new SourceError(refused));
    else waiting?.resolve(answer);
  }
}
