"""PNG files of every sort, written by the standard (W3C PNG, third edition), not by a library."""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from dataclasses import dataclass

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Sort:
    """A sort of PNG."""

    width: int
    height: int
    type: int = GREY
    depth: int = 8
    interlaced: bool = False
    transparent: bool = False


def write(sort: Sort, seed: int) -> bytes:
    """A picture with random samples and random filters, its data in several chunks."""
    rng = random.Random(seed)
    channels, most = CHANNELS[sort.type], 2**sort.depth - 1
    grey = rng.random() < 0.3  # of a coloured one
    rows = [
        [_pixel(rng, channels, most, grey) for _ in range(sort.width)] for _ in range(sort.height)
    ]
    packed = zlib.compress(b"".join(_passes(sort, rows, rng)))
    cuts = sorted(rng.randrange(len(packed) + 1) for _ in range(2))
    parts = [packed[start:end] for start, end in itertools.pairwise([0, *cuts, len(packed)])]
    header = struct.pack(
        ">IIBBBBB", sort.width, sort.height, sort.depth, sort.type, 0, 0, sort.interlaced
    )
    chunks = [(b"IHDR", header), (b"gAMA", struct.pack(">I", 45455))]
    if sort.type == PALETTE:
        chunks.append((b"PLTE", rng.randbytes(3 * (most + 1))))
    if sort.transparent:
        chunks.append((b"tRNS", _transparency(sort, rows[0][0], rng, most)))
    chunks += [(b"IDAT", part) for part in parts] + [(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _pixel(rng, channels, most, grey):
    pixel = [rng.randint(0, most) for _ in range(channels)]
    if grey and channels >= 3:
        pixel[:3] = [pixel[0]] * 3
    if channels in (2, 4) and rng.random() < 0.5:
        pixel[-1] = most
    return pixel


def _transparency(sort, pixel, rng, most):
    if sort.type == PALETTE:
        return rng.randbytes(rng.randint(1, most + 1))
    return struct.pack(f">{len(pixel)}H", *pixel)


def _passes(sort, rows, rng):
    steps = ADAM7 if sort.interlaced else ((0, 0, 1, 1),)
    for x, y, dx, dy in steps:
        some = [row[x::dx] for row in rows[y::dy]]
        if some and some[0]:
            yield _filtered(sort, some, rng)


def _filtered(sort, rows, rng):
    step = max(1, sort.depth * CHANNELS[sort.type] // 8)
    above, lines = None, []
    for row in rows:
        line = _packed([sample for pixel in row for sample in pixel], sort.depth)
        above = above or bytes(len(line))
        kind = rng.randint(0, 4)
        lines.append(bytes([kind]) + _filter(kind, line, above, step))
        above = line
    return b"".join(lines)


def _packed(samples, depth):
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def _filter(kind, line, above, step):
    out = bytearray()
    for at, value in enumerate(line):
        left, corner = (line[at - step], above[at - step]) if at >= step else (0, 0)
        up = above[at]
        guess = [0, left, up, (left + up) // 2, _paeth(left, up, corner)][kind]
        out.append((value - guess) & 255)
    return bytes(out)


def _paeth(left, up, corner):
    estimate = left + up - corner
    return min((left, up, corner), key=lambda each: abs(estimate - each))


def _chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
