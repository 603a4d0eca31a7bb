"""Readers: no data point is dropped, renamed or hashed as something else without a word."""

from __future__ import annotations

import gzip
import os
import socket
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from alithis import readers
from alithis.errors import ChangedError, MissingExtraError, SourceError
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool
from alithis.readers import arrays, folder, idx, idx_array
from helpers import strategies  # noqa: F401  (examples have no deadline)
from helpers.paths import MNIST
from helpers.reading import assert_resumes, fill, read, sha256


class TestFolder:
    def test_every_file_below_is_a_data_point(self, tmp_path):
        names = ["b", "a/x", "a/y/z", "a b.txt", ".hidden", "Ünï/码", "new\nline", "-o", "a.b/c"]
        found = read(folder(fill(tmp_path, *names)))
        assert found == {name: (sha256(name.encode()), len(name.encode()), {}) for name in names}

    def test_paths_come_sorted_whatever_the_file_system_says(self, tmp_path, monkeypatch):
        names = [f"{number % 7}/{number}" for number in range(50)]
        fill(tmp_path, *names)
        scandir = os.scandir

        class Reversed:
            def __init__(self, path):
                self.entries = list(scandir(path))[::-1]

            def __enter__(self):
                return iter(self.entries)

            def __exit__(self, *_):
                pass

        monkeypatch.setattr(os, "scandir", Reversed)
        assert list(read(folder(tmp_path))) == sorted(names)

    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_result_does_not_depend_on_workers(self, tmp_path, workers):
        names = [f"{number:03}" for number in range(200)]
        found = read(folder(fill(tmp_path, *names)), workers)
        assert list(found) == names
        assert found["007"] == (sha256(b"007"), 3, {})

    def test_empty_file_is_a_data_point(self, tmp_path):
        (tmp_path / "empty").touch()
        assert read(folder(tmp_path)) == {"empty": (sha256(b""), 0, {})}

    def test_equal_files_are_both_data_points(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(b"same")
        assert len(read(folder(tmp_path))) == 2

    def test_names_that_some_systems_treat_as_equal(self, tmp_path):
        """Upper and lower case, and é in one and in two code points."""
        names = ["a", "A", "caf\u00e9", "cafe\u0301"]
        assert set(read(folder(fill(tmp_path, *names)))) == set(names)

    def test_trailing_slash_and_link_to_the_folder(self, tmp_path):
        fill(tmp_path / "data", "x/y")
        (tmp_path / "link").symlink_to("data")
        for path in (Path(f"{tmp_path}/data/"), tmp_path / "link"):
            assert list(read(folder(path))) == ["x/y"]

    def test_links_are_followed(self, tmp_path):
        fill(tmp_path / "elsewhere", "file", "sub/other")
        data = fill(tmp_path / "data", "own")
        (data / "file").symlink_to(tmp_path / "elsewhere" / "file")
        (data / "folder").symlink_to("../elsewhere")
        found = read(folder(data))
        assert set(found) == {"own", "file", "folder/file", "folder/sub/other"}
        assert found["file"] == (sha256(b"file"), 4, {})

    @pytest.mark.parametrize("target", [".", "..", "../data", "../other/back"])
    def test_link_back_to_a_folder_above(self, tmp_path, target):
        data = fill(tmp_path / "data", "own")
        fill(tmp_path / "other", "x")
        (tmp_path / "other" / "back").symlink_to(data)
        (data / "loop").symlink_to(target)
        with pytest.raises(SourceError, match=r"loop.*: a symbolic link leads back to a folder"):
            folder(data)

    def test_link_to_itself(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(SourceError, match="loop: cannot be read: Too many levels"):
            folder(tmp_path)

    def test_broken_link(self, tmp_path):
        (tmp_path / "broken").symlink_to("gone")
        with pytest.raises(SourceError, match="broken: cannot be read: No such file"):
            folder(tmp_path)

    def test_name_that_is_not_utf8(self, tmp_path):
        (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
        with pytest.raises(SourceError, match=r"caf\\xe9.*: the name is not UTF-8; rename it"):
            folder(tmp_path)

    def test_fifo_is_refused_without_waiting(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(SourceError, match="fifo: not a regular file"):
            folder(tmp_path)

    def test_socket(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            with pytest.raises(SourceError, match="socket: not a regular file"):
                folder(tmp_path)

    @pytest.mark.parametrize("inside", [[], ["sub/deeper"]])
    def test_folder_without_files(self, tmp_path, inside):
        for name in inside:
            (tmp_path / name).mkdir(parents=True)
        with pytest.raises(SourceError, match="contains no files"):
            folder(tmp_path)

    def test_missing_folder(self, tmp_path):
        with pytest.raises(SourceError, match="gone: cannot be read: No such file"):
            folder(tmp_path / "gone")

    def test_folders_too_deep(self, tmp_path):
        deep = tmp_path
        for _ in range(300):
            deep /= "d"
        deep.mkdir(parents=True)
        with pytest.raises(SourceError, match="more than 256 folders deep"):
            folder(tmp_path)

    def test_file_removed_before_it_is_hashed(self, tmp_path):
        source = folder(fill(tmp_path, "a", "b"))
        (tmp_path / "a").unlink()
        with pytest.raises(SourceError, match="a: cannot be read: No such file"):
            read(source)

    def test_label_is_the_parent_folder(self, tmp_path):
        names = ["cat/1", "dog/1", "wild/cat/2"]
        found = read(folder(fill(tmp_path, *names), label_from_folder=True))
        assert [columns for _, _, columns in found.values()] == [
            {"label": "cat"},
            {"label": "dog"},
            {"label": "cat"},
        ]

    def test_labels_of_several_batches(self, tmp_path):
        names = [f"{number % 5}/{number:04}" for number in range(500)]
        found = read(folder(fill(tmp_path, *names), label_from_folder=True))
        assert all(columns["label"] == name[0] for name, (_, _, columns) in found.items())

    def test_file_without_a_label(self, tmp_path):
        with pytest.raises(
            SourceError, match="stray: is not in a folder, so no folder name can be its label"
        ):
            folder(fill(tmp_path, "cat/1", "stray"), label_from_folder=True)

    def test_pixels(self, tmp_path):
        Image.new("L", (2, 1), 9).save(tmp_path / "x.png")
        form = Form("pixels", "L")
        source = folder(tmp_path, form=form)
        assert source.form == form
        assert read(source)["x.png"][0] == sha256(b"\x09\x09")

    def test_file_that_is_no_image_stops_the_reader(self, tmp_path):
        Image.new("L", (2, 1), 9).save(tmp_path / "x.png")
        source = folder(fill(tmp_path, "README"), form=Form("pixels", "L"))
        with pytest.raises(SourceError, match="README: not an image"):
            read(source)

    def test_split_is_the_first_folder(self, tmp_path):
        source = folder(fill(tmp_path, "train/cat/1", "test/2"), split_from_folder=True)
        assert [columns["split"] for _, _, columns in read(source).values()] == ["test", "train"]
        with pytest.raises(
            SourceError, match="stray: is not in a folder, so no folder name can be its split"
        ):
            folder(fill(tmp_path, "stray"), split_from_folder=True)

    @pytest.mark.parametrize(
        ("form", "stored", "canonical"),
        [
            (Form("text"), "cafe\u0301".encode(), "caf\u00e9".encode()),
            (Form("record", columns=("a",)), b'{"b": 1, "a": 2.0}', b'{"a":2}'),
        ],
    )
    def test_text_and_records(self, tmp_path, form, stored, canonical):
        (tmp_path / "x").write_bytes(stored)
        assert read(folder(tmp_path, form=form))["x"] == (sha256(canonical), len(stored), {})
        (tmp_path / "y").write_bytes(b"\xff")
        with pytest.raises(SourceError, match="y: not"):
            read(folder(tmp_path, form=form))

    def test_missing_pillow_shows_at_once(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "PIL", None)
        with pytest.raises(MissingExtraError):
            folder(fill(tmp_path, "x"), form=Form("pixels", "L"))


def header(*shape: int, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.fixture(params=["plain", "gz"])
def write(request, tmp_path):
    """Write an IDX file, plain or gzipped."""

    def write(name: str, data: bytes) -> Path:
        path = tmp_path / (name if request.param == "plain" else f"{name}.gz")
        path.write_bytes(data if request.param == "plain" else gzip.compress(data))
        return path

    return write


class TestIdx:
    @pytest.mark.parametrize(
        ("shape", "form"),
        [
            ((5, 3, 4), Form("pixels", "L", width=4, height=3)),
            ((5, 3, 4, 3), Form("pixels", "RGB", width=4, height=3)),
            ((5, 3, 4, 4), Form("pixels", "RGBA", width=4, height=3)),
            ((5, 3, 4, 2), BYTES),
            ((5, 3), BYTES),
            ((5,), BYTES),
            ((1, 1, 1), Form("pixels", "L", width=1, height=1)),
        ],
    )
    def test_items(self, write, shape, form):
        data = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        source = idx(write("x-idx-ubyte", header(*shape) + data.tobytes()))
        assert source.form == form
        assert read(source) == {
            f"x-idx-ubyte#{index}": (sha256(row.tobytes()), row.nbytes, {})
            for index, row in enumerate(data)
        }

    def test_array_is_the_same_content(self, write):
        data = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
        found = idx_array(write("x", header(5, 3, 4) + data.tobytes()))
        assert found.dtype == np.uint8
        assert (found == data).all()

    def test_more_items_than_a_batch(self, write):
        data = np.random.default_rng(1).integers(0, 256, (70_000, 2), np.uint8)
        found = read(idx(write("x", header(70_000, 2) + data.tobytes())))
        assert list(found) == [f"x#{index}" for index in range(70_000)]
        assert found["x#69999"][0] == sha256(data[-1].tobytes())

    def test_items_larger_than_a_block(self, write):
        data = bytes(9 << 20) + b"\x01" * (9 << 20)
        found = read(idx(write("x", header(2, 9 << 20) + data)))
        assert [row[0] for row in found.values()] == [
            sha256(bytes(9 << 20)),
            sha256(b"\x01" * (9 << 20)),
        ]

    def test_labels(self, write):
        images = write("images", header(3, 1, 1) + b"abc")
        labels = write("labels", header(3) + bytes([7, 0, 255]))
        found = read(idx(images, labels))
        assert [columns["label"] for _, _, columns in found.values()] == [7, 0, 255]

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (header(2) + b"ab", r"labels.*: labels of shape \(2,\) do not fit 3 rows"),
            (header(3, 1) + b"abc", r"labels of shape \(3, 1\) do not fit 3 rows"),
            (header(3) + b"ab", "labels.*: the header states 3 bytes, there are 2"),
            (b"cat,dog", "labels.*: not an IDX file"),
        ],
    )
    def test_labels_that_do_not_fit(self, write, labels, message):
        images = write("images", header(3, 1, 1) + b"abc")
        with pytest.raises(SourceError, match=message):
            idx(images, write("labels", labels))

    @pytest.mark.parametrize("missing", [1, 59, 60])
    def test_truncated(self, write, missing):
        path = write("x", (header(5, 3, 4) + bytes(60))[:-missing])
        message = f"the header states 60 bytes, there are {60 - missing}: cut short"
        with pytest.raises(SourceError, match=message):
            read(idx(path))
        with pytest.raises(SourceError, match=message):
            idx_array(path)

    def test_truncated_in_a_later_block(self, write):
        path = write("x", header(3, 5 << 20) + bytes(14 << 20))
        with pytest.raises(SourceError, match="there are 14680064: cut short"):
            read(idx(path))

    @pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 15])
    def test_truncated_in_its_header(self, write, size):
        with pytest.raises(
            SourceError, match=r"not an IDX file|an IDX header of 3 axes, or one that is cut"
        ):
            idx(write("x", header(5, 3, 4)[:size]))

    def test_extended(self, write):
        path = write("x", header(5, 3, 4) + bytes(61))
        with pytest.raises(SourceError, match="more than the 60 bytes"):
            read(idx(path))

    @pytest.mark.parametrize(
        "data",
        [
            b"\x89PNG\r\n\x1a\n",
            b"\0\0\x0d\x01" + struct.pack(">If", 1, 1.0),  # IDX of floats
            b"\0\x01\x08\x01" + bytes(5),
            header(1, 1, 1, 1, 1) + b"x",
            b"\0\0\x08\0",
        ],
    )
    def test_wrong_magic(self, write, data):
        with pytest.raises(
            SourceError, match=r"not an IDX file of unsigned bytes|an IDX header of"
        ):
            idx(write("x", data))

    @pytest.mark.parametrize("shape", [(0, 28, 28), (5, 0, 28), (5, 3, 0), (0,)])
    def test_no_items(self, write, shape):
        with pytest.raises(SourceError, match=r"\d items of \d+ bytes"):
            idx(write("x", header(*shape)))

    def test_refuses_header_that_states_too_much(self, write):
        for shape in ((2**32 - 1, 1), (1, 2**32 - 1, 2**32 - 1, 2**32 - 1), (1, 2**29)):
            with pytest.raises(SourceError, match="items of"):
                idx(write("x", header(*shape)))

    def test_gzip_bomb_is_read_only_up_to_the_stated_size(self, tmp_path):
        path = tmp_path / "bomb.gz"
        path.write_bytes(gzip.compress(header(5, 3, 4) + bytes(64 << 20)))
        tracemalloc.start()
        with pytest.raises(SourceError, match="more than the 60 bytes"):
            read(idx(path))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20

    def test_large_stated_size_takes_no_memory(self, tmp_path):
        path = tmp_path / "x"
        path.write_bytes(header(1 << 28, 28, 28) + bytes(100))
        tracemalloc.start()
        with pytest.raises(SourceError, match="cut short"):
            read(idx(path))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 32 << 20

    @pytest.mark.parametrize(
        "bend",
        [
            lambda data: data[:-4],  # the length is cut off
            lambda data: data[:-8] + bytes(8),  # wrong checksum
            lambda data: data[:20],
            lambda data: data[:15] + b"\xff\xff\xff" + data[18:],
            lambda data: data + b"garbage",
            lambda data: b"\x1f\x8b\x07" + data[3:],
        ],
    )
    def test_damaged_gzip(self, tmp_path, bend):
        data = np.random.default_rng(0).bytes(60)
        (tmp_path / "x.gz").write_bytes(bend(gzip.compress(header(5, 3, 4) + data)))
        with pytest.raises(SourceError, match=r"x\.gz: damaged gzip data"):
            read(idx(tmp_path / "x.gz"))

    def test_gzip_is_known_by_its_content(self, tmp_path):
        (tmp_path / "x").write_bytes(gzip.compress(header(1, 1) + b"a"))
        (tmp_path / "y.gz").write_bytes(header(1, 1) + b"a")
        assert list(read(idx(tmp_path / "x"))) == ["x#0"]
        assert list(read(idx(tmp_path / "y.gz"))) == ["y#0"]

    def test_changed_since_it_was_opened(self, write):
        source = idx(write("x", header(2, 1) + b"ab"))
        write("x", header(1, 2) + b"ab")
        with pytest.raises(ChangedError, match="changed since it was opened"):
            read(source)

    def test_changes_while_it_is_read(self, write):
        path = write("x", header(70_000, 1) + bytes(70_000))
        with Pool(1) as pool:
            batches = idx(path).digested(pool)
            next(batches)
            os.utime(path, ns=(1, 1))
            with pytest.raises(ChangedError, match="changed while it was read"):
                list(batches)

    def test_missing(self, tmp_path):
        with pytest.raises(SourceError, match="gone: cannot be read: No such file"):
            idx(tmp_path / "gone")

    def test_fifo_is_refused_without_waiting(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(SourceError, match="not a regular file"):
            idx(tmp_path / "fifo")

    def test_read_error(self, tmp_path):
        """Opened like any file, and every read of it fails."""
        path = Path("/proc/self/mem")
        with pytest.raises(SourceError, match="mem: cannot be read: Input/output error"):
            idx(path)

    def test_name_that_is_not_utf8(self, tmp_path):
        path = tmp_path / os.fsdecode(b"\xff")
        path.write_bytes(header(1, 1) + b"x")
        with pytest.raises(SourceError, match="not UTF-8"):
            idx(path)


class TestMnist:
    @pytest.mark.parametrize(("part", "count"), [("train", 60_000), ("t10k", 10_000)])
    def test_items(self, part, count):
        images, labels = (MNIST / f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        source = idx(images, labels)
        assert source.form == Form("pixels", "L", width=28, height=28)
        assert source.count == count
        found = read(source)
        pixels, classes = idx_array(images), idx_array(labels)
        for index in (0, 1, count // 2, count - 1):
            path = f"{images.name}#{index}"
            assert found[path] == (
                sha256(pixels[index].tobytes()),
                784,
                {"label": classes[index]},
            )

    def test_training_image_1(self):
        name = "train-images-idx3-ubyte"
        found = read(idx(MNIST / name))
        assert found[f"{name}#1"][0].hex() == (
            "2d1c3087ac5f2bed7c4d54a1b33bf75d09f479ee63c0df2e0a4378f6e7e9ae66"
        )


class TestArrays:
    @given(
        data=npst.arrays(
            st.one_of(
                npst.integer_dtypes(endianness="?"),
                npst.unsigned_integer_dtypes(endianness="?"),
                npst.floating_dtypes(endianness="?"),
                npst.complex_number_dtypes(endianness="?"),
                npst.boolean_dtypes(),
                npst.byte_string_dtypes(endianness="?", min_len=1, max_len=5),
                npst.unicode_string_dtypes(endianness="?", min_len=1, max_len=3),
                npst.datetime64_dtypes(endianness="?"),
            ),
            npst.array_shapes(max_dims=3, max_side=4),
        )
    )
    def test_rows_are_hashed_as_little_endian_bytes_in_c_order(self, data):
        little = data.astype(data.dtype.newbyteorder("<"))
        found = read(arrays(data))
        rows = [little[at : at + 1].tobytes() for at in range(len(little))]
        assert [row[0] for row in found.values()] == list(map(sha256, rows))
        assert {row[1] for row in found.values()} == {data.nbytes // len(data)}

    def test_digests_do_not_depend_on_the_memory_layout(self):
        data = np.arange(60, dtype=">i4").reshape(5, 3, 4)
        padded = np.zeros((5, 6, 8), ">i4")
        padded[:, ::2, ::2] = data
        views = [
            data.astype("<i4"),
            np.asfortranarray(data),
            padded[:, ::2, ::2],
            data[::-1][::-1],
            np.broadcast_to(data, (1, *data.shape))[0],
        ]
        expected = read(arrays(data))
        assert all(read(arrays(view)) == expected for view in views)

    def test_structured_rows_have_no_gaps(self):
        fields = [("a", "u1"), ("b", ">f8"), ("c", [("d", "u1"), ("e", "<i4", 2)])]
        aligned = np.dtype(fields, align=True)
        assert aligned.itemsize > np.dtype(fields).itemsize
        garbage = np.random.default_rng(0).bytes(3 * aligned.itemsize)
        gaps = np.frombuffer(bytearray(garbage), aligned)
        for name in ("a", "b"):
            gaps[name] = [1, 2, 3]
        gaps["c"]["d"], gaps["c"]["e"] = 4, [[5, 6]] * 3
        packed = [struct.pack("<BdBii", number, number, 4, 5, 6) for number in (1, 2, 3)]
        found = read(arrays(gaps))
        assert [row[0] for row in found.values()] == list(map(sha256, packed))

    @pytest.mark.parametrize(
        ("shape", "form"),
        [
            ((2, 3, 4), Form("pixels", "L", width=4, height=3)),
            ((2, 3, 4, 3), Form("pixels", "RGB", width=4, height=3)),
            ((2, 3, 4, 4), Form("pixels", "RGBA", width=4, height=3)),
            ((2, 3, 4, 1), BYTES),
            ((2, 3), BYTES),
            ((2, 3, 4, 3, 3), BYTES),
        ],
    )
    def test_unsigned_bytes_of_a_raster_are_pixels(self, shape, form):
        assert arrays(np.zeros(shape, np.uint8)).form == form
        assert arrays(np.zeros(shape, np.int8)).form == BYTES

    def test_array_and_image_file_have_one_digest(self, tmp_path):
        samples = np.random.default_rng(3).integers(0, 256, (1, 5, 4, 3), np.uint8)
        Image.fromarray(samples[0]).save(tmp_path / "x.png")
        source = arrays(samples)
        assert read(source)["array#0"][0] == read(folder(tmp_path, form=source.form))["x.png"][0]

    def test_rows_are_named_by_their_index(self):
        found = read(arrays(np.arange(70_000), name="numbers"))
        assert list(found) == [f"numbers#{index}" for index in range(70_000)]

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ([1, 2], [1, 2]),
            (["cat", "dog"], ["cat", "dog"]),
            (np.array([3, 4], np.uint8), [3, 4]),
            (("a", "b"), ["a", "b"]),
        ],
    )
    def test_labels(self, labels, expected):
        found = read(arrays(np.arange(2), labels=labels))
        assert [columns["label"] for _, _, columns in found.values()] == expected
        assert all(type(columns["label"]) in (int, str) for _, _, columns in found.values())

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([1], r"labels of shape \(1,\) do not fit 2 rows"),
            ([], r"labels of shape \(0,\) do not fit 2 rows"),
            ([[1], [2]], r"labels of shape \(2, 1\)"),
            ([1.5, 2.5], "integers or strings, not float64"),
            ([True, False], "integers or strings, not bool"),
            ([None, 1], "integers or strings, not object"),
            ([b"a", b"b"], "integers or strings"),
        ],
    )
    def test_labels_that_do_not_fit(self, labels, message):
        with pytest.raises(SourceError, match=message):
            arrays(np.arange(2), labels=labels)

    @pytest.mark.parametrize(
        "data",
        [
            np.array(5),
            np.empty(0),
            np.empty((0, 28, 28), np.uint8),
            np.empty((5, 0)),
            np.empty(2, "V0"),
        ],
        ids=lambda data: str(data.shape),
    )
    def test_no_rows(self, data):
        with pytest.raises(SourceError, match="sample: an array of shape"):
            arrays(data, name="sample")

    @pytest.mark.parametrize(
        "data",
        [
            np.array([None, 1]),
            np.array([{"a": 1}], object),
            np.zeros(2, np.longdouble),
            np.zeros(2, np.clongdouble),
            np.zeros(2, [("a", "u1"), ("b", object)]),
            np.zeros(2, [("a", "u1"), ("b", [("c", np.longdouble, 3)])]),
        ],
        ids=lambda data: str(data.dtype),
    )
    def test_refuses_rows_without_fixed_bytes(self, data):
        with pytest.raises(SourceError, match=r"sample: .*do not have the same bytes on every"):
            arrays(data, name="sample")
        with pytest.raises(SourceError, match="array: "):
            readers.of_array(data)


class TestResuming:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_folder(self, tmp_path, workers):
        fill(tmp_path, *[f"{number % 7}/{number:03}" for number in range(150)])
        assert_resumes(folder(tmp_path, label_from_folder=True), workers)

    @pytest.mark.parametrize("count", [1, 70_000])
    def test_idx(self, write, count):
        data = np.random.default_rng(1).integers(0, 256, (count, 2), np.uint8)
        labels = write("y", header(count) + data[:, 0].tobytes())
        assert_resumes(idx(write("x", header(count, 2) + data.tobytes()), labels))

    def test_array(self):
        assert_resumes(arrays(np.arange(70_000), labels=list(range(70_000))))


class TestIdentity:
    """What work that broke off may be continued on."""

    def test_same_source(self, tmp_path):
        fill(tmp_path, "a/x", "b/y")
        assert folder(tmp_path).identity == folder(tmp_path).identity != ""

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: (root / "a/x").write_bytes(b"longer than it was"),
            lambda root: os.utime(root / "a/x", ns=(1, 1)),
            lambda root: (root / "a/x").rename(root / "a/z"),
            lambda root: (root / "a/x").unlink(),
            lambda root: (root / "new").touch(),
        ],
    )
    def test_other_files(self, tmp_path, change):
        before = folder(fill(tmp_path, "a/x", "b/y")).identity
        change(tmp_path)
        assert folder(tmp_path).identity != before

    def test_other_options_and_other_folder(self, tmp_path):
        for name in "12":
            fill(tmp_path / name, "a/x")
            os.utime(tmp_path / name / "a/x", ns=(1, 1))
        found = {
            folder(tmp_path / "1").identity,
            folder(tmp_path / "2").identity,
            folder(tmp_path / "1", label_from_folder=True).identity,
            folder(tmp_path / "1", form=Form("pixels", "L")).identity,
        }
        assert len(found) == 4

    def test_idx(self, tmp_path):
        (tmp_path / "x").write_bytes(header(1, 1) + b"a")
        (tmp_path / "y").write_bytes(header(1) + b"a")
        found = {idx(tmp_path / "x").identity, idx(tmp_path / "x", tmp_path / "y").identity}
        os.utime(tmp_path / "x", ns=(1, 1))
        assert len(found | {idx(tmp_path / "x").identity}) == 3

    def test_arrays_in_memory_have_no_identity(self):
        assert arrays(np.arange(2)).identity == ""


@pytest.mark.parametrize("reader", ["folder", "idx"])
def test_names_are_utf_8_whatever_the_locale(tmp_path, reader):
    name = "ünï 日本.jpg" if reader == "folder" else "ünï 日本"
    (tmp_path / name).write_bytes(header(1, 1) + b"a")
    place = tmp_path if reader == "folder" else tmp_path / name
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from alithis import readers\n"
        "from alithis.forms.pool import Pool\n"
        "with Pool(1) as pool:\n"
        "    (items,) = readers.open_source(Path(sys.argv[1])).digested(pool)\n"
        "sys.stdout.buffer.write(items.paths[0].encode())\n"
    )
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    result = subprocess.run(
        [sys.executable, "-c", script, str(place)], env=plain, capture_output=True, check=True
    )

    assert result.stdout.decode() == (name if reader == "folder" else f"{name}#0")
