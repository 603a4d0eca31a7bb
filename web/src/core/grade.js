/**
 * The grade of a link: how well it is supported. The rule, and the reasons for it, are those of
 * alithis/verify/grade.py; tests/vectors/grades.json compares the two.
 */

import { GRADES, INPUT_RELATIONS, MAX_LINKS, MAX_SIZE, TRANSCRIBED } from "../generated/terms.js";
import { equal } from "./bytes.js";
import { FormatError } from "./errors.js";
import { isObject } from "./json.js";
import { Checked, isPrintable } from "./values.js";

/** @import {Json} from "./json.js" */
/** @import {Metadata} from "./metadata.js" */

/** @typedef {typeof GRADES[number]} Grade */
/** @typedef {{kind: string, scheme: string, size: number, root: Uint8Array, metadataDigest: Uint8Array}} Endpoint one end of a link, as its token states it */
/** @typedef {{root: Uint8Array | null, size: number, seen: number, unseen: number, foreign: number, given: number | null}} Transcript of a training run. `size`: distinct data points used; `seen`: those of them that are in the dataset; `foreign`: those that are not; `unseen`: data points of the dataset that were not used; `given`: data points used, repeats counted */
/** @typedef {{relation: string, metadata: Uint8Array, transcript: Transcript | null}} Input */
/** @typedef {{grade: Grade, transcript: Transcript | null}} Evidence */

/**
 * Return the grade of a link, and the transcript that supports it.
 * @param {{relation: string, countersigned: boolean}} link
 * @param {Endpoint} source the newer artifact, which has the link
 * @param {Endpoint} target the older one
 * @param {Metadata | null} metadata the source's; null if it is not available
 * @returns {Evidence}
 */
export function evidence(link, source, target, metadata) {
  const transcript = metadata && transcriptOf(link.relation, source, target, metadata);
  if (link.countersigned) return { grade: "countersigned", transcript };
  return { grade: transcript ? "transcript" : "stated", transcript };
}

/**
 * Return the transcript that supports a link, if there is one.
 * @param {string} relation
 * @param {Endpoint} source
 * @param {Endpoint} target
 * @param {Metadata} metadata
 */
function transcriptOf(relation, source, target, metadata) {
  if (!TRANSCRIBED.some((each) => each === relation) || target.kind !== "dataset" || metadata.kind !== "model")
    return null;
  const { kind, scheme, size, root } = metadata;
  // Metadata with the right SHA-256 can still state another tree than the token: then one of them is wrong.
  const agrees = kind === source.kind && scheme === source.scheme && size === source.size && equal(root, source.root);
  if (!agrees) return null;
  const [transcript, ...others] = inputsOf(metadata)
    .filter((input) => input.relation === relation && equal(input.metadata, target.metadataDigest))
    .flatMap((input) => input.transcript ?? []);
  if (!transcript || others.some((other) => !same(transcript, other))) return null;
  return isPossible(transcript, target) ? transcript : null;
}

/**
 * Return whether a transcript is consistent with a dataset.
 * @param {Transcript} transcript
 * @param {Endpoint} dataset
 */
function isPossible({ root, size, seen, unseen, foreign, given }, dataset) {
  if (seen + unseen !== dataset.size || (given !== null && given < size)) return false;
  // If exactly the dataset was used, both have the same tree.
  return unseen > 0 || foreign > 0 || (root !== null && equal(root, dataset.root));
}

/**
 * @param {Transcript} first
 * @param {Transcript} second
 */
function same(first, second) {
  const roots = first.root && second.root ? equal(first.root, second.root) : first.root === second.root;
  const counts = /** @type {const} */ (["size", "seen", "unseen", "foreign", "given"]);
  return roots && counts.every((count) => first[count] === second[count]);
}

/**
 * Return the inputs that a model's metadata states; none of them if one is malformed.
 * @param {Metadata} metadata
 * @returns {Input[]}
 */
function inputsOf({ document: { alithis: ours } }) {
  if (!isObject(ours) || !Array.isArray(ours.inputs) || ours.inputs.length > MAX_LINKS) return [];
  try {
    return ours.inputs.map(inputOf);
  } catch (error) {
    if (error instanceof FormatError) return [];
    throw error;
  }
}

/** @type {Checked} */
const checked = new Checked("inputs");

/**
 * @param {Json} value
 * @returns {Input}
 */
function inputOf(value) {
  const { relation, name, metadata, transcript = null } = checked.object(value, "input");
  if (!isPrintable(checked.text(name, "name"))) checked.fail("name must be printable");
  return {
    relation: checked.oneOf(relation, "relation", INPUT_RELATIONS),
    metadata: checked.hash(metadata, "metadata"),
    transcript: transcript === null ? null : statedTranscript(checked.object(transcript, "transcript")),
  };
}

/**
 * @param {import("./json.js").JsonObject} value
 * @returns {Transcript}
 */
function statedTranscript(value) {
  const [size, seen, unseen, foreign] = /** @type {[number, number, number, number]} */ (
    ["size", "seen", "unseen", "foreign"].map((key) => whole(value[key], key))
  );
  const given = value.given == null ? null : whole(value.given, "given");
  if (value.root === undefined) checked.fail("root is missing");
  const root = value.root === null ? null : checked.hash(value.root, "root");
  if (seen + foreign !== size || (root === null) !== (size === 0))
    checked.fail("the transcript's counts do not add up");
  return { root, size, seen, unseen, foreign, given };
}

/**
 * @param {Json | undefined} value
 * @param {string} key
 */
function whole(value, key) {
  if (typeof value !== "number" || value < 0 || value >= MAX_SIZE)
    checked.fail(`${key} must be a whole number from 0 to 2^48`);
  return value;
}
