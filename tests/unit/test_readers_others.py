"""NumPy's files, Hugging Face's datasets, the first Alithis' lists, and which is which."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from alithis import cli, readers
from alithis.errors import ChangedError, MissingExtraError, SourceError
from alithis.forms.form import BYTES, RECORD, SAMPLE, TEXT, Form
from alithis.forms.pool import Pool
from alithis.manifest.audit import audit
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.readers import Choice, arrays, open_source, opening
from helpers.reading import (
    assert_resumes,
    columns,
    contents,
    everything,
    fill,
    read,
    sha256,
    skipped,
)


class TestNumpy:
    @pytest.mark.parametrize(
        "data",
        [
            np.arange(24, dtype=">i4").reshape(4, 3, 2),
            np.arange(5.0),
            np.arange(24, dtype=np.uint8).reshape(4, 3, 2),
            np.array(["a", "bc"]),
            np.zeros(3, [("a", "u1"), ("b", "<f8")]),
        ],
        ids=lambda data: str(data.dtype),
    )
    @pytest.mark.parametrize("pack", [np.savez, np.savez_compressed, None])
    def test_rows_are_those_of_the_array(self, tmp_path, data, pack):
        path = tmp_path / ("x.npz" if pack else "x.npy")
        pack(path, data=data) if pack else np.save(path, data)
        source, expected = open_source(path), arrays(data, name="x.npz/data" if pack else "x.npy")
        assert source.form == expected.form
        assert read(source) == read(expected)

    def test_more_than_a_block(self, tmp_path, monkeypatch):
        from alithis.readers import numpy_files

        monkeypatch.setattr(numpy_files, "_BLOCK", 100)
        data = np.random.default_rng(1).integers(0, 256, (100, 3, 3), np.uint8)
        np.savez(tmp_path / "x.npz", data=data, label=np.arange(100))
        source = open_source(tmp_path / "x.npz", column="data", label="label")
        assert read(source) == read(arrays(data, name="x.npz/data", labels=list(range(100))))
        assert_resumes(source)

    def test_choice_of_an_array(self, tmp_path):
        np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.arange(3), c=np.arange(4))
        path = tmp_path / "x.npz"
        with pytest.raises(SourceError, match="contains a, b, c; choose one with --column"):
            open_source(path)
        with pytest.raises(SourceError, match="no array x; the arrays are a, b, c"):
            open_source(path, column="x")
        with pytest.raises(SourceError, match=r"c: labels of shape \(4,\) do not fit 3 rows"):
            open_source(path, column="a", label="c")
        assert len(read(open_source(path, column="c"))) == 4

    def test_labels_of_their_own_file(self, tmp_path):
        np.save(tmp_path / "x.npy", np.arange(6).reshape(3, 2))
        np.save(tmp_path / "y.npy", np.array(["a", "b", "c"]))
        source = open_source(tmp_path / "x.npy", labels=tmp_path / "y.npy")
        assert columns(source) == [{"label": label} for label in "abc"]
        with pytest.raises(SourceError, match="contains one array, without a name"):
            open_source(tmp_path / "x.npy", column="x")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (np.array([None, 1]), "do not have the same bytes on every machine"),
            (np.array(5), "no rows"),
            (np.empty((0, 3)), "no rows"),
            (np.empty((3, 0)), "no rows"),
            (np.asfortranarray(np.ones((3, 2))), "stored in Fortran order"),
        ],
        ids=str,
    )
    def test_refuses_arrays_without_rows_of_fixed_bytes(self, tmp_path, data, message):
        np.save(tmp_path / "x.npy", data, allow_pickle=True)
        with pytest.raises(SourceError, match=rf"x\.npy.*{message}"):
            open_source(tmp_path / "x.npy")

    def test_pickles_are_not_opened(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "sprung"),)

        np.save(tmp_path / "x.npy", np.array([Trap()]), allow_pickle=True)
        with pytest.raises(SourceError, match="do not have the same bytes"):
            open_source(tmp_path / "x.npy")
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize(
        ("bend", "message"),
        [
            (lambda data: data[:-1], "cut short at row 2 of 3"),
            (lambda data: data + b"x", "has more than the 3 rows"),
            (lambda data: data[:20], "not a readable array"),
            (lambda data: data.replace(b"(3, 2)", b"(9, 2)"), "cut short at row 3 of 9"),
            (lambda data: data.replace(b"'<i8'", b"xxxxx"), "not a readable array"),
            (lambda data: data[:6] + b"\x09" + data[7:], "not a readable array"),
        ],
    )
    def test_damaged(self, tmp_path, bend, message):
        np.save(tmp_path / "x.npy", np.arange(6).reshape(3, 2))
        (tmp_path / "x.npy").write_bytes(bend((tmp_path / "x.npy").read_bytes()))
        with pytest.raises(SourceError, match=rf"x\.npy: {message}"):
            read(open_source(tmp_path / "x.npy"))

    def test_refuses_other_files(self, tmp_path):
        np.savez(tmp_path / "x.npz", x=np.arange(3))
        (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes() * 2)
        with pytest.raises(SourceError, match=r"x\.npz: .*two zips in one file"):
            open_source(tmp_path / "x.npz")
        (tmp_path / "x.npz").write_bytes(b"PK\3\4 no zip")
        with pytest.raises(SourceError, match=r"x\.npz: not a \.npy or \.npz file, or damaged"):
            open_source(tmp_path / "x.npz")

    def test_changed(self, tmp_path):
        np.save(tmp_path / "x.npy", np.arange(6))
        source = open_source(tmp_path / "x.npy")
        np.save(tmp_path / "x.npy", np.arange(7))
        with pytest.raises(ChangedError):
            read(source)


def images() -> list[dict]:
    found = []
    for number in range(4):
        file = io.BytesIO()
        Image.new("L", (2, 2), number).save(file, "PNG")
        found.append({"bytes": file.getvalue(), "path": None})
    return found


@pytest.fixture
def photos() -> datasets.DatasetDict:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    data = {"image": images(), "label": [0, 1, 1, 0]}
    whole = datasets.Dataset.from_dict(data, features=features)
    return datasets.DatasetDict(train=whole.select(range(3)), test=whole.select([3]))


class TestHuggingFace:
    def test_saved_dataset(self, tmp_path, photos):
        photos["train"].save_to_disk(tmp_path / "x", num_shards=2)
        source = open_source(tmp_path / "x", column="image", label="label")
        assert everything(source) == [
            (
                sha256(image["bytes"]),
                f"data-0000{shard}-of-00002.arrow#{row}",
                len(image["bytes"]),
                {"label": label},
            )
            for image, shard, row, label in zip(
                images(), [0, 0, 1], [0, 1, 0], [0, 1, 1], strict=False
            )
        ]
        assert_resumes(source)

    def test_saved_splits(self, tmp_path, photos):
        photos.save_to_disk(tmp_path / "x")
        found = columns(open_source(tmp_path / "x", column="image"))
        assert found == [{"split": "train"}] * 3 + [{"split": "test"}]
        found = columns(open_source(tmp_path / "x", column="image", split="label"))
        assert found[1] == {"split": 1}

    def test_saved_and_in_memory_have_the_same_digests(self, tmp_path, photos):
        photos.save_to_disk(tmp_path / "x")
        for choice, options in [
            (Choice(), {}),
            (
                Choice(column="image", form=Form("pixels", "L")),
                {"column": "image", "form": Form("pixels", "L")},
            ),
        ]:
            saved, memory = open_source(tmp_path / "x", **options), readers.dataset(photos, choice)
            assert saved.form == memory.form
            rows = [[row[0], *row[2:]] for row in everything(saved)]
            assert rows == [[row[0], *row[2:]] for row in everything(memory)]

    def test_in_memory(self, photos):
        source = readers.dataset(photos["train"], Choice(column="image"), name="photos")
        assert contents(source) == {
            f"photos#{n}": sha256(image["bytes"]) for n, image in enumerate(images()[:3])
        }
        assert readers.dataset(photos["train"]).count == 3
        assert source.identity
        assert source.identity != readers.dataset(photos["test"], Choice(column="image")).identity
        assert_resumes(source)

    def test_rows_that_were_chosen_and_shuffled(self):
        data = datasets.Dataset.from_dict({"x": [f"text {n}" for n in range(2500)]})
        chosen = data.shuffle(seed=1).filter(lambda row: row["x"].endswith("7"))
        found = contents(readers.dataset(chosen, Choice(column="x")))
        assert list(found.values()) == [sha256(text.encode()) for text in chosen["x"]]
        assert list(found) == [f"dataset#{n}" for n in range(250)]

    def test_files_that_a_dataset_points_to(self, tmp_path):
        (tmp_path / "1.png").write_bytes(images()[1]["bytes"])
        data = datasets.Dataset.from_dict({"image": [str(tmp_path / "1.png")]})
        data = data.cast_column("image", datasets.Image())
        found = contents(readers.dataset(data, Choice(column="image")))
        assert found == {"dataset#0": sha256(images()[1]["bytes"])}

    @pytest.mark.parametrize("data", [[], {"a": 1}, "x"])
    def test_refuses_other_objects(self, data):
        with pytest.raises(SourceError, match="is not a Dataset or DatasetDict"):
            readers.dataset(data)

    def test_empty(self):
        with pytest.raises(SourceError, match="contains no rows"):
            readers.dataset(datasets.Dataset.from_dict({"x": []}))

    def test_missing_library(self, monkeypatch, photos):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'alithis\[hf\]'"):
            readers.dataset(photos)

    def test_saved_dataset_needs_no_library(self, tmp_path, photos, monkeypatch):
        photos.save_to_disk(tmp_path / "x")
        monkeypatch.setitem(sys.modules, "datasets", None)
        assert len(read(open_source(tmp_path / "x"))) == 4

    @pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "", ".", "..", "a/b", 5])
    def test_state_that_names_files_outside_of_the_folder(self, tmp_path, photos, name):
        photos["train"].save_to_disk(tmp_path / "x")
        state = {"_data_files": [{"filename": name}]}
        (tmp_path / "x" / "state.json").write_text(json.dumps(state))
        with pytest.raises(
            SourceError, match=r"which is not a file in this folder|not a regular file"
        ):
            open_source(tmp_path / "x")

    @pytest.mark.parametrize("state", ["", "[]", "{}", '{"_data_files": []}', "[" * 100_000])
    def test_damaged_state(self, tmp_path, photos, state):
        photos["train"].save_to_disk(tmp_path / "x")
        (tmp_path / "x" / "state.json").write_text(state)
        with pytest.raises(SourceError, match=r"not (a )?JSON|JSON nested|no data files|lists no"):
            open_source(tmp_path / "x")


HASH = [sha256(bytes([n])).hex() for n in range(4)]


class TestLists:
    def write(self, tmp_path, hashes, **more) -> Path:
        path = tmp_path / "list.json"
        path.write_text(json.dumps({"image_sha256_hashes": hashes, **more}))
        return path

    def test_by_file_name(self, tmp_path):
        path = self.write(
            tmp_path,
            {"a.png": HASH[0], "b/ü.png": HASH[1].upper()},
            dataset_name="Cats",
            dataset_url="https://example.org",
        )
        source = open_source(path)
        assert source.form == BYTES
        assert source.about == {"name": "Cats", "url": "https://example.org"}
        assert read(source) == {
            "a.png": (sha256(b"\0"), None, {}),
            "b/ü.png": (sha256(b"\1"), None, {}),
        }
        assert_resumes(source)

    def test_by_label(self, tmp_path):
        source = open_source(self.write(tmp_path, {"cat": HASH[:2], "dog": HASH[2:], "none": []}))
        assert [(row[0], row[1], row[3]["label"]) for row in everything(source)] == [
            (sha256(b"\0"), "cat#0", "cat"),
            (sha256(b"\1"), "cat#1", "cat"),
            (sha256(b"\2"), "dog#0", "dog"),
            (sha256(b"\3"), "dog#1", "dog"),
        ]

    @pytest.mark.parametrize(
        ("hashes", "message"),
        [
            ({}, "its image_sha256_hashes contains no digests"),
            ({"cat": []}, "no digests"),
            ([], "its image_sha256_hashes is not an object"),
            (None, "not a list of digests"),
            ({"a": HASH[0], "b": [HASH[1]]}, "neither digests nor lists"),
            ({"a": 5}, "neither digests nor lists"),
            ({"a": HASH[0][1:]}, "'a': not a SHA-256"),
            ({"a": "0x" + HASH[0]}, "'a': not a SHA-256"),
            ({"cat": [HASH[0], None]}, "'cat#1': not a SHA-256"),
            ({"\ud800": HASH[0]}, "half of a surrogate pair"),
        ],
    )
    def test_refuses_other_json(self, tmp_path, hashes, message):
        with pytest.raises(SourceError, match=rf"list\.json: .*{message}"):
            open_source(self.write(tmp_path, hashes))

    def test_file_that_is_listed_twice(self, tmp_path):
        path = tmp_path / "list.json"
        path.write_text(f'{{"image_sha256_hashes":{{"a":"{HASH[0]}","a":"{HASH[1]}"}}}}')
        with pytest.raises(SourceError, match="a key is repeated"):
            open_source(path)

    def test_manifest_of_it(self, tmp_path):
        """What was published so is verified as ever."""
        files = fill(tmp_path / "photos", "a", "b")
        hashes = {name: sha256(name.encode()).hex() for name in "ab"}
        source = open_source(self.write(tmp_path, hashes))
        with Pool(1) as pool:
            ours, theirs = (
                build(
                    each.digested(pool), tmp_path / name, description=Description("x"), form=BYTES
                )
                for name, each in (("m", source), ("o", readers.folder(files)))
            )
        assert ours.metadata.root == theirs.metadata.root
        assert all(step.ok for step in audit(tmp_path / "m"))
        assert pq.read_table(tmp_path / "m" / "items.parquet")["size"].to_pylist() == [None, None]


def idx_file() -> bytes:
    return bytes([0, 0, 8, 1, 0, 0, 0, 1, 7])


def parquet_file() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), file)
    return file.getvalue()


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", "x")
    return file.getvalue()


class TestOpenSource:
    def test_kinds_of_the_command_line(self):
        assert tuple(cli.source.KINDS) == readers.KINDS

    def test_every_kind_says_what_it_takes(self):
        assert set(opening._TAKES) == set(readers.KINDS)

    @pytest.mark.parametrize(
        ("name", "data", "form"),
        [
            pytest.param("data", parquet_file(), RECORD, id="Parquet"),
            pytest.param("data.json", parquet_file(), RECORD, id="Parquet named otherwise"),
            pytest.param("data", zip_file(), BYTES, id="zip"),
            pytest.param("data", idx_file(), BYTES, id="IDX"),
            pytest.param("data", gzip.compress(idx_file()), BYTES, id="packed IDX"),
            ("data.JSONL", b"{}", RECORD),
            pytest.param("data.ndjson.gz", gzip.compress(b"{}"), RECORD, id="packed JSON Lines"),
            ("data.csv", b"a\n1", RECORD),
            ("data.txt", b"x", TEXT),
        ],
    )
    def test_content_comes_before_the_name(self, tmp_path, name, data, form):
        (tmp_path / name).write_bytes(data)
        source = open_source(tmp_path / name)
        assert source.form == form
        assert len(read(source)) == 1
        assert read(open_source(str(tmp_path / name))) == read(source)
        assert read(open_source(f"file://{tmp_path / name}")) == read(source)

    def test_type_overrides(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"a\n1\n")
        assert len(read(open_source(tmp_path / "x.csv", kind="text"))) == 2
        shutil.make_archive(str(tmp_path / "y"), "tar", fill(tmp_path / "d", "a.jpg", "a.cls"))
        assert open_source(tmp_path / "y.tar", kind="webdataset").form == SAMPLE
        (tmp_path / "shards").mkdir()
        (tmp_path / "y.tar").rename(tmp_path / "shards" / "y.tar")
        assert list(contents(open_source(tmp_path / "shards", kind="folder"))) == ["y.tar"]

    def test_unknown(self, tmp_path):
        (tmp_path / "x").write_bytes(b"what?")
        with pytest.raises(SourceError, match="x: unknown type of file; name it with --type"):
            open_source(tmp_path / "x")
        with pytest.raises(
            SourceError, match="unknown type 'nonsense'; the types are folder, archive"
        ):
            open_source(tmp_path / "x", kind="nonsense")
        with pytest.raises(SourceError, match="gone: cannot be read: No such file"):
            open_source(tmp_path / "gone")

    def test_refuses_folder_without_files_of_the_kind(self, tmp_path):
        with pytest.raises(
            SourceError, match=r"contains no files with the extension \.parquet or \.parq"
        ):
            open_source(fill(tmp_path, "x"), kind="parquet")
        with pytest.raises(SourceError, match="only one file of the type numpy"):
            open_source(fill(tmp_path, "a.npy", "b.npy"), kind="numpy")

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("", {"labels": Path("x")}, "the option labels does not apply to the type folder"),
            ("", {"column": "x"}, "the option column does not apply to the type folder"),
            (
                "x.csv",
                {"label_from_folder": True},
                "the option label-from-folder does not apply to the type csv",
            ),
            ("x.csv", {"per_sample": True}, "the option per-sample does not apply to the type csv"),
            (
                "x.csv",
                {"form": TEXT},
                "the form of rows is record; choose a column to read as text",
            ),
            ("x.csv", {"form": RECORD, "column": "a"}, "the form of a column is text, bytes or"),
            ("x.csv", {"column": "a", "columns": ("a",)}, "choose either"),
            ("x.csv", {"split": "a", "split_from_folder": True}, "choose either"),
            ("x.csv", {"keep": ("a", "a")}, "keep a, a: a column is named twice"),
            ("x.csv", {"keep": ("leaf",)}, "keep leaf"),
            ("x.txt", {"keep": ("a",)}, "the option keep does not apply to the type text"),
            (
                "x.idx",
                {"form": Form("pixels", "L")},
                "the option form does not apply to the type idx",
            ),
            ("x.tar", {"label": "cls"}, "a column or label of an archive is a file of a sample"),
            ("x.tar", {"column": "a", "per_sample": False}, "choose --per sample"),
            (
                "x.tar",
                {"per_sample": True, "form": TEXT},
                "a whole sample cannot have the form text",
            ),
            ("x.csv", {"kind": "folder"}, "not a local folder"),
        ],
    )
    def test_refuses_options_that_do_not_apply(self, tmp_path, name, options, message):
        """Left out without a word, they would mislead."""
        fill(tmp_path, "x.csv", "x.txt", "x.tar", "x.idx")
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path / name, **options)

    def test_missing_pillow_shows_at_once(self, tmp_path, monkeypatch):
        shutil.make_archive(str(tmp_path / "y"), "tar", fill(tmp_path / "d", "a"))
        monkeypatch.setitem(sys.modules, "PIL", None)
        with pytest.raises(MissingExtraError):
            open_source(tmp_path / "y.tar", form=Form("pixels", "L"))


class TestIdentity:
    @pytest.mark.parametrize("name", ["x.tar", "x.csv", "x.jsonl", "x.parquet", "x.npy", "l.json"])
    def test_of_a_file(self, tmp_path, name):
        path = tmp_path / name
        shutil.make_archive(str(tmp_path / "x"), "tar", fill(tmp_path / "d", "a"))
        (tmp_path / "x.csv").write_bytes(b"a\n1\n")
        (tmp_path / "x.jsonl").write_bytes(b"{}\n")
        (tmp_path / "x.parquet").write_bytes(parquet_file())
        np.save(tmp_path / "x.npy", np.arange(3))
        (tmp_path / "l.json").write_text(json.dumps({"image_sha256_hashes": {"a": HASH[0]}}))
        first = open_source(path).identity
        assert first == open_source(path).identity != ""
        os.utime(path, ns=(1, 1))
        assert open_source(path).identity != first

    def test_of_options(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n")
        found = [
            open_source(tmp_path / "x.csv", **options).identity
            for options in (
                {},
                {"column": "a"},
                {"columns": ("a",)},
                {"label": "a"},
                {"kind": "tsv"},
                {"column": "a", "form": BYTES},
                {"keep": ("a",)},
            )
        ]
        assert len(set(found)) == len(found)


class TestSkips:
    def test_names_are_bounded_and_all_are_counted(self):
        skips, more = readers.Skips(), readers.Skips()
        for number in range(150_000):
            more.add(str(number), "why")
        skips.add("first", "why")
        skips.extend(more)
        assert (skips.count, len(skips.names)) == (150_001, 100_000)
        assert skips.names[0] == ("first", "why")

    def test_skips_start_again_when_an_archive_is_read_again(self, tmp_path):
        shutil.make_archive(str(tmp_path / "x"), "tar", fill(tmp_path / "d", "a/b"))
        source = open_source(tmp_path / "x.tar")
        assert skipped(source) == skipped(source) == {".": "a directory", "a": "a directory"}
