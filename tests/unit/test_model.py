"""Model manifests: weights by tensor, what a run recorded, and what of it is refused."""

import functools
import json
import math
import os
import re
import shutil
import struct
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from alithis import readers
from alithis.errors import AlithisError, FormatError, SourceError
from alithis.forms import form, hashing
from alithis.forms.hashing import of_bytes
from alithis.forms.keyed import PublisherKey
from alithis.forms.pool import Pool
from alithis.manifest import merkle, metadata
from alithis.manifest.audit import audit
from alithis.manifest.builder import build as build_manifest
from alithis.manifest.metadata import Description
from alithis.manifest.proof import Inclusion
from alithis.manifest.reader import Manifest
from alithis.manifest.transcript import RELATIONS, Input, Transcript, stated_inputs
from alithis.training import model
from alithis.training import run as runs
from alithis.training import weights as weighing
from alithis.training.fed_log import FedLog, FedLogSnapshot
from alithis.training.git_info import checkout
from alithis.training.model import ModelFacts, build_model
from alithis.training.run import Run
from alithis.training.weights import Weights
from alithis.training.wrappers import Recorder, recorder, wrap
from alithis.training.wrappers.hasher import ItemHasher
from helpers import reference
from helpers.artifacts import build
from helpers.commands import refused, run_json
from helpers.session import examples

ROWS = 10
FOLDER = tempfile.TemporaryDirectory(prefix="alithis-fed-")
WORDS = {"description": Description("m")}
DATA = np.arange(ROWS * 6, dtype="u1").reshape(ROWS, 2, 3)
LEAVES = {index: of_bytes(row.tobytes()) for index, row in enumerate(DATA)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Manifest of the rows of `DATA`."""
    return dataset_of(tmp_path_factory.mktemp("data") / "rows", DATA)


def dataset_of(out, data):
    source = readers.arrays(data, name=out.name)
    with Pool(1) as pool:
        return build_manifest(
            source.digested(pool), out, description=Description(out.name), form=source.form
        )


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def written(weights, tmp_path):
    """Builds a model's manifest and returns its metadata's ``alithis`` object."""

    def write(**facts):
        out = tmp_path / "out"
        opened = build_model(
            [weights], out, description=Description("m"), facts=ModelFacts(**facts), replace=True
        )
        assert all(step.ok for step in audit(out))
        return opened.metadata.document["alithis"]

    return write


def items(folder):
    rows = pq.read_table(folder / "items.parquet").to_pylist()
    return {row["path"]: row for row in rows}


TENSORS = {
    "layer.0.weight": np.arange(12, dtype="f4").reshape(3, 4),
    "layer.0.bias": np.arange(3, dtype="f8"),
    "half": np.ones((2, 2, 2), "f2"),
    "steps": np.array(7, "i8"),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 5), "f4"),
    "same": np.arange(12, dtype="f4").reshape(4, 3),
    "naïve # name": np.zeros(1, "u1"),
}


class TestWeights:
    def test_by_tensor_and_as_a_file(self, tmp_path):
        path = tmp_path / "tiny.safetensors"
        save_file(TENSORS, path, metadata={"format": "np"})

        build_model([path], tmp_path / "out", description=Description("tiny"))

        data = path.read_bytes()
        expected = {
            "tiny.safetensors": (of_bytes(data), len(data), "", ""),
            **{
                f"tiny.safetensors#{name}": (
                    of_bytes(bytes(tensor["data"])),
                    len(tensor["data"]),
                    tensor["dtype"],
                    "x".join(map(str, tensor["shape"])),
                )
                for name, tensor in safetensors.deserialize(data)
            },
        }
        assert len(expected) == 1 + len(TENSORS)
        assert {
            name: (row["leaf"], row["size"], row["dtype"], row["shape"])
            for name, row in items(tmp_path / "out").items()
        } == expected

    def test_tensor_is_proved_by_its_bytes(self, tmp_path):
        path = tmp_path / "tiny.safetensors"
        save_file(TENSORS, path)
        opened = build_model([path], tmp_path / "out", description=Description("tiny"))

        for tensor in TENSORS.values():
            assert isinstance(opened.prove(of_bytes(tensor.tobytes())), Inclusion)
        assert isinstance(opened.prove(hashing.of_file(path)[0]), Inclusion)

    def test_large_tensors_are_streamed(self, tmp_path):
        big = np.arange((3 << 20) // 4 + 5, dtype="f4")
        save_file({"big": big}, tmp_path / "big.safetensors")
        build_model([tmp_path / "big.safetensors"], tmp_path / "out", description=Description("b"))

        assert items(tmp_path / "out")["big.safetensors#big"]["leaf"] == of_bytes(big.tobytes())

    @pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "C64"])
    def test_types_unknown_to_numpy(self, tmp_path, dtype):
        bits = 64 if dtype == "C64" else 16 if dtype == "BF16" else 8
        path = safetensors_file(
            tmp_path, {"t": tensor(dtype, [3], 0, 3 * bits // 8)}, bytes(range(3 * bits // 8))
        )
        assert safetensors.deserialize(path.read_bytes())
        build_model([path], tmp_path / "out", description=Description("m"))

        row = items(tmp_path / "out")["m.safetensors#t"]
        assert (row["dtype"], row["size"]) == (dtype, 3 * bits // 8)

    def test_half_bytes(self, tmp_path):
        path = safetensors_file(tmp_path, {"t": tensor("F4", [2, 3], 0, 3)}, b"abc")
        assert safetensors.deserialize(path.read_bytes())
        build_model([path], tmp_path / "out", description=Description("m"))

        assert items(tmp_path / "out")["m.safetensors#t"]["leaf"] == of_bytes(b"abc")

    def test_without_tensors(self, tmp_path):
        path = safetensors_file(tmp_path, {}, b"")
        build_model([path], tmp_path / "out", description=Description("m"))

        assert list(items(tmp_path / "out")) == ["m.safetensors"]

    def test_other_files_as_files(self, tmp_path):
        for name in ("model.pt", "model.onnx", "tokenizer.json"):
            (tmp_path / name).write_bytes(name.encode())
        names = ["model.pt", "model.onnx", "tokenizer.json"]
        build_model(
            [tmp_path / name for name in names], tmp_path / "out", description=Description("m")
        )

        found = items(tmp_path / "out")
        assert {name: row["leaf"] for name, row in found.items()} == {
            name: of_bytes(name.encode()) for name in names
        }

    def test_large_files_in_pieces(self, tmp_path, monkeypatch):
        monkeypatch.setattr(weighing, "PIECE", 10)
        (tmp_path / "m.gguf").write_bytes(bytes(range(25)))
        (tmp_path / "m.pt").write_bytes(bytes(10))
        build_model([tmp_path / "m.gguf", tmp_path / "m.pt"], tmp_path / "out", **WORDS)

        found = items(tmp_path / "out")
        assert {name: (row["leaf"], row["size"]) for name, row in found.items()} == {
            "m.gguf": (of_bytes(bytes(range(25))), 25),
            "m.gguf#0": (of_bytes(bytes(range(10))), 10),
            "m.gguf#1": (of_bytes(bytes(range(10, 20))), 10),
            "m.gguf#2": (of_bytes(bytes(range(20, 25))), 5),
            "m.pt": (of_bytes(bytes(10)), 10),
        }

    def test_folder(self, tmp_path):
        for name in ("config.json", "vae/model.safetensors", ".gitattributes", ".git/HEAD", "a/.b"):
            (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "repo" / name).write_bytes(name.encode())
        save_file({"t": np.ones(3, "f4")}, tmp_path / "repo" / "vae" / "model.safetensors")
        chosen = Weights.of([tmp_path / "repo"])
        build_model(chosen, tmp_path / "out", **WORDS)

        assert sorted(items(tmp_path / "out")) == [
            *("config.json", "vae/model.safetensors", "vae/model.safetensors#t"),
        ]
        assert dict(chosen.skipped.names) == dict.fromkeys(
            (".git/HEAD", ".gitattributes", "a/.b"), "hidden"
        )

    def test_result_does_not_depend_on_workers(self, tmp_path, monkeypatch):
        monkeypatch.setattr(weighing, "PIECE", 1000)
        monkeypatch.setattr(weighing, "_WORTH", 0)
        save_file(
            {f"t{n}": np.full(100 + n, n, "f4") for n in range(40)}, tmp_path / "m.safetensors"
        )
        (tmp_path / "m.bin").write_bytes(bytes(range(256)) * 30)
        for workers in (1, 3):
            paths = [tmp_path / "m.safetensors", tmp_path / "m.bin"]
            build_model(paths, tmp_path / f"{workers}", **WORDS, workers=workers)
        for name in ("metadata.json", "items.parquet", "leaves"):
            one, three = ((tmp_path / each / name).read_bytes() for each in "13")
            assert one == three

    def test_nothing_is_unpickled(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return (pytest.fail, ("unpickled",))

        import pickle

        (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb()))
        build_model([tmp_path / "model.pkl"], tmp_path / "out", description=Description("m"))

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ([], "no weights: give the files"),
            (["missing"], "missing: cannot be read: No such file"),
            (["."], "two files|the name is not UTF-8"),
            (["empty"], "empty: contains no files"),
            (["a", "b"], "another file has the same name"),
            (["hidden"], "no weights: give the files"),
            (["/dev/null"], "not a regular file"),
            (["a/model.bin", "b/model.bin"], "another file has the same name; rename one"),
            (
                ["a/model.bin", "model.bin#b#c"],
                "its name could be that of a part of model.bin; rename",
            ),
            (["\udcff"], r"the file name '\\udcff' is not UTF-8"),
        ],
    )
    def test_refused(self, tmp_path, names, said):
        for folder in ("a", "b", "empty", "hidden"):
            (tmp_path / folder).mkdir()
        (tmp_path / "hidden" / ".git").write_bytes(b"x")
        for folder in ("a", "b"):
            (tmp_path / folder / "model.bin").write_bytes(b"x")
        (tmp_path / "\udcff").write_bytes(b"x")
        paths = [tmp_path / name for name in names]

        with pytest.raises((SourceError, FormatError), match=said):
            build_model(paths, tmp_path / "out", description=Description("m"))
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "a",
            "b",
            "empty",
            "hidden",
            "\udcff",
        ]


def tensor(dtype, shape, first, last):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def safetensors_file(folder, header, data, *, length=None):
    """Writes a safetensors file; the header as a document or as it stands."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    length = len(header) if length is None else length
    path = folder / "m.safetensors"
    path.write_bytes(struct.pack("<Q", length) + header + data)
    return path


F4 = tensor("F32", [1], 0, 4)


class TestHostileSafetensors:
    @pytest.fixture(autouse=True)
    def nothing_written(self, tmp_path):
        yield
        assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]

    def refused(self, path, said):
        with pytest.raises(FormatError, match=said) as caught:
            build_model([path], path.with_name("out"), description=Description("m"))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300 + len(str(path))
        with pytest.raises((safetensors.SafetensorError, OverflowError)):
            safetensors.deserialize(path.read_bytes())

    @pytest.mark.parametrize(
        "data", [b"", b"\0" * 7, b"\0" * 8, struct.pack("<Q", 9) + b"{}", b"\xff" * 8 + b"{}"]
    )
    def test_no_header(self, tmp_path, data):
        (tmp_path / "m.safetensors").write_bytes(data)
        self.refused(tmp_path / "m.safetensors", "header is cut short|not JSON")

    def test_header_of_more_than_100_megabytes(self, tmp_path):
        path = safetensors_file(tmp_path, b"{}", b"", length=100_000_001)
        with path.open("r+b") as file:
            file.truncate(100_000_009)  # sparse: as long as the header claims to be
        self.refused(path, "header is cut short")

    @pytest.mark.parametrize(
        "header",
        [b"", b"[]", b"{", b'{"a": NaN}', b"\xff\xfe", b'{"t": {}, "t": {}}', b"[" * 100_000],
        ids=["empty", "list", "open", "nan", "encoding", "twice", "deep"],
    )
    def test_a_header_that_is_not_a_json_object_is_refused(self, tmp_path, header):
        if header.startswith(b'{"t"'):
            header = (
                json.dumps({"t": F4}).encode()[:-1] + b', "t": ' + json.dumps(F4).encode() + b"}"
            )
            path = safetensors_file(tmp_path, header, bytes(4))
            with pytest.raises(FormatError, match="a key is repeated"):
                build_model([path], tmp_path / "out", description=Description("m"))
            return  # the library takes the last one
        self.refused(safetensors_file(tmp_path, header, b""), "JSON")

    @pytest.mark.parametrize(
        "entry",
        [
            None,
            7,
            [],
            {},
            "F32",
            {**F4, "data_offsets": None},
            {**F4, "data_offsets": [0]},
            {**F4, "data_offsets": [0, 4, 8]},
            {**F4, "data_offsets": ["0", "4"]},
            {**F4, "data_offsets": [0.0, 4.0]},
            {**F4, "data_offsets": [False, 4]},
            {**F4, "data_offsets": [-4, 0]},
            {**F4, "data_offsets": [4, 0]},
            {**F4, "data_offsets": [0, 1 << 70]},
            {**F4, "shape": None},
            {**F4, "shape": "1"},
            {**F4, "shape": [-1]},
            {**F4, "shape": [1.0]},
            {**F4, "shape": [True]},
            {**F4, "shape": ["1"]},
            {**F4, "shape": [2]},
            {**F4, "shape": [1 << 40, 1 << 40]},
            {**F4, "shape": [10**90]},
            {**F4, "dtype": None},
            {**F4, "dtype": 32},
            {**F4, "dtype": ["F32"]},
            {**F4, "dtype": "f32"},
            {**F4, "dtype": "F32\x1b[31m"},
            {**F4, "dtype": "F0"},
            {**F4, "dtype": "F64"},
        ],
        ids=str,
    )
    def test_tensor_described_wrongly(self, tmp_path, entry):
        path = safetensors_file(tmp_path, {"t": entry}, bytes(4))
        self.refused(path, "entry for tensor 't' is invalid")

    def test_refuses_too_many_axes(self, tmp_path):
        entry = {**F4, "shape": [1] * 100_000}
        path = safetensors_file(tmp_path, {"t": entry}, bytes(4))
        with pytest.raises(FormatError, match=r"entry for tensor .* is invalid"):
            build_model([path], tmp_path / "out", description=Description("m"))

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ({"t": tensor("F32", [3], 0, 12)}, "have 12 bytes, but the file has 8"),
            ({"t": tensor("F32", [1], 0, 4)}, "have 4 bytes, but the file has 8"),
            ({"t": tensor("F32", [1], 4, 8)}, "starts at byte 4, but .* at 0"),
            ({"t": tensor("F32", [1], 1 << 50, (1 << 50) + 4)}, "starts at byte"),
            (
                {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [1], 4, 8)},
                "tensor 'b' starts at byte 4, but the tensor before it ends at 8",
            ),
            (
                {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 0, 8)},
                "tensor 'b' starts at byte 0",
            ),
            (
                {"a": tensor("U8", [3], 0, 3), "b": tensor("U8", [4], 4, 8)},
                "tensor 'b' starts at byte 4, but the tensor before it ends at 3",
            ),
        ],
        ids=["past the end", "short", "gap first", "far", "overlap", "twice", "hole"],
    )
    def test_tensors_that_do_not_fill_the_file(self, tmp_path, header, said):
        self.refused(safetensors_file(tmp_path, header, bytes(8)), said)

    def test_refuses_names_that_are_not_text(self, tmp_path):
        path = safetensors_file(tmp_path, {"\ud800": F4}, bytes(4))
        self.refused(path, r"the tensor name '\\ud800' is not UTF-8|not JSON")

    def test_refuses_long_names(self, tmp_path):
        self.refused(
            safetensors_file(tmp_path, {"n" * 100_000: {}}, b""), "entry for tensor .* is invalid"
        )

    def test_file_replaced_between_two_reads(self, tmp_path, monkeypatch):
        path = safetensors_file(tmp_path, {"t": F4}, bytes(4))
        of_file = hashing.of_file

        def then_grown(*args):
            value = of_file(*args)
            with path.open("ab") as file:
                file.write(b"more")
            return value

        monkeypatch.setattr(hashing, "of_file", then_grown)
        with pytest.raises(SourceError, match="changed while it was read"):
            build_model([path], tmp_path / "out", description=Description("m"))

    def test_file_removed_between_two_reads(self, tmp_path, monkeypatch):
        path = safetensors_file(tmp_path, {"t": F4}, bytes(4))
        of_file = hashing.of_file

        def then_gone(*args):
            value = of_file(*args)
            path.rename(path.with_suffix(".old"))
            return value

        monkeypatch.setattr(hashing, "of_file", then_gone)
        with pytest.raises(SourceError, match="cannot be read: No such file"):
            build_model([path], tmp_path / "out", description=Description("m"))
        path.with_suffix(".old").rename(path)


SIZES = {"BOOL": 1, "U8": 1, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "F64": 8}


@st.composite
def headers(draw):
    """A header whose tensors lie side by side, and then perhaps one number changed."""
    header, end = {}, 0
    for number in range(draw(st.integers(0, 4))):
        dtype = draw(st.sampled_from(sorted(SIZES)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        first, end = end, end + SIZES[dtype] * math.prod(shape)
        header[f"t{number}"] = tensor(dtype, shape, first, end)
    if header and draw(st.booleans()):
        entry = header[draw(st.sampled_from(sorted(header)))]
        numbers = draw(
            st.sampled_from([each for each in (entry["shape"], entry["data_offsets"]) if each])
        )
        numbers[draw(st.integers(0, len(numbers) - 1))] += draw(st.sampled_from([-4, -1, 1, 4]))
    return header, end


@given(made=headers(), extra=st.sampled_from([0, 0, 0, -1, 1]))
@settings(deadline=None, max_examples=examples(200))
def test_files_are_accepted_as_the_library_accepts_them(tmp_path_factory, made, extra):
    header, size = made
    folder = tmp_path_factory.mktemp("made")
    path = safetensors_file(folder, header, bytes(max(0, size + extra)))
    try:
        theirs = {
            name: bytes(each["data"]) for name, each in safetensors.deserialize(path.read_bytes())
        }
    except (safetensors.SafetensorError, OverflowError):
        with pytest.raises(FormatError):
            build_model([path], folder / "out", description=Description("m"))
        return
    build_model([path], folder / "out", description=Description("m"))
    ours = items(folder / "out")
    assert {f"m.safetensors#{name}": of_bytes(data) for name, data in theirs.items()} == {
        name: row["leaf"] for name, row in ours.items() if "#" in name
    }


class TestArrayWrapper:
    """What a wrapped array gives is what the array gives, and the rows are remembered."""

    @pytest.mark.parametrize(
        ("key", "rows"),
        [
            (3, [3]),
            (-1, [9]),
            (np.int64(4), [4]),
            (np.array(5), [5]),
            (slice(2, 5), [2, 3, 4]),
            (slice(None, None, -4), [9, 5, 1]),
            (slice(8, 20), [8, 9]),
            (slice(3, 3), []),
            ([1, 1, 7], [1, 7]),
            ([-1, 0], [0, 9]),
            ([], []),
            (np.array([6, 2]), [2, 6]),
            (np.array([[6, 2], [2, 0]]), [0, 2, 6]),
            (np.array([], int), []),
            (range(2, 4), [2, 3]),
            ([index % 4 == 0 for index in range(ROWS)], [0, 4, 8]),
            (np.arange(ROWS) > 7, [8, 9]),
            (DATA % 6 == 0, range(ROWS)),
            (DATA > 50, [8, 9]),
            (DATA[:, :, 0] == 0, [0]),
            ((2, 1), [2]),
            ((2, slice(None), 0), [2]),
            ((slice(0, 2), 1), [0, 1]),
            (([0, 3], 1), [0, 3]),
            (([0, 3], [1, 0], [2, 2]), [0, 3]),
            ((np.array([True] + [False] * 9), 1), [0]),
            ((DATA[:, :, 0] > 51, 2), [9]),
            ((..., 1), range(ROWS)),
            ((..., 4, 1, 1), [4]),
            ((None, 4), [4]),
            (None, range(ROWS)),
            (..., range(ROWS)),
            ((), range(ROWS)),
            (True, range(ROWS)),
            (False, []),
        ],
        ids=str,
    )
    def test_key(self, key, rows):
        fed = fed_of(DATA)

        given = fed[key]

        np.testing.assert_array_equal(given, DATA[key])
        assert type(given) is type(DATA[key])
        assert isinstance(fed, np.ndarray)
        assert taken(fed) == sorted(rows)

    @given(
        key=st.one_of(
            st.integers(-ROWS, ROWS - 1),
            st.slices(ROWS),
            st.lists(st.integers(-ROWS, ROWS - 1), max_size=5),
            st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).map(np.array),
        )
    )
    def test_any_key_along_the_rows(self, key):
        numbers = np.arange(ROWS)
        fed = fed_of(DATA)
        fed[key]
        assert taken(fed) == sorted(set(np.atleast_1d(numbers[key]).tolist()))

    @pytest.mark.parametrize("key", [10, -11, "name", 1.5, (0, 9), [10], np.zeros(3, bool)])
    def test_key_that_the_array_refuses(self, key):
        fed = fed_of(DATA)
        with pytest.raises(IndexError):
            fed[key]
        assert taken(fed) == []

    def test_rows_add_up(self):
        fed = fed_of(DATA)
        fed[2], fed[5:7], fed[2]
        assert taken(fed) == [2, 5, 6]

    def test_iteration(self):
        fed = fed_of(DATA)
        for number, row in enumerate(fed):
            np.testing.assert_array_equal(row, DATA[number])
            if number == 3:
                break
        assert taken(fed) == [0, 1, 2, 3]
        assert len(list(fed)) == len(fed) == ROWS
        assert taken(fed) == list(range(ROWS))

    @pytest.mark.parametrize(
        ("use", "plain"),
        [
            (np.asarray, np.asarray),
            (np.array, np.array),
            (np.sum, np.sum),
            (lambda fed: np.asarray(fed, "f4"), lambda data: data.astype("f4")),
            (lambda fed: np.concatenate([fed, DATA]), lambda data: np.concatenate([data, DATA])),
            (lambda fed: fed.__array__(copy=True), np.array),
            (lambda fed: fed.__array__(np.dtype("f4"), copy=None), lambda data: data.astype("f4")),
        ],
    )
    def test_as_an_array(self, use, plain):
        fed = fed_of(DATA)
        used, expected = use(fed), plain(DATA)
        np.testing.assert_array_equal(used, expected)
        assert used.dtype == expected.dtype
        assert taken(fed) == list(range(ROWS))

    def test_length_reads_no_rows(self):
        fed = fed_of(DATA)
        assert len(fed) == ROWS
        assert taken(fed) == []
        assert noted(fed) == []
        assert (fed.shape, fed.dtype, fed.ndim) == (DATA.shape, DATA.dtype, DATA.ndim)
        assert taken(fed) == []

    @pytest.mark.parametrize(
        "use", [lambda fed: fed.mean(), lambda fed: fed.T, lambda fed: fed.astype("f4")]
    )
    def test_computing_reads_all_rows(self, use):
        fed = fed_of(DATA)
        np.testing.assert_array_equal(use(fed), use(DATA))
        assert taken(fed) == list(range(ROWS))

    def test_rows_that_are_read_cannot_be_changed(self):
        data = DATA.copy()
        fed = fed_of(data)
        for rows in (fed[0], fed[2:4], np.asarray(fed)):
            with pytest.raises(ValueError, match="read-only"):
                rows[:] = 0
        data[0] = 1  # our view does not bind the caller's array
        assert data.flags.writeable

    @pytest.mark.parametrize(
        ("dtype", "shape"),
        [("u1", (4,)), (">f4", (4, 2)), ("<f4", (4, 2)), ("f8", (4, 1, 3)), ("S3", (4,))],
    )
    def test_digests_are_those_of_the_readers(self, tmp_path, dtype, shape):
        data = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
        opened = dataset_of(tmp_path / "rows", data)
        fed = fed_of(data)
        fed[:]
        assert noted(fed) == list(opened.leaves())

    def test_more_rows_than_are_digested_at_once(self, monkeypatch):
        monkeypatch.setattr(recorder, "_BATCH", 3)
        fed = fed_of(DATA)
        fed[1:9]
        assert noted(fed) == sorted(LEAVES[index] for index in range(1, 9))

    def test_memory_map(self, tmp_path):
        np.save(tmp_path / "data.npy", DATA)
        fed = fed_of(np.load(tmp_path / "data.npy", mmap_mode="r"))
        fed[3]
        assert taken(fed) == [3]
        assert noted(fed) == [LEAVES[3]]

    @pytest.mark.parametrize("data", [np.array(5), np.array([{}])])
    def test_no_rows(self, data):
        with pytest.raises(SourceError, match="data points must be the rows of an array"):
            fed_of(data)

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
    def test_rows_without_bytes(self, shape):
        with pytest.raises(
            SourceError, match=re.escape(f"an array of shape {shape} contains no data points")
        ):
            fed_of(np.zeros(shape))


def fed_of(data):
    folder = Path(tempfile.mkdtemp(dir=FOLDER.name))
    return wrap(data, Recorder(FedLog(folder), ItemHasher(form.BYTES)))


def taken(fed):
    marked = vars(fed)["_rows"]
    marked.flush()
    return np.flatnonzero(marked._mapped()).tolist()


def noted(fed):
    vars(fed)["_rows"].flush()
    found = FedLogSnapshot([vars(fed)["_rows"]._recorder.fed_log])
    return [row for block in found.blocks() for row in split(block.tobytes())]


def split(joined):
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]


class TestTranscript:
    def test_coverage(self, dataset):
        fed = b"".join([LEAVES[0], LEAVES[4], LEAVES[0], of_bytes(b"foreign"), bytes(32)])

        transcript = Transcript.of(fed, dataset)

        distinct = sorted({LEAVES[0], LEAVES[4], of_bytes(b"foreign"), bytes(32)})
        assert transcript == Transcript(
            root=reference.mth(distinct), size=4, seen=2, unseen=8, foreign=2
        )

    def test_transcript_of_nothing(self, dataset):
        assert Transcript.of(b"", dataset) == Transcript(None, 0, 0, ROWS, 0)

    def test_transcript_of_all_data_points_has_the_datasets_root(self, dataset):
        transcript = Transcript.of(b"".join(LEAVES.values()), dataset)
        assert (transcript.root, transcript.size) == (dataset.metadata.root, ROWS)
        assert (transcript.seen, transcript.unseen, transcript.foreign) == (ROWS, 0, 0)

    @given(rows=st.lists(st.integers(0, ROWS + 3)))
    def test_any_selection(self, dataset, rows):
        more = {index: of_bytes(b"%d" % index) for index in range(ROWS, ROWS + 4)} | LEAVES
        transcript = Transcript.of(b"".join(more[index] for index in rows), dataset)
        seen = {index for index in rows if index < ROWS}
        assert transcript.seen == len(seen)
        assert transcript.unseen == ROWS - len(seen)
        assert transcript.foreign == len(set(rows) - seen)
        assert transcript.size == len(set(rows))


class TestRun:
    def record(self, weights, out, dataset):
        with Run("classifier", description="Of digits.", license="MIT") as run:
            train = run.use(DATA, dataset)
            run.log_params(epochs=2, rate=0.5)
            for _ in range(2):
                train[2:6]
            run.use(DATA, dataset, "tested_on")[[0, 1]]
            run.log_params(rate=0.25, layers=[4, 2])
            run.log_metrics(accuracy=np.float32(0.5))
            run.save_model(weights)
        return run.write(out)

    def test_manifest_of_a_run(self, weights, dataset, tmp_path):
        opened = self.record(weights, tmp_path / "out", dataset)

        data = metadata.load((tmp_path / "out" / "metadata.json").read_bytes())
        assert data == opened.metadata
        assert (data.kind, data.name, data.size) == ("model", "classifier", 1)
        assert (data.document["description"], data.document["license"]) == ("Of digits.", "MIT")
        ours = data.document["alithis"]
        assert ours["parameters"] == {"epochs": 2, "rate": 0.25, "layers": [4, 2]}
        assert ours["metrics"] == {"accuracy": 0.5}
        assert ours["complete"] is True
        assert ours["environment"].keys() >= {"python", "system", "numpy"}
        assert ours["seconds"] >= 0
        assert ours["hardware"]
        assert set(ours["code"]) <= {"repository", "commit", "dirty"}
        trained, tested = ours["inputs"]
        assert trained == {
            "relation": "trained_on",
            "name": "rows",
            "metadata": dataset.metadata.digest.hex(),
            "transcript": {
                "root": merkle.root(b"".join(sorted(LEAVES[at] for at in range(2, 6)))).hex(),
                "size": 4,
                "seen": 4,
                "unseen": 6,
                "foreign": 0,
                "given": 8,
            },
        }
        assert (tested["relation"], tested["transcript"]["seen"]) == ("tested_on", 2)
        assert all(step.ok for step in audit(tmp_path / "out"))

    def test_fair4ml_terms(self, weights, dataset, tmp_path):
        document = self.record(weights, tmp_path / "out", dataset).metadata.document

        link = {"@type": "sc:Dataset", "@id": "ipfs://f01551220" + dataset.metadata.digest.hex()}
        link["name"] = "rows"
        assert document["@type"] == "fair4ml:MLModel"
        assert document["@context"]["fair4ml"] == "https://w3id.org/fair4ml#"
        assert document["fair4ml:trainedOn"] == [link]
        assert document["fair4ml:testedOn"] == [link]
        assert "fair4ml:validatedOn" not in document

    def test_manifest_is_read_back(self, weights, dataset, tmp_path):
        opened = self.record(weights, tmp_path / "out", dataset)
        digest_ = dataset.metadata.digest

        trained, tested = (
            Transcript.of(b"".join(LEAVES[at] for at in rows), dataset, given)
            for rows, given in ((range(2, 6), 8), (range(2), 2))
        )
        assert stated_inputs(opened.metadata) == [
            Input("trained_on", "rows", digest_, trained),
            Input("tested_on", "rows", digest_, tested),
        ]

    def test_same_run_same_bytes(self, weights, dataset, tmp_path, monkeypatch):
        monkeypatch.setattr(runs.time, "monotonic", lambda: 7.0)
        for name in ("one", "two"):
            self.record(weights, tmp_path / name, dataset)
        for name in ("metadata.json", "items.parquet", "leaves"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    def test_interrupted_run_is_incomplete(self, weights, dataset, tmp_path):
        run = Run("broken")

        def train():
            with run:
                run.use(DATA, dataset)[0]
                run.save_model(weights)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train()
        ours = run.write(tmp_path / "out").metadata.document["alithis"]
        assert ours["complete"] is False
        assert ours["inputs"][0]["transcript"]["seen"] == 1

    def test_unfinished_run_is_incomplete(self, weights, tmp_path):
        with Run("running") as run:
            run.save_model(weights)
            ours = run.write(tmp_path / "out").metadata.document["alithis"]
        assert ours["complete"] is False

    def test_parts_of_a_dataset_are_one_input(self, dataset):
        """The contract takes a link only once."""
        run = Run("parts")
        run.use(DATA[:5], dataset)[:]
        run.use(DATA[5:], dataset)[1:]
        run.use(DATA, dataset, "validated_on")[0]

        trained, validated = run.inputs()
        assert (trained.relation, trained.transcript.seen) == ("trained_on", 9)
        assert (validated.relation, validated.transcript.seen) == ("validated_on", 1)

    def test_data_changed_before_it_is_read_is_foreign(self, dataset):
        run = Run("augmented")
        run.use(DATA + 1, dataset)[:4]

        (given,) = run.inputs()
        assert given.transcript.foreign == 4
        assert (given.transcript.seen, given.transcript.unseen) == (0, ROWS)

    def test_manifest_by_path_or_text(self, tmp_path):
        dataset_of(tmp_path / "rows", DATA)
        run = Run("m")
        run.use(DATA, tmp_path / "rows")[0]
        run.use(DATA, str(tmp_path / "rows"))[1]

        assert run.inputs()[0].transcript.seen == 2
        with pytest.raises(FormatError, match="a manifest"):
            run.use(DATA, tmp_path)

    @pytest.mark.parametrize("relation", ["trained", "fine_tuned_from", "supersedes", ""])
    def test_relation_that_datasets_do_not_have(self, dataset, relation):
        run = Run("m")
        with pytest.raises(FormatError, match="one of trained_on, validated_on, tested_on"):
            run.use(DATA, dataset, relation)
        assert run.inputs() == []

    def test_manifests_that_cannot_be_compared(self, tmp_path):
        build(tmp_path / "model", [b"x"], kind="model")
        keyed = build(tmp_path / "keyed", [b"x"], key=PublisherKey(bytes(32)))

        for manifest, said in (
            (tmp_path / "model", "model: a model with sha256 leaves"),
            (keyed, "keyed: a dataset with keyed leaves"),
        ):
            with pytest.raises(FormatError, match=said):
                Run("m").use(DATA, manifest)

    @pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt, SystemExit])
    def test_written_after_any_end(self, weights, dataset, tmp_path, error):
        def train():
            with Run("m", out=tmp_path / "out", task="digits") as run:
                run.use(DATA, dataset)[:3]
                run.log_seeds(numpy=7)
                run.save_model(weights)
                if error:
                    raise error

        with pytest.raises(error) if error else nullcontext():
            train()
        document = Manifest.open(tmp_path / "out").metadata.document
        assert document["fair4ml:mlTask"] == "digits"
        ours = document["alithis"]
        assert (ours["complete"], ours["seeds"]) == (error is None, {"numpy": 7})
        assert ours["inputs"][0]["transcript"]["given"] == 3

    def test_values_are_logged_as_they_are_at_that_time(self):
        run, loss, settings = Run("m"), np.zeros(()), {"rate": 0.5}
        run.log_metrics(loss=loss)
        run.log_params(settings=settings)
        loss += 1
        settings["rate"] = 0.25
        facts = run.facts()
        assert (facts.metrics, facts.parameters) == ({"loss": 0}, {"settings": {"rate": 0.5}})

    def test_long_value_is_refused_by_write_and_cut_in_a_record(self, weights, tmp_path):
        with Run("m", out=tmp_path / "out") as run:
            run.log_metrics(accuracy=0.5, history=[0.123456789] * 15_000)
            run.save_model(weights)
        ours = Manifest.open(tmp_path / "out").metadata.document["alithis"]
        assert ours["metrics"]["accuracy"] == 0.5
        assert ours["metrics"]["history"] == [*[0.123456789] * 100, "… 14,900 more"]
        with pytest.raises(
            FormatError, match=r"metrics\.history: 195,0\d\d bytes; a value may have at most 65,536"
        ):
            run.write(tmp_path / "again")

    def test_path_that_is_saved_twice_is_one_file(self, weights, tmp_path):
        run = Run("m")
        for _ in range(3):  # epochs
            run.save_model(weights, str(weights))
        assert run.write(tmp_path / "out").metadata.items == 1

    def test_written_before_it_ends(self, weights, tmp_path):
        with Run("m") as run:
            run.save_model(weights)
            with pytest.warns(UserWarning, match="has not ended and is recorded as incomplete"):
                run.write(tmp_path / "out")
        assert run.write(tmp_path / "out", replace=True).metadata.document["alithis"]["complete"]

    def test_manifest_replaced_during_the_run(self, tmp_path):
        rows = dataset_of(tmp_path / "rows", DATA).metadata
        with Run("m") as run:
            fed = run.use(DATA, tmp_path / "rows")
            shutil.rmtree(tmp_path / "rows")
            dataset_of(tmp_path / "rows", DATA + 100)
            fed[:]
        (given,) = run.inputs()
        assert given.metadata == rows.digest
        assert (given.transcript.seen, given.transcript.foreign) == (ROWS, 0)

    def test_damaged_manifest_only_loses_its_own_transcript(self, weights, tmp_path):
        dataset_of(tmp_path / "rows", DATA)
        others = dataset_of(tmp_path / "others", DATA[:3])

        def train():
            with Run("m", out=tmp_path / "out") as run:
                fed = run.use(DATA, tmp_path / "rows"), run.use(DATA, others, "tested_on")
                fed[0][:], fed[1][:2]
                leaves = tmp_path / "rows" / "leaves"
                os.truncate(leaves, leaves.stat().st_size - 32)
                run.log_metrics(accuracy=0.5)
                run.save_model(weights)

        with pytest.raises(AlithisError, match="expected 320, found 288"):
            train()
        ours = Manifest.open(tmp_path / "out").metadata.document["alithis"]
        assert (ours["complete"], ours["metrics"]) == (False, {"accuracy": 0.5})
        trained, tested = ours["inputs"]
        assert "transcript" not in trained
        assert tested["transcript"]["seen"] == 2

    def test_interim_record_that_cannot_be_written_is_a_warning(self, weights, tmp_path):
        place = tmp_path / "runs"
        with Run("m", out=place / "out") as run:  # makes the folder
            shutil.rmtree(place)
            place.write_bytes(b"in its place")
            with pytest.warns(UserWarning, match="the run continues, and is recorded when it ends"):
                run.log_params(rate=0.5)
            place.unlink()
            run.save_model(weights)
        ours = Manifest.open(place / "out").metadata.document["alithis"]
        assert ours["parameters"] == {"rate": 0.5}

    def test_training_that_diverged_is_recorded(self, weights, tmp_path):
        with Run("m", out=tmp_path / "out") as run:
            run.log_metrics(präzision=0.5, loss=float("nan"))
            run.save_model(weights)
        ours = Manifest.open(tmp_path / "out").metadata.document["alithis"]
        assert ours["metrics"] == {"präzision": 0.5, "loss": "nan"}

    def test_record_without_weights(self, weights, dataset, tmp_path):
        def train():
            with Run("m", out=tmp_path / "out") as run:
                run.use(DATA, dataset)[:3]
                run.log_params(epochs=2)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            train()
        assert not (tmp_path / "out").exists()

        command = ("model", weights, "-o", tmp_path / "out", "--run", tmp_path / "out.run.json")
        run_json(*command, "--param", "rate=0.5")
        ours = Manifest.open(tmp_path / "out").metadata.document["alithis"]
        assert ours["parameters"] == {"epochs": 2, "rate": 0.5}
        assert ours["complete"] is False
        assert ours["inputs"][0]["transcript"]["seen"] == 3

    def test_code(self):
        assert Run("m").facts().code == checkout()

    def test_given_counts_repeats(self, dataset):
        run = Run("m")
        fed = run.use(DATA, dataset)
        fed[2], fed[[1, 1]], fed[DATA[:, 0, 0] > 20], fed[..., 0], list(fed)
        (given,) = run.inputs()
        assert given.transcript.given == 1 + 2 + int((DATA[:, 0, 0] > 20).sum()) + ROWS + ROWS

    def test_no_weights(self, tmp_path):
        with pytest.raises(
            SourceError, match="forgetful: no weights were saved; call save_model first"
        ):
            Run("forgetful").write(tmp_path / "out")

    def test_replacing(self, weights, dataset, tmp_path):
        self.record(weights, tmp_path / "out", dataset)
        run = Run("again")
        run.save_model(str(weights))

        with pytest.raises(SourceError, match="exists"):
            run.write(tmp_path / "out")
        assert run.write(tmp_path / "out", replace=True).metadata.name == "again"

    def test_refused_value_can_be_logged_again(self, weights, tmp_path):
        run = Run("m")
        run.save_model(weights)
        run.log_metrics(loss=float("nan"))
        with pytest.raises(FormatError, match=r"metrics\.loss"):
            run.write(tmp_path / "out")
        run.log_metrics(loss="diverged")

        opened = run.write(tmp_path / "out")
        assert opened.metadata.document["alithis"]["metrics"] == {"loss": "diverged"}


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(-(2**70), 2**70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class TestValues:
    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (None, None),
            (True, True),
            (3, 3),
            (0.25, 0.25),
            ("text", "text"),
            (np.float32(0.25), 0.25),
            (np.float64(0.25), 0.25),
            (np.float16(0.5), 0.5),
            (np.int8(-3), -3),
            (np.uint64(1 << 63), 1 << 63),
            (np.bool_(True), True),
            (np.str_("text"), "text"),
            (np.array(7), 7),
            ((1, np.float32(2)), [1, 2.0]),
            ({"a": {"b": [np.int64(1), None]}}, {"a": {"b": [1, None]}}),
        ],
    )
    def test_accepted(self, written, value, plain):
        ours = written(parameters={"x": value}, metrics={"y": value})
        assert ours["parameters"] == {"x": plain}
        assert ours["metrics"] == {"y": plain}
        assert type(ours["parameters"]["x"]) is type(plain)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (float("nan"), "metrics.y: nan is not a JSON number; leave it out, or log it as text"),
            (float("-inf"), "metrics.y: -inf is not a JSON number"),
            (np.float32("nan"), "metrics.y: nan is not a JSON number"),
            ([1.0, {"z": math.inf}], "metrics.y[1].z: inf is not a JSON number"),
            pytest.param(
                object(), "metrics.y: a object is not a JSON value; log it as text", id="object"
            ),
            (np.arange(3), "metrics.y: a ndarray is not a JSON value"),
            (b"bytes", "metrics.y: a bytes is not a JSON value"),
            (1j, "metrics.y: a complex is not a JSON value"),
            (np.complex64(1), "metrics.y: a complex is not a JSON value"),
            (np.datetime64("2020-01-01"), "metrics.y: a date is not a JSON value"),
            ({1, 2}, "metrics.y: a set is not a JSON value"),
            ({1: 2}, "metrics.y: the key 1 is not text"),
            pytest.param(-(10**100), "metrics.y: a number of more than 100 digits", id="long"),
            ({"\ud800": 2}, r"metrics.y: the key '\ud800' is not UTF-8"),
            ("\ud800", "metrics.y is not UTF-8"),
        ],
        ids=repr,
    )
    def test_refused(self, written, tmp_path, value, said):
        with pytest.raises(FormatError) as caught:
            written(metrics={"y": value})
        assert said in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_nesting_is_limited(self, written):
        endless = []
        endless.append(endless)
        with pytest.raises(FormatError, match="nested more than 29 levels deep"):
            written(parameters={"x": endless})

    def test_deepest_nesting_is_read_back(self, written):
        value = 1
        for _ in range(28):
            value = [value]
        assert written(parameters={"x": value})["parameters"] == {"x": value}

    def test_more_than_fits_the_metadata(self, written):
        with pytest.raises(FormatError, match="at most 262144 are allowed"):
            written(parameters={"x": ["filler"] * 50_000})

    @given(values)
    def test_values_are_accepted_unchanged_or_refused(self, value):
        try:
            plain = model.json_value("x", value)
        except FormatError:
            assert not is_json(value)
        else:
            assert plain == value
            json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()


def is_odd(number):
    return number % 2


class TestJsonOrText:
    """What a framework tells, or a run that diverged, is recorded whatever it is."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (math.nan, "nan"),
            (np.float32("-inf"), "-inf"),
            (np.array([0.5, math.nan]), [0.5, "nan"]),
            (np.arange(3), [0, 1, 2]),
            (np.float64, "float64"),
            (is_odd, "is_odd"),
            (object(), "<object object>"),
            (functools.partial(is_odd, 1), "functools.partial(<function is_odd>, 1)"),
            ({1: math.nan, "präzise": 0.5}, {"1": "nan", "präzise": 0.5}),
            ({"\ud800": 1}, {"\\ud800": 1}),
            ("\ud800", "\\ud800"),
            ({"b", "a", math.nan}, ["a", "b", "nan"]),
            (b"bytes", "b'bytes'"),
            ((1, [math.inf]), [1, ["inf"]]),
            ([math.nan] * 2000, [*["nan"] * 100, "… 1,900 more"]),
            (["word"] * 101, [*["word"] * 100, "… 1 more"]),
        ],
    )
    def test_as_text(self, value, text):
        assert model.json_or_text(value) == text

    def test_large_values_are_cut(self):
        assert len(model.json_or_text(b"x" * 5000)) == 1000
        assert len(model.json_or_text("x" * 5000)) == 1000
        assert len(model.json_or_text({str(at): at for at in range(5000)})) == 101
        assert len(model.json_or_text(np.full((100, 100), math.nan))) <= 1000

    def test_values_that_contain_themselves_are_cut(self):
        endless = [math.nan]
        endless.append(endless)
        assert is_json(model.json_or_text(endless))

    @given(values)
    def test_always_json_and_what_is_json_stays(self, value):
        spelt = model.json_or_text(value)
        assert is_json(spelt)
        assert not is_json(value) or spelt == value


def is_json(value):
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError):
        return False
    return True


class TestInputs:
    def test_every_relation(self, written):
        inputs = [
            Input(relation, relation.upper(), of_bytes(relation.encode())) for relation in RELATIONS
        ]
        ours = written(inputs=inputs)

        assert ours["inputs"] == [
            {"relation": each.relation, "name": each.name, "metadata": each.metadata.hex()}
            for each in inputs
        ]

    def test_terms(self, weights, tmp_path):
        inputs = [
            Input(relation, name, of_bytes(name.encode()))
            for relation, name in [
                ("trained_on", "a"),
                ("trained_on", "b"),
                ("validated_on", "c"),
                ("fine_tuned_from", "base"),
                ("distilled_from", "teacher"),
                ("supersedes", "old"),
            ]
        ]
        opened = build_model(
            [weights],
            tmp_path / "out",
            description=Description("m"),
            facts=ModelFacts(inputs=inputs),
        )

        terms = {
            key: [each["name"] for each in value]
            for key, value in opened.metadata.document.items()
            if key.startswith("fair4ml:")
        }
        assert terms == {
            "fair4ml:trainedOn": ["a", "b"],
            "fair4ml:validatedOn": ["c"],
            "fair4ml:fineTunedFrom": ["base"],
        }

    @pytest.mark.parametrize("relation", ["derived_from", "likes", "", "TRAINED_ON"])
    def test_unknown_relation(self, relation):
        with pytest.raises(FormatError, match="one of trained_on, validated_on"):
            Input(relation, "x", bytes(32))

    def test_model_has_no_inputs_by_default(self, weights, tmp_path):
        opened = build_model([weights], tmp_path / "out", description=Description("m"))
        assert stated_inputs(opened.metadata) == []

    @pytest.mark.parametrize(
        "stated",
        [
            None,
            7,
            {"a": 1},
            ["trained_on"],
            [{}],
            [{"relation": "trained_on", "name": "x"}],
            [{"relation": "likes", "name": "x", "metadata": "00" * 32}],
            [{"relation": ["trained_on"], "name": "x", "metadata": "00" * 32}],
            [{"relation": "trained_on", "name": 7, "metadata": "00" * 32}],
            [{"relation": "trained_on", "name": "\x1b[31m", "metadata": "00" * 32}],
            [{"relation": "trained_on", "name": "x", "metadata": "00" * 31}],
            [{"relation": "trained_on", "name": "x", "metadata": "0 " * 32}],
            [{"relation": "trained_on", "name": "x", "metadata": 7}],
            [{"relation": "trained_on", "name": "x", "metadata": "00" * 32}] * 257,
            [{"relation": "trained_on", "name": "x", "metadata": "00" * 32, "transcript": 7}],
            [{"relation": "trained_on", "name": "x", "metadata": "00" * 32, "transcript": {}}],
        ],
        ids=str,
    )
    def test_stated_wrongly(self, dataset, stated):
        document = {**dataset.metadata.document}
        document["alithis"] = {**document["alithis"], "inputs": stated}
        data = metadata.load(json.dumps(document).encode())

        with pytest.raises(FormatError, match=r"states malformed inputs|relation"):
            stated_inputs(data)

    def test_opened_again(self, weights, tmp_path):
        build_model([weights], tmp_path / "out", description=Description("m"))
        proof = Manifest.open(tmp_path / "out").prove(of_bytes(b"weights"))
        assert isinstance(proof, Inclusion)


class TestCommand:
    @pytest.fixture(autouse=True)
    def place(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save_file({"frozen": np.zeros(9, "f4"), "head": np.ones(2, "f4")}, "base.safetensors")
        save_file({"frozen": np.zeros(9, "f4"), "head": np.zeros(2, "f4")}, "tuned.safetensors")

    def ours(self, out):
        return Manifest.open(Path(out)).metadata.document

    def test_fine_tune_shares_its_frozen_tensors(self):
        rows = dataset_of(Path("rows"), DATA) and "rows"
        run_json("model", "base.safetensors", "-o", "base", "--input", f"trained_on={rows}")
        printed = run_json("model", "tuned.safetensors", "--input", "fine_tuned_from=base")
        assert (printed["manifest"], printed["items"]) == ("tuned.safetensors.alithis", 3)

        base = Manifest.open(Path("base")).metadata.digest
        (given,) = self.ours("tuned.safetensors.alithis")["alithis"]["inputs"]
        assert given == {
            "relation": "fine_tuned_from",
            "name": "base.safetensors",
            "metadata": base.hex(),
        }
        told = run_json("overlap", "base", "tuned.safetensors.alithis", "--list")
        assert [(point["a"], point["b"]) for point in told["data_points"]] == [
            (["base.safetensors#frozen"], ["tuned.safetensors#frozen"])
        ]
        assert run_json("audit", "base")["ok"]

    def test_all_options_of_the_command(self):
        Path("params.json").write_text('{"rate": 0.1, "layers": [1]}')
        Path("metrics.json").write_text('{"loss": 0.5}')
        run_json(
            *("model", "base.safetensors", "-o", "out", "--name", "Base", "--license", "MIT"),
            *("--creator", "A", "--task", "classification", "--intended-use", "Tests."),
            *("--params", "params.json", "--param", "rate=0.2", "--param", "note=a=b"),
            *("--metrics", "metrics.json", "--metric", "accuracy=1", "--made-with", "torch=2.1"),
            *("--code", "https://user:secret@example.org/x@abc", "--hardware", "2 cores"),
        )
        document = self.ours("out")
        assert (document["name"], document["license"]) == ("Base", "MIT")
        assert document["fair4ml:intendedUse"] == "Tests."
        ours = document["alithis"]
        assert ours["parameters"] == {"rate": 0.2, "layers": [1], "note": "a=b"}
        assert ours["metrics"] == {"loss": 0.5, "accuracy": 1}
        assert ours["environment"] == {"torch": "2.1"}
        assert ours["code"] == {"repository": "https://example.org/x", "commit": "abc"}
        assert ours["hardware"] == "2 cores"

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["--param", "x"], "--param x: write KEY=VALUE"),
            (["--metric", "x=NaN"], "metrics.x: nan is not a JSON number"),
            (["--code", "x"], "--code x: write URL@COMMIT"),
            (["--input", "made_of=base"], "the relation one of trained_on"),
            (["--input", "trained_on=."], "check that . is a manifest"),
            (["--input", "trained_on=m"], "m is a model, but trained_on needs a dataset"),
            (["--input", "fine_tuned_from=d"], "d is a dataset, but fine_tuned_from needs a model"),
            (["--code", "https://u:p/w@x.org/y@abc"], "the URL may hold a password"),
            (["--run", "list.json"], "list.json: not a JSON object"),
            (["--run", "params.json"], "params.json: is not the record of a Run"),
            (["--params", "list.json"], "list.json: not a JSON object"),
            (["--params", "large.json"], "large.json: is larger than 262144 bytes"),
            (["--run", "odd.json"], "odd.json: parameters is not a JSON object"),
            (["--run", "inputs.json"], "inputs.json states malformed inputs"),
            (["--force", "-o", "base.safetensors"], "exists and is not a manifest"),
        ],
    )
    def test_refused(self, given, said):
        Path("list.json").write_text("[]")
        Path("params.json").write_text('{"rate": 0.5}')
        build_model([Path("base.safetensors")], Path("m"), description=Description("m"))
        dataset_of(Path("d"), DATA)
        Path("large.json").write_text(" " * 300_000)
        Path("odd.json").write_text('{"complete": true, "parameters": []}')
        Path("inputs.json").write_text('{"complete": true, "inputs": [{"relation": "trained_on"}]}')
        assert said in refused("model", "base.safetensors", *given)
        assert not Path("base.safetensors.alithis").exists()

    def test_hidden_files_are_counted(self):
        Path("repo").mkdir()
        Path("repo/.hidden").write_bytes(b"")
        Path("repo/config.json").write_bytes(b"{}")
        assert run_json("model", "repo", "-o", "out")["skipped"] == {
            "count": 1,
            "names": [[".hidden", "hidden"]],
        }
