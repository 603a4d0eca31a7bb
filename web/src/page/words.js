/** Numbers, times and the contract's terms in words. */

/** @import {Form, Metadata} from "../core/metadata.js" */
/** @import {Relation, Token} from "../chain/registry.js" */
/** @import {Evidence, Grade} from "../core/grade.js" */
/** @import {Session} from "./session.js" */

const NUMBER = new Intl.NumberFormat("en");
const DATE = new Intl.DateTimeFormat("en", { dateStyle: "medium" });

/** @param {number} value */
export const number = (value) => NUMBER.format(value);

/** @param {number} seconds since 1970 */
export const date = (seconds) => DATE.format(new Date(seconds * 1000));

/** @param {string} address */
export const brief = (address) => `${address.slice(0, 8)}…${address.slice(-4)}`;

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** @param {number} bytes */
export function bytes(bytes) {
  for (const [unit, name] of /** @type {const} */ ([
    [2 ** 30, "GB"],
    [2 ** 20, "MB"],
    [2 ** 10, "KB"],
  ])) {
    if (bytes >= unit) return `${(bytes / unit).toFixed(bytes < 10 * unit ? 1 : 0)} ${name}`;
  }
  return `${bytes} bytes`;
}

/** Relations: "model 2 was trained on dataset 1". @type {Record<Relation, string>} */
export const RELATION = {
  derived_from: "was derived from",
  trained_on: "was trained on",
  validated_on: "was validated on",
  tested_on: "was tested on",
  fine_tuned_from: "was fine-tuned from",
  distilled_from: "was distilled from",
  supersedes: "replaces",
};

/** @type {Record<Grade, string>} */
export const GRADE = {
  stated: "the publisher states",
  countersigned: "confirmed by the owner",
  transcript: "recorded during training",
};

/**
 * Return the grade of a link in words.
 * @param {Evidence} evidence
 * @param {Token | undefined} target
 */
export function gradeWords({ grade, transcript }, target) {
  const words = [];
  if (grade === "countersigned") words.push(`confirmed by the ${target?.kind ?? "dataset"}'s owner`);
  if (transcript) words.push(GRADE.transcript);
  if (!words.length) words.push(GRADE.stated);
  return words.join(", ");
}

/**
 * Return what a form compares.
 * @param {Form} form
 */
export function formWords(form) {
  if (form.name === "bytes") return "files, byte by byte";
  if (form.name === "text") return "texts, character by character";
  if (form.name === "record") return "rows, by their values";
  if (form.name === "sample") return "samples of several files";
  const size = form.width && form.height ? `, ${form.width} × ${form.height}` : "";
  return `pictures, pixel by pixel (${{ L: "grey", RGB: "colour", RGBA: "colour with transparency" }[form.mode ?? "L"]}${size})`;
}

/**
 * Return the warnings about a token, the most serious first.
 * @param {Token} token
 * @returns {string[]}
 */
export function marks(token) {
  const found = [];
  if (token.disordered)
    found.push(
      "Out of order: somebody proved that its published list is not sorted, so it cannot show that anything is absent.",
    );
  if (token.withdrawn) found.push("Withdrawn by its owner. Its record stays public.");
  if (token.supersededBy) found.push(`Replaced by a newer version, ${token.kind} ${token.supersededBy}.`);
  if (token.openClaims) found.push(`${counted(token.openClaims, "claim")} against it that nobody has answered.`);
  return found;
}

/**
 * @param {Token} token
 * @param {Metadata | null | undefined} metadata
 */
export function nameOf(token, metadata) {
  return metadata?.name ?? `${token.kind === "model" ? "Model" : "Dataset"} ${token.id}`;
}

/**
 * Show a token's name in an element: its kind and id first, then its own name when that has been read.
 * @param {Node} element
 * @param {Token} token
 * @param {Session} session
 * @param {(name: string) => string} [shorten]
 */
export function showName(element, token, session, shorten = (name) => name) {
  element.textContent = nameOf(token, null);
  session.metadata(token).then((metadata) => {
    element.textContent = shorten(nameOf(token, metadata));
  });
}

/**
 * Return a text of the metadata; null if it is missing or empty.
 * @param {Metadata | null | undefined} metadata
 * @param {string} key
 */
export function term(metadata, key) {
  const value = metadata?.document[key];
  return typeof value === "string" && value.trim() ? value.slice(0, 2000) : null;
}
