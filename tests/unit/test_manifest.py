"""The manifest: written atomically, the same for the same input, and without wrong proofs."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alithis.base.files import write_atomic
from alithis.base.untrusted_json import MAX_DEPTH
from alithis.errors import FormatError, IntegrityError, ProofError, SourceError, StorageError
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool
from alithis.ipfs import cid
from alithis.manifest import builder, merkle
from alithis.manifest import folder as folders
from alithis.manifest import metadata as metadata_module
from alithis.manifest import proof as proof_module
from alithis.manifest import reader as manifests
from alithis.manifest.audit import audit
from alithis.manifest.builder import build
from alithis.manifest.folder import atomic_folder, check_target
from alithis.manifest.metadata import Description, FileEntry
from alithis.manifest.proof import Exclusion, Inclusion
from alithis.manifest.reader import DataPoints, Manifest
from alithis.readers import folder
from helpers import reference
from helpers.artifacts import build_as_given, tree_with_tiles
from helpers.paths import ROOT, VECTOR_FILES
from helpers.session import examples
from helpers.strategies import digests, leaf_sets

SAMPLE = Description("sample")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def items(contents: dict[str, bytes], **columns) -> DataPoints:
    """Return data points, given as name and content."""
    joined = b"".join(map(sha256, contents.values()))
    return DataPoints(joined, list(contents), [len(each) for each in contents.values()], columns)


def numbered(count: int) -> DataPoints:
    return items({f"{number:05}": str(number).encode() for number in range(count)})


def make(out: Path, *batches: DataPoints, **options) -> Path:
    options = {"description": SAMPLE, "form": BYTES} | options
    build(batches or [numbered(600)], out, **options)
    return out


def contents_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows_of(folder: Path) -> list[dict]:
    return pq.read_table(folder / "items.parquet").to_pylist()


# -- Building ------------------------------------------------------------------------------------


class TestBuild:
    def test_files_match_the_reference_tree_and_the_metadata(self, tmp_path):
        folder = make(tmp_path / "m", numbered(70_000))
        leaves = sorted(sha256(str(number).encode()) for number in range(70_000))
        tree, tiles = tree_with_tiles(b"".join(leaves))
        found = contents_of(folder)
        assert set(found) == {"metadata.json", "items.parquet", "leaves", "tiles/1", "tiles/2"}
        assert found["leaves"] == b"".join(leaves)
        assert [found["tiles/1"], found["tiles/2"]] == tiles
        data = metadata_module.load(found["metadata.json"])
        assert data.root == tree.root == reference.mth(leaves)
        assert (data.size, data.items, data.frontier) == (70_000, 70_000, tree.frontier)
        for entry in data.files:
            assert entry.sha256 == sha256(found[entry.name])
            assert entry.cid == str(cid.of_bytes(found[entry.name]))
            assert entry.size == len(found[entry.name])
        assert {entry.name for entry in data.files} == set(found) - {"metadata.json"}

    def test_small_manifest_has_no_tiles(self, tmp_path):
        folder = make(tmp_path / "m", items({"only": b"x"}))
        assert set(contents_of(folder)) == {"metadata.json", "items.parquet", "leaves"}
        assert not (folder / "tiles").exists()

    def test_build_returns_the_opened_manifest(self, tmp_path):
        found = build([numbered(3)], tmp_path / "m", description=SAMPLE, form=Form("pixels", "L"))
        assert found.metadata.form == Form("pixels", "L")
        assert found.metadata.digest == sha256((tmp_path / "m" / "metadata.json").read_bytes())

    def test_description_kind_facts_and_terms_reach_the_metadata(self, tmp_path):
        facts, terms = {"metrics": {"loss": 0.5}}, {"fair4ml:trainedOn": []}
        folder = make(tmp_path / "m", kind="model", facts=facts, terms=terms)
        document = json.loads((folder / "metadata.json").read_text())
        assert document["@type"] == "fair4ml:MLModel"
        assert document["fair4ml:trainedOn"] == []
        assert document["alithis"]["metrics"] == {"loss": 0.5}

    def test_repeats_are_kept_in_items_and_not_in_leaves(self, tmp_path):
        folder = make(tmp_path / "m", items({"b": b"same", "c": b"other", "a": b"same"}))
        assert [row["path"] for row in rows_of(folder)] in (["a", "b", "c"], ["c", "a", "b"])
        assert (folder / "leaves").read_bytes() == b"".join(
            sorted([sha256(b"same"), sha256(b"other")])
        )
        data = Manifest.open(folder).metadata
        assert (data.items, data.size) == (3, 2)

    def test_repeats_of_one_data_point_are_one_leaf(self, tmp_path):
        folder = make(tmp_path / "m", items({f"{n}": b"" for n in range(1000)}))
        assert (folder / "leaves").read_bytes() == sha256(b"")
        assert [row["path"] for row in rows_of(folder)] == sorted(map(str, range(1000)))

    @given(
        names=st.lists(
            st.text("abé码", min_size=1, max_size=4), unique=True, min_size=1, max_size=30
        ),
        data=st.data(),
    )
    def test_rows_are_sorted_by_leaf_then_path(self, tmp_path_factory, names, data):
        few = st.sampled_from([b"", b"1", b"2"])
        contents = {name: data.draw(few) for name in names}
        folder = make(tmp_path_factory.mktemp("m") / "m", items(contents))
        expected = sorted((sha256(content), name) for name, content in contents.items())
        assert [(row["leaf"], row["path"]) for row in rows_of(folder)] == expected

    @given(rows=st.lists(st.tuples(digests, st.sampled_from(["a", "b"])), min_size=1, max_size=12))
    def test_leaves_with_equal_first_bytes_are_sorted_by_all_bytes(self, tmp_path_factory, rows):
        alike = [(b"\x07" * 8 + leaf[8:9] * 23 + leaf[31:], path) for leaf, path in rows]
        batch = DataPoints(
            b"".join(leaf for leaf, _ in alike), [p for _, p in alike], [0] * len(alike)
        )
        folder = make(tmp_path_factory.mktemp("m") / "m", batch)
        assert [(row["leaf"], row["path"]) for row in rows_of(folder)] == sorted(alike)
        assert all(step.ok for step in audit(folder))

    def test_columns_stay_with_their_rows(self, tmp_path):
        names = [f"{number:03}" for number in range(300)]
        batch = items({name: name.encode() for name in names}, label=list(range(300)))
        rows = rows_of(make(tmp_path / "m", batch))
        assert {row["path"]: row["label"] for row in rows} == {n: int(n) for n in names}
        document = json.loads((tmp_path / "m" / "metadata.json").read_text())
        types = {field["name"]: field["dataType"] for field in document["recordSet"][0]["field"]}
        assert types == {
            "leaf": "sc:Text",
            "path": "sc:Text",
            "size": "sc:Integer",
            "label": "sc:Integer",
        }


class TestSameInputSameBytes:
    @settings(max_examples=examples(25))
    @given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 300), max_size=5))
    def test_manifest_does_not_depend_on_order_and_size_of_batches(
        self, tmp_path_factory, seed, cuts
    ):
        """The rows include repeats, and two rows that differ in their labels only."""
        source = random.Random(seed)
        rows = [(f"{n:03}", str(n % 200), n % 7) for n in range(298)] + [
            ("twin", "x", n) for n in (0, 1)
        ]
        expected = self.built(tmp_path_factory, [rows])
        source.shuffle(rows)
        bounds = [0, *sorted(cuts), len(rows)]
        pieces = [rows[start:stop] for start, stop in pairwise(bounds)]
        assert self.built(tmp_path_factory, pieces) == expected

    @staticmethod
    def built(tmp_path_factory, pieces) -> dict[str, bytes]:
        batches = [
            DataPoints(
                b"".join(sha256(content.encode()) for _, content, _ in piece),
                [name for name, _, _ in piece],
                [len(content) for _, content, _ in piece],
                {"label": [label for *_, label in piece]},
            )
            for piece in pieces
        ]
        return contents_of(make(tmp_path_factory.mktemp("m") / "m", *batches))

    def test_manifest_does_not_depend_on_folder_and_time(self, tmp_path, monkeypatch):
        first = contents_of(make(tmp_path / "a"))
        monkeypatch.setattr(time, "time", lambda: 1e9)
        monkeypatch.chdir(tmp_path)
        assert contents_of(make(Path("deeper/b"))) == first


class TestItemsParquet:
    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory):
        count = 300_000
        joined = np.random.default_rng(2).bytes(count * 32)
        names = [f"{number:06}" for number in range(count)]
        batch = DataPoints(joined, names, [784] * count, {"label": [n % 10 for n in range(count)]})
        return make(tmp_path_factory.mktemp("m") / "m", batch) / "items.parquet"

    def test_items_have_the_specified_schema(self, path):
        schema = pq.read_schema(path)
        assert [(field.name, field.type) for field in schema] == [
            ("leaf", pa.binary(32)),
            ("path", pa.string()),
            ("size", pa.int64()),
            ("label", pa.int64()),
        ]
        leaf = pq.ParquetFile(path).schema.column(0)
        assert (leaf.physical_type, leaf.length) == ("FIXED_LEN_BYTE_ARRAY", 32)

    def test_leaves_are_stored_uncompressed_and_other_columns_compressed(self, path):
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(at) for at in range(file.num_row_groups)]
        assert len(groups) == 3
        for group in groups:
            columns = [group.column(at) for at in range(4)]
            assert [column.compression for column in columns] == ["UNCOMPRESSED", *["SNAPPY"] * 3]
            assert not columns[0].has_dictionary_page
            assert columns[3].has_dictionary_page
            assert all(column.has_offset_index and column.has_column_index for column in columns)

    def test_sorting_is_declared(self, path):
        with pq.ParquetFile(path) as file:
            for at in range(file.num_row_groups):
                sorting = file.metadata.row_group(at).sorting_columns
                assert [(each.column_index, each.descending) for each in sorting] == [
                    (0, False),
                    (1, False),
                ]

    def test_items_file_contains_the_raw_bytes_of_leaves(self, path):
        """Without compression and dictionary, so that readers in other languages can rely on it."""
        leaves = (path.parent / "leaves").read_bytes()
        assert leaves[: 32 * 1000] in path.read_bytes()

    def test_filter_by_a_leaf_reads_one_row_group(self, path):
        leaves = (path.parent / "leaves").read_bytes()
        leaf = leaves[32 * 200_000 : 32 * 200_001]
        (fragment,) = ds.dataset(path).get_fragments()
        kept = fragment.subset(pc.field("leaf") == pa.scalar(leaf, pa.binary(32)))
        assert [group.id for group in kept.row_groups] == [1]
        rows = kept.to_table(filter=pc.field("leaf") == pa.scalar(leaf, pa.binary(32)))
        assert rows.num_rows == 1


class TestRefused:
    def test_refuses_an_empty_source(self, tmp_path):
        for batches in ([], [DataPoints(b"", [], [])]):
            with pytest.raises(SourceError, match="no data points: the source is empty"):
                build(batches, tmp_path / "m", description=SAMPLE, form=BYTES)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "batch",
        [
            DataPoints(bytes(64), ["a"], [1]),
            DataPoints(bytes(31), ["a"], [1]),
            DataPoints(bytes(32), ["a"], []),
            DataPoints(bytes(32), ["a", "b"], [1, 1]),
            DataPoints(bytes(32), ["a"], [1], {"label": []}),
        ],
    )
    def test_refuses_batches_with_columns_of_different_lengths(self, tmp_path, batch):
        with pytest.raises(SourceError, match="another number of digests, sizes or labels"):
            make(tmp_path / "m", batch)
        assert list(tmp_path.iterdir()) == []

    def test_refuses_batches_without_a_column_of_the_first_one(self, tmp_path):
        with pytest.raises(SourceError, match="or other columns than the batches before"):
            make(tmp_path / "m", items({"a": b"a"}, label=[1]), items({"b": b"b"}))

    @pytest.mark.parametrize(
        "batch",
        [
            items({"a": b"a", "b": b"b"}, label=[1, "x"]),
            items({"a": b"a"}, label=[2**70]),
            DataPoints(bytes(32), ["\udcff"], [1]),
            DataPoints(bytes(32), ["a"], [2**63]),
        ],
    )
    def test_refuses_values_that_arrow_cannot_store(self, tmp_path, batch):
        with pytest.raises(SourceError, match=r"items\.parquet: a value cannot be stored"):
            make(tmp_path / "m", batch)
        assert list(tmp_path.iterdir()) == []

    def test_refuses_metadata_that_is_too_large(self, tmp_path):
        with pytest.raises(FormatError, match="at most 262144"):
            make(tmp_path / "m", facts={"parameters": "x" * 262_144})
        assert list(tmp_path.iterdir()) == []


# -- The place it is written to --------------------------------------------------------------------


def unread() -> Iterator[DataPoints]:
    """Fail if data points are hashed although the target is already known to be wrong."""
    raise AssertionError("work was done for a place that cannot be written to")
    yield


class TestTarget:
    @pytest.mark.parametrize(
        ("prepare", "message"),
        [
            (lambda out: make(out), r"m: already exists; replace it with --force"),
            (lambda out: out.write_text("notes"), "m: exists and is not a manifest"),
            (lambda out: out.mkdir(), "m: exists and is not a manifest"),
            (lambda out: out.symlink_to("gone"), "m: is a symbolic link"),
            (lambda out: out.symlink_to(make(out.parent / "other")), "m: is a symbolic link"),
            (lambda out: out.symlink_to("m"), "m: is a symbolic link"),
            (lambda out: os.mkfifo(out), "m: exists and is not a manifest"),
        ],
        ids=["manifest", "file", "folder", "broken link", "link", "loop", "fifo"],
    )
    def test_existing_target_is_kept(self, tmp_path, prepare, message):
        out = tmp_path / "m"
        prepare(out)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SourceError, match=message):
            build(unread(), out, description=SAMPLE, form=BYTES)
        if not out.is_dir() or out.is_symlink() or not list(out.iterdir()):
            with pytest.raises(SourceError, match=message):
                build(unread(), out, description=SAMPLE, form=BYTES, replace=True)
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("stray", ["photo.jpg", "README.md", "Leaves"])
    def test_folder_with_other_files_is_never_replaced(self, tmp_path, stray):
        """Folders of other programs can contain a metadata.json."""
        folder = make(tmp_path / "m")
        (folder / stray).write_bytes(b"precious")
        with pytest.raises(SourceError, match="exists and is not a manifest"):
            build(unread(), folder, description=SAMPLE, form=BYTES, replace=True)
        assert (folder / stray).read_bytes() == b"precious"

    def test_manifest_is_replaced_on_request(self, tmp_path):
        make(tmp_path / "m", numbered(600))
        make(tmp_path / "m", numbered(3), replace=True)
        assert Manifest.open(tmp_path / "m").metadata.size == 3
        assert set(contents_of(tmp_path)) == {"m/metadata.json", "m/items.parquet", "m/leaves"}

    def test_damaged_manifest_can_be_replaced(self, tmp_path):
        folder = make(tmp_path / "m")
        (folder / "metadata.json").write_text("{}")
        (folder / "leaves").unlink()
        make(folder, replace=True)
        assert all(step.ok for step in audit(folder))

    def test_replace_is_allowed_without_an_existing_manifest(self, tmp_path):
        assert all(step.ok for step in audit(make(tmp_path / "m", replace=True)))

    def test_missing_parent_folders_are_created(self, tmp_path):
        assert (make(tmp_path / "a" / "b" / "m") / "leaves").is_file()

    @pytest.mark.parametrize("out", ["file/m", "file/a/b", "broken/m", "loop/m", "m" * 300, "a\0b"])
    def test_unwritable_target_is_reported_before_hashing(self, tmp_path, out):
        (tmp_path / "file").touch()
        (tmp_path / "broken").symlink_to("gone")
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(SourceError, match="cannot be written") as caught:
            build(unread(), tmp_path / out, description=SAMPLE, form=BYTES)
        assert "\n" not in str(caught.value)

    def test_unlistable_target_is_one_clear_error(self, tmp_path, monkeypatch):
        def failing(_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "iterdir", failing)
        with pytest.raises(SourceError, match="cannot be written: Permission denied"):
            check_target(tmp_path, replace=True)

    @pytest.mark.parametrize("replace", [False, True])
    def test_refuses_the_root_of_the_file_system(self, replace):
        with pytest.raises(SourceError, match="/: exists and is not a manifest"):
            check_target(Path("/"), replace=replace)

    def test_target_may_have_a_trailing_slash_and_dots(self, tmp_path):
        make(Path(f"{tmp_path}/a/"))
        make(tmp_path / "x" / ".." / "b")
        assert (tmp_path / "a" / "leaves").is_file()
        assert (tmp_path / "b" / "leaves").is_file()

    def test_current_folder_can_be_replaced(self, tmp_path, monkeypatch):
        monkeypatch.chdir(make(tmp_path / "m"))
        make(Path(), numbered(2), replace=True)
        assert Manifest.open(tmp_path / "m").metadata.size == 2

    def test_parent_may_be_a_symbolic_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        make(tmp_path / "link" / "m")
        assert (tmp_path / "real" / "m" / "leaves").is_file()

    def test_target_may_be_on_another_file_system(self):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            make(Path(folder) / "m", numbered(600))
            make(Path(folder) / "m", numbered(5), replace=True)
            assert [path.name for path in Path(folder).iterdir()] == ["m"]

    def test_target_that_appears_during_the_build_is_kept(self, tmp_path):
        """A folder that appeared while data points were hashed is not overwritten."""

        def batches():
            make(tmp_path / "other", numbered(7)).rename(tmp_path / "m")
            yield numbered(600)

        with pytest.raises(SourceError, match="already exists; replace it with --force"):
            build(batches(), tmp_path / "m", description=SAMPLE, form=BYTES)
        assert Manifest.open(tmp_path / "m").metadata.size == 7
        assert [path.name for path in tmp_path.iterdir()] == ["m"]


class BrokenError(Exception):
    pass


class TestInterrupted:
    """A manifest appears completely or not at all."""

    @pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit])
    def test_error_while_hashing_leaves_nothing(self, tmp_path, error):
        def batches():
            yield numbered(3)
            raise error

        with pytest.raises(error):
            build(batches(), tmp_path / "m", description=SAMPLE, form=BYTES)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("replace", [False, True])
    @pytest.mark.parametrize(
        "name", ["tree", "_write_items", "flush", "compose", "write_new", "_swap"]
    )
    def test_error_while_writing_leaves_the_old_state(
        self, tmp_path, monkeypatch, name, replace, error
    ):
        if replace:
            make(tmp_path / "m", numbered(5))

        def breaking(*_, **__):
            raise error

        module = {"tree": merkle, "compose": metadata_module, "_swap": folders}.get(name, builder)
        monkeypatch.setattr(module, name, breaking)
        with pytest.raises(error):
            make(tmp_path / "m", replace=replace)
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == (["m"] if replace else [])
        if replace:
            assert Manifest.open(tmp_path / "m").metadata.size == 5

    @pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
    def test_disk_error_is_one_clear_line(self, tmp_path, monkeypatch, kind):
        def failing(*_):
            raise OSError(kind, os.strerror(kind))

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(SourceError, match=f"m: cannot be written: {os.strerror(kind)}"):
            make(tmp_path / "m")
        assert list(tmp_path.iterdir()) == []

    def test_old_manifest_is_restored_if_the_rename_fails(self, tmp_path, monkeypatch):
        make(tmp_path / "m", numbered(5))
        rename = Path.rename

        def failing(self, target):
            if self.name == "new":
                raise OSError(errno.EIO, "Input/output error")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(SourceError, match="cannot be written: Input/output error"):
            make(tmp_path / "m", replace=True)
        assert Manifest.open(tmp_path / "m").metadata.size == 5
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def test_files_are_flushed_before_the_rename(self, tmp_path, monkeypatch):
        """Otherwise a power failure could leave a manifest with empty files."""
        events, fsync, rename = [], os.fsync, Path.rename

        def synced(handle):
            events.append(Path(f"/proc/self/fd/{handle}").readlink())
            fsync(handle)

        def renamed(self, target):
            events.append("renamed" if self.name == "new" else None)
            return rename(self, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)
        folder = make(tmp_path / "m")
        at = events.index("renamed")
        before = {path.name for path in events[:at] if path}
        assert before == {"metadata.json", "items.parquet", "leaves", "1", "tiles", "new"}
        assert folder.parent in events[at:]


# Stops where leaves are written, and says so.
SLOW = """
import sys, time
from pathlib import Path
from alithis.manifest import builder
from alithis.forms.form import BYTES
from alithis.manifest.reader import DataPoints
from alithis.manifest.metadata import Description

def slow(file):
    print("writing", flush=True)
    time.sleep(600)
builder.flush = slow
items = DataPoints(bytes(range(32)) + bytes(32), ["a", "b"], [1, 2])
description = Description("slow")
builder.build([items], Path(sys.argv[1]), description=description, form=BYTES, replace=True)
"""


@pytest.fixture
def slow(tmp_path):
    """Return a function that starts a build which stops half-way; the test kills it at the end."""
    started = []

    def start(out: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, out], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "writing\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def partials(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".partial")]


class TestKilled:
    @pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
    def test_killed_build_leaves_nothing_after_the_next_run(self, tmp_path, slow, kind):
        out = tmp_path / "m"
        process = slow(out)
        process.send_signal(kind)
        process.wait(60)
        assert not out.exists()
        assert len(partials(tmp_path)) == 1
        make(out)
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def test_killed_replacement_keeps_the_old_manifest(self, tmp_path, slow):
        out = make(tmp_path / "m", numbered(5))
        process = slow(out)
        process.kill()
        process.wait(60)
        assert Manifest.open(out).metadata.size == 5
        make(out, numbered(7), replace=True)
        assert Manifest.open(out).metadata.size == 7
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def test_second_build_of_the_same_target_is_refused(self, tmp_path, slow):
        slow(tmp_path / "m")
        before = sorted(tmp_path.iterdir())
        with pytest.raises(SourceError, match="m: another run is writing it"):
            build(unread(), tmp_path / "m", description=SAMPLE, form=BYTES)
        make(tmp_path / "other")
        assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "other"])

    def test_store_does_not_remove_files_of_a_running_build(self, tmp_path, slow):
        slow(tmp_path / "m")
        living = partials(tmp_path)
        with (
            pytest.raises(SourceError, match="m: another run is writing it"),
            atomic_folder(tmp_path / "m", replace=False),
        ):
            pass
        assert partials(tmp_path) == living

    def test_leftover_of_another_target_is_kept(self, tmp_path):
        names = [
            f".m.x.{'0' * 16}.partial",
            f".m.{'0' * 15}.partial",
            ".m.partial",
            f".m.{'0' * 16}",
        ]
        for name in names:
            (tmp_path / name).mkdir()
        make(tmp_path / "m")
        assert {path.name for path in tmp_path.iterdir()} == {"m", *names}

    def test_symbolic_link_named_like_a_leftover_is_not_followed(self, tmp_path):
        victim = make(tmp_path / "victim")
        (tmp_path / f".m.{'0' * 16}.partial").symlink_to(victim)
        make(tmp_path / "m")
        assert all(step.ok for step in audit(victim))

    def test_kill_between_the_two_renames_restores_the_old_manifest(self, tmp_path):
        """The run had moved the old manifest away, and had not moved the new one yet."""
        place = tmp_path / f".m.{'0' * 16}.partial"
        make(place / "new", numbered(7))
        make(place / "old", numbered(5))
        with pytest.raises(SourceError, match="already exists; replace it with --force"):
            make(tmp_path / "m")
        assert Manifest.open(tmp_path / "m").metadata.size == 5
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def test_leftovers_are_kept_on_a_file_system_without_locks(self, tmp_path, monkeypatch):
        """Without locks, the files of a killed run look like the files of a running one."""
        leftover = tmp_path / f".m.{'0' * 16}.partial"
        leftover.mkdir()

        def failing(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", failing)
        make(tmp_path / "m")
        assert partials(tmp_path) == [leftover.name]

    @pytest.mark.parametrize("limit", [100, 500_000])
    def test_full_disk_is_one_clear_error(self, tmp_path, limit):
        """A limit on the size of files simulates it: a write fails half-way in the same way."""
        count = 25_000
        leaves = b"".join(number.to_bytes(32, "big") for number in range(count))
        batch = DataPoints(leaves, ["x"] * count, [1] * count)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(
                SourceError, match=r"m: cannot be written: .*File too large"
            ) as caught:
                make(tmp_path / "m", batch)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []


class TestWriteWhole:
    def test_writes_a_new_file(self, tmp_path):
        write_atomic(tmp_path / "x", b"data")
        assert contents_of(tmp_path) == {"x": b"data"}

    def test_replaces_an_existing_file(self, tmp_path):
        (tmp_path / "x").write_bytes(b"old, and longer")
        write_atomic(tmp_path / "x", b"data")
        assert contents_of(tmp_path) == {"x": b"data"}

    def test_existing_file_is_kept_if_writing_fails(self, tmp_path, monkeypatch):
        (tmp_path / "x").write_bytes(b"old")

        def failing(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="No space left"):
            write_atomic(tmp_path / "x", b"data")
        assert contents_of(tmp_path) == {"x": b"old"}

    def test_target_of_a_symbolic_link_is_written(self, tmp_path):
        (tmp_path / "x").write_bytes(b"old")
        (tmp_path / "link").symlink_to("x")
        write_atomic(tmp_path / "link", b"data")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "x").read_bytes() == b"data"

    def test_device_is_written_and_not_replaced(self, tmp_path):
        """`-o /dev/null`, run as root."""
        reader = os.memfd_create("output")
        write_atomic(Path(f"/proc/self/fd/{reader}"), b"data")
        assert os.pread(reader, 10, 0) == b"data"
        os.close(reader)
        write_atomic(Path(os.devnull), b"data")
        assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)

    def test_folder_as_target_is_an_error(self, tmp_path):
        with pytest.raises(IsADirectoryError):
            write_atomic(tmp_path, b"data")


# -- Lookup and proof ------------------------------------------------------------------------------


class Reader:
    """A file in memory that counts how it is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.data[offset : offset + length]


class InMemory:
    """Return a manifest with files in memory, which may differ from what its metadata states."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves
        self.tree, tiles = tree_with_tiles(b"".join(leaves))
        self.files = {"leaves": b"".join(leaves)}
        self.files |= {f"tiles/{at}": tile for at, tile in enumerate(tiles, 1)}
        self.readers: dict[str, Reader] = {}

    def opened(self, **altered: bytes) -> Manifest:
        self.readers = {name: Reader(data) for name, data in (self.files | altered).items()}
        return Manifest(self.metadata, lambda entry: self.readers[entry.name])

    @cached_property
    def metadata(self) -> bytes:
        return metadata_module.compose(
            kind="dataset",
            description=SAMPLE,
            form=BYTES,
            root=self.tree.root,
            size=self.tree.size,
            items=self.tree.size,
            frontier=self.tree.frontier,
            files=[
                FileEntry(name, str(cid.Cid.raw(bytes(32))), bytes(32), 0) for name in self.files
            ],
            columns={},
        )

    @property
    def reads(self) -> list[tuple[int, int]]:
        return [read for reader in self.readers.values() for read in reader.reads]


def uniform(count: int, seed: int = 0) -> list[bytes]:
    joined = np.random.default_rng(seed).bytes(count * 32)
    return sorted(joined[at : at + 32] for at in range(0, len(joined), 32))


def close(count: int, seed: int = 0) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(seed, seed + 3 * count, 3)]


def geometric(count: int, seed: int = 0) -> list[bytes]:
    """Return leaves that lie ever closer to each other towards zero, like powers of two."""
    source = random.Random(seed)
    exponents = (source.uniform(0, 255) for _ in range(count))
    return sorted({int(2**exponent).to_bytes(32, "big") for exponent in exponents})


def alike(count: int, seed: int = 0) -> list[bytes]:
    """Return leaves with the same first eight bytes, which is all that interpolation uses."""
    return [b"\x55" * 8 + leaf[8:] for leaf in sorted(uniform(count, seed), key=lambda x: x[8:])]


def baited(count: int, seed: int = 0) -> list[bytes]:
    """Return two clusters at the ends, so that every interpolation guesses the wrong one."""
    low = close(count // 2, seed)
    high = [(2**256 - 1 - number).to_bytes(32, "big") for number in range(count - len(low))]
    return sorted({*low, *high})


SHAPES = [uniform, close, geometric, alike, baited]


def near(leaf: bytes, by: int) -> bytes:
    return (min(max(int.from_bytes(leaf, "big") + by, 0), 2**256 - 1)).to_bytes(32, "big")


class TestProve:
    @given(leaves=leaf_sets(max_size=30), others=st.lists(digests, max_size=10))
    def test_every_leaf_is_proved_included_or_absent(self, leaves, others):
        memory = InMemory(leaves)
        opened = memory.opened()
        for leaf in [*leaves, *others]:
            proof = opened.prove(leaf)
            assert isinstance(proof, Inclusion) == (leaf in leaves)
            assert proof.index == bisect_left(leaves, leaf)
            proof.check(memory.tree.root, memory.tree.size)

    @settings(max_examples=examples(60))
    @given(
        shape=st.sampled_from(SHAPES),
        count=st.sampled_from([2, 255, 256, 257, 511, 513, 3000]),
        seed=st.integers(0, 1000),
        data=st.data(),
    )
    def test_lookup_over_several_tiles_is_bisection(self, shape, count, seed, data):
        leaves = shape(count, seed)
        memory = InMemory(leaves)
        opened = memory.opened()
        for _ in range(20):
            at = data.draw(st.integers(0, len(leaves) - 1))
            leaf = near(leaves[at], data.draw(st.sampled_from([-1, 0, 1])))
            proof = opened.prove(leaf)
            assert proof.index == bisect_left(leaves, leaf)
            assert isinstance(proof, Inclusion) == (
                leaves[min(proof.index, len(leaves) - 1)] == leaf
            )
            proof.check(memory.tree.root, memory.tree.size)

    @pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 65535, 65536, 65537])
    def test_leaves_at_the_edges_of_tiles_are_found(self, count):
        leaves = uniform(count)
        memory = InMemory(leaves)
        opened = memory.opened()
        marks = {0, 1, 254, 255, 256, 257, 65534, 65535, 65536, count - 2, count - 1}
        for at in sorted(mark for mark in marks if 0 <= mark < count):
            assert opened.prove(leaves[at]) == Inclusion(
                leaves[at], at, tuple(reference.path(at, leaves))
            )
            for leaf in (near(leaves[at], -1), near(leaves[at], 1)):
                proof = opened.prove(leaf)
                proof.check(memory.tree.root, count)
                assert proof.index == bisect_left(leaves, leaf)
        for leaf in (bytes(32), b"\xff" * 32):
            opened.prove(leaf).check(memory.tree.root, count)

    def test_proofs_from_a_local_manifest_hold(self, tmp_path):
        folder = make(tmp_path / "m")
        opened = Manifest.open(folder)
        for number in range(600):
            assert isinstance(opened.prove(sha256(str(number).encode())), Inclusion)
        assert not isinstance(opened.prove(sha256(b"600")), Inclusion)

    @pytest.mark.parametrize("leaf", [b"", bytes(31), bytes(33)])
    def test_refuses_leaves_that_are_not_32_bytes(self, leaf):
        with pytest.raises(ProofError, match=f"a leaf has 32 bytes, not {len(leaf)}"):
            InMemory(uniform(3)).opened().prove(leaf)

    def test_leaves_are_yielded_in_order(self):
        leaves = uniform(40_000)
        assert list(InMemory(leaves).opened().leaves()) == leaves


class TestReads:
    """A proof costs a few small reads."""

    @pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1000, 65535, 65537, 1_000_000])
    def test_uniform_leaves_take_few_reads(self, count):
        memory = InMemory(uniform(count))
        source = random.Random(count)
        total = 0
        for _ in range(300):
            for leaf in (source.choice(memory.leaves), source.randbytes(32)):
                memory.opened().prove(leaf)
                assert len(memory.reads) <= 8
                assert sum(length for _, length in memory.reads) <= 64 << 10
                total += len(memory.reads)
        assert total / 600 <= 4.5

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("count", [1000, 65537, 200_000])
    def test_hostile_leaves_take_no_more_reads_than_bisection(self, shape, count):
        """After four guesses, the search takes no more reads than bisection."""
        memory = InMemory(shape(count))
        source = random.Random(count)
        tiles = -(-len(memory.leaves) // 256)
        for _ in range(200):
            leaf = near(source.choice(memory.leaves), source.choice([-1, 0, 1]))
            memory.opened().prove(leaf)
            bound = 4 + tiles.bit_length() + 1 + 2 * (len(memory.files) - 1)
            assert len(memory.reads) <= bound

    def test_each_read_is_at_most_a_tile_within_its_file(self):
        memory = InMemory(uniform(65537))
        for leaf in (memory.leaves[0], memory.leaves[-1], bytes(32), b"\xff" * 32):
            memory.opened().prove(leaf)
            for reader in memory.readers.values():
                for offset, length in reader.reads:
                    assert 0 < length <= 8192
                    assert 0 <= offset <= reader.size - length

    def test_no_range_is_read_twice(self):
        memory = InMemory(uniform(70_000))
        opened = memory.opened()
        for leaf in memory.leaves[::777]:
            opened.prove(leaf)
        for reader in memory.readers.values():
            assert len(reader.reads) == len(set(reader.reads))

    def test_cache_in_memory_is_bounded(self, monkeypatch):
        monkeypatch.setattr(manifests, "_MAX_GROUPS", 4)
        opened = InMemory(uniform(70_000)).opened()
        for leaf in opened.leaves():
            if leaf[0] < 4:
                opened.prove(leaf)
                assert len(opened._groups) <= 4


class TestDamagedFiles:
    """Files that differ from the commitment give an error or a correct proof, never a wrong one."""

    @settings(max_examples=examples(150))
    @given(
        shape=st.sampled_from(SHAPES),
        count=st.sampled_from([2, 3, 256, 300, 600]),
        data=st.data(),
    )
    def test_altered_files_never_give_a_wrong_proof(self, shape, count, data):
        leaves = shape(count)
        memory = InMemory(leaves)
        name = data.draw(st.sampled_from(sorted(memory.files)))
        bent = bytearray(memory.files[name])
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(bent) - 1))
            bent[at] ^= data.draw(st.integers(1, 255))
        opened = memory.opened(**{name: bytes(bent)})
        there = data.draw(st.sampled_from(leaves))
        for leaf in (there, near(there, 1), bytes(bent[:32])):
            try:
                proof = opened.prove(leaf)
            except IntegrityError:
                continue
            proof.check(memory.tree.root, memory.tree.size)
            assert isinstance(proof, Inclusion) == (leaf in leaves)

    def test_altered_leaf_gives_an_integrity_error(self):
        memory = InMemory(uniform(600))
        bent = near(memory.leaves[300], 1)
        altered = b"".join([*memory.leaves[:300], bent, *memory.leaves[301:]])
        with pytest.raises(IntegrityError, match="run alithis audit to see what") as caught:
            memory.opened(leaves=altered).prove(bent)
        assert caught.value.expected == memory.tree.root
        assert caught.value.found != memory.tree.root

    def test_altered_tile_gives_an_integrity_error(self):
        memory = InMemory(uniform(600))
        tile = bytes([memory.files["tiles/1"][0] ^ 1]) + memory.files["tiles/1"][1:]
        with pytest.raises(IntegrityError, match="root from leaves and tiles/"):
            memory.opened(**{"tiles/1": tile}).prove(memory.leaves[300])

    @pytest.mark.parametrize("count", [2, 3, 600])
    def test_reversed_leaves_are_found_or_refused(self, count):
        memory = InMemory(uniform(count)[::-1])
        found = 0
        for leaf in memory.leaves:
            try:
                proof = memory.opened().prove(leaf)
            except IntegrityError:
                continue
            assert isinstance(proof, Inclusion)
            found += 1
        assert found
        with pytest.raises(IntegrityError, match="so absence cannot be proved"):
            memory.opened().prove(near(memory.leaves[0], 1))

    @pytest.mark.parametrize("hidden", [0, 3, 255])
    def test_a_leaf_out_of_order_in_the_run_that_is_read_is_found(self, hidden):
        leaves = uniform(256)
        memory = InMemory([leaves[hidden], *leaves[:hidden], *leaves[hidden + 1 :]])
        assert memory.opened().prove(leaves[hidden]).index == 0

    def test_a_leaf_hidden_in_another_run_does_not_claim_the_order(self):
        leaves = uniform(600)
        memory = InMemory([*leaves[1:], leaves[0]])
        opened = memory.opened()
        assert isinstance(opened.prove(leaves[0]), Exclusion)
        assert not opened.ordered

    def test_runs_that_contradict_each_other_are_refused(self):
        leaves = uniform(1024)
        memory = InMemory([*leaves[768:], *leaves[512:768], *leaves[:512]])
        with pytest.raises(IntegrityError, match="the leaves are out of order at 255 and 256"):
            memory.opened().prove(near(leaves[400], 1))

    @pytest.mark.parametrize("count", [256, 600])
    def test_a_local_manifest_is_checked_as_a_whole_before_absence(self, tmp_path, count):
        leaves = uniform(count)
        sound = build_as_given(tmp_path / "sound", leaves)
        assert isinstance(sound.prove(near(leaves[9], 1)), Exclusion)
        assert sound.ordered

        hiding = build_as_given(tmp_path / "hiding", [*leaves[1:], leaves[0]])
        with pytest.raises(IntegrityError, match=f"at {count - 2} and {count - 1}, so absence"):
            hiding.prove(near(leaves[9], 1))

    def test_a_sorted_file_beside_an_unsorted_tree_is_refused(self, tmp_path):
        leaves = uniform(600)
        hiding = build_as_given(tmp_path / "hiding", [*leaves[1:], leaves[0]])
        shown = [*leaves[1:], b"\xff" * 32]  # only the last run differs, which is not read
        (tmp_path / "hiding" / "leaves").write_bytes(b"".join(shown))
        with pytest.raises(IntegrityError, match="root from leaves"):
            hiding.prove(leaves[0])

    @pytest.mark.parametrize("name", ["leaves", "tiles/1"])
    @pytest.mark.parametrize("change", [-32, -1, 1, 32])
    def test_refuses_files_of_the_wrong_length(self, name, change):
        memory = InMemory(uniform(600))
        data = (memory.files[name] + bytes(32))[: len(memory.files[name]) + change]
        with pytest.raises(IntegrityError, match=f"bytes in {name}: expected"):
            memory.opened(**{name: data}).prove(memory.leaves[300])

    def test_refuses_a_read_that_ends_early(self):
        memory = InMemory(uniform(40_000))
        opened = memory.opened()
        memory.readers["leaves"].data = memory.files["leaves"][:-1]
        with pytest.raises(IntegrityError, match="bytes read at"):
            list(opened.leaves())
        with pytest.raises(IntegrityError, match="bytes read at"):
            opened.prove(b"\xff" * 32)

    def test_refuses_a_tile_level_that_is_not_listed(self):
        memory = InMemory(uniform(600))
        del memory.files["tiles/1"]
        with pytest.raises(FormatError, match="no file 'tiles/1'"):
            memory.opened().prove(memory.leaves[300])

    @pytest.mark.parametrize("name", ["leaves", "tiles/1"])
    def test_unreadable_file_is_a_storage_error_not_damage(self, name):
        memory = InMemory(uniform(600))
        opened = memory.opened()

        def failing(*_):
            raise StorageError("gateway is gone")

        memory.readers[name].read = failing
        with pytest.raises(StorageError, match="gateway is gone"):
            opened.prove(memory.leaves[300])


class TestOpen:
    @pytest.mark.parametrize("name", ["gone", "file", "empty"])
    def test_refuses_a_folder_without_metadata(self, tmp_path, name):
        (tmp_path / "file").touch()
        (tmp_path / "empty").mkdir()
        with pytest.raises(FormatError, match=f"check that .*{name} is a manifest"):
            Manifest.open(tmp_path / name)

    def test_oversized_metadata_is_not_read_completely(self, tmp_path):
        folder = make(tmp_path / "m")
        with (folder / "metadata.json").open("r+b") as file:
            file.truncate(1 << 40)
        with pytest.raises(FormatError, match="at most 262144"):
            Manifest.open(folder)

    @pytest.mark.parametrize("name", ["metadata.json", "leaves", "tiles/1"])
    @pytest.mark.parametrize("become", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
    def test_refuses_fifos_and_folders_without_waiting(self, tmp_path, name, become):
        folder = make(tmp_path / "m")
        (folder / name).unlink()
        become(folder / name)
        with pytest.raises(FormatError, match="not a regular file"):
            Manifest.open(folder).prove(sha256(b"1"))

    def test_refuses_a_frontier_that_does_not_fold_to_the_root(self, tmp_path):
        folder = make(tmp_path / "m")
        restate(folder, frontier=["00" * 32] * 4)
        with pytest.raises(FormatError, match="the frontier does not fold to the root"):
            Manifest.open(folder)

    def test_read_error_is_a_storage_error(self, tmp_path, monkeypatch):
        opened = Manifest.open(make(tmp_path / "m"))

        def failing(*_):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(StorageError, match="leaves: cannot be read: Input/output error"):
            opened.prove(bytes(32))

    def test_files_are_closed_with_the_manifest(self, tmp_path):
        folder = make(tmp_path / "m")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            Manifest.open(folder).prove(sha256(b"1"))
        assert len(list(Path("/proc/self/fd").iterdir())) == before


# -- Audit -----------------------------------------------------------------------------------------


def restate(folder: Path, **changes) -> None:
    """Update sizes and digests in metadata.json, so that only the files' contents are wrong."""
    document = json.loads((folder / "metadata.json").read_text())
    for entry in document["distribution"]:
        if entry["@type"] == "cr:FileSet":
            continue
        found = cid.describe(folder / entry["name"])
        entry["sha256"] = found.sha256.hex()
        entry["contentUrl"] = found.cid.uri
        entry["contentSize"] = f"{found.size} B"
    document["alithis"] |= changes
    (folder / "metadata.json").write_text(json.dumps(document))


def flip(path: Path, at: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit_leaves(folder: Path, edit) -> None:
    data = (folder / "leaves").read_bytes()
    rows = [data[at : at + 32] for at in range(0, len(data), 32)]
    (folder / "leaves").write_bytes(b"".join(edit(rows)))


def edit_items(folder: Path, edit) -> None:
    table = edit(pq.read_table(folder / "items.parquet"))
    pq.write_table(table, folder / "items.parquet")
    restate(folder)


def swap(rows: list[bytes]) -> list[bytes]:
    return [*rows[:7], rows[8], rows[7], *rows[9:]]


def recast(table: pa.Table, kind: pa.DataType) -> pa.Table:
    return table.set_column(0, pa.field("leaf", kind), table["leaf"].cast(kind))


def reorder(table: pa.Table, *order: int) -> pa.Table:
    rest = [at for at in range(len(table)) if at not in order]
    return table.take([*order, *rest])


def without_value(table: pa.Table, name: str) -> pa.Table:
    at = table.column_names.index(name)
    values = table[name].to_pylist()
    values[5] = None
    return table.set_column(at, name, pa.array(values, table.schema.field(name).type))


def with_column(table: pa.Table, name: str) -> pa.Table:
    return table.append_column(name, pa.array([0] * len(table)))


def rehash(folder: Path, **more) -> None:
    """Update root, size, frontier and tiles for the present leaves."""
    tree, tiles = tree_with_tiles((folder / "leaves").read_bytes())
    for level, tile in enumerate(tiles, 1):
        (folder / "tiles" / str(level)).write_bytes(tile)
    facts = {
        "root": tree.root.hex(),
        "size": tree.size,
        "frontier": [node.hex() for node in tree.frontier],
    }
    restate(folder, **(facts | more))


def failed(folder: Path, **options) -> dict[str, str]:
    return {step.step: step.detail for step in audit(folder, **options) if not step.ok}


class TestAudit:
    @pytest.fixture(scope="class")
    def original(self, tmp_path_factory):
        contents = {f"{number:05}": str(number // 2).encode() for number in range(1200)}
        return make(tmp_path_factory.mktemp("audit") / "m", items(contents))

    @pytest.fixture
    def folder(self, original, tmp_path):
        return Path(shutil.copytree(original, tmp_path / "m"))

    def test_unchanged_manifest_passes(self, folder):
        steps = audit(folder)
        assert all(step.ok for step in steps)
        assert [step.step for step in steps] == [
            "metadata",
            "document",
            "items.parquet",
            "leaves",
            "tiles/1",
            "size",
            "order",
            "root",
            "frontier",
            "tiles",
            "items",
        ]

    @pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 140_000])
    def test_unchanged_manifests_of_all_sizes_pass(self, tmp_path, count):
        assert failed(make(tmp_path / "m", numbered(count))) == {}

    @pytest.mark.parametrize("name", ["items.parquet", "leaves", "tiles/1"])
    def test_missing_file_fails(self, folder, name):
        (folder / name).unlink()
        assert failed(folder) == {name: f"{folder / name}: missing"}

    @pytest.mark.parametrize("name", ["items.parquet", "leaves", "tiles/1"])
    def test_altered_byte_fails(self, folder, name):
        flip(folder / name, 40)
        assert f"{name}: SHA-256: expected" in failed(folder)[name]

    @pytest.mark.parametrize("name", ["items.parquet", "leaves", "tiles/1"])
    def test_altered_length_fails(self, folder, name):
        (folder / name).write_bytes((folder / name).read_bytes() + b"x")
        assert f"{name}: size: expected" in failed(folder)[name]

    def test_altered_cid_fails(self, folder):
        document = json.loads((folder / "metadata.json").read_text())
        document["distribution"][1]["contentUrl"] = f"ipfs://{cid.Cid.raw(bytes(32))}"
        (folder / "metadata.json").write_text(json.dumps(document))
        assert "leaves: CID: expected" in failed(folder)["leaves"]

    @pytest.mark.parametrize("name", ["items.parquet", "leaves", "tiles/1"])
    def test_fifo_in_place_of_a_file_fails(self, folder, name):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert "not a regular file" in failed(folder)[name]

    def test_all_damaged_files_are_named(self, folder):
        flip(folder / "leaves")
        (folder / "tiles" / "1").unlink()
        assert set(failed(folder)) == {"leaves", "tiles/1"}

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"alithis": {"version": 9}}'])
    def test_malformed_metadata_is_the_only_step(self, folder, data):
        (folder / "metadata.json").write_bytes(data)
        assert set(failed(folder)) == {"metadata"}

    def test_missing_folder_is_the_only_step(self, tmp_path):
        assert "is" in failed(tmp_path / "gone")["metadata"]

    @pytest.mark.parametrize(
        ("change", "step"),
        [
            (lambda rows: swap(rows), "order"),
            (lambda rows: [*rows[:7], rows[7], rows[7], *rows[9:]], "order"),
            (lambda rows: rows[::-1], "order"),
            (lambda rows: [rows[1], *rows[1:]], "order"),
        ],
        ids=["swapped", "duplicate", "reversed", "first repeated"],
    )
    def test_unsorted_or_repeated_leaves_fail(self, folder, change, step):
        """A publisher can commit to such leaves: the root alone does not show the order."""
        edit_leaves(folder, change)
        rehash(folder)
        assert step in failed(folder)

    @pytest.mark.parametrize("at", [0, 8, 16, 24])
    def test_order_is_checked_in_every_byte(self, tmp_path, at):
        first = bytes(at) + b"\x01" + bytes(31 - at)
        folder = make(tmp_path / "m", DataPoints(first + bytes(32), ["a", "b"], [0, 0]))
        assert failed(folder) == {}
        edit_leaves(folder, lambda rows: rows[::-1])
        rehash(folder)
        assert failed(folder)["order"] == "leaves: leaf 1 is not greater than leaf 0"

    def test_altered_leaf_in_order_fails_root_frontier_tiles_and_items(self, folder):
        edit_leaves(folder, lambda rows: [*rows[:7], near(rows[7], 1), *rows[8:]])
        restate(folder)
        assert set(failed(folder)) == {"root", "frontier", "tiles", "items"}

    @pytest.mark.parametrize(
        ("change", "found"), [(-32, "599"), (32, "601"), (-1, "19199 bytes"), (-19200, "0")]
    )
    def test_wrong_number_of_leaves_fails(self, folder, change, found):
        data = (folder / "leaves").read_bytes() + bytes(32)
        (folder / "leaves").write_bytes(data[: 19200 + change])
        restate(folder)
        assert failed(folder) == {"size": f"expected 600, found {found}"}

    def test_wrong_root_fails(self, folder):
        restate(folder, root="00" * 32)
        assert "frontier does not fold to the root" in failed(folder)["metadata"]

    def test_wrong_root_with_a_matching_frontier_fails(self, folder):
        nodes = [bytes([number]) * 32 for number in range(4)]  # 600 has four one-bits
        restate(folder, root=merkle.fold(nodes).hex(), frontier=[node.hex() for node in nodes])
        assert set(failed(folder)) == {"root", "frontier"}

    def test_wrong_size_fails(self, folder):
        """The other size has the same number of one-bits, so the frontier has the right length."""
        restate(folder, size=585)
        assert failed(folder) == {"size": "expected 585, found 600"}

    def test_altered_tile_fails(self, folder):
        flip(folder / "tiles" / "1")
        restate(folder)
        assert failed(folder) == {
            "tiles": "the files of tiles/ do not match the hashes of the leaves"
        }

    def test_unlisted_tile_level_fails(self, folder):
        document = json.loads((folder / "metadata.json").read_text())
        document["distribution"].pop()
        (folder / "metadata.json").write_text(json.dumps(document))
        assert set(failed(folder)) == {"tiles"}

    def test_unexpected_tile_level_fails(self, folder):
        document = json.loads((folder / "metadata.json").read_text())
        document["distribution"].append(
            document["distribution"][-1] | {"name": "tiles/2", "@id": "tiles/2"}
        )
        (folder / "metadata.json").write_text(json.dumps(document))
        (folder / "tiles" / "2").write_bytes(bytes(32))
        restate(folder)
        assert set(failed(folder)) == {"tiles"}

    def test_missing_items_fail_unless_withheld(self, folder):
        (folder / "items.parquet").unlink()
        assert set(failed(folder)) == {"items.parquet"}
        assert failed(folder, withheld=True) == {}

    def test_available_items_are_checked_even_if_they_may_be_withheld(self, folder):
        flip(folder / "items.parquet", 40)
        assert set(failed(folder, withheld=True)) == {"items.parquet"}


ORDER = "its leaves do not match the file leaves"
COLUMNS = (
    "its first columns must be leaf (fixed_size_binary[32]), path and size, "
    "and no two columns may have the same name"
)


class TestAuditOfItems:
    original = TestAudit.original
    folder = TestAudit.folder

    @pytest.mark.parametrize(
        ("change", "detail"),
        [
            (lambda table: recast(table, pa.binary()), COLUMNS),
            (lambda table: recast(table, pa.large_binary()), COLUMNS),
            (lambda table: table.drop_columns(["leaf"]), COLUMNS),
            (lambda table: table.drop_columns(["path"]), COLUMNS),
            (lambda table: table.select(["path", "leaf", "size"]), COLUMNS),
            (lambda table: table.rename_columns(["leaves", "path", "size"]), COLUMNS),
            (lambda table: with_column(table, "leaf"), COLUMNS),
            (lambda table: table.slice(1), "expected 1200 rows, found 1199"),
            (lambda table: pa.concat_tables([table, table]), "expected 1200 rows, found 2400"),
            (lambda table: table.slice(0, 0), "expected 1200 rows, found 0"),
            (lambda table: reorder(table, 8, 9, 0, 1), ORDER),
            (lambda table: table.take(list(range(1200))[::-1]), ORDER),
            (lambda table: pa.concat_tables([table.slice(2), table.slice(1198)]), ORDER),
            (
                lambda table: pa.concat_tables([table.slice(0, 1198), *[table.slice(1197, 1)] * 2]),
                "the last leaves of the file leaves are missing",
            ),
            (
                lambda table: reorder(table, 1, 0),
                "rows with the same leaf are not sorted by their paths",
            ),
            (lambda table: without_value(table, "leaf"), "a row has no leaf or no path"),
            (lambda table: without_value(table, "path"), "a row has no leaf or no path"),
        ],
    )
    def test_items_must_match_the_leaves(self, folder, change, detail):
        edit_items(folder, change)
        assert failed(folder) == {"items": f"{folder / 'items.parquet'}: {detail}"}

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", bytes(1000)])
    def test_invalid_parquet_fails(self, folder, data):
        (folder / "items.parquet").write_bytes(data)
        restate(folder)
        (detail,) = failed(folder).values()
        assert "items.parquet: " in detail
        assert "\n" not in detail

    def test_damage_inside_the_parquet_fails(self, folder):
        path = folder / "items.parquet"
        data = path.read_bytes()
        path.write_bytes(data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :])
        restate(folder)
        assert set(failed(folder)) == {"items"}

    def test_additional_columns_are_allowed(self, folder):
        edit_items(folder, lambda table: with_column(table, "split"))
        assert failed(folder) == {}

    @pytest.mark.parametrize("rows", [1, 2, 7, 1200])
    def test_row_groups_of_any_size_pass(self, folder, monkeypatch, rows):
        """The checks work across the pieces in which the table is read."""
        monkeypatch.setattr("alithis.manifest.audit.ROWS", rows)
        assert failed(folder) == {}
        edit_items(folder, lambda table: reorder(table, 1, 0))
        assert "not sorted by their paths" in failed(folder)["items"]

    def test_empty_row_group_passes(self, folder):
        table = pq.read_table(folder / "items.parquet")
        with pq.ParquetWriter(folder / "items.parquet", table.schema) as writer:
            for piece in (table.slice(0, 100), table.slice(0, 0), table.slice(100)):
                writer.write_table(piece, row_group_size=len(piece) or None)
        restate(folder)
        assert failed(folder) == {}


# -- docs/format.md and its vectors ----------------------------------------------------------------

FORMAT = (ROOT / "docs" / "format.md").read_text()
EXAMPLE = json.loads((VECTOR_FILES / "manifest.json").read_text())["example"]


def block(text: str, language: str = "") -> str:
    """Return a fenced code block of docs/format.md."""
    return f"\n```{language}\n{text}\n```\n"


class TestFormat:
    """The example in the specification matches the code and the test vectors."""

    @pytest.fixture(scope="class")
    def garden(self, tmp_path_factory):
        root = tmp_path_factory.mktemp("format")
        for name, content in EXAMPLE["files"].items():
            (root / "garden" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "garden" / name).write_text(content)
        source = folder(root / "garden")
        with Pool(1) as pool:
            description = Description("Garden")
            build(source.digested(pool), root / "m", description=description, form=source.form)
        return root / "m"

    def test_files_of_the_example_match_the_code(self, garden):
        assert block("  ".join(EXAMPLE["files"])) in FORMAT
        assert {row["path"]: row["leaf"].hex() for row in rows_of(garden)} == EXAMPLE["digests"]

    def test_rows_of_the_example_match_the_code(self, garden):
        rows = [[row["leaf"].hex(), row["path"]] for row in rows_of(garden)]
        assert rows == EXAMPLE["rows"]
        assert block("\n".join("  ".join(row) for row in rows)) in FORMAT

    def test_tree_of_the_example_matches_the_code(self, garden):
        leaves = (garden / "leaves").read_bytes()
        assert leaves.hex() == "".join(EXAMPLE["leaves"])
        hashes = [node.hex() for node in merkle.leaf_hashes(leaves)]
        assert hashes == EXAMPLE["leaf_hashes"]
        tree = merkle.tree([leaves])
        assert tree.root.hex() == EXAMPLE["root"]
        assert [node.hex() for node in tree.frontier] == EXAMPLE["frontier"]
        inner = [merkle.root(leaves[start:stop]).hex() for start, stop in [(0, 64), (64, 128)]]
        assert inner == [EXAMPLE["nodes"]["1,0"], EXAMPLE["nodes"]["1,1"]]
        assert EXAMPLE["nodes"]["2,0"] == merkle.root(leaves[:128]).hex() == EXAMPLE["frontier"][0]
        lines = [f"leaf hash {at}  {node}" for at, node in enumerate(hashes)]
        lines += [f"node 0–1     {inner[0]}", f"node 2–3     {inner[1]}"]  # noqa: RUF001
        lines += [f"node 0–3     {EXAMPLE['nodes']['2,0']}", f"root 0–4     {tree.root.hex()}"]  # noqa: RUF001
        assert block("\n".join(lines)) in FORMAT

    def test_metadata_of_the_example_matches_the_code(self, garden):
        document = json.loads((garden / "metadata.json").read_text())
        ours = '"alithis": ' + json.dumps(document["alithis"], indent=1)
        assert block(ours, "json") in FORMAT
        (leaves,) = (each for each in document["distribution"] if each["name"] == "leaves")
        assert block(json.dumps(leaves, indent=1), "json") in FORMAT
        assert (document["alithis"]["size"], document["alithis"]["items"]) == (
            EXAMPLE["size"],
            EXAMPLE["items"],
        )

    @pytest.mark.parametrize(
        ("name", "content"), [("inclusion", "pear\n"), ("absence", EXAMPLE["absence"]["content"])]
    )
    def test_proofs_of_the_example_match_the_code(self, garden, name, content):
        found = Manifest.open(garden).prove(sha256(content.encode()))
        assert found.leaf.hex() == EXAMPLE[name]["leaf"]
        assert found.index == EXAMPLE[name]["index"]
        written = proof_module.dump(found, proof_module.Subject("Garden"))
        assert block(written.decode().rstrip("\n"), "json") in FORMAT
        loaded, _ = proof_module.load(written)
        loaded.check(bytes.fromhex(EXAMPLE["root"]), EXAMPLE["size"])
        document = json.loads(written)
        if name == "inclusion":
            assert document["inclusion"]["path"] == EXAMPLE["inclusion"]["path"]
        else:
            sides = {side: EXAMPLE["absence"][side] for side in ("left", "right")}
            assert document["absence"] == {
                side: {"leaf": value["leaf"], "path": value["path"]}
                for side, value in sides.items()
            }

    def test_every_hash_in_the_specification_is_of_the_example(self):
        known = json.dumps(EXAMPLE)
        stray = {word for word in re.findall(r"\b[0-9a-f]{64}\b", FORMAT) if word not in known}
        label = sha256(b"0").hex()  # of the sample with a label 0
        assert stray == {sha256(bytes.fromhex("".join(EXAMPLE["leaves"]))).hex(), label}

    def test_limits_in_the_specification_match_the_code(self):
        assert metadata_module.MAX_BYTES == 262_144
        assert proof_module.MAX_BYTES == 64 << 10
        assert merkle.MAX_SIZE == 2**48
        assert "at most 256 KiB (262,144 bytes)" in FORMAT
        assert "at most 64 KiB" in FORMAT
        assert "at most 2^48" in FORMAT
        assert f"nested more than {MAX_DEPTH} deep" in FORMAT


class TestReleasedManifest:
    """Manifests that were published stay readable."""

    PATH = VECTOR_FILES / "manifest"

    def test_first_published_manifest_passes_an_audit(self):
        assert failed(self.PATH) == {}

    def test_first_published_manifest_gives_proofs(self):
        opened = Manifest.open(self.PATH)
        assert (opened.metadata.name, opened.metadata.size) == ("numbers", 300)
        for number in range(300):
            assert isinstance(opened.prove(sha256(str(number).encode())), Inclusion)
        assert not isinstance(opened.prove(sha256(b"300")), Inclusion)

    def test_building_it_again_gives_the_same_commitment(self, tmp_path):
        """items.parquet is not compared: its bytes depend on the version of pyarrow."""
        names = [f"{number:03}" for number in range(300)]
        contents = {name: str(int(name)).encode() for name in names}
        made = make(tmp_path / "m", items(contents, label=[int(name) % 10 for name in names]))
        for name in ("leaves", "tiles/1"):
            assert (made / name).read_bytes() == (self.PATH / name).read_bytes()
        ours, theirs = Manifest.open(made).metadata, Manifest.open(self.PATH).metadata
        assert (ours.root, ours.size, ours.items, ours.frontier) == (
            theirs.root,
            theirs.size,
            theirs.items,
            theirs.frontier,
        )
        assert rows_of(made) == rows_of(self.PATH)
