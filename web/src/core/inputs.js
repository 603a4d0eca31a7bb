/** What a model's metadata states of its inputs, with the transcript of a training run. */

import { equal } from "./bytes.js";
import { isObject } from "./json.js";
import { Checked } from "./values.js";

/** @import {Json} from "./json.js" */
/** @import {Metadata} from "./metadata.js" */

const MAX_INPUTS = 256; // as many as a token has links

/** @typedef {{seen: number, unseen: number, foreign: number}} Transcript leaves of the dataset that were fed, that were not, and what else was */

/**
 * What a model states to have been fed of a dataset, unless that cannot be.
 * @param {Metadata} model
 * @param {string} relation of the model to the dataset
 * @param {{metadataDigest: Uint8Array, root: Uint8Array, size: number}} dataset
 * @returns {Transcript | null}
 */
export function transcriptOf(model, relation, dataset) {
  const ours = model.document.alithis;
  const inputs = isObject(ours) && Array.isArray(ours.inputs) ? ours.inputs : [];
  if (inputs.length > MAX_INPUTS) return null;
  for (const input of inputs) {
    const found = statedIn(input, relation, dataset);
    if (found && found.seen + found.unseen === dataset.size) return found;
  }
  return null;
}

/**
 * @param {Json} input
 * @param {string} relation
 * @param {{metadataDigest: Uint8Array, root: Uint8Array}} dataset
 */
function statedIn(input, relation, dataset) {
  /** @type {Checked} */
  const checked = new Checked("inputs");
  try {
    const { relation: stated, metadata, transcript = null } = checked.object(input, "input");
    if (transcript === null || stated !== relation) return null;
    if (!equal(checked.hash(metadata, "metadata"), dataset.metadataDigest)) return null;
    const counts = checked.object(transcript, "transcript");
    const [seen, unseen, foreign, size] = ["seen", "unseen", "foreign", "size"].map((key) => whole(counts[key]));
    if (seen === undefined || unseen === undefined || foreign === undefined) return null;
    if (seen + foreign !== size || (whole(counts.given) ?? size) < size) return null;
    const complete = unseen === 0 && foreign === 0; // it is then the dataset itself
    if (complete && !equal(checked.hash(counts.root, "root"), dataset.root)) return null;
    return { seen, unseen, foreign };
  } catch {
    return null;
  }
}

/** @param {Json | undefined} value */
function whole(value) {
  return typeof value === "number" && value >= 0 && value < 2 ** 48 ? value : undefined;
}
