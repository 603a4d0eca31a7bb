/**
 * Decodes PNG exactly (W3C PNG, third edition): the samples in the file, without gamma or colour
 * profile. A browser's own decoder may apply these, and loses precision where alpha is below 255.
 */

import { SourceError } from "../core/errors.js";
import { checkArea } from "./raster.js";

/** @import {Mode, Raster} from "./raster.js" */

const SIGNATURE = "137,80,78,71,13,10,26,10";
const [GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA] = [0, 2, 3, 4, 6];
/** @type {Record<number, number>} */
const SAMPLES = { [GREY]: 1, [COLOUR]: 3, [PALETTE]: 1, [GREY_ALPHA]: 2, [COLOUR_ALPHA]: 4 };
/** The passes of Adam7: first column and row, and the steps between columns and rows. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/** @typedef {{width: number, height: number, depth: number, type: number, interlaced: boolean}} Header */
/** @typedef {{header: Header, palette: Uint8Array, transparent: Uint8Array | null, data: Uint8Array[]}} Parts */

/** @param {Uint8Array} bytes */
export function isPng(bytes) {
  return bytes.subarray(0, 8).join() === SIGNATURE;
}

/**
 * @param {Uint8Array} bytes
 * @returns {Promise<Raster>}
 */
export async function decodePng(bytes) {
  const parts = partsOf(bytes);
  const { header } = parts;
  const passes = passesOf(header);
  const wanted = passes.reduce((sum, pass) => sum + pass.height * (1 + rowBytes(header, pass.width)), 0);
  const packed = await inflate(parts.data, wanted);
  const samples = new Uint8Array(header.width * header.height * (SAMPLES[header.type] ?? 1));
  let at = 0;
  for (const pass of passes) at = readPass(packed, at, header, pass, samples);
  return finished(parts, samples);
}

/**
 * @param {Uint8Array} bytes
 * @returns {Parts}
 */
function partsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  /** @type {Partial<Parts> & {data: Uint8Array[]}} */
  const found = { data: [], transparent: null };
  for (let at = 8, end = false; !end; ) {
    if (at + 12 > bytes.length) damaged();
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) damaged();
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (crc(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) damaged();
    if (type === "IHDR") found.header = headerOf(body);
    else if (type === "PLTE") found.palette = body;
    else if (type === "tRNS") found.transparent = body;
    else if (type === "IDAT") found.data.push(body);
    else if (type === "acTL" && body.length === 8 && new DataView(body.buffer, body.byteOffset).getUint32(0) > 1) {
      throw new SourceError("the image has more than one frame");
    }
    end = type === "IEND";
    at += 12 + length;
  }
  const { header, data, transparent = null } = found;
  if (!header || !data.length || (header.type === PALETTE && !found.palette)) damaged();
  return { header, palette: found.palette ?? new Uint8Array(), transparent, data };
}

/**
 * @param {Uint8Array} body
 * @returns {Header}
 */
function headerOf(body) {
  if (body.length !== 13) damaged();
  const view = new DataView(body.buffer, body.byteOffset);
  const [width, height, depth, type] = [view.getUint32(0), view.getUint32(4), view.getUint8(8), view.getUint8(9)];
  checkArea(width, height);
  if (depth > 8) throw new SourceError("the image's samples have more than 8 bits: only 8-bit images can be compared");
  const packs = type === GREY || type === PALETTE;
  if (!(type in SAMPLES) || !(packs ? [1, 2, 4, 8] : [8]).includes(depth) || view.getUint8(12) > 1) damaged();
  return { width, height, depth, type, interlaced: view.getUint8(12) === 1 };
}

/** @typedef {{x: number, y: number, dx: number, dy: number, width: number, height: number}} Pass */

/**
 * @param {Header} header
 * @returns {Pass[]}
 */
function passesOf({ width, height, interlaced }) {
  if (!interlaced) return [{ x: 0, y: 0, dx: 1, dy: 1, width, height }];
  return ADAM7.map(([x = 0, y = 0, dx = 1, dy = 1]) => ({
    ...{ x, y, dx, dy },
    width: Math.max(0, Math.ceil((width - x) / dx)),
    height: Math.max(0, Math.ceil((height - y) / dy)),
  })).filter((pass) => pass.width && pass.height);
}

/**
 * @param {Header} header
 * @param {number} width
 */
function rowBytes(header, width) {
  return Math.ceil((width * header.depth * (SAMPLES[header.type] ?? 1)) / 8);
}

/**
 * @param {Uint8Array[]} data
 * @param {number} length the bytes that the image needs; more are ignored
 */
async function inflate(data, length) {
  const out = new Uint8Array(length);
  const stream = new Blob(/** @type {BlobPart[]} */ (data)).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  let at = 0;
  try {
    while (at < length) {
      const { done, value } = await reader.read();
      if (done) damaged();
      out.set(value.subarray(0, length - at), at);
      at += value.length;
    }
  } catch {
    damaged();
  } finally {
    reader.cancel().catch(() => {});
  }
  return out;
}

/**
 * Undo the filters of a pass, and put its samples into their places.
 * @param {Uint8Array} packed
 * @param {number} at the offset at which the pass begins
 * @param {Header} header
 * @param {Pass} pass
 * @param {Uint8Array} samples
 */
function readPass(packed, at, header, pass, samples) {
  const [length, channels] = [rowBytes(header, pass.width), SAMPLES[header.type] ?? 1];
  const step = Math.max(1, (header.depth * channels) / 8);
  /** @type {Uint8Array} */
  let above = new Uint8Array(length);
  for (let row = 0; row < pass.height; row++) {
    const line = packed.subarray(at + 1, at + 1 + length);
    unfilter(/** @type {number} */ (packed[at]), line, above, step);
    const start = (pass.y + row * pass.dy) * header.width;
    for (let column = 0; column < pass.width; column++) {
      const target = (start + pass.x + column * pass.dx) * channels;
      for (let channel = 0; channel < channels; channel++) {
        samples[target + channel] = sampleAt(line, column * channels + channel, header.depth);
      }
    }
    above = line;
    at += 1 + length;
  }
  return at;
}

/**
 * @param {Uint8Array} line
 * @param {number} index
 * @param {number} depth bits
 */
function sampleAt(line, index, depth) {
  const bit = index * depth;
  const byte = /** @type {number} */ (line[bit >> 3]);
  return depth === 8 ? byte : (byte >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

/**
 * @param {number} filter
 * @param {Uint8Array} line
 * @param {Uint8Array} above
 * @param {number} step bytes of a pixel
 */
function unfilter(filter, line, above, step) {
  if (filter > 4) damaged();
  for (let at = 0; at < line.length; at++) {
    const left = at < step ? 0 : /** @type {number} */ (line[at - step]);
    const up = /** @type {number} */ (above[at]);
    const corner = at < step ? 0 : /** @type {number} */ (above[at - step]);
    const guess = [0, left, up, (left + up) >> 1, filter === 4 ? paeth(left, up, corner) : 0][filter] ?? 0;
    line[at] = /** @type {number} */ (line[at]) + guess;
  }
}

/**
 * @param {number} left
 * @param {number} up
 * @param {number} corner
 */
function paeth(left, up, corner) {
  const estimate = left + up - corner;
  const [toLeft, toUp, toCorner] = [left, up, corner].map((value) => Math.abs(estimate - value));
  if (Number(toLeft) <= Number(toUp) && Number(toLeft) <= Number(toCorner)) return left;
  return Number(toUp) <= Number(toCorner) ? up : corner;
}

/**
 * Resolve palette and transparency.
 * @param {Parts} parts
 * @param {Uint8Array} samples one byte each
 * @returns {Raster}
 */
function finished({ header, palette, transparent }, samples) {
  const { width, height, type, depth } = header;
  const scale = type === GREY ? 255 / (2 ** depth - 1) : 1;
  /** @param {Mode} mode @param {Uint8Array} made */
  const raster = (mode, made) => ({ mode, width, height, samples: made });
  if (type === COLOUR_ALPHA) return raster("RGBA", samples);
  if (type === GREY && !transparent) return raster("L", scale === 1 ? samples : samples.map((value) => value * scale));
  if (type === COLOUR && !transparent) return raster("RGB", samples);
  const channels = SAMPLES[type] ?? 1;
  const count = width * height;
  const alpha = type === GREY_ALPHA || transparent !== null;
  const out = new Uint8Array(count * (alpha ? 4 : 3));
  for (let pixel = 0; pixel < count; pixel++) {
    const packed = samples.subarray(pixel * channels, (pixel + 1) * channels);
    const colour = colourOf(type, packed, palette, scale);
    out.set(alpha ? [...colour, opacity(type, packed, transparent)] : colour, pixel * (alpha ? 4 : 3));
  }
  return raster(alpha ? "RGBA" : "RGB", out);
}

/**
 * @param {number} type
 * @param {Uint8Array} packed
 * @param {Uint8Array} palette
 * @param {number} scale
 * @returns {number[]}
 */
function colourOf(type, packed, palette, scale) {
  const first = /** @type {number} */ (packed[0]);
  if (type === COLOUR) return [...packed];
  if (type !== PALETTE) return [first * scale, first * scale, first * scale];
  if (3 * first + 3 > palette.length) damaged();
  return [...palette.subarray(3 * first, 3 * first + 3)];
}

/**
 * @param {number} type
 * @param {Uint8Array} packed
 * @param {Uint8Array | null} transparent
 */
function opacity(type, packed, transparent) {
  if (type === GREY_ALPHA) return packed[1] ?? 255;
  if (!transparent) return 255;
  if (type === PALETTE) return transparent[packed[0] ?? 0] ?? 255;
  const same = packed.every((value, at) => transparent[2 * at] === 0 && transparent[2 * at + 1] === value);
  return same ? 0 : 255;
}

/** @type {Uint32Array | undefined} */
let table;

/** @param {Uint8Array} bytes */
function crc(bytes) {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ /** @type {number} */ (table[(value ^ byte) & 255]);
  return (value ^ 0xffffffff) >>> 0;
}

/** @returns {never} */
function damaged() {
  throw new SourceError("the image is damaged: get the file again");
}
