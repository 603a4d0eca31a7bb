/** A file's content → its digest in a canonical form. */

import { sha256 } from "@noble/hashes/sha2.js";
import { SourceError } from "../core/errors.js";
import { decodeImage } from "./image.js";
import { samplesIn } from "./raster.js";
import { canonicalText } from "./text.js";

/** @import {Form} from "../core/metadata.js" */

/** @typedef {{digest: Uint8Array, lossy: boolean}} Digest `lossy`: that of a picture that other decoders see otherwise */

/** Bytes of a file that is decoded as a whole. */
export const MAX_ENCODED = 2 ** 28;

/**
 * The digest in a form that has to decode the content; for `bytes` a file is streamed instead.
 * @param {Uint8Array<ArrayBuffer>} data
 * @param {Form} form
 * @returns {Promise<Digest>}
 */
export async function decodedDigest(data, form) {
  if (form.name === "text") return { digest: sha256(canonicalText(data)), lossy: false };
  if (form.name !== "pixels") {
    throw new SourceError(
      `the data points are compared as ${form.name}s, which this page does not make: ask alithis verify`,
    );
  }
  const { raster, lossy } = await decodeImage(data);
  return { digest: sha256(samplesIn(raster, form)), lossy };
}
