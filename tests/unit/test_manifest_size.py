"""Manifests of many data points: bounded memory, parts, and work that goes on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alithis.base.progress import Progress
from alithis.errors import FormatError, SourceError
from alithis.forms.form import BYTES, Form
from alithis.manifest import metadata, sorter
from alithis.manifest.audit import audit
from alithis.manifest.builder import Stream, build
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints, Manifest
from helpers.paths import HELPERS
from helpers.session import examples
from helpers.strategies import digests

SAMPLE = Description("sample")


def made_up(count: int, *, seed: int = 0, step: int = 97) -> list[DataPoints]:
    """Batches with repeats, and rows that only path, size or a column tells apart."""
    source = random.Random(seed)
    few = [source.randbytes(32) for _ in range(5)]
    rows = []
    for number in range(count):
        leaf = source.choice(few) if number % 3 == 0 else source.randbytes(32)
        path = source.choice(["a", "é", "z\U0001f600", f"{number}"])
        rows.append((leaf, path, number % 2, source.choice([None, -1, 7]), source.choice("xy")))
    return batches(rows, step)


def batches(rows: list[tuple], step: int) -> list[DataPoints]:
    pieces = [rows[start : start + step] for start in range(0, len(rows), step)]
    return [
        DataPoints(
            b"".join(row[0] for row in piece),
            [row[1] for row in piece],
            [row[2] for row in piece],
            {"label": [row[3] for row in piece], "split": [row[4] for row in piece]},
        )
        for piece in pieces
    ]


def contents_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def made(out: Path, data, **options) -> dict[str, bytes]:
    options = {"description": SAMPLE, "form": BYTES} | options
    build(data, out, **options)
    return contents_of(out)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small(monkeypatch):
    """Lower the limits: what happens beyond millions of data points happens beyond hundreds."""
    monkeypatch.setattr(sorter, "_IN_MEMORY", 500)
    monkeypatch.setattr(sorter, "_CHUNK", 300)
    monkeypatch.setattr(sorter, "_PIECE", 64)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(sorter, "ROWS", 128)
    monkeypatch.setattr("alithis.manifest.builder.ROWS", 128)
    monkeypatch.setattr(metadata, "PART", 512)


# -- Sorting on the disk ---------------------------------------------------------------------------


class TestOnDisk:
    def test_manifest_is_the_same_as_in_memory(self, tmp_path, monkeypatch, small):
        with monkeypatch.context() as context:
            context.setattr(sorter, "_IN_MEMORY", 1 << 20)
            expected = made(tmp_path / "memory", made_up(5000))
        assert made(tmp_path / "disk", made_up(5000)) == expected
        assert names(tmp_path) == ["disk", "memory"]

    def test_chunks_are_written_to_the_work_folder(self, tmp_path, monkeypatch, small):
        seen = []
        write = sorter._write_chunk

        def writing(folder, number, table):
            seen.append((folder, number, len(table)))
            return write(folder, number, table)

        monkeypatch.setattr(sorter, "_write_chunk", writing)
        made(tmp_path / "m", made_up(2000))
        assert {folder for folder, _, _ in seen} == {tmp_path / ".m.work"}
        assert [number for _, number, _ in seen] == list(range(len(seen)))
        assert sum(rows for *_, rows in seen) == 2000
        assert all(rows < 1000 for *_, rows in seen)

    def test_row_groups_are_full_whatever_batches_duckdb_returns(
        self, tmp_path, monkeypatch, small
    ):
        """DuckDB chooses the sizes of the batches that it returns."""
        rows = np.random.default_rng(3).bytes(32 * 300_000)
        paths = [f"{number}" for number in range(300_000)]
        pieces = [
            DataPoints(rows[start * 32 : stop * 32], paths[start:stop], [1] * (stop - start))
            for start, stop in pairwise(range(0, 300_001, 50_000))
        ]
        found = made(tmp_path / "disk", pieces)
        monkeypatch.setattr(sorter, "_IN_MEMORY", 1 << 20)
        assert made(tmp_path / "memory", pieces) == found
        with pq.ParquetFile(tmp_path / "disk" / "items.parquet") as file:
            groups = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
        assert groups == [131072, 131072, 37856]

    @settings(
        max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        rows=st.lists(
            st.tuples(
                digests | st.sampled_from([bytes(32), b"\xff" * 32, b"\x07" * 31 + b"\x08"]),
                st.text(max_size=3),
                st.sampled_from([0, 1, 2**63 - 1]),
                st.none() | st.integers(-(2**63), 2**63 - 1),
                st.none() | st.text(max_size=2),
            ),
            min_size=1,
            max_size=40,
        ),
        step=st.integers(1, 40),
    )
    def test_any_rows_are_sorted_as_in_memory(self, tmp_path_factory, monkeypatch, rows, step):
        """DuckDB and NumPy sort any text and numbers in the same order; nulls come last."""
        folder = tmp_path_factory.mktemp("m")
        expected = made(folder / "memory", batches(rows, 50))
        with monkeypatch.context() as context:
            context.setattr(sorter, "_IN_MEMORY", 0)
            context.setattr(sorter, "_PIECE", 1)
            assert made(folder / "disk", batches(rows, step)) == expected

        def key(row):
            return tuple((value is None, value) for value in row)

        found = pq.read_table(folder / "disk" / "items.parquet").to_pylist()
        assert [tuple(row.values()) for row in found] == sorted(rows, key=key)

    def test_long_names_are_written_in_chunks(self, tmp_path, monkeypatch):
        """Memory is limited in bytes, not only in data points."""
        monkeypatch.setattr(sorter, "_MAX_HELD", 1 << 20)
        monkeypatch.setattr(sorter, "_PIECE", 16)
        chunks = []
        write = sorter._write_chunk
        monkeypatch.setattr(
            sorter, "_write_chunk", lambda *each: chunks.append(each) or write(*each)
        )
        long = [
            DataPoints(
                hashlib.sha256(b"%d" % n).digest() * 16, [f"{n}/{'x' * 4000}"] * 16, [1] * 16
            )
            for n in range(100)
        ]
        made(tmp_path / "m", long)
        assert len(chunks) > 2
        assert all(step.ok for step in audit(tmp_path / "m"))

    @pytest.mark.parametrize("name", ["leaf", "path", "size"])
    def test_refuses_columns_with_reserved_names(self, tmp_path, name):
        data = DataPoints(bytes(32), ["a"], [1], {name: ["x"]})
        with pytest.raises(SourceError, match=f"the column name '{name}' is reserved"):
            made(tmp_path / "m", [data])

    def test_column_without_values_in_the_first_chunks_has_the_later_type(self, tmp_path, small):
        """The first chunks contain only nulls, so they do not show the type."""
        rows = [
            (bytes([n % 256]) * 32, str(n), 1, 5 if n == 899 else None, "x") for n in range(900)
        ]
        made(tmp_path / "m", batches(rows, 90))
        table = pq.read_table(tmp_path / "m" / "items.parquet")
        assert table.schema.field("label").type == pa.int64()
        assert [value for value in table["label"].to_pylist() if value is not None] == [5]

    def test_column_without_any_value_is_text(self, tmp_path, small):
        rows = [(bytes([n % 256]) * 32, str(n), 1, None, "x") for n in range(900)]
        made(tmp_path / "m", batches(rows, 90))
        assert pq.read_schema(tmp_path / "m" / "items.parquet").field("label").type == pa.string()

    def test_refuses_a_column_of_numbers_and_text(self, tmp_path, small):
        rows = [(bytes([n % 256]) * 32, str(n), 1, n if n < 450 else "x", "x") for n in range(900)]
        with pytest.raises(SourceError, match=r"items\.parquet: a value cannot be stored"):
            made(tmp_path / "m", batches(rows, 90))
        assert names(tmp_path) == []

    def test_full_disk_while_sorting_is_one_clear_error(self, tmp_path, small, monkeypatch):
        monkeypatch.setattr(sorter, "_SORT_MEMORY", "12MB")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        rows = np.random.default_rng(0).bytes(32 * 200_000)
        data = DataPoints(rows, [f"{n:040}" for n in range(200_000)], [1] * 200_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, limits[1]))
        try:
            with pytest.raises(SourceError, match=r"m: cannot be (sorted|written): ") as caught:
                made(tmp_path / "m", [data])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        assert names(tmp_path) == []


# -- Parts -----------------------------------------------------------------------------------------


class TestParts:
    @pytest.fixture
    def folder(self, tmp_path, small_parts):
        """Return a manifest of two full items files and a third; repeats cross their borders."""
        rows = [(bytes([7]) * 32, f"{n:05}", 1, n % 3, "x") for n in range(300)]
        rows += [(hashlib.sha256(b"%d" % n).digest(), f"{n}", 1, n % 3, "y") for n in range(900)]
        made(tmp_path / "m", batches(rows, 100))
        return tmp_path / "m"

    def test_items_files_are_numbered_and_full(self, folder):
        parts = [f"items-{number:05}.parquet" for number in range(3)]
        assert names(folder) == [*parts, "leaves", "metadata.json", "tiles"]
        counts = [pq.read_metadata(folder / part).num_rows for part in parts]
        assert counts == [512, 512, 176]
        data = Manifest.open(folder).metadata
        assert [entry.name for entry in data.items_files] == parts
        assert (data.items, data.size) == (1200, 901)

    def test_items_files_together_have_the_rows_of_one_file(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr(metadata, "PART", 1 << 24)
        rows = pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("items-*")))
        made(tmp_path / "one", batches([tuple(row.values()) for row in rows.to_pylist()], 1200))
        whole = pq.read_table(tmp_path / "one" / "items.parquet")
        assert rows.combine_chunks() == whole.combine_chunks()
        assert (tmp_path / "one" / "leaves").read_bytes() == (folder / "leaves").read_bytes()

    def test_audit_passes(self, folder):
        assert [step for step in audit(folder) if not step.ok] == []

    def test_one_more_row_than_fits_makes_several_files(self, tmp_path, small_parts):
        for count, expected in ((512, ["items.parquet"]), (513, ["items-00000.parquet"])):
            out = tmp_path / str(count)
            made(out, made_up(count))
            assert names(out)[0] == expected[0]

    @pytest.mark.parametrize(
        ("rows", "files", "part"),
        [
            (1, 1, 1 << 24),
            (1 << 24, 1, 1 << 24),
            ((1 << 24) + 1, 2, 1 << 24),
            (10**8, 6, 1 << 24),
            (1 << 32, 256, 1 << 24),
            ((1 << 32) + 1, 129, 1 << 25),
            (1 << 48, 256, 1 << 40),
        ],
    )
    def test_number_of_items_files_and_rows_in_each(self, rows, files, part):
        found, held = metadata.items_names(rows)
        assert (len(found), held) == (files, part)
        assert len(found) * part >= rows > (len(found) - 1) * part

    def test_mlcroissant_reads_the_records_of_all_parts(self, folder):
        import mlcroissant  # not above: the processes that are killed would wait for pandas

        dataset = mlcroissant.Dataset(folder / "metadata.json")
        assert dataset.metadata.ctx.issues.errors == set()
        records = list(dataset.records("items"))
        paths = [record["items/path"].decode() for record in records]
        tables = [pq.read_table(path) for path in sorted(folder.glob("items-*"))]
        assert paths == [path for table in tables for path in table["path"].to_pylist()]

    def test_manifest_with_several_items_files_is_replaced(self, folder):
        made(folder, made_up(600), replace=True)
        made(folder, made_up(3), replace=True)
        assert names(folder) == ["items.parquet", "leaves", "metadata.json"]

    @pytest.mark.parametrize("change", ["missing", "swapped", "doubled", "both"])
    def test_metadata_must_list_all_items_files_in_order(self, folder, change):
        document = json.loads((folder / "metadata.json").read_text())
        parts = document["distribution"]
        if change == "missing":
            del parts[1]
        elif change == "swapped":
            parts[0], parts[1] = parts[1], parts[0]
        else:
            name = "items-00002.parquet" if change == "doubled" else "items.parquet"
            parts.append(parts[0] | {"name": name})
        with pytest.raises(
            FormatError, match=r"distribution (lists a file twice|must list all items files)"
        ):
            metadata.load(json.dumps(document).encode())

    def test_metadata_of_the_most_items_files_fits_its_limit(self):
        rows = 1 << 32
        files = [
            metadata.FileEntry(name, "b" * 59, bytes(32), 10**9)
            for name in [*metadata.items_names(rows)[0], *(f"tiles/{n}" for n in range(1, 5))]
        ]
        leaves = metadata.FileEntry("leaves", "b" * 59, bytes(32), rows * 32)
        data = metadata.compose(
            kind="dataset",
            description=SAMPLE,
            form=BYTES,
            root=bytes(32),
            size=rows,
            items=rows,
            frontier=[bytes(32)],
            files=[*files, leaves],
            columns={},
        )
        assert len(metadata.load(data).items_files) == 256
        assert len(data) < metadata.MAX_BYTES // 2


# -- Resuming --------------------------------------------------------------------------------------


class Said(Progress):
    """Records messages, and the phases with the amount of work that was already done."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun: list[tuple[str, int | None, int]] = []
        self.advanced: dict[str, int] = {}

    def phase(self, name, total=None, done=0, unit=""):
        self.begun.append((name, total, done))
        self.advanced[name] = 0

    def advance(self, count):
        self.advanced[self.begun[-1][0]] += count

    def say(self, text):
        self.lines.append(text)


class BrokenError(Exception):
    pass


COUNT = 2000


def stream(*, identity: str = "photos", stop: int = COUNT + 1, error=BrokenError) -> Stream:
    """Return 2,000 data points as a resumable stream, which raises an error before ``stop``."""
    rows = [
        (
            *(batch.digests[at * 32 :][:32], batch.paths[at], batch.sizes[at]),
            *(values[at] for values in batch.columns.values()),
        )
        for batch in made_up(COUNT)
        for at in range(len(batch.paths))
    ]

    def start(first: int) -> Iterator[DataPoints]:
        for batch in batches(rows[first:], 50):
            if first + 50 > stop:
                raise error("it broke")
            first += 50
            yield batch

    return Stream(identity, start, COUNT)


@pytest.fixture
def impatient(monkeypatch):
    """Write a chunk after each batch."""
    monkeypatch.setattr(sorter, "_PATIENCE", -1.0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the files of a run that was not interrupted."""
    return made(tmp_path_factory.mktemp("whole") / "m", stream())


def work_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.work")


def broken_off(out: Path, **options) -> None:
    """Interrupt a run after 1,000 data points."""
    with pytest.raises(BrokenError):
        made(out, stream(stop=1000), **options)


class TestResume:
    @pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit, SourceError])
    def test_resumes_after_the_last_chunk(self, tmp_path, impatient, expected, error):
        out, said = tmp_path / "m", Said()
        with pytest.raises(error):
            made(out, stream(stop=1000, error=error), progress=said)
        assert said.lines == ["1,000 data points are kept; run the same command to resume"]
        assert names(tmp_path) == [".m.work"]
        again = Said()
        assert made(out, stream(), progress=again) == expected
        assert again.lines == ["resuming after 1,000 data points of an interrupted run"]
        assert again.begun[0] == ("hashing", COUNT, 1000)
        assert again.advanced["hashing"] == 1000
        assert names(tmp_path) == ["m"]

    def test_resumes_several_times(self, tmp_path, impatient, expected):
        for stop in (300, 350, 1000, 1001, 1999):
            with pytest.raises(BrokenError):
                made(tmp_path / "m", stream(stop=stop))
        assert made(tmp_path / "m", stream()) == expected

    @pytest.mark.parametrize("replace", [False, True])
    def test_nothing_is_hashed_again_after_the_last_data_point(
        self, tmp_path, impatient, expected, monkeypatch, replace
    ):
        """Sorting and the later phases are repeated; hashing is not."""
        if replace:
            made(tmp_path / "m", made_up(3))

        def breaking(*_, **__):
            raise BrokenError

        with monkeypatch.context() as context:
            context.setattr("alithis.manifest.builder.merkle.tree", breaking)
            with pytest.raises(BrokenError):
                made(tmp_path / "m", stream(), replace=replace)
        said = Said()
        assert made(tmp_path / "m", stream(), replace=replace, progress=said) == expected
        assert said.advanced["hashing"] == 0

    def test_short_work_is_not_kept(self, tmp_path):
        broken_off(tmp_path / "m")
        assert names(tmp_path) == []

    def test_work_without_an_identity_is_not_kept(self, tmp_path, impatient, small):
        with pytest.raises(BrokenError):
            made(tmp_path / "m", stream(identity="", stop=1000))
        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"data": stream(identity="other photos")},
            {"data": stream(identity="")},
            {"form": Form("pixels", "L")},
        ],
        ids=["source", "no identity", "form"],
    )
    def test_work_of_another_source_is_not_resumed(self, tmp_path, impatient, change):
        broken_off(tmp_path / "m")
        said = Said()
        options = {"data": stream(), "form": BYTES} | change
        found = made(tmp_path / "m", progress=said, **options)
        assert said.begun[0] == ("hashing", COUNT, 0)
        (line,) = said.lines
        assert line == (
            "the work of an interrupted run has a different source, form, option or version: "
            "starting again"
        )
        assert found["leaves"]
        assert names(tmp_path) == ["m"]

    @pytest.mark.parametrize("what", ["VERSION", "version"])
    def test_work_of_another_version_is_not_resumed(
        self, tmp_path, impatient, expected, monkeypatch, what
    ):
        with monkeypatch.context() as context:
            if what == "VERSION":
                context.setattr(metadata, "VERSION", 99)
            else:
                context.setattr("alithis.manifest.builder.version", lambda _: "0.0.1")
            broken_off(tmp_path / "m")
        said = Said()
        assert made(tmp_path / "m", stream(), progress=said) == expected
        assert "starting again" in said.lines[0]

    def test_restart_discards_the_work(self, tmp_path, impatient, expected):
        broken_off(tmp_path / "m")
        said = Said()
        assert made(tmp_path / "m", stream(), restart=True, progress=said) == expected
        assert said.lines == []
        assert said.begun[0] == ("hashing", COUNT, 0)

    def test_work_is_resumed_with_another_description(self, tmp_path, impatient):
        """A publisher who forgot the license need not hash again."""
        broken_off(tmp_path / "m")
        said = Said()
        made(tmp_path / "m", stream(), description=Description("other"), progress=said)
        assert said.begun[0] == ("hashing", COUNT, 1000)

    def test_refuses_to_resume_with_other_columns(self, tmp_path, impatient):
        broken_off(tmp_path / "m")
        data = Stream("photos", lambda _: [DataPoints(bytes(32), ["a"], [1])])
        with pytest.raises(SourceError, match="another number of digests, sizes or labels"):
            made(tmp_path / "m", data)

    @pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "gone", "renamed"])
    @pytest.mark.parametrize("number", [0, 7, 19])
    def test_damaged_chunk_and_later_chunks_are_hashed_again(
        self, tmp_path, impatient, expected, damage, number
    ):
        broken_off(tmp_path / "m")
        path = sorted(work_of(tmp_path / "m").glob("*.arrow"))[number]
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "renamed":
            path.rename(path.with_name(path.name.replace("-50-", "-51-")))
        else:
            flipped = data[:-300] + bytes([data[-300] ^ 1]) + data[-299:]
            path.write_bytes({"flipped": flipped, "cut": data[:-8], "emptied": b""}[damage])
        said = Said()
        assert made(tmp_path / "m", stream(), progress=said) == expected
        done = said.begun[0][2]
        assert done == number * 50
        if not number:
            assert said.lines[0].endswith("is damaged: starting again")

    @pytest.mark.parametrize("name", ["chunk.part", "sorting", "000099-5-" + "0" * 64 + ".arrow"])
    def test_incomplete_files_are_removed(self, tmp_path, impatient, expected, name):
        broken_off(tmp_path / "m")
        if name == "sorting":
            (work_of(tmp_path / "m") / name).mkdir()
            (work_of(tmp_path / "m") / name / "spill").write_bytes(b"x")
        else:
            (work_of(tmp_path / "m") / name).write_bytes(b"x")
        assert made(tmp_path / "m", stream(), progress=Said()) == expected
        assert names(tmp_path) == ["m"]

    def test_other_files_in_the_work_folder_are_kept(self, tmp_path, impatient):
        work_of(tmp_path / "m").mkdir()
        (work_of(tmp_path / "m") / "notes.txt").write_text("precious")
        made(tmp_path / "m", stream())
        assert names(work_of(tmp_path / "m")) == ["notes.txt"]

    def test_symbolic_link_as_work_folder_is_not_followed(self, tmp_path, impatient):
        (tmp_path / "other").mkdir()
        work_of(tmp_path / "m").symlink_to("other")
        with pytest.raises(SourceError, match="m: cannot be written"):
            made(tmp_path / "m", stream())
        assert names(tmp_path / "other") == []

    @pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EIO])
    def test_chunks_before_a_full_disk_are_kept(
        self, tmp_path, impatient, expected, monkeypatch, kind
    ):
        """The earlier chunks are complete and are resumed."""
        write, count = sorter._write_chunk, iter(range(100))

        def failing(*each):
            if next(count) == 5:
                raise OSError(kind, os.strerror(kind))
            return write(*each)

        with monkeypatch.context() as context:
            context.setattr(sorter, "_write_chunk", failing)
            with pytest.raises(SourceError, match=f"m: cannot be written: {os.strerror(kind)}"):
                made(tmp_path / "m", stream())
        said = Said()
        assert made(tmp_path / "m", stream(), progress=said) == expected
        assert said.begun[0] == ("hashing", COUNT, 250)

    def test_nothing_is_kept_on_a_file_system_without_locks(
        self, tmp_path, impatient, monkeypatch, expected
    ):
        """Without locks it is unknown whether the run that left the work is still alive."""

        def failing(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", failing)
        broken_off(tmp_path / "m")
        assert names(tmp_path) == []
        assert made(tmp_path / "m", stream()) == expected


# A run that prints "halted" and waits at a given point, or runs to its end.
FOLDERS = [str(Path(__file__).parent), str(HELPERS.parent)]
RUN = """
import sys, time
from pathlib import Path
sys.path[:0] = {folders!r}
import test_manifest_size as here
from alithis.manifest import builder, folder, merkle, sorter

sorter._IN_MEMORY, sorter._CHUNK, sorter._PIECE = 500, 300, 64

def halt(*_, **__):
    print("halted", flush=True)
    time.sleep(600)

def after(module, name, count):
    work, left = getattr(module, name), [count]
    def counted(*args, **options):
        left[0] -= 1
        return halt() if left[0] < 0 else work(*args, **options)
    setattr(module, name, counted)

point = sys.argv[2]
if point == "chunk":
    after(sorter, "_write_chunk", 3)
elif point == "half a chunk":
    after(sorter, "flush", 2)
elif point == "sorting":
    after(sorter, "_regrouped", 0)
elif point == "tree":
    after(merkle, "tree", 0)
elif point == "metadata":
    after(builder.metadata, "compose", 0)
elif point == "rename":
    after(folder, "_swap", 0)
here.build(here.stream(), Path(sys.argv[1]), description=here.SAMPLE, form=here.BYTES, replace=True)
"""


@pytest.fixture
def started():
    """Return a function that starts a run which halts at a point; the test kills it at the end."""
    processes = []

    def start(out: Path, point: str) -> subprocess.Popen:
        program = RUN.format(folders=FOLDERS)
        process = subprocess.Popen(
            [sys.executable, "-c", program, out, point], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "halted\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


class TestKilled:
    @pytest.mark.parametrize(
        ("point", "kept"),
        [
            ("chunk", 850),
            ("half a chunk", 550),
            ("sorting", COUNT),
            ("tree", COUNT),
            ("metadata", COUNT),
            ("rename", COUNT),
        ],
    )
    def test_killed_run_is_resumed_with_the_same_result(
        self, tmp_path, small, started, expected, point, kept
    ):
        out = tmp_path / "m"
        process = started(out, point)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert ".m.work" in names(tmp_path)
        said = Said()
        assert made(out, stream(), progress=said) == expected
        assert abs(said.begun[0][2] - kept) < 300
        assert said.begun[0][2] > 0
        assert names(tmp_path) == ["m"]

    def test_running_process_locks_others_out(self, tmp_path, small, started):
        out = tmp_path / "m"
        process = started(out, "chunk")
        left = contents_of(work_of(out))
        with pytest.raises(SourceError, match="m: another run is writing it"):
            made(out, stream())
        with pytest.raises(SourceError, match="m: another run is writing it"):
            made(out, stream(), restart=True)
        assert contents_of(work_of(out)) == left
        process.kill()
        process.wait(60)
        made(out, stream())

    def test_one_of_two_simultaneous_runs_writes_the_manifest(self, tmp_path, small, expected):
        """The other one fails with a message, or starts later and writes the same manifest."""
        program = RUN.format(folders=FOLDERS)
        command = [sys.executable, "-c", program, tmp_path / "m", "none"]
        both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        results = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
        assert 0 in [status for _, status in results]
        for text, status in results:
            assert status == 0 or "another run is writing it" in text
        assert contents_of(tmp_path / "m") == expected


class TestProgress:
    def test_phases_of_a_build(self, tmp_path, small):
        said = Said()
        made(tmp_path / "m", stream(), progress=said)
        size = Manifest.open(tmp_path / "m").metadata.size
        assert said.begun == [
            ("hashing", COUNT, 0),
            ("sorting", COUNT, 0),
            ("writing items", COUNT, 0),
            ("hashing the tree", size, 0),
            ("checksums", None, 0),
        ]
        totals = {"hashing": COUNT, "sorting": COUNT, "writing items": COUNT}
        assert said.advanced == totals | {"hashing the tree": size, "checksums": 0}
        assert said.lines == []

    def test_source_of_unknown_size_has_no_total(self, tmp_path):
        said = Said()
        made(tmp_path / "m", Stream("x", lambda _: made_up(10)), progress=said)
        assert said.begun[0] == ("hashing", None, 0)

    def test_phases_of_an_audit(self, tmp_path):
        made(tmp_path / "m", stream())
        size, said = Manifest.open(tmp_path / "m").metadata.size, Said()
        audit(tmp_path / "m", source=stream(), form=BYTES, progress=said)
        totals = {"checking files": 3, "hashing the tree": size, "checking items": COUNT}
        totals |= {"hashing": COUNT, "comparing": 2 * COUNT}
        assert said.advanced == totals
        assert {name: total for name, total, _ in said.begun} == totals


class TestMemory:
    def test_memory_is_bounded_for_a_million_data_points(self, tmp_path):
        """The limit is less than the data points take; nothing but the peak is printed."""
        program = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow, pyarrow.parquet, duckdb, stringzilla
from alithis.manifest import sorter
from alithis.manifest.builder import build
from alithis.forms.form import BYTES
from alithis.manifest.reader import DataPoints
from alithis.manifest.metadata import Description

sorter._IN_MEMORY, sorter._CHUNK, sorter._SORT_MEMORY = 1 << 16, 1 << 16, "100MB"
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
def data():
    source = np.random.default_rng(0)
    for start in range(0, 1_000_000, 10_000):
        paths = [f"{n:0100}" for n in range(start, start + 10_000)]
        yield DataPoints(source.bytes(320_000), paths, [1] * 10_000)
before = peak()
build(data(), Path(sys.argv[1]), description=Description("m"), form=BYTES)
print(peak() - before)
"""
        command = [sys.executable, "-c", program, tmp_path / "m"]
        used = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert used < 250 << 20
        assert Manifest.open(tmp_path / "m").metadata.size == 1_000_000


class TestUnwritable:
    def test_unwritable_folder_is_one_clear_error(self, tmp_path):
        """Root may write anywhere, so the process changes to another user."""
        place = tmp_path / "closed"
        place.mkdir()
        place.chmod(0o555)
        program = f"""
import os
from pathlib import Path
from alithis.manifest.builder import build
from alithis.forms.form import BYTES
from alithis.errors import SourceError
from alithis.manifest.reader import DataPoints
from alithis.manifest.metadata import Description
import pyarrow, numpy
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    build([DataPoints(bytes(32), ["a"], [1])], Path({str(place / "m")!r}),
          description=Description("m"), form=BYTES)
except SourceError as error:
    print(error)
"""
        for folder in place.parents:
            mode = folder.stat().st_mode
            if not mode & 0o001:  # pytest's own
                folder.chmod(mode | 0o055)
        command = [sys.executable, "-c", program]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert said.startswith(
            f"{place / 'm'}: cannot be written: {place} is not a writable folder"
        )
        assert names(place) == []
