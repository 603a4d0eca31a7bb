"""metadata.json: the document for three kinds of tools, and the refusal of malformed ones."""

from __future__ import annotations

import base64
import hashlib
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import mlcroissant
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alithis import readers
from alithis.errors import FormatError, VersionError
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool
from alithis.ipfs.cid import Cid
from alithis.manifest import metadata
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description, FileEntry
from helpers.strategies import digests

ROOT = hashlib.sha256(b"root").digest()
FULL = Description(
    name="MNIST",
    description="Handwritten digits.",
    license="https://creativecommons.org/licenses/by-sa/3.0/",
    creators=("Yann LeCun", "Corinna Cortes"),
    url="https://example.org/mnist",
    version="1.0.0",
    citation="@misc{mnist}",
)


def entry(name: str) -> FileEntry:
    digest = hashlib.sha256(name.encode()).digest()
    return FileEntry(name, str(Cid.raw(digest)), digest, 96)


FILES = (entry("items.parquet"), entry("leaves"), entry("tiles/1"))
FACTS = {
    "kind": "dataset",
    "description": FULL,
    "form": Form("pixels", "L", 28, 28),
    "root": ROOT,
    "size": 3,
    "items": 4,
    "frontier": [ROOT, ROOT],
    "files": FILES,
    "columns": {"label": "sc:Integer"},
}


def composed(**changes) -> bytes:
    return metadata.compose(**(FACTS | changes))


def bent(path: str, value: object) -> bytes:
    """Return the document with the value at a path (a.b.0.c) replaced; `DROP` removes the key."""
    document = json.loads(composed())
    *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place = document
    for part in above:
        place = place[part]
    if value is DROP:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document).encode()


DROP = object()


class TestComposed:
    def test_loads_with_the_values_that_were_written(self):
        data = composed()
        found = metadata.load(data)
        assert (found.kind, found.scheme, found.name) == ("dataset", "sha256", "MNIST")
        assert found.form == FACTS["form"]
        assert (found.root, found.size, found.items) == (ROOT, 3, 4)
        assert found.frontier == (ROOT, ROOT)
        assert found.files == FILES
        assert found.digest == hashlib.sha256(data).digest()
        assert found.file("tiles/1") == FILES[2]
        with pytest.raises(FormatError, match="no file 'tiles/2'"):
            found.file("tiles/2")

    def test_same_input_gives_the_same_document(self):
        assert composed() == composed()

    @pytest.mark.parametrize(
        "form",
        [
            BYTES,
            Form("pixels", "L"),
            Form("pixels", "RGB", height=8),
            Form("pixels", "RGBA", 9, 8),
            *map(Form, ["text", "record", "sample"]),
            Form("record", columns=("", "a", "\ue000")),
        ],
    )
    def test_every_canonical_form_is_read_back(self, form):
        assert metadata.load(composed(form=form)).form == form

    def test_is_erc721_metadata(self):
        document = json.loads(composed())
        assert document["name"] == "MNIST"
        assert document["description"] == "Handwritten digits."
        assert document["external_url"] == "https://example.org/mnist"
        assert document["image"].startswith("data:image/svg+xml;base64,")

    def test_name_alone_gives_description_and_image(self):
        document = json.loads(composed(description=Description("sample")))
        assert (document["name"], document["description"]) == ("sample", "sample")
        assert "image" in document
        assert not {"license", "creator", "url", "external_url", "citeAs"} & set(document)

    def test_publisher_can_choose_the_image(self):
        document = json.loads(composed(description=replace(FULL, image="ipfs://bafy")))
        assert document["image"] == "ipfs://bafy"

    @given(root=digests)
    def test_default_image_is_a_symmetric_drawing_of_the_root(self, root):
        document = json.loads(composed(root=root))
        encoded = document["image"].removeprefix("data:image/svg+xml;base64,")
        drawing = ET.fromstring(base64.b64decode(encoded))
        cells = drawing[1].get("d").split("M")[1:]
        points = {tuple(map(int, cell.split("h")[0].split())) for cell in cells}
        assert points == {(7 - x, y) for x, y in points}
        assert json.loads(composed(root=root))["image"] == document["image"]

    def test_model_is_not_a_croissant_dataset(self):
        document = json.loads(composed(kind="model", terms={"fair4ml:trainedOn": [{"@id": "x"}]}))
        assert document["@type"] == "fair4ml:MLModel"
        assert document["fair4ml:trainedOn"] == [{"@id": "x"}]
        assert "recordSet" not in document
        assert "conformsTo" not in document
        assert document["@context"]["fair4ml"] == "https://w3id.org/fair4ml#"

    def test_facts_are_stored_beside_the_commitment(self):
        found = metadata.load(composed(facts={"metrics": {"accuracy": 0.9}}))
        assert found.document["alithis"]["metrics"] == {"accuracy": 0.9}

    def test_withheld_items_have_no_records(self):
        assert "recordSet" not in json.loads(composed(files=FILES[1:]))

    def test_text_is_written_as_utf8_without_escapes(self):
        data = composed(description=Description("数字"))
        assert "数字".encode() in data
        assert metadata.load(data).name == "数字"


class TestCroissant:
    """Machine-learning tools read the document as Croissant 1.1."""

    @pytest.fixture(scope="class")
    def manifest(self, tmp_path_factory):
        pixels = np.random.default_rng(0).integers(0, 256, (600, 3, 4), np.uint8)
        source = readers.arrays(pixels, labels=list(range(600)), name="noise")
        out = tmp_path_factory.mktemp("croissant") / "m"
        build(source.digested(Pool(1)), out, description=FULL, form=source.form)
        return out

    @staticmethod
    def found_by_mlcroissant(document: dict):
        return mlcroissant.Dataset(document).metadata.ctx.issues

    def test_mlcroissant_finds_no_error(self, manifest):
        issues = self.found_by_mlcroissant(json.loads((manifest / "metadata.json").read_text()))
        assert issues.errors == set()

    def test_mlcroissant_only_warns_about_the_missing_date(self, manifest):
        """A date would make the document depend on when it was written."""
        issues = self.found_by_mlcroissant(json.loads((manifest / "metadata.json").read_text()))
        assert len(issues.warnings) == 1
        assert "datePublished" in issues.warnings.pop()

    def test_mlcroissant_finds_no_error_in_the_shortest_document(self):
        document = json.loads(composed(description=Description("sample"), columns={}))
        assert self.found_by_mlcroissant(document).errors == set()

    def test_mlcroissant_does_find_errors(self):
        document = json.loads(composed())
        document["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "elsewhere"
        with pytest.raises(mlcroissant.ValidationError):
            mlcroissant.Dataset(document)

    def test_mlcroissant_reads_the_records(self, manifest):
        document = json.loads((manifest / "metadata.json").read_text())
        local = {"items.parquet": str(manifest / "items.parquet")}
        records = list(mlcroissant.Dataset(document, mapping=local).records("items"))
        leaves = (manifest / "leaves").read_bytes()
        assert [record["items/leaf"] for record in records] == [
            leaves[start : start + 32] for start in range(0, len(leaves), 32)
        ]
        assert {record["items/size"] for record in records} == {12}
        assert all(
            record["items/path"] == f"noise#{record['items/label']}".encode() for record in records
        )

    def test_conforms_to_1_1(self):
        document = json.loads(composed())
        assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"


WRONG = [
    # the key that the message names, the path of the changed value, the new value
    *[("alithis", "alithis", value) for value in (DROP, None, [], "x", 1)],
    *[
        ("version", "alithis.version", value)
        for value in (DROP, None, 0, -1, 2**60, "1", 1.0, True, [1])
    ],
    *[("kind", "alithis.kind", value) for value in (DROP, "datasets", 1, "Dataset")],
    *[("scheme", "alithis.scheme", value) for value in (DROP, "md5", None)],
    *[("root", "alithis.root", value) for value in (DROP, "00", "AA" * 32, "0x" + "0" * 62, 0)],
    *[("size", "alithis.size", value) for value in (DROP, 0, -1, True, 3.0, "3", 2**48 + 1)],
    *[("items", "alithis.items", value) for value in (DROP, 0, 2, True, 2**60, "4")],
    *[
        ("frontier", "alithis.frontier", value)
        for value in (DROP, [], {}, ["00" * 32], ["00" * 32] * 3, ["00" * 32, "0"], ["00" * 32, 1])
    ],
    *[("form", "alithis.form", value) for value in (DROP, "bytes", [])],
    *[("name", "alithis.form.name", value) for value in (DROP, "words", 1)],
    *[("version", "alithis.form.version", value) for value in (DROP, "1", True)],
    *[("mode", "alithis.form.mode", value) for value in (DROP, "CMYK", 8)],
    *[("width", "alithis.form.width", value) for value in (0, -1, "28", True, 28.0, None)],
    *[("height", "alithis.form.height", value) for value in (0, 2**60)],
    ("mode", "alithis.form", {"name": "bytes", "version": 1, "mode": "L"}),
    ("columns", "alithis.form", {"name": "text", "version": 1, "columns": ["a"]}),
    *[
        ("columns", "alithis.form", {"name": "record", "version": 1, "columns": columns})
        for columns in ([], "a", None, [1], ["a", "a"], ["b", "a"], [["a"]])
    ],
    *[
        ("name", "name", value)
        for value in (DROP, "", "x" * 201, "a\nb", "\x1b[1m", 7, {"en": "x"})
    ],
    *[("distribution", "distribution", value) for value in (DROP, {}, "leaves", [], [1])],
    ("distribution", "distribution", [{"name": f"tiles/{n}"} for n in range(65)]),
    *[
        ("distribution", "distribution.1.name", value)
        for value in (
            "../x",
            "/etc/passwd",
            "leaves/../../x",
            "./leaves",
            "leaves\n",
            "tiles/0",
            "tiles/7",
            "tiles/01",
            "tiles/1/2",
            "metadata.json",
            "items.parquet",  # a second one
            "Leaves",
            "",
            "x" * 100_000,
        )
    ],
    *[("name", "distribution.1.name", value) for value in (DROP, 1, ["leaves"])],
    ("distribution", "distribution.1", DROP),  # no leaves
    *[
        ("contentSize", "distribution.1.contentSize", value)
        for value in (DROP, 96, "96", "96 KB", "-1 B", "1e3 B", "9" * 19 + " B", "٩ B B")
    ],
    *[
        ("contentUrl", "distribution.1.contentUrl", value)
        for value in (
            DROP,
            "https://example.org/leaves",
            "ipfs://",
            "ipfs://" + "b" * 39,
            "ipfs://" + "b" * 129,
            "ipfs://../" + "b" * 59,
            "file:///etc/passwd",
        )
    ],
    *[("sha256", "distribution.1.sha256", value) for value in (DROP, "00", "AA" * 32, 1)],
]


class TestMalformed:
    @pytest.mark.parametrize(("key", "path", "value"), WRONG)
    def test_wrong_value_is_refused_and_its_key_named(self, key, path, value):
        with pytest.raises(FormatError, match=key) as caught:
            metadata.load(bent(path, value))
        message = str(caught.value)
        assert "\n" not in message
        assert "\x1b" not in message
        assert len(message) < 300

    @pytest.mark.parametrize("number", [b"9" * 4000, b"1e400", b"3e0", b"-0"])
    def test_refuses_numbers_outside_of_the_range_of_doubles_and_integers(self, number):
        data = composed().replace(b'"size": 3,', b'"size": ' + number + b",")
        with pytest.raises(FormatError, match=r"size must be|4000 digits|a double") as caught:
            metadata.load(data)
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize("version", [2, 3, 2**48])
    def test_refuses_an_unknown_version(self, version):
        with pytest.raises(VersionError, match=f"version {version}; .* upgrade alithis"):
            metadata.load(bent("alithis.version", version))

    def test_version_is_checked_before_keys_that_it_may_change(self):
        with pytest.raises(VersionError):
            metadata.load(b'{"alithis": {"version": 2}}')

    def test_refuses_an_unknown_version_of_the_canonical_form(self):
        with pytest.raises(VersionError, match="canonical form pixels has version 2"):
            metadata.load(bent("alithis.form.version", 2))

    @pytest.mark.parametrize(
        ("data", "what"),
        [
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b"[]", "not a JSON object"),
            (b"null", "not a JSON object"),
            (b'"' + b"\xff" + b'"', "not JSON"),
            ("\ufeff{}".encode(), "not JSON"),
            (b'{"name": "a", "name": "b"}', "repeated"),
            (b'{"a": {"b": 1, "b": 1}}', "repeated"),
            (b'{"name": NaN}', "NaN is not a JSON number"),
            (b'{"name": -Infinity}', "-Infinity is not a JSON number"),
            (b"[" * 100_000, "nested"),
            (b'{"a":' * 30_000, "nested"),
            (b'{"size": ' + b"9" * 10_000 + b"}", "not JSON"),
            (b" " * (metadata.MAX_BYTES + 1), "at most 262144"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refuses_anything_but_strict_json(self, data, what):
        with pytest.raises(FormatError, match=what) as caught:
            metadata.load(data)
        assert "\n" not in str(caught.value)

    @given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def test_refuses_random_bytes(self, data):
        with pytest.raises(FormatError):
            metadata.load(data)

    def test_unknown_keys_are_ignored(self):
        assert metadata.load(bent("rai:dataCollection", "…")).size == 3
        assert metadata.load(bent("alithis.note", {"a": [1.5, None]})).size == 3

    def test_accepts_the_largest_values(self):
        nodes = [ROOT.hex()]
        data = bent("alithis.size", 2**48)
        document = json.loads(data)
        document["alithis"] |= {"items": 2**48, "frontier": nodes}
        assert metadata.load(json.dumps(document).encode()).size == 2**48


class TestRefusedWhenWritten:
    @pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", "\x1b[31m", "\udcff"])
    def test_refuses_a_bad_name_before_hashing(self, name):
        with pytest.raises(FormatError, match="name must be 1 to 200 printable characters"):
            Description(name)

    def test_refuses_text_that_is_not_unicode_before_hashing(self):
        with pytest.raises(FormatError, match=r"cannot be written as JSON: .*surrogates"):
            Description("sample", description="caf\udce9")

    @pytest.mark.parametrize(
        "value", [float("nan"), float("inf"), b"bytes", np.float32(1), {1, 2}, object()]
    )
    def test_refuses_facts_that_json_cannot_represent(self, value):
        with pytest.raises(FormatError, match="cannot be written as JSON"):
            composed(facts={"metrics": {"loss": value}})

    def test_refuses_facts_that_are_nested_too_deep(self):
        deep: list = []
        for _ in range(40):
            deep = [deep]
        with pytest.raises(FormatError, match="nested"):
            composed(facts={"parameters": deep})

    def test_refuses_facts_that_contain_themselves(self):
        around: list = []
        around.append(around)
        with pytest.raises(FormatError, match="cannot be written as JSON"):
            composed(facts={"parameters": around})

    def test_refuses_a_document_larger_than_an_ipfs_block(self):
        with pytest.raises(FormatError, match="at most 262144"):
            composed(description=Description("sample", description="x" * 262_144))

    def test_accepts_a_document_as_large_as_an_ipfs_block(self):
        room = metadata.MAX_BYTES - len(composed(description=Description("s", description="x")))
        data = composed(description=Description("s", description="x" * (room + 1)))
        assert len(data) == metadata.MAX_BYTES
        assert Cid.raw(metadata.load(data).digest) == Cid.raw(hashlib.sha256(data).digest())
