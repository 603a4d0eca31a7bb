/** Computes the digest of a file's content in a canonical form. */

import { sha256 } from "@noble/hashes/sha2.js";
import { SourceError } from "../core/errors.js";
import { decodeImage } from "./image.js";
import { samplesIn } from "./raster.js";
import { canonicalText } from "./text.js";

/** @import {Form} from "../core/metadata.js" */

/** @typedef {{digest: Uint8Array, lossy: boolean}} Digest `lossy`: of a picture that other programs may decode differently */

/** The most bytes of a file that is decoded. */
export const MAX_ENCODED = 2 ** 28;

/**
 * Compute a digest in a form that decodes the content. For `bytes` a file is streamed instead.
 * @param {Uint8Array<ArrayBuffer>} data
 * @param {Form} form
 * @returns {Promise<Digest>}
 * @throws {SourceError} the content has no such form, or this page cannot compute it
 */
export async function decodedDigest(data, form) {
  if (form.name === "text") return { digest: sha256(canonicalText(data)), lossy: false };
  if (form.name !== "pixels") {
    throw new SourceError(
      `this dataset is compared by ${form.name}s, which this page cannot do: use the command alithis verify`,
    );
  }
  const { raster, lossy } = await decodeImage(data);
  return { digest: sha256(samplesIn(raster, form)), lossy };
}
