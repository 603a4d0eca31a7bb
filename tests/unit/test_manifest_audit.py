"""Audits of the metadata's structure, of items in several files, and against the source."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_manifest import failed, flip, items, restate
from test_manifest_size import batches, made, made_up

from alithis.errors import SourceError
from alithis.forms.form import BYTES, Form
from alithis.forms.hashing import of_bytes
from alithis.manifest import metadata, sorter
from alithis.manifest.audit import audit
from alithis.manifest.builder import Stream, build
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints
from helpers.range_server import serving

DROP = object()


def bend(folder: Path, path: str, value: object) -> None:
    """Change one value of metadata.json, or remove it."""
    document = json.loads((folder / "metadata.json").read_text())
    *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    inner = document
    for key in above:
        inner = inner[key]
    if value is DROP:
        del inner[last]
    else:
        inner[last] = value
    (folder / "metadata.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("audit") / "m"
    contents = {f"{number:05}": b"%d" % (number // 2) for number in range(600)}
    build(
        [items(contents, label=[number % 3 for number in range(600)])],
        out,
        description=Description("sample", license="MIT", creators=["A"], url="https://a.example"),
        form=BYTES,
    )
    return out


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "m"))


class TestDocument:
    @pytest.mark.parametrize(
        ("path", "value", "problem"),
        [
            ("description", DROP, "description is missing, empty or not text"),
            ("description", ["x"], "description is missing, empty or not text"),
            ("image", DROP, "image is missing, empty or not text"),
            ("@context", DROP, "@context must define @vocab as https://schema.org/"),
            ("@context.cr", "https://evil.example/", "@context must define cr as"),
            ("@context.conformsTo", DROP, "@context must define conformsTo as"),
            ("@type", "sc:Thing", "@type must be sc:Dataset"),
            ("conformsTo", DROP, "conformsTo must name Croissant 1.0 or 1.1"),
            ("conformsTo", "http://mlcommons.org/croissant/9.0", "conformsTo must name"),
            ("distribution.0.@type", "sc:Thing", "@type of items.parquet must be cr:FileObject"),
            ("distribution.0.encodingFormat", DROP, "items.parquet has no encodingFormat"),
            ("distribution.0.@id", DROP, "distribution: an @id is missing"),
            ("distribution.0.@id", "leaves", "distribution: an @id is repeated"),
            ("recordSet.0.@type", "cr:Field", "recordSet: @type of items must be cr:RecordSet"),
            ("recordSet.0.@id", DROP, "recordSet: an @id is missing"),
            ("recordSet.0.field.0.@id", "items/path", "field: an @id is repeated"),
            ("recordSet.0.field.0.@type", DROP, "field items/leaf: @type must be cr:Field"),
            ("recordSet.0.field.0.dataType", DROP, "field items/leaf has no dataType"),
            ("recordSet.0.field.0.source", DROP, "its source is not in the distribution"),
            ("recordSet.0.field.0.source.fileObject.@id", "gone", "its source is not in the dist"),
            ("recordSet.0.field.0.source.extract", DROP, "items/leaf: its source has no extract"),
        ],
    )
    def test_structure_that_loaders_reject_is_reported(self, folder, path, value, problem):
        bend(folder, path, value)
        found = failed(folder)
        assert set(found) == {"document"}
        assert found["document"].startswith("metadata.json: ")
        assert problem in found["document"]

    def test_all_problems_are_reported(self, folder):
        bend(folder, "image", DROP)
        bend(folder, "conformsTo", DROP)
        assert failed(folder)["document"].count(";") == 1

    def test_record_of_a_missing_column_is_reported(self, folder):
        bend(folder, "recordSet.0.field.3.source.extract.column", "labels")
        assert failed(folder)["items"].endswith(
            "items.parquet: the column 'labels', which the metadata's records use, is missing"
        )

    def test_models_are_checked_as_fair4ml(self, tmp_path):
        folder = tmp_path / "m"
        build([items({"a": b"x"})], folder, description=Description("m"), form=BYTES, kind="model")
        assert failed(folder) == {}
        bend(folder, "@type", "sc:Dataset")
        assert failed(folder) == {"document": "metadata.json: @type must be fair4ml:MLModel"}

    def test_mlcroissant_runs_on_request_only(self, folder):
        assert failed(folder, mlcroissant=True) == {}
        bend(folder, "recordSet.0.field.0.dataType", "sc:Nonsense")
        assert failed(folder) == {}
        found = failed(folder, mlcroissant=True)
        assert set(found) == {"document"}
        assert "mlcroissant: " in found["document"]
        assert "\n" not in found["document"]

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("creator", {"@context": "URL", "@type": "Person", "name": "x"}),
            ("creator", [{"name": [{"@context": [{}, ["URL"]]}]}]),
            ("creator", {"@context": "file:///etc/hostname", "name": "x"}),
            ("@context.term", {"@id": "urn:term", "@context": "URL"}),
            ("@context.@import", "URL"),
        ],
    )
    def test_remote_context_is_reported_and_not_fetched(self, folder, path, value):
        """Server-side request forgery: JSON-LD libraries load a context from any URL or file."""
        with serving(folder) as server:
            url = f"{server.url}/context.jsonld"
            bend(folder, path, json.loads(json.dumps(value).replace("URL", url)))
            bend(folder, "term", {"a": 1})
            plain, judged = failed(folder), failed(folder, mlcroissant=True)
        assert server.asked == []
        assert set(plain) == set(judged) == {"document"}
        assert "an @context is a URL" in plain["document"]
        assert "mlcroissant: not run" in judged["document"]

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("creator", {"name": {"@value": "a", "@language": "b c"}}),
            ("creator", {"@id": 5, "name": "a"}),
            ("recordSet.0.field.0.source", {"field": {"@id": "items/leaf"}}),
        ],
    )
    def test_exception_in_mlcroissant_is_a_failed_check(self, folder, path, value):
        bend(folder, path, value)
        found = failed(folder, mlcroissant=True)
        assert set(found) == {"document"}
        assert "mlcroissant: cannot read the document: " in found["document"]
        assert "\n" not in found["document"]


class TestParts:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch) -> Path:
        for module in ("manifest.sorter", "manifest.builder", "manifest.audit"):
            monkeypatch.setattr(f"alithis.{module}.ROWS", 128)
        monkeypatch.setattr(metadata, "PART", 512)
        made(tmp_path / "m", made_up(1200))
        return tmp_path / "m"

    def test_unchanged_manifest_passes(self, folder):
        assert failed(folder) == {}

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_missing_items_file_fails_unless_withheld(self, folder, part):
        name = f"items-{part:05}.parquet"
        (folder / name).unlink()
        assert failed(folder) == {name: f"{folder / name}: missing"}
        assert failed(folder, withheld=True) == {}

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_altered_items_file_fails_even_if_it_may_be_withheld(self, folder, part):
        name = f"items-{part:05}.parquet"
        flip(folder / name, 40)
        assert set(failed(folder)) == set(failed(folder, withheld=True)) == {name}

    @pytest.mark.parametrize(
        ("change", "detail"),
        [
            (lambda table: table.slice(1), "expected 512 rows, found 511"),
            (
                lambda table: table.take(list(range(512))[::-1]),
                "leaves do not match the file leaves",
            ),
            (lambda table: table.drop_columns(["label"]), "differ from those of the first part"),
            (
                lambda table: table.set_column(3, "label", table["label"].cast(pa.int32())),
                "its columns differ from those of the first part",
            ),
        ],
    )
    def test_second_items_file_must_match_the_leaves(self, folder, change, detail):
        path = folder / "items-00001.parquet"
        pq.write_table(change(pq.read_table(path)), path)
        restate(folder)
        found = failed(folder)["items"]
        assert found.startswith(f"{path}: ")
        assert detail in found

    def test_swapped_items_files_fail(self, folder):
        first, second = folder / "items-00000.parquet", folder / "items-00001.parquet"
        first.rename(folder / "x")
        second.rename(first)
        (folder / "x").rename(second)
        restate(folder)
        assert f"{first}: its leaves do not match" in failed(folder)["items"]

    def test_missing_entry_of_an_items_file_fails(self, folder):
        document = json.loads((folder / "metadata.json").read_text())
        del document["distribution"][2]
        (folder / "metadata.json").write_text(json.dumps(document))
        names = "items-00000.parquet to items-00002.parquet"
        expected = f"metadata.json: 1200 items must be stored in {names}"
        assert failed(folder) == {"items": expected}

    def test_order_of_repeats_is_checked_across_items_files(self, tmp_path, monkeypatch):
        monkeypatch.setattr(metadata, "PART", 128)
        monkeypatch.setattr("alithis.manifest.builder.ROWS", 128)
        monkeypatch.setattr(sorter, "ROWS", 128)
        rows = [(bytes(32), f"{n:04}", 1, 1, "x") for n in range(300)]
        made(tmp_path / "m", batches(rows, 300))
        assert failed(tmp_path / "m") == {}
        path = tmp_path / "m" / "items-00001.parquet"
        table = pq.read_table(path)
        path.unlink()
        pq.write_table(table.set_column(1, "path", pa.array(["0"] * 128)), path)
        restate(tmp_path / "m")
        assert failed(tmp_path / "m")["items"] == (
            f"{path}: rows with the same leaf are not sorted by their paths"
        )


def points(**contents: bytes) -> dict[str, bytes]:
    return {name.replace("_", "/"): data for name, data in contents.items()}


GARDEN = points(apple=b"apple", pear=b"pear", plum=b"plum", again=b"apple")


def source(contents: dict[str, bytes], labels: dict[str, int] | None = None) -> Stream:
    """Return data points as a reader yields them."""
    columns = {"label": [labels[name] for name in contents]} if labels else {}
    digests = b"".join(map(of_bytes, contents.values()))
    sizes = [len(data) for data in contents.values()]
    return Stream(
        "x", lambda _: [DataPoints(digests, list(contents), sizes, columns)], len(contents)
    )


class TestSource:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        labels = {name: at for at, name in enumerate(GARDEN)}
        made(tmp_path / "m", source(GARDEN, labels))
        return tmp_path / "m"

    def found(self, folder: Path, contents: dict[str, bytes], **options) -> str:
        steps = audit(folder, source=source(contents), form=BYTES, **options)
        assert [step.step for step in steps if not step.ok] in ([], ["source"])
        assert steps[-1].step == "source"
        return steps[-1].detail

    def test_same_source_passes_in_any_order(self, folder):
        equal = "4 data points, equal to the manifest's items in the columns that both have"
        assert self.found(folder, GARDEN) == equal
        assert self.found(folder, dict(reversed(GARDEN.items()))) == equal

    def test_missing_data_point_is_named(self, folder):
        less = {name: data for name, data in GARDEN.items() if name != "pear"}
        assert self.found(folder, less) == "1 missing from the source: pear"

    def test_missing_repeat_is_named(self, folder):
        less = {name: data for name, data in GARDEN.items() if name != "again"}
        assert self.found(folder, less) == "1 missing from the source: again"

    def test_added_data_point_is_named(self, folder):
        assert self.found(folder, GARDEN | {"onion": b"onion"}) == "1 not in the manifest: onion"

    def test_changed_data_point_is_named(self, folder):
        assert self.found(folder, GARDEN | {"plum": b"prune"}) == "1 changed: plum"

    def test_renamed_data_point_is_missing_and_added(self, folder):
        renamed = {name.replace("plum", "zwetschge"): data for name, data in GARDEN.items()}
        expected = "1 missing from the source: plum; 1 not in the manifest: zwetschge"
        assert self.found(folder, renamed) == expected

    def test_swapped_contents_are_changes(self, folder):
        """The leaves are the same; the names are not."""
        swapped = GARDEN | {"plum": b"pear", "pear": b"plum"}
        assert self.found(folder, swapped) == "2 changed: pear, plum"

    def test_all_kinds_of_differences_are_reported(self, folder):
        other = {"apple": b"apple", "plum": b"prune", "onion": b"onion", "again": b"apple"}
        assert self.found(folder, other) == (
            "1 missing from the source: pear; 1 not in the manifest: onion; 1 changed: plum"
        )

    def test_changed_label_is_a_change(self, folder):
        labels = {name: at for at, name in enumerate(GARDEN)} | {"plum": 77}
        steps = audit(folder, source=source(GARDEN, labels), form=BYTES)
        assert (steps[-1].ok, steps[-1].detail) == (False, "1 changed: plum")

    def test_all_differences_are_counted_and_the_first_named(self, folder):
        more = {f"{number:03}": b"%d" % number for number in range(500)}
        found = self.found(folder, GARDEN | more)
        names = ", ".join(f"{number:03}" for number in range(10))
        assert found == f"500 not in the manifest: {names}, …"

    def test_leaves_are_compared_if_items_are_withheld(self, folder):
        (folder / "items.parquet").unlink()
        other = {"a": b"apple", "b": b"prune", "c": b"pear"}
        plum = of_bytes(b"plum").hex()
        found = self.found(folder, other, withheld=True)
        assert found == f"1 missing from the source: {plum}; 1 not in the manifest: b"
        same = self.found(folder, GARDEN, withheld=True)
        assert same == "4 data points, with the same leaves as the manifest"

    def test_source_in_another_canonical_form_fails(self, folder):
        steps = audit(folder, source=source(GARDEN), form=Form("pixels", "L"))
        assert not steps[-1].ok
        assert steps[-1].detail.startswith("canonical form: expected Form(name='bytes'")

    def test_source_without_the_publishers_key_fails(self, folder):
        bend(folder, "alithis.scheme", "keyed")
        bend(folder, "alithis.keyCheck", "ab" * 32)
        steps = audit(folder, source=source(GARDEN), form=BYTES)
        assert (steps[-1].step, steps[-1].ok) == ("source", False)
        assert steps[-1].detail == (
            "not compared: the scheme is keyed; hash the source with its publisher's key"
        )

    def test_unreadable_source_raises(self, folder):
        def failing(_: int):
            raise SourceError("plum: cannot be read: Input/output error")

        with pytest.raises(SourceError, match="plum: cannot be read"):
            audit(folder, source=Stream("x", failing), form=BYTES)

    def test_source_larger_than_memory_is_compared(self, tmp_path, monkeypatch):
        for name, value in (("_IN_MEMORY", 100), ("_CHUNK", 50), ("_PIECE", 10)):
            monkeypatch.setattr(sorter, name, value)
        made(tmp_path / "m", made_up(1000))
        less = made_up(1000)[1:]
        steps = audit(tmp_path / "m", source=Stream("x", lambda _: less), form=BYTES)
        assert not steps[-1].ok
        assert "missing" in steps[-1].detail
        steps = audit(tmp_path / "m", source=Stream("x", lambda _: made_up(1000)), form=BYTES)
        assert steps[-1].ok
