"""`alithis manifest` on each family, as a new user calls it, and `verify` against what it made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.commands import refused, run, run_json
from helpers.reading import fill, sha256


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hashed(*words) -> dict:
    """The manifest of a source, as its metadata says it."""
    printed = run_json("manifest", *words, "-o", "out", "--force", "--workers", 1)
    assert run_json("audit", "out")["ok"]
    ours = json.loads(Path("out/metadata.json").read_text())["alithis"]
    return printed | {"form": ours["form"]}


def rows() -> list[dict]:
    return sorted(pq.read_table("out/items.parquet").to_pylist(), key=lambda row: row["path"])


def verdict(content: str | bytes, expected: str) -> None:
    Path("asked").write_bytes(content if isinstance(content, bytes) else content.encode())
    status = {"included": 0, "absent": 1, "unverifiable": 2}[expected]
    answer = run_json("verify", "asked", "--manifest", "out", status=status)
    assert [result["verdict"] for result in answer["results"]] == [expected]


TABLE = pa.table({"text": ["caf\u00e9", "b", None], "n": [1, 2**60 + 1, None], "set": ["x"] * 3})


class TestRecords:
    def test_parquet(self, place):
        pq.write_table(TABLE, "x.parquet")
        made = hashed("x.parquet", "--columns", "text", "--columns", "n", "--label", "n")
        assert made["form"] == {"name": "record", "version": 1, "columns": ["n", "text"]}
        assert [row["label"] for row in rows()] == [1, 2**60 + 1, None]
        verdict('{"text": "caf\\u00e9", "n": 1.0, "more": [1, 2]}', "included")
        verdict(f'{{"n": {2**60 + 1}, "text": "b"}}', "included")
        verdict('{"n": null, "text": null}', "included")
        verdict('{"n": 2, "text": "b"}', "absent")
        verdict('{"other": 2}', "unverifiable")
        verdict("no JSON", "unverifiable")

    def test_same_rows_in_three_formats_have_the_same_manifest(self, place):
        texts = pa.table({"a": ["1", "", 'x,"\n'], "b": ["é", "null", "2"]})
        pq.write_table(texts, "x.parquet")
        Path("x.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in texts.to_pylist()))
        Path("x.csv").write_text('a,b\n1,é\n,null\n"x,""\n",2\n')
        made = [hashed(f"x.{kind}") for kind in ("parquet", "jsonl", "csv")]
        assert len({each["root"] for each in made}) == 1


class TestText:
    def test_column(self, place):
        pq.write_table(TABLE, "x.parquet")
        made = hashed("x.parquet", "--column", "text", "--split", "set")
        assert made["form"] == {"name": "text", "version": 1}
        assert made["skipped"] == {"count": 1, "names": [["x.parquet#2", "text is null"]]}
        assert [row["split"] for row in rows()] == ["x", "x"]
        verdict("cafe\u0301", "included")
        verdict("\ufeffcaf\u00e9", "included")
        verdict("caf\u00e9\n", "absent")
        verdict(b"caf\xe9", "unverifiable")

    def test_lines_and_files(self, place):
        fill(place / "texts", "one", "two")
        Path("x.txt").write_text("one\r\n\ntwo")
        lines, files = hashed("x.txt"), hashed("texts", "--form", "text")
        assert lines["root"] == files["root"]
        assert lines["form"] == files["form"]
        assert (
            "skipped   1 (x.txt#1: an empty line)" in run("manifest", "x.txt", "-o", "new").stdout
        )


class TestArchives:
    def test_folder_and_archive_have_the_same_manifest(self, place):
        fill(place / "photos", "cat/1", "dog/2")
        shutil.make_archive("photos", "gztar", "photos")
        shutil.make_archive("photos", "zip", "photos")
        roots = {hashed(name)["root"] for name in ("photos", "photos.tar.gz", "photos.zip")}
        assert len(roots) == 1
        assert hashed("photos.tar.gz")["skipped"]["count"] == 3
        verdict("cat/1", "included")

    def test_samples(self, place):
        shutil.make_archive("shard", "tar", fill(place / "d", "1.jpg", "1.cls"))
        made = hashed("shard.tar", "--per", "sample", "--label", "cls")
        assert made["form"] == {"name": "sample", "version": 1}
        assert [row["label"] for row in rows()] == ["1.cls"]
        asked = {"jpg": sha256(b"1.jpg").hex(), "cls": sha256(b"1.cls").hex()}
        verdict(json.dumps(asked), "included")
        verdict(json.dumps({"jpg": asked["jpg"]}), "absent")
        hashed("shard.tar", "--column", "jpg")
        verdict("1.jpg", "included")
        verdict("1.cls", "absent")


def test_list_of_the_first_alithis(place):
    digest = sha256(b"a work").hex()
    data = {"dataset_name": "Cats", "dataset_url": "https://example.org/cats"}
    Path("list.json").write_text(json.dumps({**data, "image_sha256_hashes": {"cat": [digest]}}))
    assert hashed("list.json")["name"] == "Cats"
    document = json.loads(Path("out/metadata.json").read_text())
    assert document["url"] == document["external_url"] == data["dataset_url"]
    (row,) = rows()
    assert (row["path"], row["size"], row["label"]) == ("cat#0", None, "cat")
    verdict("a work", "included")
    assert hashed("list.json", "--name", "Dogs", "--url", "https://x.org")["name"] == "Dogs"


def test_url(place):
    import fsspec

    fsspec.filesystem("memory").pipe("/cli/photos/a", b"a")
    run("manifest", "memory://cli/photos", "--workers", 1)
    assert json.loads(Path("photos.alithis/metadata.json").read_text())["name"] == "photos"
    assert "memory://cli/none: cannot be read" in refused("manifest", "memory://cli/none")


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst", "GZ"])
def test_manifest_of_a_compressed_file_is_named_without_the_ending(place, ending):
    import gzip

    Path(f"x.jsonl.{ending}").write_bytes(gzip.compress(b'{"a": 1}\n'))  # its bytes tell how
    run("manifest", f"x.jsonl.{ending}")
    assert json.loads(Path("x.jsonl.alithis/metadata.json").read_text())["name"] == "x.jsonl"


def test_skips_are_shown_briefly(place):
    Path("x.txt").write_text("a" + "\n" * 1001)
    said = run("manifest", "x.txt", "--workers", 1).stdout
    assert "skipped   1,000 (x.txt#1: an empty line; x.txt#2: an empty line; x.txt#3" in said
    assert "x.txt#4" not in said


def test_help_has_an_example_for_each_kind(place):
    said = run("manifest", "--help").stdout
    for word in (
        ".tar.gz",
        "WebDataset",
        ".parquet",
        ".jsonl",
        ".csv",
        ".txt",
        ".npz",
        "ubyte",
        "saved/",
        "list.json",
        "s3://",
        "https://",
        "photos/",
    ):
        assert word in said


class TestWhereNothingIsFound:
    def test_everything_is_skipped(self, place):
        Path("x.jsonl").write_text('{"a": null}\n\n')
        said = refused("manifest", "x.jsonl", "--column", "a")
        assert "all 2 entries were skipped, for example x.jsonl#0: a is null or missing" in said

    def test_unreachable_host(self, place):
        said = refused("manifest", "http://127.0.0.1:1/x.csv")
        assert "127.0.0.1:1" in said
        assert "not found" not in said

    def test_exponentially_many_links(self, place):
        """Ten folders, each with links to the next: a million ways to the one file."""
        for number in range(10):
            Path(f"data/{number}").mkdir(parents=True)
            for way in range(4):
                if number < 9:
                    Path(f"data/{number}/{way}").symlink_to(f"../{number + 1}")
        Path("data/9/file").write_bytes(b"1")
        assert "symbolic links lead here in more than 1000 ways" in refused("manifest", "data/0")
        assert hashed("data/5")["items"] == 4**4
