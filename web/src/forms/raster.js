/** Rasters of 8-bit samples, and their lossless conversion between modes (docs/format.md, "pixels"). */

import { SourceError } from "../core/errors.js";

/** @import {Form} from "../core/metadata.js" */

/** @typedef {"L" | "RGB" | "RGBA"} Mode */
/** @typedef {{mode: Mode, width: number, height: number, samples: Uint8Array}} Raster samples row by row, those of a pixel together */

/** Samples in a pixel. */
export const CHANNELS = { L: 1, RGB: 3, RGBA: 4 };
/** The most pixels that are decoded: about 700 MB of samples. */
const MAX_PIXELS = 178_956_970;

/**
 * @param {number} width
 * @param {number} height
 */
export function checkArea(width, height) {
  if (width < 1 || height < 1) throw new SourceError("the image has no pixels");
  if (width * height > MAX_PIXELS)
    throw new SourceError(`the image has more than ${MAX_PIXELS} pixels, too many for this page`);
}

/**
 * Return the samples of a raster in the mode of a form.
 * @param {Raster} raster
 * @param {Form} form
 * @throws {SourceError} the size differs, or the conversion would lose information
 */
export function samplesIn(raster, form) {
  const [width, height] = [form.width ?? raster.width, form.height ?? raster.height];
  if (raster.width !== width || raster.height !== height) {
    throw new SourceError(
      `the image is ${raster.width} × ${raster.height} pixels; all pictures of this dataset are ${width} × ${height}`,
    );
  }
  const mode = form.mode ?? "L";
  if (raster.mode === mode) return raster.samples;
  const [from, to] = [CHANNELS[raster.mode], CHANNELS[mode]];
  const count = raster.width * raster.height;
  const out = new Uint8Array(count * to);
  for (let pixel = 0; pixel < count; pixel++) {
    const at = pixel * from;
    const red = /** @type {number} */ (raster.samples[at]);
    const green = from === 1 ? red : /** @type {number} */ (raster.samples[at + 1]);
    const blue = from === 1 ? red : /** @type {number} */ (raster.samples[at + 2]);
    const alpha = from === 4 ? raster.samples[at + 3] : 255;
    const loses = (to < 4 && alpha !== 255) || (to === 1 && (red !== green || red !== blue));
    if (loses)
      throw new SourceError(`the image has mode ${raster.mode}, which cannot be converted to ${mode} without loss`);
    out[pixel * to] = red;
    if (to > 1) out.set([green, blue], pixel * to + 1);
    if (to > 3) out[pixel * to + 3] = 255;
  }
  return out;
}
