/** Rasters of 8-bit samples, and how they are brought to a mode without loss (docs/format.md, "pixels"). */

import { SourceError } from "../core/errors.js";

/** @import {Form} from "../core/metadata.js" */

/** @typedef {"L" | "RGB" | "RGBA"} Mode */
/** @typedef {{mode: Mode, width: number, height: number, samples: Uint8Array}} Raster samples row by row, those of a pixel together */

/** Samples of a pixel. */
export const CHANNELS = { L: 1, RGB: 3, RGBA: 4 };
/** Pixels that are decoded at most: some 700 MB of samples. */
export const MAX_PIXELS = 178_956_970;

/**
 * @param {number} width
 * @param {number} height
 */
export function checkArea(width, height) {
  if (width < 1 || height < 1) throw new SourceError("not an image that can be decoded");
  if (width * height > MAX_PIXELS) throw new SourceError("the image is too large to decode");
}

/**
 * The samples of a raster in the mode of a form.
 * @param {Raster} raster
 * @param {Form} form
 * @throws {SourceError} it has another size, or would lose something
 */
export function samplesIn(raster, form) {
  const [width, height] = [form.width ?? raster.width, form.height ?? raster.height];
  if (raster.width !== width || raster.height !== height) {
    throw new SourceError(
      `the image is ${raster.width} × ${raster.height} pixels, where all data points are ${width} × ${height}`,
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
    if (loses) throw new SourceError(`the image is ${raster.mode}, and cannot become ${mode} without loss`);
    out[pixel * to] = red;
    if (to > 1) out.set([green, blue], pixel * to + 1);
    if (to > 3) out[pixel * to + 3] = 255;
  }
  return out;
}
