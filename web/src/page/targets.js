/** Makes targets from what the reader gives: files, a digest, a proof file, or a file with its proof. */

import { fromHex } from "../core/bytes.js";
import { FormatError } from "../core/errors.js";
import { isProof, loadProof, looksLikeProof } from "../core/proof.js";
import { MAX_PROOF_BYTES } from "../generated/terms.js";

/** @import {Hasher} from "../work/hasher.js" */
/** @import {Digest} from "../forms/digest.js" */
/** @import {Target} from "../work/verify.js" */

/** The most files that are checked at once. */
export const MAX_FILES = 500;

/** @typedef {Target & {file?: File, hashing?: (progress: (done: number) => void) => Promise<Digest>}} Asked */

/**
 * Return the targets in dropped files. One proof file and one other file are one target.
 * @param {readonly File[]} files
 * @param {Hasher} hasher
 * @returns {Promise<Asked[]>}
 */
export async function targetsOf(files, hasher) {
  const proofs = [];
  const plain = [];
  for (const file of files.slice(0, MAX_FILES)) {
    // A proof file in UTF-16 or UTF-32 may be larger than one in UTF-8 can be.
    const head = new Uint8Array(await file.slice(0, MAX_PROOF_BYTES + 1).arrayBuffer());
    const looks = isProof(head) ? null : looksLikeProof(head);
    if (looks) throw new FormatError(`${file.name} ${looks}. If it is not meant as a proof, paste its fingerprint`);
    if (isProof(head)) proofs.push({ file, brought: loadProof(head) });
    else plain.push(file);
  }
  const [only] = proofs;
  if (only && proofs.length === 1 && plain.length === 1) {
    return plain.map((file) => ({ ...ofFile(file, hasher), brought: only.brought }));
  }
  /** @type {Asked[]} */
  const alone = proofs.map(({ file, brought }) => ({ name: file.name, kind: "proof", size: file.size, brought }));
  return [...alone, ...plain.map((file) => ofFile(file, hasher))];
}

/**
 * @param {File} file
 * @param {Hasher} hasher
 * @returns {Asked}
 */
function ofFile(file, hasher) {
  /** @type {Map<string, Promise<Digest>>} */
  const made = new Map();
  /** @type {Asked["hashing"]} */
  const hashing = (progress) => {
    const found = made.get("bytes") ?? hasher.digest(file, { name: "bytes" }, progress);
    made.set("bytes", found);
    return found;
  };
  return {
    name: file.webkitRelativePath || file.name,
    kind: "file",
    size: file.size,
    file,
    hashing,
    digest: (form) => {
      if (form.name === "bytes") return hashing(() => {});
      const key = JSON.stringify(form);
      const found = made.get(key) ?? hasher.digest(file, form);
      made.set(key, found);
      return found;
    },
  };
}

/**
 * Return the target for a digest.
 * @param {string} hex 64 digits
 * @returns {Asked}
 */
export function ofDigest(hex) {
  const digest = fromHex(hex);
  return { name: hex, kind: "digest", digest: async () => ({ digest, lossy: false }) };
}

/**
 * Return a pasted digest in lower case; null if it is none.
 * @param {string} text
 */
export function pastedDigest(text) {
  return /^(?:0x|sha256:)?([0-9a-f]{64})$/i.exec(text.trim())?.[1]?.toLowerCase() ?? null;
}

/**
 * Return the dropped files, and those in dropped folders.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null);
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  /** @type {File[]} */
  const files = [];
  const waiting = [...entries];
  for (let entry = waiting.shift(); entry && files.length < MAX_FILES; entry = waiting.shift()) {
    if (entry.isDirectory) waiting.push(...(await children(/** @type {FileSystemDirectoryEntry} */ (entry))));
    else files.push(await fileOf(/** @type {FileSystemFileEntry} */ (entry)));
  }
  return files;
}

/**
 * @param {FileSystemDirectoryEntry} folder
 * @returns {Promise<FileSystemEntry[]>}
 */
async function children(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length || found.length > MAX_FILES) return found;
    found.push(...some);
  }
}

/**
 * @param {FileSystemFileEntry} entry
 * @returns {Promise<File>}
 */
function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
