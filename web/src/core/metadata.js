/** Reads metadata.json, an artifact's description (docs/format.md), with the rules of alithis/manifest/metadata.py. */

import { sha256 } from "@noble/hashes/sha2.js";
import {
  FORMS,
  KINDS,
  MAX_FILES,
  MAX_METADATA_BYTES,
  MAX_NAME,
  METADATA_VERSION,
  MODES,
  SCHEMES,
} from "../generated/terms.js";
import { equal } from "./bytes.js";
import { parseObject } from "./json.js";
import { fold, ones } from "./merkle.js";
import { Checked, isPrintable } from "./values.js";

/** @import {Json, JsonObject} from "./json.js" */

const FORM_VERSION = 1; // of every canonical form
const ITEMS = /^items(-\d{5})?\.parquet$/;
const NAMES = /^(?:leaves|items(?:-\d{5})?\.parquet|tiles\/[1-6])$/;

/**
 * @typedef {object} Form a canonical form: how a data point is converted to the bytes that are hashed
 * @property {typeof FORMS[number]} name
 * @property {typeof MODES[number]} [mode] for pixels
 * @property {number} [width] for pixels, if all images have the same
 * @property {number} [height] likewise
 */
/** @typedef {{name: string, cid: string, sha256: Uint8Array, size: number}} FileEntry */
/**
 * @typedef {object} Metadata
 * @property {typeof KINDS[number]} kind
 * @property {string} name
 * @property {Form} form
 * @property {typeof SCHEMES[number]} scheme
 * @property {Uint8Array} root
 * @property {number} size distinct leaves
 * @property {number} items data points, repeats counted
 * @property {Uint8Array[]} frontier
 * @property {FileEntry[]} files
 * @property {JsonObject} document
 * @property {Uint8Array} digest SHA-256 of the document's bytes
 */

/** @type {Checked} */
const checked = new Checked("metadata.json");

/**
 * Read and check a document.
 * @param {Uint8Array} data
 * @returns {Metadata}
 * @throws {FormatError}
 */
export function loadMetadata(data) {
  if (data.length > MAX_METADATA_BYTES) checked.fail(`${data.length} bytes; at most ${MAX_METADATA_BYTES} are allowed`);
  const document = parseObject(data, checked.name);
  const ours = checked.object(document.alithis, "alithis");
  checkVersion(ours.version, "format", METADATA_VERSION);
  const size = checked.count(ours.size, "size");
  const items = checked.count(ours.items, "items");
  if (items < size) checked.fail(`items must be from ${size} to 2^48`); // several items can have the same leaf
  const root = checked.hash(ours.root, "root");
  const frontier = checked.list(ours.frontier, "frontier").map((node) => checked.hash(node, "frontier"));
  if (frontier.length !== ones(size)) {
    checked.fail(`frontier has ${frontier.length} hashes; size ${size} needs ${ones(size)}`);
  }
  if (!equal(fold(frontier), root)) checked.fail("the frontier does not fold to the root");
  const scheme = checked.oneOf(ours.scheme, "scheme", SCHEMES);
  if (scheme === "keyed") checked.hash(ours.keyCheck, "keyCheck");
  return {
    kind: checked.oneOf(ours.kind, "kind", KINDS),
    name: nameOf(document),
    form: formOf(checked.object(ours.form, "form")),
    scheme,
    root,
    size,
    items,
    frontier,
    files: filesOf(checked.list(document.distribution, "distribution")),
    document,
    digest: sha256(data),
  };
}

/**
 * Return the files that list the items, in the order of their rows.
 * @param {Metadata} metadata
 */
export function itemsFiles(metadata) {
  return metadata.files.filter((entry) => ITEMS.test(entry.name));
}

/**
 * @param {Json | undefined} value
 * @param {string} what whose version it is
 * @param {number} known the only version that this page can read
 */
function checkVersion(value, what, known) {
  const version = checked.count(value, "version");
  if (version !== known) {
    checked.fail(`${what} version ${version}; this page reads version ${known}: use a newer page`);
  }
}

/** @param {JsonObject} document */
function nameOf(document) {
  const name = checked.text(document.name, "name");
  const length = [...name].length;
  if (length < 1 || length > MAX_NAME || !isPrintable(name)) {
    checked.fail(`name must be 1 to ${MAX_NAME} printable characters, on one line`);
  }
  return name;
}

/**
 * @param {JsonObject} value
 * @returns {Form}
 */
function formOf(value) {
  const name = checked.oneOf(value.name, "form", FORMS);
  checkVersion(value.version, `canonical form ${name} has`, FORM_VERSION);
  const facts = ["mode", "width", "height"].filter((key) => key in value);
  if (name !== "pixels") {
    if (facts.length) checked.fail(`canonical form ${name} has no ${facts[0]}`);
    return { name };
  }
  /** @type {Form} */
  const form = { name, mode: checked.oneOf(value.mode, "mode", MODES) };
  if ("width" in value) form.width = checked.count(value.width, "width");
  if ("height" in value) form.height = checked.count(value.height, "height");
  return form;
}

/** @param {Json[]} values */
function filesOf(values) {
  if (values.length > MAX_FILES)
    checked.fail(`distribution has ${values.length} elements; at most ${MAX_FILES} are allowed`);
  const files = values
    .map((value) => checked.object(value, "distribution"))
    .filter((value) => value["@type"] !== "cr:FileSet") // for loaders of Croissant: a pattern over the files that are listed too
    .map(fileOf);
  const names = files.map((file) => file.name);
  if (new Set(names).size !== names.length) checked.fail("distribution names a file twice");
  if (!names.includes("leaves")) checked.fail("distribution lacks the file 'leaves'");
  checkParts(names.filter((name) => ITEMS.test(name)));
  return files;
}

/** @param {string[]} parts */
function checkParts(parts) {
  const numbered = parts.map((_, number) => `items-${String(number).padStart(5, "0")}.parquet`);
  const whole = parts.length === 1 && parts[0] === "items.parquet";
  if (!whole && parts.some((part, at) => part !== numbered[at])) {
    checked.fail("distribution must name all parts of the items, in order");
  }
}

/**
 * @param {JsonObject} value
 * @returns {FileEntry}
 */
function fileOf(value) {
  const name = checked.text(value.name, "name of a file");
  if (!NAMES.test(name)) checked.fail("name must be a file of the distribution of a manifest");
  const size = /^(\d{1,18}) B$/.exec(checked.text(value.contentSize, "contentSize"));
  const url = /^ipfs:\/\/([0-9A-Za-z]{40,128})$/.exec(checked.text(value.contentUrl, "contentUrl"));
  if (!size) checked.fail("contentSize must be a number of bytes such as 96 B");
  if (!url) checked.fail("contentUrl must be an ipfs:// URL");
  return {
    name,
    cid: /** @type {string} */ (url[1]),
    sha256: checked.hash(value.sha256, "sha256"),
    size: Number(size[1]),
  };
}
