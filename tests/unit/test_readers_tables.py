"""Tables: rows as records and columns as they are, whatever Arrow type holds them."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alithis.errors import SourceError
from alithis.forms.form import BYTES, RECORD, TEXT, Form
from alithis.readers import columns as conversion
from alithis.readers import open_source
from helpers import strategies  # noqa: F401  (examples have no deadline)
from helpers.paths import VECTOR_FILES
from helpers.reading import assert_resumes, columns, contents, everything, read, sha256, skipped

VECTORS = json.loads((VECTOR_FILES / "forms.json").read_text())

STRUCT = pa.struct([("b", pa.int64()), ("a", pa.string())])
TYPES = {
    "float16": pa.float16(),
    "decimal128(5, 2)": pa.decimal128(5, 2),
    "fixed_size_binary[2]": pa.binary(2),
    "time32[s]": pa.time32("s"),
    "time64[ns]": pa.time64("ns"),
    "timestamp[ms]": pa.timestamp("ms"),
    "timestamp[us, tz=Europe/Paris]": pa.timestamp("us", "Europe/Paris"),
    "duration[ms]": pa.duration("ms"),
    "list<int64>": pa.list_(pa.int64()),
    "struct<b: int64, a: string>": STRUCT,
    "map<string, int64>": pa.map_(pa.string(), pa.int64()),
    "dictionary<string>": pa.dictionary(pa.int32(), pa.string()),
}


def arrow_of(name: str, values: list) -> pa.Array:
    """An Arrow array of a vector's values."""
    kind = TYPES.get(name) or pa.type_for_alias(name)
    if pa.types.is_temporal(kind):
        bits = pa.int32() if kind.bit_width == 32 else pa.int64()
        return pa.array(values, bits).cast(kind)
    if pa.types.is_floating(kind):
        values = [None if value is None else float(value) for value in values]
        return pa.array(values, pa.float64()).cast(kind)
    if pa.types.is_decimal(kind):
        values = [Decimal(value) for value in values]
    elif pa.types.is_unsigned_integer(kind):
        values = list(map(int, values))
    elif pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        values = [None if value is None else bytes.fromhex(value) for value in values]
    elif pa.types.is_map(kind):
        values = [[tuple(pair) for pair in value] for value in values]
    return pa.array(values, kind)


def records(table: pa.Table) -> list[str]:
    (batch,) = table.combine_chunks().to_batches()
    return [row.decode() for row in conversion.records(batch)]


@pytest.mark.parametrize("vector", VECTORS["arrow"], ids=lambda vector: vector["type"])
def test_arrow_vectors_of_the_specification(vector):
    array = arrow_of(vector["type"], vector["values"])
    expected = [f'{{"x":{cell}}}' for cell in vector["cells"]]
    assert records(pa.table({"x": array})) == expected
    for start in range(len(array)):  # a slice has an offset into the same memory
        assert records(pa.table({"x": array.slice(start)})) == expected[start:]
    nested = pa.StructArray.from_arrays([array], ["y"])
    assert records(pa.table({"x": nested})) == [f'{{"x":{{"y":{c}}}}}' for c in vector["cells"]]
    lists = pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), array)
    assert records(pa.table({"x": lists})) == [f'{{"x":[{",".join(vector["cells"])}]}}']


@pytest.mark.parametrize("vector", VECTORS["rows"], ids=lambda vector: vector["name"])
def test_row_vectors_of_the_specification(vector):
    table = pa.table({name: arrow_of(*values) for name, values in vector["columns"].items()})
    assert records(table) == vector["canonical"]
    assert [sha256(row.encode()).hex() for row in records(table)] == vector["sha256"]


VALUES = st.recursive(
    st.sampled_from(
        [
            (pa.bool_(), st.booleans()),
            (pa.int64(), st.integers(-(2**53) + 1, 2**53 - 1)),
            (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
            (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda each: (pa.list_(each[0]), st.lists(each[1] | st.none(), max_size=3))),
        inner.map(lambda each: (pa.large_list(each[0]), st.lists(each[1] | st.none(), max_size=3))),
        inner.map(lambda each: (pa.list_(each[0], 2), st.lists(each[1], min_size=2, max_size=2))),
        st.tuples(inner, inner).map(
            lambda two: (
                pa.struct([("ä", two[0][0]), ("a", two[1][0])]),
                st.fixed_dictionaries({"ä": two[0][1] | st.none(), "a": two[1][1] | st.none()}),
            )
        ),
    ),
    max_leaves=4,
)


@given(data=st.data())
def test_json_values_are_unchanged(data):
    """Whatever the nesting, nulls and slices: the canonical JSON of Python's values."""
    kind, values = data.draw(VALUES)
    column = data.draw(st.lists(values | st.none(), min_size=1, max_size=5))
    start = data.draw(st.integers(0, len(column) - 1))
    table = pa.table({"x": pa.array(column, kind).slice(start)})
    expected = [rfc8785.dumps({"x": value}).decode() for value in column[start:]]
    assert records(table) == expected


def written(folder: Path, table: pa.Table, kind: str, rows: int = 7) -> Path:
    """A table as a file of a kind, in pieces of so many rows."""
    path = folder / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=rows)
    elif kind == "feather":
        pyarrow.feather.write_feather(table, path, chunksize=rows, compression="zstd")
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return path


TABLE = pa.table(
    {
        "id": pa.array(range(20), pa.int64()),
        "text": [None if n % 5 == 1 else f"te\u0301xt {n}" for n in range(20)],
        "data": pa.array([None if n % 9 == 0 else b"\0" * n for n in range(20)], pa.binary()),
        "image": pa.array(
            [None if n == 3 else {"bytes": b"%d" % n, "path": f"{n}.png"} for n in range(20)],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        "subset": pa.array(["train", "test"] * 10).dictionary_encode(),
        "score": pa.array([n / 4 for n in range(20)], pa.float32()),
    }
)


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrow"])
class TestFile:
    def test_rows_are_records(self, tmp_path, kind):
        source = open_source(written(tmp_path, TABLE.select(["id", "text", "score"]), kind))
        assert source.form == RECORD
        assert source.count in (None, 20)
        rows = [
            rfc8785.dumps({"id": n, "text": TABLE["text"][n].as_py(), "score": n / 4})
            for n in range(20)
        ]
        assert read(source) == {
            f"x.{kind}#{n}": (sha256(row), len(row), {}) for n, row in enumerate(rows)
        }

    def test_some_columns_make_up_the_record(self, tmp_path, kind):
        source = open_source(written(tmp_path, TABLE, kind), columns=("subset", "id"))
        assert source.form == Form("record", columns=("id", "subset"))
        found = contents(source)
        assert found[f"x.{kind}#1"] == sha256(b'{"id":1,"subset":"test"}')
        whole = json.dumps({"id": 1, "subset": "test", "score": 7}).encode()
        assert sha256(source.form.canonical(whole)) == found[f"x.{kind}#1"]

    def test_column_of_text(self, tmp_path, kind):
        source = open_source(written(tmp_path, TABLE, kind), column="text")
        assert source.form == TEXT
        assert read(source) == {
            f"x.{kind}#{n}": (
                sha256(f"t\u00e9xt {n}".encode()),
                len(f"te\u0301xt {n}".encode()),
                {},
            )
            for n in range(20)
            if n % 5 != 1
        }
        assert skipped(source) == {f"x.{kind}#{n}": "text is null" for n in (1, 6, 11, 16)}

    def test_column_of_text_as_stored(self, tmp_path, kind):
        source = open_source(written(tmp_path, TABLE, kind), column="text", form=BYTES)
        assert contents(source)[f"x.{kind}#0"] == sha256("te\u0301xt 0".encode())

    @pytest.mark.parametrize("column", ["data", "image"])
    def test_column_of_bytes(self, tmp_path, kind, column):
        source = open_source(written(tmp_path, TABLE, kind), column=column)
        assert source.form == BYTES
        values = [
            value and value.get("bytes") if column == "image" else value
            for value in TABLE[column].to_pylist()
        ]
        assert read(source) == {
            f"x.{kind}#{n}": (sha256(value), len(value), {})
            for n, value in enumerate(values)
            if value is not None
        }
        assert len(skipped(source)) == values.count(None) > 0

    def test_columns_that_are_carried(self, tmp_path, kind):
        source = open_source(
            written(tmp_path, TABLE, kind),
            column="image",
            label="id",
            split="subset",
            keep=("score", "image.path", "text"),
        )
        found = columns(source)
        assert [each["label"] for each in found] == [n for n in range(20) if n != 3]
        assert found[1] == {
            "label": 1,
            "split": "test",
            "score": "0.25",
            "image.path": "1.png",
            "text": None,
        }

    def test_missing_column(self, tmp_path, kind):
        path = written(tmp_path, TABLE, kind)
        for options in (
            {"column": "x"},
            {"columns": ("id", "x")},
            {"keep": ("x",)},
            {"label": "image.x"},
            {"label": "id.x"},
        ):
            with pytest.raises(
                SourceError, match=r"no column \S*x; the columns are id, text, data"
            ):
                open_source(path, **options)

    def test_refuses_columns_of_other_types(self, tmp_path, kind):
        with pytest.raises(
            SourceError, match="column id has the type int64, neither bytes nor text"
        ):
            open_source(written(tmp_path, TABLE, kind), column="id")

    def test_refuses_paths_in_place_of_bytes(self, tmp_path, kind):
        image = pa.array(
            [{"bytes": b"1", "path": "1"}, {"bytes": None, "path": "/etc/passwd"}],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
        source = open_source(written(tmp_path, pa.table({"image": image}), kind), column="image")
        with pytest.raises(SourceError, match="#1: contains the path of a file, not its bytes"):
            read(source)

    def test_pixels(self, tmp_path, kind):
        file = io.BytesIO()
        Image.new("L", (2, 1), 9).save(file, "PNG")
        table = pa.table({"image": [{"bytes": file.getvalue()}, {"bytes": b"no image"}]})
        path = written(tmp_path, table.slice(0, 1), kind)
        source = open_source(path, column="image", form=Form("pixels", "L"))
        assert contents(source) == {f"x.{kind}#0": sha256(b"\x09\x09")}
        source = open_source(written(tmp_path, table, kind), column="image", form=source.form)
        with pytest.raises(SourceError, match=r"#1: not an image"):
            read(source)

    @pytest.mark.parametrize("options", [{}, {"column": "text"}, {"column": "data"}], ids=str)
    @pytest.mark.parametrize("workers", [1, 2])
    def test_resumes(self, tmp_path, kind, options, workers):
        assert_resumes(open_source(written(tmp_path, TABLE, kind), **options), workers)

    @pytest.mark.parametrize("keep", [3, 100, 0.5, 0.9, -1])
    def test_cut_short(self, tmp_path, kind, keep):
        path = written(tmp_path, TABLE, kind)
        data = path.read_bytes()
        size = (
            keep
            if isinstance(keep, int) and keep > 0
            else (len(data) + keep if keep == -1 else int(len(data) * keep))
        )
        path.write_bytes(data[:size])
        with pytest.raises(SourceError, match=f"x.{kind}: "):
            read(open_source(path, kind="parquet" if kind == "parquet" else "arrow"))

    def test_date_outside_the_years(self, tmp_path, kind):
        table = pa.table({"d": pa.array([2932897], pa.int32()).cast(pa.date32())})
        with pytest.raises(SourceError, match="column d: a date outside the years 1 to 9999"):
            read(open_source(written(tmp_path, table, kind)))

    def test_shards_of_a_folder(self, tmp_path, kind):
        for number, split in enumerate(["train", "train", "test"]):
            (tmp_path / split / str(number)).mkdir(parents=True)
            written(tmp_path / split / str(number), TABLE.slice(number, 2), kind)
        source = open_source(tmp_path, columns=("id",), split_from_folder=True)
        assert read(source) == {
            f"{split}/{number}/x.{kind}#{n}": (
                sha256(b'{"id":%d}' % (number + n)),
                len(b'{"id":1}'),
                {"split": split},
            )
            for number, split in enumerate(["train", "train", "test"])
            for n in range(2)
        }

    def test_files_of_other_kinds_are_skipped_and_listed(self, tmp_path, kind):
        written(tmp_path, TABLE, kind)
        (tmp_path / "README.md").touch()
        assert list(contents(open_source(tmp_path))) == ["README.md", f"x.{kind}"]
        chosen = "parquet" if kind == "parquet" else "arrow"
        source = open_source(tmp_path, kind=chosen, column="data")
        assert source.skipped.names == [("README.md", f"its extension is not one of {chosen}")]
        assert len(skipped(source)) == 1 + 3
        assert len(skipped(source)) == 1 + 3  # no more when it is read again


class TestParquet:
    def test_count_is_known_where_no_value_is_null(self, tmp_path):
        path = written(tmp_path, TABLE, "parquet")
        assert open_source(path).count == 20
        assert open_source(path, column="text").count is None
        path = written(tmp_path, TABLE.slice(4, 2), "parquet")
        assert open_source(path, column="image").count == 2
        pq.write_table(TABLE.slice(4, 2), path, write_statistics=False)
        assert open_source(path, column="image").count is None

    def test_row_groups_before_the_first_are_not_read(self, tmp_path, monkeypatch):
        from alithis.readers import tables

        groups = []
        real = tables._batches
        monkeypatch.setattr(
            tables, "_batches", lambda rows, choice: groups.append(rows.group) or real(rows, choice)
        )
        source = open_source(written(tmp_path, TABLE, "parquet"), columns=("id",))
        assert len(everything(source, 15)) == 5
        assert groups == [2]

    def test_pieces_of_a_large_row_group(self, tmp_path, monkeypatch):
        from alithis.readers import tables

        monkeypatch.setattr(tables, "_MAX_ROWS", 6)
        monkeypatch.setattr(tables, "_BATCH_ROWS", 4)
        path = written(tmp_path, TABLE, "parquet", rows=20)
        source = open_source(path, columns=("id",))
        assert list(contents(source).values()) == [sha256(b'{"id":%d}' % n) for n in range(20)]
        assert_resumes(source)

    def test_text_that_is_not_utf8(self, tmp_path):
        """Parquet's reader does not look."""
        table = pa.table({"t": pa.array([b"caf\xe9"], pa.binary()).view(pa.string())})
        path = written(tmp_path, table, "parquet")
        for options in ({}, {"column": "t"}):
            with pytest.raises(SourceError, match=r"x\.parquet.*: not UTF-8"):
                read(open_source(path, **options))

    def test_refuses_shards_of_different_types(self, tmp_path):
        pq.write_table(pa.table({"x": ["text"]}), tmp_path / "1.parquet")
        pq.write_table(pa.table({"x": [b"bytes"]}), tmp_path / "2.parquet")
        with pytest.raises(
            SourceError, match="contain text and others bytes; choose one with --form"
        ):
            open_source(tmp_path, column="x")
        assert len(read(open_source(tmp_path, column="x", form=BYTES))) == 2
        pq.write_table(pa.table({"y": ["text"]}), tmp_path / "2.parquet")
        with pytest.raises(SourceError, match=r"2\.parquet: no column x; the columns are y"):
            open_source(tmp_path, column="x")

    def test_two_columns_of_one_name(self, tmp_path):
        table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
        with pytest.raises(SourceError, match="two columns have the same name"):
            open_source(written(tmp_path, table, "parquet"))

    def test_damaged(self, tmp_path):
        path = written(tmp_path, TABLE, "parquet")
        data = bytearray(path.read_bytes())
        data[4:200] = bytes(196)
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"x\.parquet: "):
            read(open_source(path))


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("options", [{"column": "b"}, {}], ids=str)
def test_dictionary_of_one_large_value_is_decoded_a_piece_at_a_time(tmp_path, kind, options):
    """A file of some 100 kB would otherwise take gigabytes."""
    large = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), [b"x" * 100_000])
    path = written(tmp_path, pa.table({"b": large}), kind, rows=2000)
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from alithis.forms.pool import Pool\n"
        "from alithis.readers import columns, open_source\n"
        "columns._DECODED = 1 << 22\n"
        "def peak():\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(re.search('VmHWM:\\\\s+([0-9]+)', status)[1])\n"
        "import pyarrow.parquet\n"
        "before = peak()\n"
        "with Pool(1) as pool:\n"
        "    options = {'column': 'b'} if sys.argv[2:] else {}\n"
        "    for batch in open_source(sys.argv[1], **options).digested(pool):\n"
        "        print(len(batch.paths), batch.digests[:32].hex())\n"
        "assert peak() - before < 120_000, peak() - before\n"
    )
    program = [sys.executable, "-c", script, str(path), *options]
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    value = b"x" * 100_000
    canonical = value if options else b'{"b":"' + base64.b64encode(value) + b'"}'
    assert said.split() == ["2000", sha256(canonical).hex()]


class TestArrow:
    def test_refuses_offsets_outside_of_the_memory(self, tmp_path):
        path = written(tmp_path, pa.table({"t": ["a", "b", "c"]}), "arrow")
        data = bytearray(path.read_bytes())
        offsets = np.array([0, 1, 2, 3], np.int32).tobytes()
        at = data.rindex(offsets)
        data[at : at + 16] = np.array([0, 1, 2, 1 << 30], np.int32).tobytes()
        path.write_bytes(data)
        for options in ({}, {"column": "t"}, {"column": "t", "form": BYTES}):
            with pytest.raises(SourceError, match=r"x\.arrow: "):
                read(open_source(path, **options))

    def test_stream_that_ends_between_its_batches(self, tmp_path):
        """Its reader takes that for the end."""
        path = written(tmp_path, TABLE, "arrow")
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(SourceError, match="the end mark of the Arrow stream is missing"):
            read(open_source(path))

    def test_refuses_types_without_a_form(self, tmp_path):
        intervals = pa.array([pa.MonthDayNano([1, 2, 3])])
        path = written(tmp_path, pa.table({"when": intervals}), "arrow")
        with pytest.raises(SourceError, match="column when: type month_day_nano_interval has no"):
            read(open_source(path))

    def test_feather_1(self, tmp_path):
        pyarrow.feather.write_feather(pa.table({"x": [1]}), tmp_path / "x.feather", version=1)
        with pytest.raises(
            SourceError, match="Feather version 1 is not supported; save it as version 2"
        ):
            open_source(tmp_path / "x.feather")


def test_dates_are_pythons():
    days = [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(9999, 12, 31)]
    for kind in (pa.date32(), pa.date64()):
        expected = [f'{{"d":"{day.isoformat()}"}}' for day in days]
        assert records(pa.table({"d": pa.array(days, kind)})) == expected


@given(moment=st.datetimes(), unit=st.sampled_from(["us", "ns"]))
def test_timestamps_are_pythons(moment, unit):
    if unit == "ns" and not 1700 < moment.year < 2200:
        unit = "us"
    (row,) = records(pa.table({"t": pa.array([moment], pa.timestamp(unit))}))
    text = json.loads(row)["t"]
    assert dt.datetime.fromisoformat(text) == moment
    assert not text.endswith("0") or "." not in text
