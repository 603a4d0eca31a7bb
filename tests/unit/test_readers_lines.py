"""Lines: JSON Lines, CSV and plain text, and nothing between them is lost."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tracemalloc

import pyarrow as pa
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from alithis.errors import SourceError
from alithis.forms.form import BYTES, RECORD, TEXT, Form
from alithis.readers import lines, open_source
from helpers import strategies  # noqa: F401  (examples have no deadline)
from helpers.reading import assert_resumes, columns, contents, everything, read, sha256, skipped

PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data).to_pybytes(),
}
ROWS = [{"id": n, "text": f"te\u0301xt\n{n}", "even": n % 2 == 0} for n in range(200)]


@pytest.fixture
def write(tmp_path):
    def write(name: str, data: bytes | str):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


@pytest.fixture
def small_blocks(monkeypatch):
    """Pieces of a few lines, so that a small file has many."""
    monkeypatch.setattr(lines, "_BLOCK", 50)
    monkeypatch.setattr(lines, "_ROWS", 3)


def jsonl(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


class TestJsonl:
    @pytest.mark.parametrize("ending", PACK)
    def test_lines_are_records(self, write, ending):
        source = open_source(write(f"x.jsonl{ending}", PACK[ending](jsonl(ROWS).encode())))
        assert source.form == RECORD
        forms = [rfc8785.dumps(row) for row in ROWS]
        name = f"x.jsonl{ending}"
        assert read(source) == {f"{name}#{n}": (sha256(f), len(f), {}) for n, f in enumerate(forms)}

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("last", ["", "end"])
    def test_line_ends(self, write, small_blocks, end, last):
        data = end.join(json.dumps(row) for row in ROWS) + (end if last else "")
        found = contents(open_source(write("x.jsonl", data)))
        assert list(found.values()) == [sha256(rfc8785.dumps(row)) for row in ROWS]

    def test_blank_lines_are_listed(self, write):
        source = open_source(write("x.jsonl", '\n{"a":1}\n  \r\n{"a":2}\n\n'))
        assert list(contents(source)) == ["x.jsonl#1", "x.jsonl#3"]
        assert skipped(source) == {f"x.jsonl#{n}": "a blank line" for n in (0, 2, 4)}

    def test_byte_order_mark(self, write):
        source = open_source(write("x.jsonl", '\ufeff{"a":1}\n'))
        assert contents(source) == {"x.jsonl#0": sha256(b'{"a":1}')}

    def test_one_member_as_text(self, write):
        rows = [*ROWS, {"id": 1}, {"text": None}]
        source = open_source(
            write("x.jsonl", jsonl(rows)), column="text", label="id", keep=("even",)
        )
        assert source.form == TEXT
        found = everything(source)
        assert [row[0] for row in found] == [sha256(f"t\u00e9xt\n{n}".encode()) for n in range(200)]
        assert found[3][2:] == (8, {"label": 3, "even": "false"})
        assert skipped(source) == {f"x.jsonl#{n}": "text is null or missing" for n in (200, 201)}

    def test_some_members_as_record(self, write):
        source = open_source(
            write("x.jsonl", '{"b":1,"a":2}\n{"a":3}\n{"b":4}'), columns=("b", "z")
        )
        with pytest.raises(
            SourceError, match=r"x\.jsonl: line 2: the row has none of the columns b, z"
        ):
            read(source)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("[1]", "not a JSON object"),
            ('{"a":1', "not JSON"),
            ('{"a":1,"a":2}', "a key is repeated"),
            ('{"a":NaN}', "NaN is not a JSON number"),
            ('{"a":1e400}', "the number 1e400 is too large for a double"),
            ('{"a":"\\ud800"}', "no canonical JSON"),
            ("[" * 100_000, "nested more than 32 deep"),
            (b'{"a":"\xff"}', "not JSON"),
        ],
        ids=lambda each: str(each)[:20],
    )
    def test_refuses_lines_that_are_no_records(self, write, line, message):
        data = line if isinstance(line, bytes) else line.encode()
        with pytest.raises(SourceError, match=rf"x\.jsonl: line 2: .*{message}"):
            read(open_source(write("x.jsonl", b"{}\n" + data + b"\n{}\n")))

    @pytest.mark.parametrize("value", ["1", "true", "[]", "{}"])
    def test_refuses_members_that_are_no_text(self, write, value):
        with pytest.raises(SourceError, match="line 1: t is not text: read it as a record"):
            read(open_source(write("x.jsonl", f'{{"t":{value}}}'), column="t"))

    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_endless_line_takes_no_memory(self, write, monkeypatch, ending):
        monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
        path = write(f"x.jsonl{ending}", PACK[ending](b'{"a":1}\n' + b" " * (64 << 20)))
        tracemalloc.start()
        with pytest.raises(SourceError, match=r"line 2 has more than 1048576 bytes"):
            read(open_source(path))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 << 20

    @pytest.mark.parametrize("workers", [1, 2])
    def test_resumes(self, write, small_blocks, workers):
        data = jsonl([*ROWS, {"id": 1}]).replace('{"id": 7,', '\n{"id": 7,')
        assert_resumes(open_source(write("x.jsonl", data), column="text"), workers)
        assert_resumes(open_source(write("x.jsonl.gz", gzip.compress(data.encode()))), workers)

    def test_files_of_a_folder(self, tmp_path, write):
        for split in ("test", "train"):
            (tmp_path / split).mkdir()
            write(f"{split}/x.jsonl", '{"a":1}\n')
        write("README", "")
        source = open_source(tmp_path, kind="jsonl", split_from_folder=True)
        assert columns(source) == [{"split": "test"}, {"split": "train"}]
        assert skipped(source) == {"README": "its extension is not one of jsonl"}


def as_csv(rows, **options) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **options).writerows(rows)
    return file.getvalue()


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=6)


class TestCsv:
    @given(
        rows=st.integers(1, 4).flatmap(
            lambda width: st.lists(
                st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6
            )
        )
    )
    def test_reads_what_pythons_csv_module_writes(self, rows):
        import tempfile
        from pathlib import Path

        header = [f"c{n}" for n in range(len(rows[0]))]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.csv")
            path.write_text(as_csv([header, *rows], quoting=csv.QUOTE_ALL), newline="")
            found = [row[0] for row in everything(open_source(path))]
        forms = [rfc8785.dumps(dict(zip(header, row, strict=True))) for row in rows]
        assert found == list(map(sha256, forms))

    @pytest.mark.parametrize("ending", PACK)
    @pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("tsv", "\t")])
    def test_rows_are_records_of_strings(self, write, small_blocks, kind, delimiter, ending):
        rows = [["1", "", 'say "x,\t"\r\n', "é"], ["1.50", "null", "NaN", " "]]
        data = as_csv([["b", "a", "c%", "d"], *rows], delimiter=delimiter)
        name = f"x.{kind}{ending}"
        source = open_source(write(name, PACK[ending](data.encode())))
        assert source.form == RECORD
        forms = [rfc8785.dumps(dict(zip(["b", "a", "c%", "d"], row, strict=True))) for row in rows]
        assert read(source) == {f"{name}#{n}": (sha256(f), len(f), {}) for n, f in enumerate(forms)}

    def test_columns(self, write):
        path = write("x.csv", "\ufeffid,text,set\n1,cafe\u0301,train\n2,,test\n")
        source = open_source(path, column="text", label="id", split="set")
        assert read(source) == {
            "x.csv#0": (sha256("caf\u00e9".encode()), 6, {"label": "1", "split": "train"}),
            "x.csv#1": (sha256(b""), 0, {"label": "2", "split": "test"}),
        }
        source = open_source(path, columns=("set",))
        assert source.form == Form("record", columns=("set",))
        assert list(contents(source).values()) == [
            sha256(b'{"set":"train"}'),
            sha256(b'{"set":"test"}'),
        ]

    def test_empty_lines_are_listed(self, write):
        source = open_source(write("x.csv", "a\n1\n\n2\n"))
        assert list(contents(source)) == ["x.csv#0", "x.csv#2"]
        assert skipped(source) == {"x.csv#1": "an empty line"}

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("", "the file is empty; a header is expected"),
            ("a,a\n1,2\n", "two columns have the same name"),
            ("a,b\n1,2\n3\n", "row 1: 1 values; the header has 2"),
            ("a,b\n1,2,3\n", "row 0: 3 values; the header has 2"),
            ('a,b\n"1,2\n3,4\n', "line 3: unexpected end of data"),
            ('a,b\n"1"x,2\n', "line 2: ',' expected after"),
            ("a\n1\r2\n", "line 2: new-line character seen in unquoted field"),
            (b"a\n1\n\xff\n", "line 3: not UTF-8"),
            (b"\xff", "line 1: not UTF-8"),
        ],
        ids=str,
    )
    def test_refuses_malformed_csv(self, write, data, message):
        with pytest.raises(SourceError, match=rf"x\.csv: {message}"):
            read(open_source(write("x.csv", data)))

    @pytest.mark.parametrize("options", [{"column": "x"}, {"columns": ("a", "x")}, {"label": "x"}])
    def test_missing_column(self, write, options):
        with pytest.raises(SourceError, match=r"x\.csv: no column x; the columns are a, b"):
            read(open_source(write("x.csv", "a,b\n1,2\n"), **options))

    def test_endless_row_takes_no_memory(self, write, monkeypatch):
        """Each line opens another quoted value."""
        monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
        path = write("x.csv", 'a,b\n1,"' + '\n","' * (4 << 20))
        with pytest.raises(SourceError, match="a row of more than 1048576 bytes"):
            read(open_source(path))

    def test_values_longer_than_pythons_default(self, write):
        before = csv.field_size_limit()
        found = contents(open_source(write("x.csv", f"a\n{'x' * 300_000}\n"), column="a"))
        assert found == {"x.csv#0": sha256(b"x" * 300_000)}
        assert csv.field_size_limit() == before

    @pytest.mark.parametrize("workers", [1, 2])
    def test_resumes(self, write, small_blocks, workers):
        data = as_csv([["id", "text"], *([n, f"a\nb{n}"] for n in range(50))]) + "\n" + "51,x\n"
        assert_resumes(open_source(write("x.csv", data)), workers)


class TestText:
    def test_lines(self, write, small_blocks):
        rows = [f"line {n}" + " e\u0301" * (n % 3) for n in range(100)]
        source = open_source(write("x.txt", "\r\n".join(rows)))
        assert source.form == TEXT
        forms = [row.replace("e\u0301", "\u00e9").encode() for row in rows]
        assert [row[0] for row in everything(source)] == list(map(sha256, forms))
        assert [row[2] for row in everything(source)] == [len(row.encode()) for row in rows]

    def test_lines_are_not_changed(self, write):
        found = contents(open_source(write("x.txt", " a\t\n\u2028\x0b\x0c\x85b\rc\n \n")))
        assert list(found.values()) == [
            sha256(b" a\t"),
            sha256("\u2028\x0b\x0c\x85b\rc".encode()),
            sha256(b" "),
        ]

    def test_empty_lines_are_listed(self, write):
        source = open_source(write("x.txt", "a\n\n\r\nb\n"))
        assert list(contents(source)) == ["x.txt#0", "x.txt#3"]
        assert skipped(source) == {"x.txt#1": "an empty line", "x.txt#2": "an empty line"}

    @pytest.mark.parametrize("data", ["a", "a\n", "\ufeffa", "\ufeffa\n", "a\r\n"])
    def test_short_files(self, write, data):
        source = open_source(write("x.txt", data))
        assert contents(source) == {"x.txt#0": sha256(b"a")}
        assert skipped(source) == {}

    def test_lines_as_bytes(self, write):
        path = write("x.txt", b"\xff\ne\xcc\x81\n")
        with pytest.raises(SourceError, match=r"x\.txt: line 1: not UTF-8"):
            read(open_source(path))
        source = open_source(path, form=BYTES)
        assert list(contents(source).values()) == [sha256(b"\xff"), sha256(b"e\xcc\x81")]

    def test_form_of_a_whole_line_is_that_of_a_file(self, write, tmp_path):
        """`alithis verify` takes a file for a data point."""
        from alithis.forms.hashing import of_file

        found = contents(open_source(write("x.txt", "cafe\u0301\n")))
        assert found["x.txt#0"] == of_file(write("y", "caf\u00e9"), TEXT)[0]

    def test_resumes(self, write, small_blocks):
        assert_resumes(open_source(write("x.txt", "\n".join(map(str, range(300))) + "\n\n1")), 2)
