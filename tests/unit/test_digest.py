"""Canonical forms and their digests: exact or refused, and the same with any number of workers."""

from __future__ import annotations

import concurrent.futures.process
import hashlib
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unicodedata
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rfc8785
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from alithis.errors import ChangedError, FormatError, MissingExtraError, SourceError
from alithis.forms import form as forms
from alithis.forms import hashing, record
from alithis.forms import pool as pools
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool
from helpers import strategies  # noqa: F401  (examples have no deadline)
from helpers.paths import VECTOR_FILES
from helpers.session import examples

GREY, RGB, RGBA = (Form("pixels", mode) for mode in ("L", "RGB", "RGBA"))


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def raster(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file, chunk by chunk: what encoders do not write is in it too."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(each[:4], each[4:]) for each in chunks),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


class TestForm:
    @given(data=st.binary(max_size=300))
    def test_form_bytes_keeps_the_stored_bytes(self, data):
        assert BYTES.canonical(data) == data
        assert hashing.of_bytes(data) == sha256(data)

    @pytest.mark.parametrize("name", ["rows", "", "Bytes"])
    def test_refuses_an_unknown_form(self, name):
        with pytest.raises(FormatError, match="knows bytes, pixels, text, record and sample"):
            Form(name)

    @pytest.mark.parametrize("mode", [None, "CMYK", "l", "P", ""])
    def test_pixels_have_one_of_three_modes(self, mode):
        with pytest.raises(FormatError, match="must be one of L, RGB, RGBA"):
            Form("pixels", mode)

    @pytest.mark.parametrize("name", ["bytes", "text", "record", "sample"])
    @pytest.mark.parametrize("facts", [("L",), (None, 28), (None, None, 28)])
    def test_only_pixels_have_a_raster(self, name, facts):
        with pytest.raises(FormatError, match=f"{name}: has no mode, width or height"):
            Form(name, *facts)

    @pytest.mark.parametrize("name", ["bytes", "text", "sample"])
    def test_only_records_have_columns(self, name):
        with pytest.raises(FormatError, match=f"{name}: has no columns"):
            Form(name, columns=("a",))

    @pytest.mark.parametrize("columns", [(), ("b", "a"), ("a", "a")])
    def test_columns_must_be_sorted_and_different(self, columns):
        """So that one set of columns is one form."""
        with pytest.raises(FormatError, match="columns must be sorted and different"):
            Form("record", columns=columns)

    def test_missing_pillow_names_the_command_to_install_it(self, monkeypatch):
        BYTES.require()
        GREY.require()
        monkeypatch.setitem(sys.modules, "PIL", None)
        BYTES.require()
        with pytest.raises(MissingExtraError, match=r"pip install 'alithis\[images\]'"):
            GREY.require()


class TestPixels:
    @pytest.mark.parametrize(
        ("form", "shape", "kind"),
        [
            *[(form, shape, "PNG") for form, shape in [(GREY, ()), (RGB, (3,)), (RGBA, (4,))]],
            *[(form, shape, "TIFF") for form, shape in [(GREY, ()), (RGB, (3,)), (RGBA, (4,))]],
            *[(form, shape, "BMP") for form, shape in [(GREY, ()), (RGB, (3,))]],
        ],
    )
    def test_samples_of_an_exact_format(self, form, shape, kind):
        samples = raster(5, 7, *shape)
        assert form.canonical(encoded(Image.fromarray(samples), kind)) == samples.tobytes()

    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(
        width=st.integers(1, 9),
        height=st.integers(1, 9),
        mode=st.sampled_from(["L", "RGB", "RGBA"]),
        data=st.data(),
    )
    def test_every_conversion_can_be_undone(self, width, height, mode, data):
        """Whatever the target: back in the first mode, not one sample differs; or it is refused."""
        colours = data.draw(st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=3))
        greys = data.draw(st.booleans())
        colours = [bytes([c[0]] * 3) + (c[3:] if not greys else b"\xff") for c in colours]
        if not greys:
            colours.append(data.draw(st.binary(min_size=4, max_size=4)))
        picks = data.draw(
            st.lists(st.sampled_from(colours), min_size=width * height, max_size=width * height)
        )
        image = Image.frombytes("RGBA", (width, height), b"".join(picks)).convert(mode)
        for form in (GREY, RGB, RGBA):
            back = None
            with suppress(SourceError):
                found = form.canonical(encoded(image))
                back = Image.frombytes(form.mode, image.size, found).convert(mode).tobytes()
            assert back == image.tobytes() or (back is None and form.mode != mode)

    def test_grey_is_exact_in_every_mode(self):
        samples = raster(4, 4)
        file = encoded(Image.fromarray(samples))
        assert GREY.canonical(file) == samples.tobytes()
        assert RGB.canonical(file) == samples.repeat(3).tobytes()
        opaque = np.dstack([samples] * 3 + [np.full((4, 4), 255, np.uint8)])
        assert RGBA.canonical(file) == opaque.tobytes()

    def test_grey_stored_as_colour_is_the_same_grey(self):
        samples = raster(4, 4)
        for mode in ("RGB", "RGBA", "LA"):
            assert GREY.canonical(encoded(Image.fromarray(samples).convert(mode))) == (
                samples.tobytes()
            )

    def test_colour_does_not_become_grey(self):
        with pytest.raises(SourceError, match="the image is RGB and cannot become L without"):
            GREY.canonical(encoded(Image.new("RGB", (2, 2), (1, 2, 3))))

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_transparency_is_not_dropped(self, mode):
        see_through = Image.new("RGBA", (2, 2), (9, 9, 9, 254)).convert(mode)
        for form in (GREY, RGB):
            with pytest.raises(SourceError, match="without loss"):
                form.canonical(encoded(see_through))
        assert RGBA.canonical(encoded(see_through)) == bytes([9, 9, 9, 254]) * 4

    def test_opaque_alpha_is_dropped(self):
        opaque = Image.new("RGBA", (2, 2), (1, 2, 3, 255))
        assert RGB.canonical(encoded(opaque)) == bytes([1, 2, 3]) * 4

    def test_palette_is_replaced_by_its_colours(self):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 7, 7, 7])
        image.putdata([0, 1])
        assert RGB.canonical(encoded(image)) == bytes([10, 20, 30, 7, 7, 7])
        with pytest.raises(SourceError, match="without loss"):
            GREY.canonical(encoded(image))

    def test_grey_palette_becomes_grey(self):
        image = Image.new("P", (2, 1))
        image.putpalette([5, 5, 5, 7, 7, 7])
        image.putdata([0, 1])
        assert GREY.canonical(encoded(image)) == bytes([5, 7])

    def test_transparent_palette_entry_is_not_dropped(self):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 7, 7, 7])
        image.putdata([0, 1])
        file = encoded(image, transparency=1)
        assert RGBA.canonical(file) == bytes([10, 20, 30, 255, 7, 7, 7, 0])
        with pytest.raises(SourceError, match="without loss"):
            RGB.canonical(file)

    @pytest.mark.parametrize(
        ("colour", "row", "key", "form"),
        [
            (0, bytes([5, 7]), struct.pack(">H", 7), GREY),
            (2, bytes([1, 2, 3, 7, 7, 7]), struct.pack(">HHH", 7, 7, 7), RGB),
        ],
        ids=["grey", "colour"],
    )
    def test_transparent_colour_key_is_not_dropped(self, colour, row, key, form):
        """PNG's tRNS: the decoder leaves the mode without alpha."""
        file = png(2, 1, 8, colour, b"\0" + row, b"tRNS" + key)
        with pytest.raises(SourceError, match="without loss"):
            form.canonical(file)
        assert RGBA.canonical(file)[-1] == 0

    def test_unused_colour_key_makes_nothing_transparent(self):
        file = png(2, 1, 8, 0, b"\0" + bytes([5, 7]), b"tRNS" + struct.pack(">H", 6))
        assert GREY.canonical(file) == bytes([5, 7])

    def test_one_bit_is_black_and_white(self):
        image = Image.new("1", (9, 1))
        image.putdata([1, 0, 1, 1, 0, 0, 0, 1, 1])
        expected = bytes([255, 0, 255, 255, 0, 0, 0, 255, 255])
        assert GREY.canonical(encoded(image)) == expected
        assert (
            RGB.canonical(encoded(image, "BMP"))
            == np.repeat(list(expected), 3).astype(np.uint8).tobytes()
        )

    @pytest.mark.parametrize("depth", [2, 4])
    def test_fewer_bits_fill_the_range(self, depth):
        """PNG specification, 13.12: 2 and 4 bits scale to 8 without a remainder."""
        levels = range(1 << depth)
        bits = "".join(f"{level:0{depth}b}" for level in levels)
        row = int(bits, 2).to_bytes(len(bits) // 8, "big")
        file = png(len(levels), 1, depth, 0, b"\0" + row)
        assert GREY.canonical(file) == bytes(255 * level // max(levels) for level in levels)

    @pytest.mark.parametrize(
        ("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"]
    )
    def test_sixteen_bits_are_refused(self, colour, channels):
        """Pillow would cut colour to 8 bits without a word."""
        file = png(1, 1, 16, colour, b"\0" + bytes([1, 2] * channels))
        for form in (GREY, RGB, RGBA):
            with pytest.raises(SourceError, match="8"):
                form.canonical(file)

    def test_sixteen_bit_tiff_is_refused(self):
        header = b"II*\0" + struct.pack("<I", 8)
        tags = [(256, 1), (257, 1), (258, 134), (259, 1), (262, 2), (273, 140), (277, 3), (279, 6)]
        counts = {258: 3}
        entries = b"".join(
            struct.pack("<HHII", tag, 4 if tag == 273 else 3, counts.get(tag, 1), value)
            for tag, value in tags
        )
        directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
        assert len(header + directory) <= 134
        body = (header + directory).ljust(134, b"\0") + struct.pack("<HHH", 16, 16, 16)
        file = body + bytes([1, 2, 3, 4, 5, 6])
        with Image.open(io.BytesIO(file)) as image:
            assert image.mode == "RGB"
        with pytest.raises(SourceError, match="more than 8 bits"):
            RGB.canonical(file)

    def test_portable_pixmap_of_more_than_8_bits_is_refused(self):
        samples = raster(2, 3, 3)
        assert RGB.canonical(encoded(Image.fromarray(samples), "PPM")) == samples.tobytes()
        with pytest.raises(SourceError, match="more than 8 bits"):
            RGB.canonical(b"P6 1 1 65535\n" + bytes(6))

    @pytest.mark.parametrize("mode", ["CMYK", "I;16", "I", "F"])
    def test_other_modes_have_no_exact_form(self, mode):
        with pytest.raises(SourceError, match=f"mode {mode} has no exact 8-bit form"):
            RGB.canonical(encoded(Image.new(mode, (2, 2)), "TIFF"))

    def test_jpeg_gives_the_samples_of_the_decoder(self):
        file = encoded(Image.fromarray(raster(16, 16, 3)), "JPEG")
        with Image.open(io.BytesIO(file)) as image:
            assert RGB.canonical(file) == image.tobytes()

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
    def test_more_than_one_frame_is_refused(self, kind):
        first, second = (Image.new("RGB", (2, 2), (n, n, n)) for n in (1, 200))
        file = encoded(first, kind, save_all=True, append_images=[second])
        with pytest.raises(SourceError, match="more than one frame"):
            RGB.canonical(file)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP"])
    def test_animated_format_with_one_frame_is_accepted(self, kind):
        options = {"lossless": True} if kind == "WEBP" else {}
        file = encoded(Image.new("RGB", (2, 2), (8, 8, 8)), kind, **options)
        assert GREY.canonical(file) == bytes([8] * 4)

    def test_camera_picture_with_a_preview_is_accepted(self):
        """An MPO file is a JPEG with more pictures behind it."""
        first, second = (Image.new("RGB", (8, 8), (n, n, n)) for n in (1, 200))
        file = encoded(first, "MPO", save_all=True, append_images=[second])
        assert RGB.canonical(file) == bytes([1]) * 192

    def test_other_width_or_height_is_refused(self):
        """Else 2 x 8 pixels pass for 4 x 4 with the same samples."""
        samples = raster(4, 4)
        file = encoded(Image.fromarray(samples))
        assert Form("pixels", "L", 4, 4).canonical(file) == samples.tobytes()
        reshaped = encoded(Image.fromarray(samples.reshape(2, 8)))
        assert GREY.canonical(reshaped) == GREY.canonical(file)
        for form in (Form("pixels", "L", 4, 4), Form("pixels", "L", height=4)):
            with pytest.raises(SourceError, match="8 x 2 pixels, but all data points must be"):
                form.canonical(reshaped)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
    def test_truncated_image_is_refused(self, kind):
        file = encoded(Image.fromarray(raster(40, 40, 3)), kind)
        with pytest.raises(SourceError, match="not an image that can be decoded"):
            RGB.canonical(file[: len(file) // 2])

    @given(
        data=st.binary(max_size=100), start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"II*\0"])
    )
    def test_random_bytes_are_refused(self, data, start):
        with pytest.raises(SourceError):
            RGB.canonical(start + data)

    @settings(max_examples=examples(200))
    @given(kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP"]), data=st.data())
    def test_damaged_image_is_decoded_or_refused(self, kind, data):
        file = bytearray(encoded(Image.fromarray(raster(8, 8, 3)), kind))
        for _ in range(data.draw(st.integers(1, 8))):
            file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
        with suppress(SourceError):
            assert len(RGB.canonical(bytes(file))) % 3 == 0

    def test_decompression_bomb_is_refused(self):
        bomb = png(30_000, 30_000, 8, 0, bytes(1000))
        with pytest.raises(SourceError, match="too large to decode"):
            GREY.canonical(bomb)

    @pytest.mark.parametrize(
        "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", b"<svg/>"]
    )
    def test_formats_that_can_run_programs_are_refused(self, data):
        with pytest.raises(SourceError, match="not an image"):
            RGB.canonical(data)


PIXELS = json.loads((VECTOR_FILES / "manifest.json").read_text())["pixels"]


@pytest.mark.parametrize("vector", PIXELS, ids=lambda vector: f"{vector['name']}, {vector['mode']}")
def test_vectors_of_the_specification(vector):
    form, file = Form("pixels", vector["mode"]), bytes.fromhex(vector["png"])
    if "refused" in vector:
        with pytest.raises(SourceError, match=r"without loss|8.bit"):
            form.canonical(file)
    else:
        found = form.canonical(file)
        assert found.hex() == vector["samples"]
        assert hashing.of_bytes(found).hex() == vector["sha256"]


class TestRows:
    @given(rows=st.lists(st.binary(min_size=5, max_size=5), max_size=20))
    def test_rows_have_the_digests_of_hashlib(self, rows):
        joined = b"".join(rows)
        expected = b"".join(map(sha256, rows))
        for buffer in (joined, bytearray(joined), memoryview(joined)):
            assert hashing.of_rows(buffer, 5) == expected

    @given(data=st.binary(max_size=100), bounds=st.tuples(st.integers(0, 99), st.integers(0, 99)))
    def test_part_of_a_file_is_hashed(self, data, bounds):
        start, stop = sorted(min(at, len(data)) for at in bounds)
        assert hashing.of_part(io.BytesIO(data), start, stop - start) == sha256(data[start:stop])

    def test_part_of_several_blocks_is_hashed(self):
        data = os.urandom(3 << 20)
        assert hashing.of_part(io.BytesIO(data), 5, 2_500_000) == sha256(data[5:2_500_005])


class TestFile:
    @pytest.mark.parametrize(
        "size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20, (5 << 20) + 12345]
    )
    def test_streamed_file_is_hashed_as_hashlib_hashes_it(self, tmp_path, size):
        data = os.urandom(size)
        (tmp_path / "file").write_bytes(data)
        assert hashing.of_file(tmp_path / "file") == (sha256(data), size)
        assert hashing.of_file(str(tmp_path / "file")) == (sha256(data), size)

    def test_large_file_is_streamed(self, tmp_path):
        """64 MiB under a limit that has no room for them."""
        path = tmp_path / "large"
        with path.open("wb") as file:
            file.truncate(64 << 20)
        program = (
            "import resource, sys; from alithis.forms import hashing\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20),) * 2)\n"
            "print(hashing.of_file(sys.argv[1])[0].hex())"
        )
        result = subprocess.run(
            [sys.executable, "-c", program, path],
            capture_output=True,
            text=True,
            check=True,
            env={},  # coverage, too, would need memory
        )
        assert result.stdout.strip() == sha256(bytes(64 << 20)).hex()

    def test_form_is_applied(self, tmp_path):
        samples = raster(4, 4)
        (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(samples)))
        found, size = hashing.of_file(tmp_path / "x.png", GREY)
        assert found == sha256(samples.tobytes())
        assert size == (tmp_path / "x.png").stat().st_size

    def test_error_of_the_form_names_the_file(self, tmp_path):
        (tmp_path / "x.png").write_bytes(b"text")
        with pytest.raises(SourceError, match=r"x\.png: not an image that can be decoded"):
            hashing.of_file(tmp_path / "x.png", GREY)

    def test_oversized_image_file_is_refused(self, tmp_path):
        with (tmp_path / "x.png").open("wb") as file:
            file.truncate((1 << 30) + 1)
        with pytest.raises(SourceError, match="the form pixels takes files of at most"):
            hashing.of_file(tmp_path / "x.png", GREY)

    @pytest.mark.parametrize("form", [BYTES, GREY], ids=["bytes", "pixels"])
    @pytest.mark.parametrize("size", [10, 3 << 20])
    def test_file_that_grows_during_hashing_is_an_error(self, tmp_path, monkeypatch, form, size):
        path = tmp_path / "log"
        path.write_bytes(bytes(size))
        read, reads = os.read, []

        def growing(handle, length):
            reads.append(length)
            if len(reads) > 10:  # without this bound, a fault would fill the disk
                return b""
            with path.open("ab") as file:
                file.write(b"more" * 1_000_000)
            return read(handle, length)

        monkeypatch.setattr(os, "read", growing)
        with pytest.raises(ChangedError, match="log: changed while it was read"):
            hashing.of_file(path, form)
        assert len(reads) < 10, "it must not run after the writer forever"

    @pytest.mark.parametrize("form", [BYTES, GREY], ids=["bytes", "pixels"])
    @pytest.mark.parametrize("size", [10, 3 << 20])
    def test_file_that_shrinks_during_hashing_is_an_error(self, tmp_path, monkeypatch, form, size):
        path = tmp_path / "file"
        path.write_bytes(bytes(size))
        read = os.read

        def shrinking(handle, length):
            os.truncate(path, 5)
            return read(handle, length)

        monkeypatch.setattr(os, "read", shrinking)
        with pytest.raises(ChangedError):
            hashing.of_file(path, form)

    def test_file_rewritten_with_the_same_size_is_an_error(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        path.write_bytes(b"before")
        os.utime(path, ns=(1, 1))
        read = os.read

        def rewriting(handle, length):
            path.write_bytes(b"behind")
            return read(handle, length)

        monkeypatch.setattr(os, "read", rewriting)
        with pytest.raises(ChangedError):
            hashing.of_file(path)

    def test_short_reads_are_continued(self, tmp_path, monkeypatch):
        """A network file system may give fewer bytes than were asked for."""
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        read = os.read
        monkeypatch.setattr(os, "read", lambda handle, length: read(handle, min(length, 3)))
        assert hashing.of_file(path) == (sha256(b"0123456789"), 10)

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(SourceError, match="gone: cannot be read: No such file"):
            hashing.of_file(tmp_path / "gone")

    def test_link_to_itself_is_named(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(SourceError, match="loop: cannot be read: Too many levels"):
            hashing.of_file(tmp_path / "loop")

    def test_impossible_file_name_is_an_error(self):
        with pytest.raises(SourceError, match="cannot be read: embedded null byte"):
            hashing.of_file("a\0b")

    def test_read_error_names_the_file(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_bytes(b"x")

        def failing(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "read", failing)
        with pytest.raises(SourceError, match="file: cannot be read: Input/output error"):
            hashing.of_file(tmp_path / "file")

    def test_refuses_a_folder(self, tmp_path):
        with pytest.raises(SourceError, match="not a regular file"):
            hashing.of_file(tmp_path)

    def test_fifo_is_refused_without_waiting_for_a_writer(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(SourceError, match="fifo: not a regular file"):
            hashing.of_file(tmp_path / "fifo")

    def test_refuses_a_socket(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            with pytest.raises(SourceError, match="socket: cannot be read"):
                hashing.of_file("socket")

    def test_refuses_a_device(self):
        with pytest.raises(SourceError, match="not a regular file"):
            hashing.of_file(os.devnull)

    def test_all_descriptors_are_closed(self, tmp_path):
        (tmp_path / "file").write_bytes(b"x")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for path in (tmp_path / "file", tmp_path):
            with suppress(SourceError):
                hashing.of_file(path)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


# -- Workers -------------------------------------------------------------------------------------


def double(number: int) -> int:
    return 2 * number


def process_of(_: object) -> int:
    return os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ChangedError("three")
    return number


def kill_self(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def other_thread():
    """Beside which a fork is not safe."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield thread
    done.set()
    thread.join()


# Where no other thread runs, workers are forked. This process has had threads for long.
FORKED = """
import os, signal
from alithis.forms import pool as pools
def kill_self(_): os.kill(os.getpid(), signal.SIGKILL)
assert pools._threads() == 1
with pools.Pool(2) as pool:
    assert list(pool.map(hex, range(100))) == list(map(hex, range(100)))
    print(type(pool._executor).__module__)
    try:
        list(pool.map(kill_self, range(4)))
    except Exception as error:
        print(type(error).__name__, error)
"""


class TestPool:
    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_results_come_in_order(self, workers):
        with Pool(workers) as pool:
            assert list(pool.map(double, range(200))) == [2 * number for number in range(200)]
            assert list(pool.map(double, [])) == []

    def test_one_worker_uses_this_process(self):
        with Pool(1) as pool:
            assert set(pool.map(process_of, range(3))) == {os.getpid()}

    def test_two_workers_are_other_processes(self):
        with Pool(2) as pool:
            assert os.getpid() not in set(pool.map(process_of, range(8)))

    def test_default_is_one_worker_for_each_processor(self):
        assert Pool().workers == len(os.sched_getaffinity(0))

    def test_processors_are_counted_without_affinity(self, monkeypatch):
        monkeypatch.delattr(os, "sched_getaffinity")
        assert Pool().workers == os.cpu_count()

    @pytest.mark.parametrize("workers", [0, -1])
    def test_refuses_less_than_one_worker(self, workers):
        with pytest.raises(SourceError, match=f"workers: {workers} is not a positive number"):
            Pool(workers)

    def test_items_read_ahead_are_bounded(self):
        taken = []

        def items():
            for number in range(1000):
                taken.append(number)
                yield number

        with Pool(2) as pool:
            results = pool.map(double, items())
            next(results)
            assert len(taken) <= 10
            results.close()

    @pytest.mark.parametrize("workers", [1, 2])
    def test_error_of_the_work_is_raised(self, workers):
        with Pool(workers) as pool, pytest.raises(ChangedError, match="three"):
            list(pool.map(fail_at_three, range(10)))

    def test_pool_can_be_used_after_an_error(self):
        with Pool(2) as pool:
            with pytest.raises(ChangedError):
                list(pool.map(fail_at_three, range(10)))
            assert list(pool.map(double, range(3))) == [0, 2, 4]

    def test_fresh_interpreters_start_if_other_threads_run(self, other_thread):
        with Pool(2) as pool:
            assert list(pool.map(double, range(20))) == [2 * number for number in range(20)]
            assert not isinstance(pool._executor, concurrent.futures.process.ProcessPoolExecutor)

    def test_single_thread_forks_and_a_killed_worker_is_one_clear_error(self):
        result = subprocess.run(
            [sys.executable, "-c", FORKED], capture_output=True, text=True, check=True
        )
        kind, error = result.stdout.splitlines()
        assert kind == "concurrent.futures.process"
        assert error.startswith("SourceError a worker process was killed")
        assert result.stderr == ""

    def test_threads_are_counted_without_proc(self, monkeypatch):
        def missing(_):
            raise FileNotFoundError

        monkeypatch.setattr(Path, "iterdir", missing)
        assert pools._threads() == threading.active_count() + 1

    def test_killed_worker_is_one_clear_error(self):
        with Pool(2) as pool, pytest.raises(SourceError, match="a worker process was killed"):
            list(pool.map(kill_self, range(4)))


# Prints the workers' process ids once both work, then waits for what is done to them.
BUSY = """
import os, sys, threading, time
from alithis.forms.pool import Pool

def process(seconds):
    time.sleep(seconds)
    return os.getpid()

if sys.argv[1] == "fresh":
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
with Pool(2) as pool:
    found = set()
    while len(found) < 2:
        found |= set(pool.map(process, [0.01] * 4))
    forked = type(pool._executor).__module__ == "concurrent.futures.process"
    assert forked == (sys.argv[1] == "forked")
    print(*found, flush=True)
    list(pool.map(time.sleep, [600] * 3))
"""


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(processes: list[int]) -> None:
    for _ in range(600):
        if not any(map(is_running, processes)):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {list(filter(is_running, processes))}")


@pytest.mark.parametrize("start", ["forked", "fresh"])
class TestOrphans:
    @pytest.fixture
    def busy(self, start):
        process = subprocess.Popen(
            [sys.executable, "-c", BUSY, start],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        yield process
        process.kill()
        process.communicate()

    @pytest.fixture
    def workers(self, busy):
        found = [int(word) for word in busy.stdout.readline().split()]
        assert len(found) == 2
        assert all(map(is_running, found))
        return found

    def test_interrupt_stops_busy_workers(self, busy, workers):
        busy.send_signal(signal.SIGINT)
        assert busy.wait(60) != 0
        wait_until_gone(workers)

    @pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
    def test_workers_end_with_a_killed_parent(self, busy, workers, kind):
        """Once their work is done they would wait for more, and hold what they inherited."""
        busy.send_signal(kind)
        busy.wait(60)
        wait_until_gone(workers)

    def test_workers_leave_ctrl_c_to_the_parent(self, busy, workers):
        for worker in workers:
            os.kill(worker, signal.SIGINT)
        time.sleep(0.2)
        assert all(map(is_running, workers))
        assert busy.poll() is None


class TestFiles:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("files")
        for number in range(300):
            (folder / f"{number:03}").write_bytes(b"x" * number)
        return folder

    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_result_does_not_depend_on_the_workers(self, folder, workers):
        names = sorted(path.name for path in folder.iterdir())
        with Pool(workers) as pool:
            runs = list(hashing.of_files(str(folder), names, BYTES, pool))
        assert b"".join(digests for digests, _ in runs) == b"".join(
            sha256(b"x" * number) for number in range(300)
        )
        assert [size for _, sizes in runs for size in sizes] == list(range(300))

    @pytest.mark.parametrize("workers", [1, 2])
    def test_unreadable_file_is_named(self, folder, workers):
        with Pool(workers) as pool, pytest.raises(SourceError, match="gone: cannot be read"):
            list(hashing.of_files(str(folder), ["000", "gone", "001"], BYTES, pool))

    def test_images_are_hashed_in_workers(self, tmp_path):
        samples = [raster(3, 3) + number for number in range(5)]
        for number, each in enumerate(samples):
            (tmp_path / f"{number}.png").write_bytes(encoded(Image.fromarray(each)))
        with Pool(2) as pool:
            runs = hashing.of_files(str(tmp_path), [f"{n}.png" for n in range(5)], GREY, pool)
            found = b"".join(digests for digests, _ in runs)
        assert found == b"".join(sha256(each.tobytes()) for each in samples)

    def test_missing_pillow_is_reported_before_hashing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)
        with pytest.raises(MissingExtraError):
            next(hashing.of_files("nowhere", ["x"], GREY, Pool(2)))


# -- text, record, sample -------------------------------------------------------------------------

FORMS = json.loads((VECTOR_FILES / "forms.json").read_text())


def assert_vector(form: Form, stored: bytes, vector: dict, canonical: bytes | None) -> None:
    if vector.get("refused"):
        with pytest.raises(SourceError):
            form.canonical(stored)
    else:
        assert form.canonical(stored) == canonical
        assert sha256(canonical).hex() == vector["sha256"]


@pytest.mark.parametrize("vector", FORMS["text"], ids=lambda vector: vector["name"])
def test_text_vectors_of_the_specification(vector):
    canonical = bytes.fromhex(vector["canonical"]) if "canonical" in vector else None
    assert_vector(forms.TEXT, bytes.fromhex(vector["stored"]), vector, canonical)


@pytest.mark.parametrize("vector", FORMS["json"], ids=lambda vector: vector["name"])
def test_record_vectors_of_the_specification(vector):
    columns = tuple(vector["columns"]) if "columns" in vector else None
    canonical = vector["canonical"].encode() if "canonical" in vector else None
    assert_vector(Form("record", columns=columns), vector["stored"].encode(), vector, canonical)


@pytest.mark.parametrize("vector", FORMS["samples"], ids=lambda vector: vector["name"])
def test_sample_vectors_of_the_specification(vector):
    canonical = vector["canonical"].encode()
    assert_vector(forms.SAMPLE, canonical, vector, canonical)


class TestText:
    @given(value=st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=40))
    def test_equivalent_texts_have_one_form(self, value):
        assume(not value.startswith("\ufeff"))
        found = forms.TEXT.canonical(value.encode())
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, value)
            assume(not other.startswith("\ufeff"))
            assert forms.TEXT.canonical(other.encode()) == found
        assert forms.TEXT.canonical(found) == found
        assert found.decode() == unicodedata.normalize("NFC", value)

    @given(value=st.text(st.characters(min_codepoint=1, max_codepoint=127)))
    def test_ascii_is_unchanged(self, value):
        assert forms.TEXT.canonical(value.encode()) == value.encode()

    def test_unassigned_code_point_is_named(self):
        with pytest.raises(
            SourceError, match=r"U\+E0FFF, which Unicode \d+\.\d+\.\d+ does not know"
        ):
            forms.TEXT.canonical("fine \U000e0fff".encode())

    def test_long_run_of_marks_is_refused_every_time(self):
        """What is remembered of characters is no way around the bound."""
        fine = ("e" + "\u0301" * 1000).encode()
        for _ in range(2):
            forms.TEXT.canonical(fine)
            with pytest.raises(SourceError, match="more than 1000 combining marks"):
                forms.TEXT.canonical(fine + "\u0301".encode())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


class TestRecord:
    @given(value=st.dictionaries(TEXTS, JSON))
    def test_fast_and_slow_writer_agree(self, value):
        """Python's own writer serves only where it does what RFC 8785 says."""
        expected = rfc8785.dumps(value)
        assert record.record(value) == expected
        assert forms.RECORD.canonical(json.dumps(value).encode()) == expected
        assert forms.RECORD.canonical(expected) == expected
        for each in value.values():
            assert record.fragment(each).encode() == rfc8785.dumps(each)

    @given(value=st.dictionaries(TEXTS, TEXTS, min_size=1))
    def test_rows_written_by_pattern_are_records(self, value):
        order, pattern = record.row_pattern(value)
        cells = tuple(record.quoted(value[name]) for name in order)
        assert (pattern % cells).encode() == rfc8785.dumps(value)

    @given(
        value=st.integers(2**53, 10**22).flatmap(
            lambda number: st.sampled_from(
                [number, -number, int(float(number)), number - number % 10**6, number**4]
            )
        )
    )
    def test_whole_numbers_keep_all_digits(self, value):
        exact = rfc8785.dumps(float(value)).decode() == str(value)
        digits = str(value) if exact else f'"{value}"'
        found = forms.RECORD.canonical(f'{{"b":[{value},{{"c":{value}}}],"a":{value}}}'.encode())
        assert found.decode() == f'{{"a":{digits},"b":[{digits},{{"c":{digits}}}]}}'
        assert forms.RECORD.canonical(found) == found
        assert record.fragment(value) == digits

    @pytest.mark.parametrize("value", [b"x", object(), {1: 2}, {"a": {1}}])
    def test_refuses_values_that_json_does_not_have(self, value):
        with pytest.raises(SourceError, match="no canonical JSON"):
            record.record({"a": value})


@pytest.mark.parametrize(
    "data", [b"{}", b'{"jpg":1}', b'{"jpg":"00"}', b'{"jpg":"' + b"A" * 64 + b'"}', b"[]"]
)
def test_refuses_anything_but_a_sample(data):
    with pytest.raises(SourceError, match=r"not a sample|not a JSON object"):
        forms.SAMPLE.canonical(data)


def test_file_is_hashed_in_each_form(tmp_path):
    (tmp_path / "x").write_bytes(b'{"b":1,"a":"e\xcc\x81"}')
    for form, expected in [
        (forms.TEXT, b'{"b":1,"a":"\xc3\xa9"}'),
        (forms.RECORD, b'{"a":"e\xcc\x81","b":1}'),
        (Form("record", columns=("b",)), b'{"b":1}'),
    ]:
        assert hashing.of_file(tmp_path / "x", form) == (sha256(expected), 17)
    (tmp_path / "y").write_bytes(b"\xff")
    with pytest.raises(SourceError, match="y: not UTF-8"):
        hashing.of_file(tmp_path / "y", forms.TEXT)
