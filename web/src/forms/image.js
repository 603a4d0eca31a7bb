/**
 * Decodes images into rasters. PNG and Netpbm are decoded here, exactly. Other formats are decoded
 * by the browser, and only if that cannot change a sample: opaque images with one frame. Decoders
 * of lossy formats differ (docs/format.md, "pixels"): a match counts, but no match shows nothing.
 */

import { SourceError } from "../core/errors.js";
import { decodeNetpbm, isNetpbm } from "./netpbm.js";
import { decodePng, isPng } from "./png.js";
import { checkArea } from "./raster.js";

/** @import {Raster} from "./raster.js" */

/** @typedef {{type: string, starts: RegExp, lossy: boolean}} Codec */

/** How files begin, each byte as one character. @type {Codec[]} */
const CODECS = [
  { type: "image/jpeg", starts: /^\xff\xd8\xff/, lossy: true },
  { type: "image/webp", starts: /^RIFF....WEBPVP8L/s, lossy: false },
  { type: "image/webp", starts: /^RIFF....WEBP/s, lossy: true },
  { type: "image/gif", starts: /^GIF8[79]a/, lossy: false },
  // biome-ignore lint/suspicious/noControlCharactersInRegex: 0x18 is 24, the bits of a pixel
  { type: "image/bmp", starts: /^BM.{26}\x18\0/s, lossy: false },
  { type: "image/bmp", starts: /^BM/, lossy: true },
];

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<{raster: Raster, lossy: boolean}>}
 */
export async function decodeImage(bytes) {
  if (isPng(bytes)) return { raster: await decodePng(bytes), lossy: false };
  if (isNetpbm(bytes)) return { raster: decodeNetpbm(bytes), lossy: false };
  const head = String.fromCharCode(...bytes.subarray(0, 32));
  const codec = CODECS.find(({ starts }) => starts.test(head));
  if (!codec) throw new SourceError("the file is not an image that this page can decode");
  return { raster: await decodeByBrowser(bytes, codec), lossy: codec.lossy };
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Codec} codec
 * @returns {Promise<Raster>}
 */
async function decodeByBrowser(bytes, { type }) {
  if (typeof ImageDecoder === "undefined") {
    throw new SourceError("this browser cannot decode this image exactly: save it as PNG, or use another browser");
  }
  const decoder = new ImageDecoder({ data: bytes, type, colorSpaceConversion: "none" });
  try {
    await decoder.tracks.ready;
    await decoder.completed;
    if ((decoder.tracks.selectedTrack?.frameCount ?? 1) > 1) throw new SourceError("the image has more than one frame");
    const { image } = await decoder.decode();
    try {
      return await drawn(image);
    } finally {
      image.close();
    }
  } catch (error) {
    if (error instanceof SourceError) throw error;
    throw new SourceError("the image cannot be decoded: it may be damaged");
  } finally {
    decoder.close();
  }
}

/**
 * @param {VideoFrame} frame
 * @returns {Promise<Raster>}
 */
async function drawn(frame) {
  const { width, height } = frame.visibleRect ?? frame.codedRect ?? { width: 0, height: 0 };
  checkArea(width, height);
  const rgba = new Uint8Array(width * height * 4);
  await frame.copyTo(rgba, { format: "RGBA", colorSpace: "srgb" });
  for (let at = 3; at < rgba.length; at += 4) {
    if (rgba[at] !== 255) throw new SourceError("this browser may change transparent pixels: save the image as PNG");
  }
  return { mode: "RGBA", width, height, samples: rgba };
}
