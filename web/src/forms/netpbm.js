/** Decodes binary PGM and PPM (the Netpbm formats P5 and P6 with 8-bit samples). */

import { SourceError } from "../core/errors.js";
import { CHANNELS, checkArea } from "./raster.js";

/** @import {Raster} from "./raster.js" */

const HEADER = /^P([56])((?:\s|#[^\n]*\n)+\d{1,6}){3}\s/;

/** @param {Uint8Array} bytes */
export function isNetpbm(bytes) {
  return bytes[0] === 0x50 && (bytes[1] === 0x35 || bytes[1] === 0x36);
}

/**
 * @param {Uint8Array} bytes
 * @returns {Raster}
 */
export function decodeNetpbm(bytes) {
  const head = HEADER.exec(new TextDecoder("latin1").decode(bytes.subarray(0, 1024)));
  if (!head) throw new SourceError("the image cannot be decoded: its header is malformed");
  const numbers = head[0]
    .slice(2)
    .replace(/#[^\n]*\n/g, " ")
    .trim()
    .split(/\s+/)
    .map(Number);
  const [width = 0, height = 0, most = 0] = numbers;
  if (most !== 255)
    throw new SourceError("the image's samples are not from 0 to 255: only 8-bit images can be compared");
  checkArea(width, height);
  const mode = head[1] === "6" ? "RGB" : "L";
  const samples = bytes.subarray(head[0].length, head[0].length + width * height * CHANNELS[mode]);
  if (samples.length < width * height * CHANNELS[mode])
    throw new SourceError("the image is incomplete: get the file again");
  return { mode, width, height, samples };
}
