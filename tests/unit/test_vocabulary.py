"""Publishers' statements in standard vocabularies: licenses, responsible AI, data mining."""

from __future__ import annotations

import json
from pathlib import Path

import mlcroissant
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alithis.errors import FormatError
from alithis.forms.form import BYTES
from alithis.forms.hashing import of_bytes
from alithis.manifest import metadata, vocabulary
from alithis.manifest.audit import audit
from alithis.manifest.builder import build as build_manifest
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints, Manifest
from helpers.artifacts import build
from helpers.commands import refused, run

PLUS = "http://ns.useplus.org/ldf/vocab/"
TERMS_1_0 = """citeAs column extract field fileObject fileProperty fileSet format includes
isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace
separator source subField transform"""


def croissant(**changes):
    """Return a document as hubs write it: Croissant 1.0, a file set, a record set, RAI terms."""
    context = {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "dct": "http://purl.org/dc/terms/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "wd": "https://www.wikidata.org/wiki/",
        **{term: f"cr:{term}" for term in TERMS_1_0.split()},
    }
    document = {
        "@context": context,
        "@type": "sc:Dataset",
        "name": "flowers",
        "description": "Photographs of flowers.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": ["https://creativecommons.org/licenses/by/4.0/"],
        "creator": {"@type": "Organization", "name": "A garden"},
        "keywords": ["flowers", "gardens"],
        "datePublished": "2024-05-31",
        "url": "https://example.org/flowers",
        "version": "2.0.0",
        "citeAs": "@misc{flowers}",
        "rai:dataCollection": "By the gardeners.",
        "rai:dataBiases": ["Mostly roses.", "Only in spring."],
        "wd:P921": {"@id": "wd:Q506"},
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "repo",
                "name": "repo",
                "contentUrl": "https://example.org/flowers.git",
                "encodingFormat": "git+https",
                "sha256": "main",
            },
            {
                "@type": "cr:FileSet",
                "@id": "pictures",
                "name": "pictures",
                "containedIn": {"@id": "repo"},
                "encodingFormat": "image/jpeg",
                "includes": "*.jpg",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "default",
                "name": "default",
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": "default/image",
                        "name": "image",
                        "dataType": "sc:ImageObject",
                        "source": {
                            "fileSet": {"@id": "pictures"},
                            "extract": {"fileProperty": "content"},
                        },
                    }
                ],
            }
        ],
    } | changes
    return {key: value for key, value in document.items() if value is not None}


def based(document, **words):
    """Return a description with a base document."""
    base = vocabulary.parse_base(json.dumps(document).encode(), "croissant.json")
    return Description(words.pop("name", "flowers"), base=base, **words)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a manifest and returns its metadata as JSON."""

    def write(description):
        items = DataPoints(of_bytes(b"rose") + of_bytes(b"tulip"), ["rose", "tulip"], [4, 5])
        out = tmp_path / "m"
        build_manifest([items], out, description=description, form=BYTES, replace=True)
        assert all(step.ok for step in audit(out))
        return json.loads((out / "metadata.json").read_text())

    return write


def judged(document):
    """Check that mlcroissant finds no error in a document, and return what it reads."""
    found = mlcroissant.Dataset(document).metadata
    assert found.ctx.issues.errors == set()
    return found


class TestLicense:
    @pytest.mark.parametrize(
        "text",
        [
            "MIT",
            "CC-BY-SA-4.0",
            "GPL-2.0+",
            "MIT OR Apache-2.0",
            "(MIT OR Apache-2.0) AND CC0-1.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "LicenseRef-garden",
            "DocumentRef-spdx:LicenseRef-garden",
            "https://creativecommons.org/licenses/by-sa/3.0/",
            "http://example.org/licence",
        ],
    )
    def test_accepts_an_spdx_expression_or_a_url(self, text):
        assert vocabulary.license_terms(text) == text

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "Creative Commons",
            "MIT OR",
            "OR MIT",
            "MIT Apache-2.0",
            "MIT or Apache-2.0",
            "(MIT",
            "MIT)",
            "()",
            ")MIT(",
            "all rights reserved",
            "MIT\nOR",
            "https://",
            "https:// example.org",
            "ftp://example.org",
            "-MIT",
            "MIT++",
        ],
    )
    def test_refuses_any_other_license(self, text):
        with pytest.raises(FormatError, match="must be an SPDX expression"):
            Description("x", license=text)


class TestResponsibleAi:
    def test_statements_are_terms_of_the_document(self, written):
        rai = {"dataCollection": ["Found."], "dataBiases": ["One.", "Two."], "dataUseCases": ["X"]}
        document = written(Description("x", rai=rai))

        assert document["rai:dataBiases"] == ["One.", "Two."]
        assert document["conformsTo"] == [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ]
        found = judged(document)
        assert (found.data_collection, found.data_biases) == ("Found.", ["One.", "Two."])
        assert found.data_use_cases == ["X"]

    @pytest.mark.parametrize("term", vocabulary.RAI)
    def test_mlcroissant_accepts_every_term(self, written, term):
        text = "2024-05-31" if term == "dataCollectionTimeframe" else "said"
        document = written(Description("x", rai={term: [text]}))
        assert document[f"rai:{term}"] == text
        judged(document)

    def test_document_without_statements_conforms_to_croissant_only(self, written):
        assert written(Description("x"))["conformsTo"] == "http://mlcommons.org/croissant/1.1"

    @pytest.mark.parametrize(
        ("rai", "said"),
        [
            (
                {"dataColection": ["x"]},
                "unknown Croissant RAI term 'dataColection'; the terms are dataColl",
            ),
            ({"dataSocialImpact": ["x", "y"]}, "dataSocialImpact is given 2 times"),
            ({"dataCollectionTimeframe": ["May"]}, "must be a date such as 2024-05-31"),
        ],
    )
    def test_refuses_malformed_statements(self, rai, said):
        with pytest.raises(FormatError, match=said):
            Description("x", rai=rai)


class TestDataMining:
    @pytest.mark.parametrize(
        ("preference", "value", "reservation"),
        [
            ("allowed", "DMI-ALLOWED", 0),
            ("prohibited", "DMI-PROHIBITED", 1),
            ("prohibited-training", "DMI-PROHIBITED-AIMLTRAINING", 1),
            ("prohibited-generative-training", "DMI-PROHIBITED-GENAIMLTRAINING", 1),
            ("prohibited-except-search", "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING", 1),
            ("unspecified", "DMI-UNSPECIFIED", None),
        ],
    )
    def test_preference_is_written_in_both_vocabularies(
        self, written, preference, value, reservation
    ):
        document = written(Description("x", data_mining=preference))

        assert document["plus:DataMining"] == {"@id": PLUS + value}
        assert document.get("tdm:reservation") == reservation
        assert document["@context"]["plus"] == "http://ns.useplus.org/ldf/xmp/1.0/"
        assert ("tdm" in document["@context"]) is (reservation is not None)
        judged(document)

    def test_policy_is_written_as_a_url(self, written):
        url = "https://example.org/policy.json"
        document = written(Description("x", data_mining="see-policy", data_mining_policy=url))

        assert document["plus:DataMining"] == {"@id": PLUS + "DMI-PROHIBITED-SEECONSTRAINT"}
        assert document["tdm:policy"] == {"@id": url}
        assert document["@context"]["tdm"] == "http://www.w3.org/ns/tdmrep#"
        judged(document)

    @pytest.mark.parametrize(
        ("preference", "policy", "said"),
        [
            ("forbidden", None, "unknown 'forbidden'; choose one of allowed, prohibited"),
            (None, "https://example.org", "needs a preference; choose one of allowed, prohibited"),
            ("see-policy", None, "give the URL of the policy too"),
            ("allowed", "https://example.org", "allowed reserves no rights"),
            ("prohibited", "policy.json", "'policy.json': must be a URL"),
        ],
    )
    def test_refuses_contradictory_preferences(self, preference, policy, said):
        with pytest.raises(FormatError, match=said):
            Description("x", data_mining=preference, data_mining_policy=policy)

    def test_no_preference_is_written_by_default(self, written):
        document = written(Description("x"))
        assert not {*vocabulary.MINING} & set(document)
        assert not {*vocabulary.PREFIXES} & set(document["@context"])


class TestBase:
    def test_terms_of_the_base_are_kept(self, written):
        theirs = croissant()
        ours = written(based(theirs))

        for key in ("license", "creator", "keywords", "datePublished", "url", "version", "citeAs"):
            assert ours[key] == theirs[key]
        assert ours["description"] == "Photographs of flowers."
        assert ours["wd:P921"] == {"@id": "wd:Q506"}
        assert ours["@context"]["wd"] == theirs["@context"]["wd"]
        assert ours["rai:dataBiases"] == theirs["rai:dataBiases"]
        assert ours["external_url"] == theirs["url"]

    def test_files_and_records_are_the_manifests(self, written):
        ours = written(based(croissant()))

        assert ours["alithis"]["size"] == 2
        assert {file["name"] for file in ours["distribution"]} == {"leaves", "items.parquet"}
        assert [each["@id"] for each in ours["recordSet"]] == ["items"]
        assert ours["conformsTo"] == [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ]

    def test_files_and_records_of_the_base_move_to_is_based_on(self, written):
        theirs = croissant(isBasedOn={"@id": "https://example.org/older"})
        ours = written(based(theirs))

        older, source = ours["isBasedOn"]
        assert older == {"@id": "https://example.org/older"}
        assert (source["@type"], source["name"]) == ("sc:Dataset", "flowers")
        assert source["distribution"] == theirs["distribution"]
        assert source["recordSet"] == theirs["recordSet"]

    def test_mlcroissant_loads_the_document_and_its_records(self, written, tmp_path):
        document = written(based(croissant()))
        found = judged(document)
        assert (found.name, found.version, found.keywords) == (
            "flowers",
            "2.0.0",
            ["flowers", "gardens"],
        )
        local = {"items.parquet": str(tmp_path / "m" / "items.parquet")}
        records = list(mlcroissant.Dataset(document, mapping=local).records("items"))
        assert {record["items/path"] for record in records} == {b"rose", b"tulip"}

    def test_mlcroissant_gives_no_warning(self, written):
        assert judged(written(based(croissant()))).ctx.issues.warnings == set()

    def test_description_overrides_the_base(self, written):
        words = {
            "description": "Other flowers.",
            "license": "MIT",
            "creators": ("A", "B"),
            "url": "https://example.org/other",
            "version": "3.0.0",
            "citation": "@misc{other}",
            "image": "ipfs://bafy",
            "rai": {"dataCollection": ["Otherwise."]},
        }
        ours = written(based(croissant(image="https://example.org/x.png"), name="other", **words))

        assert (ours["name"], ours["description"]) == ("other", "Other flowers.")
        assert (ours["license"], ours["citeAs"]) == ("MIT", "@misc{other}")
        assert [each["name"] for each in ours["creator"]] == ["A", "B"]
        assert ours["url"] == ours["external_url"] == "https://example.org/other"
        assert (ours["version"], ours["image"]) == ("3.0.0", "ipfs://bafy")
        assert ours["rai:dataCollection"] == "Otherwise."
        assert ours["rai:dataBiases"] == ["Mostly roses.", "Only in spring."]

    def test_new_preference_replaces_all_terms_of_the_old_one(self, written):
        theirs = written(
            Description("x", data_mining="see-policy", data_mining_policy="https://example.org")
        )
        kept, changed = (
            written(based(theirs, data_mining=preference)) for preference in (None, "unspecified")
        )
        assert all(kept[term] == theirs[term] for term in vocabulary.MINING)
        assert changed["plus:DataMining"] == {"@id": PLUS + "DMI-UNSPECIFIED"}
        assert not {"tdm:reservation", "tdm:policy"} & set(changed)

    def test_base_that_is_a_manifests_metadata_leaves_no_trace_of_that_manifest(
        self, written, tmp_path
    ):
        first = written(based(croissant()))
        build(tmp_path / "other", [b"x"])
        again = written(based(first))
        assert again == first

        older = json.loads((tmp_path / "other" / "metadata.json").read_text())
        fresh = written(based(older, name="other"))
        plain = written(Description("other"))
        assert fresh == plain

    def test_english_is_chosen_from_texts_in_several_languages(self, written):
        theirs = croissant(
            name={"fr": "fleurs", "en": "flowers"}, description={"fr": "Des photos de fleurs."}
        )
        ours = written(based(theirs))
        assert (ours["name"], ours["description"]) == ("flowers", "Des photos de fleurs.")
        assert ours["isBasedOn"][0]["name"] == {"fr": "fleurs", "en": "flowers"}
        assert ours["isBasedOn"][0]["description"] == {"fr": "Des photos de fleurs."}
        judged(ours)

    @pytest.mark.parametrize(
        ("image", "kept"),
        [
            ("https://example.org/x.png", "https://example.org/x.png"),
            (["ipfs://a", "ipfs://b"], "ipfs://a"),
            ({"@type": "ImageObject", "contentUrl": "ipfs://a"}, "ipfs://a"),
            ({"@type": 7}, None),
            ([], None),
        ],
    )
    def test_image_becomes_one_text_for_wallets(self, written, image, kept):
        shown = written(based(croissant(image=image)))["image"]
        assert shown == kept if kept else shown.startswith("data:image/svg+xml")

    def test_other_specifications_of_the_base_are_kept(self, written):
        theirs = croissant(conformsTo=["http://mlcommons.org/croissant/1.0", "https://example.org"])
        assert written(based(theirs))["conformsTo"][:2] == [
            "http://mlcommons.org/croissant/1.1",
            "https://example.org",
        ]

    def test_refuses_a_base_that_is_too_large(self):
        """The error comes before any data point is hashed."""
        with pytest.raises(FormatError, match="at most 262144"):
            based(croissant(keywords=["x" * metadata.MAX_BYTES]))

    @given(value=st.text(max_size=30) | st.integers() | st.lists(st.booleans()) | st.none())
    def test_unknown_terms_are_kept_unchanged(self, value):
        description = based(croissant(**{"ex:any": value, "@context": {"ex": "https://e.org/"}}))
        assert vocabulary.kept_terms(description.base).get("ex:any") == value


CONTEXT = croissant()["@context"]


class TestContext:
    @pytest.mark.parametrize(
        "context",
        [
            {},
            None,
            "https://schema.org",
            "http://schema.org/",
            CONTEXT | {"@vocab": "http://schema.org/", "sc": "http://schema.org/"},
            CONTEXT | {"citeAs": "http://mlcommons.org/croissant/citeAs"},
            CONTEXT | {"license": "sc:license", "url": "https://schema.org/url"},
            CONTEXT | {"garden": {"@id": "wd:Q1107656", "@type": "@id"}, "left": None},
            CONTEXT | {"plus": "http://ns.useplus.org/ldf/xmp/1.0/"},
        ],
    )
    def test_accepts_compatible_contexts(self, written, context):
        document = written(based(croissant(**{"@context": context, "wd:P921": None})))
        judged(document)

    def test_base_chooses_the_language(self, written):
        document = written(based(croissant(**{"@context": CONTEXT | {"@language": "fr"}})))
        assert document["@context"]["@language"] == "fr"

    @pytest.mark.parametrize(
        ("term", "meaning"),
        [
            ("cr", "http://example.org/"),
            ("@vocab", "http://example.org/"),
            ("citeAs", "sc:citation"),
            ("key", "sc:key"),
            ("data", "cr:data"),
            ("name", "cr:name"),
            ("alithis", "urn:other"),
            ("rai", "http://example.org/"),
            ("distribution", "ex:distribution"),
            ("license", {"@id": "ex:license"}),
            ("isBasedOn", None),
            ("plus", "http://example.org/"),
            ("tdm", "http://example.org/"),
            ("@base", "http://example.org/"),
            ("@import", "http://example.org/"),
            ("@protected", True),
            ("id", "@id"),
            ("kind", {"@id": "@type"}),
            ("x", 7),
            ("x", ["a"]),
            ("x", {"@id": 7}),
        ],
    )
    def test_refuses_contexts_that_contradict_ours(self, term, meaning):
        with pytest.raises(FormatError, match=r"--metadata-from: @context .*" + term):
            based(croissant(**{"@context": CONTEXT | {term: meaning}}))

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"@type": None}, "its @type must be sc:Dataset"),
            ({"@type": "sc:Person"}, "its @type must be sc:Dataset"),
            ({"@type": [["sc:Dataset"]]}, "its @type must be sc:Dataset"),
            ({"@graph": []}, "not a Croissant document"),
            ({"@context": [CONTEXT]}, "its @context is a list"),
            ({"@context": "https://example.org/context"}, "'@vocab' a different meaning"),
            ({"@context": 7}, "@context is not an object"),
            ({"creator": {"@context": {}, "name": "x"}}, "has a nested @context"),
            ({"@context": CONTEXT | {"x": {"@id": "y", "@context": {}}}}, "has a nested @context"),
            ({"distribution": [{"@id": "leaves"}]}, "'leaves' is reserved for the manifest"),
            ({"distribution": [{"@id": "tiles/1"}]}, "'tiles/1' is reserved for the manifest"),
            ({"keywords": {"@id": "items.parquet"}}, "'items.parquet' is reserved"),
            ({"recordSet": [{"@id": "items"}]}, "'items' is reserved for the manifest"),
            ({"recordSet": [{"field": [{"@id": "items/x"}]}]}, "'items/x' is reserved"),
        ],
    )
    def test_refuses_a_base_that_cannot_be_merged(self, changes, said):
        with pytest.raises(FormatError, match=said):
            based(croissant(**changes))

    @pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"[" * 10_000])
    def test_refuses_a_base_that_is_not_a_json_object(self, data):
        with pytest.raises(FormatError, match=r"croissant\.json: "):
            vocabulary.parse_base(data, "croissant.json")

    @given(
        context=st.dictionaries(
            st.sampled_from(["cr", "sc", "name", "@base", "x", "license", "@language", "key"]),
            st.none()
            | st.booleans()
            | st.sampled_from(["cr:key", "sc:license", "@id", "https://schema.org/", "en", ""])
            | st.dictionaries(st.sampled_from(["@id", "@type"]), st.text(max_size=3)),
        )
    )
    def test_base_never_changes_our_context(self, context):
        try:
            description = based(croissant(**{"@context": context}))
        except FormatError as error:
            if "\n" in str(error):
                raise
            return
        own = metadata._context("dataset")
        merged = vocabulary.merged_context(own, description.base)
        assert {term: merged[term] for term in own} | {"@language": ""} == own | {"@language": ""}


class TestCommand:
    @pytest.fixture(autouse=True)
    def art(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "art").mkdir()
        (tmp_path / "art" / "x").write_bytes(b"x" * 100)
        (tmp_path / "croissant.json").write_text(json.dumps(croissant()))

    @staticmethod
    def document():
        return Manifest.open(Path("art.alithis")).metadata.document

    def test_options_write_every_statement(self):
        words = ["--license", "CC-BY-4.0", "--rai", "dataBiases=Mostly=oil", "--rai"]
        words += ["rai:dataBiases=On canvas", "--data-mining", "prohibited-training"]
        run("manifest", "art", *words, "--data-mining-policy", "https://example.org/p")

        document = self.document()
        assert document["rai:dataBiases"] == ["Mostly=oil", "On canvas"]
        assert document["plus:DataMining"]["@id"].endswith("AIMLTRAINING")
        assert document["tdm:policy"] == {"@id": "https://example.org/p"}
        assert (document["name"], document["license"]) == ("art", "CC-BY-4.0")

    def test_metadata_from_a_croissant_file(self):
        run("manifest", "art", "--metadata-from", "croissant.json", "--license", "MIT")

        document = self.document()
        assert (document["name"], document["license"]) == ("flowers", "MIT")
        assert document["keywords"] == ["flowers", "gardens"]
        judged(dict(document))

    def test_metadata_from_its_own_metadata_is_unchanged(self):
        run("manifest", "art", "--metadata-from", "croissant.json")
        before = self.document()
        run("manifest", "art", "--force", "--metadata-from", "art.alithis/metadata.json")
        assert self.document() == before

    def test_name_of_the_base_that_is_not_text_is_ignored(self):
        Path("croissant.json").write_text(json.dumps(croissant(name=7)))
        run("manifest", "art", "--metadata-from", "croissant.json")
        assert self.document()["name"] == "art"

    def test_refuses_bad_options_before_hashing(self):
        Path("large.json").write_bytes(b" " * (metadata.MAX_BYTES + 1))
        Path("list.json").write_text("[]")
        for words, said in (
            (["--license", "free of charge"], "must be an SPDX expression"),
            (["--rai", "dataBiases"], "write TERM=TEXT"),
            (["--rai", "bias=x"], "unknown Croissant RAI term 'bias'"),
            (["--data-mining-policy", "https://example.org"], "choose one of allowed"),
            (["--metadata-from", "large.json"], "large.json: is larger than 262144 bytes"),
            (["--metadata-from", "list.json"], "list.json: not a JSON object"),
            (["--metadata-from", "art"], "not a regular file"),
        ):
            assert said in refused("manifest", "art", *words)
            assert not Path("art.alithis").exists()
