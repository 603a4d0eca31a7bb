"""`alithis report`: what a model was made from, and what is not known."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from alithis.chain.records import Record
from alithis.chain.registry import Registry
from alithis.errors import (
    FormatError,
    IntegrityError,
    NoTokenError,
    NotStoredError,
    SourceError,
    StorageError,
    TransportError,
)
from alithis.forms import hashing
from alithis.forms.keyed import PublisherKey
from alithis.manifest import vocabulary
from alithis.manifest.items import ItemTotals, ModelFile, item_totals, model_files
from alithis.manifest.metadata import Description
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Kind, Scheme
from alithis.manifest.transcript import Input, Transcript
from alithis.reports import eu_summary, gather, model_report, render, unknown
from alithis.reports.as_json import as_object
from alithis.reports.report import Artifact, Chain, Overlap, Report, Tie
from alithis.reports.words import Words
from alithis.storage.fallback import FallbackGateways
from alithis.storage.gateway import Gateway
from alithis.storage.store import Store
from alithis.training.model import build_model
from alithis.verify.library import Shelf
from helpers.artifacts import build as build_plain
from helpers.artifacts import commitment, rewrite
from helpers.commands import refused, run
from helpers.families import HOSTILE, dataset, images, make_family, model, of, tie_to
from helpers.html_page import Page
from helpers.registry_model import Relation
from helpers.session import examples
from helpers.transports import Altered


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return make_family(tmp_path_factory.mktemp("family"))


@pytest.fixture
def shelf(family):
    return Shelf(family.store)


class TestByManifests:
    def test_lists_ties_nearest_first_including_those_of_parents(self, family, shelf):
        found = of(family.tuned, shelf)
        assert [
            (tie.depth, tie.source.name, tie.relation, tie.target.name) for tie in found.ties
        ] == [
            (0, "tuned", "trained_on", "more"),
            (0, "tuned", "tested_on", "holdout"),
            (0, "tuned", "fine_tuned_from", "base"),
            (1, "base", "trained_on", "photos"),
        ]
        assert [tie.grade for tie in found.ties] == ["stated", "transcript", "stated", "transcript"]
        assert all(tie.linked is None for tie in found.ties)
        assert [tie.target.name for tie in found.sources] == ["more", "photos"]

    def test_reads_words_size_and_contents_of_a_dataset(self, family, shelf):
        (photos,) = [each for each in of(family.tuned, shelf).artifacts if each.name == "photos"]
        assert photos.words.license == "CC-BY-4.0"
        assert photos.words.creators == ("Grace",)
        assert [(each.term, each.says) for each in photos.words.mining] == [
            ("plus:DataMining", "prohibited-training"),
            ("tdm:reservation", "rights are reserved"),
        ]
        assert photos.words.statements["dataBiases"] == ("Doors of one town only.",)
        assert (photos.size, photos.contents.bytes) == (10, 70)
        assert photos.contents.endings == {"png": 10}

    def test_compares_test_data_with_the_parents_training_data_too(self, family, shelf):
        overlaps = of(family.tuned, shelf).overlaps
        assert [(each.first.name, each.second.name, each.shared) for each in overlaps] == [
            ("holdout", "more", 0),
            ("holdout", "photos", 2),
        ]

    def test_compares_the_parents_test_data_with_the_fine_tunes_training_data(self, tmp_path):
        store = Store(tmp_path / "store")
        train, test = (
            dataset(tmp_path / name, images(*range(at, at + 4)))
            for name, at in (("train", 0), ("test", 3))
        )
        base = model(tmp_path / "base", [tie_to("tested_on", test)], {"w": 1})
        tuned = model(
            tmp_path / "tuned",
            [tie_to("fine_tuned_from", base), tie_to("trained_on", train)],
            {"w": 2},
        )
        for each in (train, test, base, tuned):
            store.put_manifest(each)
        found = of(tuned, Shelf(store))
        (overlap,) = found.overlaps
        told = "test (test data of base) shares 1 data points with train (training data)"
        assert told in model_report.write(found, "markdown")
        assert (overlap.relation, overlap.first.name, overlap.second.name, overlap.shared) == (
            *("tested_on", "test", "train", 1),
        )

    def test_reports_two_different_transcripts_of_one_input(self, family, tmp_path, shelf):
        recorded = tie_to("trained_on", family.photos, list(images(0, 1).values()))
        twice = [recorded, tie_to("trained_on", family.photos, list(images(2).values()))]
        (told,) = of(model(tmp_path / "o", twice, {"w": 1}), shelf).disagreements
        assert told == ("o: its transcript of photos is stated more than once, and differently")
        both = [recorded, replace(recorded, transcript=None)]
        for name, inputs in (("m", both), ("n", both[::-1])):
            found = of(model(tmp_path / name, inputs, {"w": 1}), shelf)
            assert [tie.grade for tie in found.ties] == ["transcript"]

    @pytest.mark.parametrize(
        ("term", "value", "says", "reserved", "unclear"),
        [
            ("plus:DataMining", "http://x/DMI-PROHIBITED", None, True, False),
            ("plus:DataMining", "plus-voc:DMI-PROHIBITED-AIMLTRAINING", None, True, False),
            (
                *("plus:DataMining", "http://x/vocab/DMI-PROHIBITED-SEELINKEDRIGHTSEXPR"),
                *("prohibited: DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", True, False),
            ),
            ("plus:DataMining", "ask me", "not understood: ask me", False, True),
            ("tdm:reservation", True, "rights are reserved", True, False),
            ("tdm:reservation", 1.0, "rights are reserved", True, False),
            ("tdm:reservation", {"@value": "1"}, "rights are reserved", True, False),
            ("tdm:reservation", False, "rights are not reserved", False, False),
            ("tdm:reservation", "yes", "not understood: yes", False, True),
            ("tdm:reservation", {"x": 1}, 'not understood: {"x": 1}', False, True),
            ("plus:DataMining", [["DMI-PROHIBITED"]], None, False, True),
            ("plus:DataMining", ["DMI-ALLOWED"] * 20 + ["DMI-PROHIBITED"], None, True, False),
        ],
    )
    def test_reads_statements_about_mining(self, term, value, says, reserved, unclear):
        words = Words.of({term: value})
        assert (words.is_reserved, words.is_unclear) == (reserved, unclear)
        assert says in (None, words.mining[0].says)

    def test_reports_damaged_items_as_a_disagreement(self, family, tmp_path, shelf):
        folder = model(tmp_path / "m", [tie_to("trained_on", family.more)], {"w": 1})
        items = folder / "items.parquet"
        data = bytearray(items.read_bytes())
        data[len(data) // 2] ^= 1
        items.write_bytes(data)
        found = of(folder, shelf)
        assert not found.files
        assert any("items.parquet" in each for each in found.disagreements)
        assert any(each.startswith("Which files m has: ") for each in found.unknown)

    def test_reports_damaged_leaves_as_a_disagreement(self, tmp_path):
        train, test = (dataset(tmp_path / name, images(1, 2)) for name in ("train", "test"))
        leaves = bytearray((test / "leaves").read_bytes())
        leaves[-1] ^= 1
        (test / "leaves").write_bytes(leaves)
        inputs = [tie_to("trained_on", train), tie_to("tested_on", test)]
        folder = model(tmp_path / "m", inputs, {"w": 1})
        found = of(folder, Shelf(Store(tmp_path / "store"), [train, test]))
        assert found.overlaps[0].shared is None
        assert found.disagreements == (found.overlaps[0].reason,)

    def test_stops_asking_gateways_after_a_minute(self, family, tmp_path, monkeypatch):
        """Without a limit, 50 inputs that no gateway has would take 50 timeouts."""
        made_up = [Input("trained_on", f"no{at}", bytes([at] * 32)) for at in range(50)]
        folder = model(tmp_path / "m", made_up, {"w": 1})
        now, asked = [0.0], []

        class Slow(Shelf):
            def open(self, digest_):
                asked.append(digest_)
                now[0] += 25.0
                return super().open(digest_)

        monkeypatch.setattr("alithis.reports.gather.time.monotonic", lambda: now[0])
        found = of(folder, Slow(family.store))
        assert len(asked) == 3
        assert len(found.ties) == 50
        assert sum("gateways were too slow and not asked" in each for each in found.unknown) == 47

    def test_finds_the_latest_date_of_collection(self):
        """Texts that are not dates sort after dates, but must not win."""
        stated = {
            **{"a": "2024-05-31T10:00:00Z", "b": "2023", "c": "31 December 2009"},
            **{"d": "2025-99", "e": None},
        }
        data = [
            SimpleNamespace(name=name, words=Words.of({"rai:dataCollectionTimeframe": text}))
            for name, text in stated.items()
        ]
        told = eu_summary._latest(
            SimpleNamespace(sources=[SimpleNamespace(target=each) for each in data])
        )
        assert told == (
            "2024-05-31T10:00:00Z, as stated by the datasets' publishers; c: 31 December 2009; "
            "d: 2025-99; e states none"
        )

    def test_reports_a_relation_to_the_wrong_kind_of_artifact(self, family, tmp_path, shelf):
        inputs = [tie_to("trained_on", family.base), tie_to("fine_tuned_from", family.photos)]
        found = of(model(tmp_path / "odd", inputs, {"w": 1}), shelf)
        assert list(found.disagreements) == [
            "odd: states that it is trained_on base, a model",
            "odd: states that it is fine_tuned_from photos, a dataset",
        ]

    def test_counts_what_is_shared_with_the_parent(self, family, shelf):
        (parent,) = of(family.tuned, shelf).parents
        assert (parent.relation, parent.first.name, parent.shared) == ("fine_tuned_from", "base", 1)

    def test_lists_the_files_of_the_model(self, family, shelf):
        assert [each.name for each in of(family.tuned, shelf).files] == [
            "config.json",
            "model.safetensors",
        ]

    def test_lists_what_is_not_known(self, family, shelf):
        unknown = "\n".join(of(family.tuned, shelf).unknown)
        assert "The licence of more: " in unknown
        assert "Whether holdout may be mined" in unknown
        assert "Which data points of more were fed to tuned" in unknown
        assert "no chain was asked" in unknown
        assert "Whether other data was used too" in unknown
        assert "The licence of photos" not in unknown

    def test_says_which_manifests_are_not_available(self, family, tmp_path):
        found = of(family.tuned, Shelf(Store(tmp_path / "empty")))
        assert [tie.target.name for tie in found.ties] == ["more", "holdout", "base"]
        assert [each.shared for each in (*found.overlaps, *found.parents)] == [None, None]
        assert "holdout: its manifest is not available; more: " in found.overlaps[0].reason
        assert any(text.startswith("What data base, a parent of tuned,") for text in found.unknown)
        assert any(text.startswith("What the publisher of more states") for text in found.unknown)

    def test_asks_for_a_missing_manifest_only_once(self, family, tmp_path):
        asked = []

        class Counting(Shelf):
            def open(self, digest):
                asked.append(digest)
                return super().open(digest)

        of(family.tuned, Counting(Store(tmp_path / "empty")))
        assert len(asked) == len(set(asked))

    def test_says_that_no_record_names_training_data(self, tmp_path, shelf):
        found = of(model(tmp_path / "bare", [], {"w": 1}), shelf)
        assert found.ties == found.overlaps == found.parents == ()
        assert any(text.startswith("What data it was trained on") for text in found.unknown)
        for write in (model_report.write, eu_summary.write):
            assert "no available record names any" in write(found, "markdown")

    def test_warns_of_a_run_that_did_not_finish(self, tmp_path, shelf):
        found = of(model(tmp_path / "torn", [], {"w": 1}, complete=False), shelf)
        assert any("the run did not finish" in text for text in found.unknown)
        text = model_report.write(found, "markdown")
        assert "**Warning:** The training run did not finish." in text

    def test_rejects_a_transcript_that_contradicts_the_dataset(self, family, tmp_path, shelf):
        data = Manifest.open(family.photos).metadata
        lies = {
            "counts 3 data points in a dataset that has 10": (2, 1, 0, None, 2),
            "says that exactly this dataset was used, but has another root": (10, 0, 0, None, 10),
            "counts 1 data points used, but 10 distinct ones": (10, 0, 0, 1, 10),
        }
        for number, (said, (seen, unseen, foreign, given_, size)) in enumerate(lies.items()):
            root = data.root if given_ else bytes(32)
            fed = Transcript(root, size, seen, unseen, foreign, given_)
            lying = Input("trained_on", "photos", data.digest, fed)
            found = of(model(tmp_path / f"liar{number}", [lying], {"w": 1}), shelf)
            assert found.ties[0].grade == "stated"
            assert found.disagreements == (f"liar{number}: its transcript of photos {said}",)

    def test_does_not_compare_keyed_test_data(self, family, tmp_path, shelf):
        key = PublisherKey(b"k" * 32)
        secret = dataset(tmp_path / "secret", images(1, 2), key)
        ties = [tie_to("trained_on", family.photos), tie_to("tested_on", secret)]
        at_hand = Shelf(family.store, [secret])
        (found,) = of(model(tmp_path / "m", ties, {"w": 1}), at_hand).overlaps
        assert found.shared is None
        assert "different schemes" in found.reason

    def test_does_not_count_overlap_with_a_damaged_manifest(self, family, tmp_path):
        import shutil

        copy = shutil.copytree(family.photos, tmp_path / "photos.alithis")
        leaves = bytearray((copy / "leaves").read_bytes())
        leaves[5] ^= 1
        (copy / "leaves").write_bytes(leaves)
        found = of(family.tuned, Shelf(family.store, [copy]))
        assert found.overlaps[1].shared is None
        assert "SHA-256 of leaves" in found.overlaps[1].reason

    def test_a_dataset(self, family, shelf):
        with pytest.raises(FormatError, match="photos: is a dataset; a report is about a model"):
            of(family.photos, shelf)

    def test_refuses_a_token_without_a_registry(self, shelf):
        with pytest.raises(NoTokenError, match="no registry is named"):
            gather.report(3, shelf)

    def test_bounds_the_artifacts_that_are_followed(self, family, shelf, monkeypatch):
        for module in (gather, unknown):
            monkeypatch.setattr(module, "MAX_ARTIFACTS", 2)
        found = of(family.tuned, shelf)
        assert len(found.artifacts) <= 4
        assert any(text.startswith("What is beyond 2 artifacts") for text in found.unknown)

    def test_reports_malformed_inputs(self, family, tmp_path, shelf):
        build_plain(tmp_path / "m", [b"w"], kind="model", inputs=[{"relation": "likes"}])
        found = of(tmp_path / "m", shelf)
        assert found.disagreements == ("m: its metadata states malformed inputs",)

    def test_leaves_out_facts_of_a_wrong_type(self, tmp_path, shelf):
        wrong = {"parameters": [1], "metrics": "no", "seconds": "12", "hardware": {}, "complete": 1}
        build_plain(tmp_path / "m", [b"w"], kind="model", inputs=[], **wrong)
        assert of(tmp_path / "m", shelf).facts == {}


class TestByTheChain:
    @pytest.fixture
    def minted(self, registry, transport, owner, accounts, family):
        """1 photos, 2 more, derived from it, 3 holdout, 4 base, 5 tuned."""
        links = {
            "photos": [],
            "more": [(1, Relation.DERIVED_FROM)],
            "holdout": [],
            "base": [(1, Relation.TRAINED_ON)],
            "tuned": [
                (2, Relation.TRAINED_ON),
                (3, Relation.TESTED_ON),
                (4, Relation.FINE_TUNED_FROM),
            ],
        }
        for name, given_ in links.items():
            data = Manifest.open(getattr(family, name)).metadata
            call = registry.mintDataset if data.kind == "dataset" else registry.mintModel
            call(commitment(data), given_, sender=owner)
        return Registry(transport, registry.address)

    def test_reads_links_grades_and_publishers_from_the_chain(
        self, minted, registry, shelf, owner, chain
    ):
        registry.countersign(5, 0, sender=owner)
        found = gather.report(5, shelf, minted)
        assert found.model.name == "tuned (token 5)"
        assert [(tie.target.name, tie.grade, tie.linked) for tie in found.ties] == [
            ("more (token 2)", "countersigned", True),
            ("holdout (token 3)", "transcript", True),
            ("base (token 4)", "stated", True),
            ("photos (token 1)", "stated", True),
            ("photos (token 1)", "transcript", True),
        ]
        assert [tie.relation for tie in found.ties][-2:] == ["derived_from", "trained_on"]
        assert {each.record.publisher for each in found.artifacts} == {owner.address}
        assert found.disagreements == ()
        assert found.chain.block == chain.height
        assert not any("no chain was asked" in text for text in found.unknown)

    def test_finds_the_token_of_a_manifest(self, minted, shelf, family):
        assert of(family.tuned, shelf, minted).model.record.id == 5

    def test_reports_a_withdrawn_dataset(self, minted, registry, shelf, owner, accounts):
        registry.withdraw(1, "why", sender=owner)
        found = gather.report(5, shelf, minted)
        (photos,) = [each for each in found.artifacts if each.record.id == 1]
        assert photos.marks == ("withdrawn by its owner",)
        text = model_report.write(found, "markdown")
        assert "photos (token 1) is marked: withdrawn by its owner" in text

    def test_reports_an_open_claim(self, minted, registry, shelf, family, accounts):
        proof = Manifest.open(family.more).prove(hashing.of_bytes(b"image 20"))
        registry.claim(2, proof.leaf, proof.index, proof.path, "ipfs://why", sender=accounts[3])
        found = gather.report(5, shelf, minted)
        (more,) = [each for each in found.artifacts if each.record.id == 2]
        assert more.marks == ("unanswered claims against it: 1",)

    def test_reports_links_that_contradict_the_metadata(
        self, minted, registry, shelf, family, owner
    ):
        data = Manifest.open(family.tuned).metadata
        links = [(1, Relation.TRAINED_ON), (3, Relation.TESTED_ON)]
        registry.mintModel(commitment(data), links, sender=owner)
        found = gather.report(6, shelf, minted)
        assert set(found.disagreements) == {
            "tuned (token 6): its token has the link trained_on photos (token 1), which its "
            "metadata does not name",
            "tuned (token 6): its metadata states trained_on more, for which its token has no link",
            "tuned (token 6): its metadata states fine_tuned_from base, for which its token has "
            "no link",
        }
        assert {(tie.target.name, tie.linked) for tie in found.ties if not tie.depth} == {
            ("photos (token 1)", True),
            ("holdout (token 3)", True),
            ("more", False),
            ("base", False),
        }

    def test_reports_a_size_that_contradicts_the_token(
        self, minted, registry, shelf, family, owner
    ):
        data = Manifest.open(family.tuned).metadata
        registry.mintModel(commitment(data, size=data.size + 1), [], sender=owner)
        found = gather.report(6, shelf, minted)
        assert (
            f"tuned (token 6): its metadata states the size {data.size}, its token "
            in (found.disagreements[0])
        )

    def test_refuses_to_choose_among_several_tokens_of_one_manifest(
        self, minted, registry, shelf, family, accounts
    ):
        """Anyone can mint a copy of public data, so the report must not choose."""
        data = Manifest.open(family.tuned).metadata
        registry.mintModel(commitment(data), [], sender=accounts[5])
        with pytest.raises(NoTokenError, match=f"Name one: 5 by .*, 6 by {accounts[5].address}"):
            of(family.tuned, shelf, minted)

    def test_refuses_a_manifest_without_a_token(self, minted, shelf, tmp_path):
        bare = model(tmp_path / "bare", [], {"w": 9})
        with pytest.raises(NoTokenError, match="bare: no token of registry"):
            of(bare, shelf, minted)

    def test_refuses_a_token_that_does_not_exist(self, minted, shelf):
        with pytest.raises(NoTokenError):
            gather.report(77, shelf, minted)

    def test_reports_from_the_chain_when_no_manifest_is_available(self, minted, tmp_path):
        found = gather.report(5, Shelf(Store(tmp_path / "empty")), minted)
        assert [tie.relation for tie in found.ties][:3] == [
            "trained_on",
            "tested_on",
            "fine_tuned_from",
        ]
        assert found.model.size is not None
        assert found.unknown[0].startswith("What the publisher of unnamed ")
        for write in (model_report.write, eu_summary.write):
            write(found, "html")

    def test_says_no_problems_only_if_everything_was_checked(
        self, minted, registry, family, tmp_path, owner
    ):
        """Where something could not be checked, the report lists it."""
        apart = dataset(tmp_path / "apart", images(900, 901))
        given = [tie_to("trained_on", family.more), tie_to("tested_on", apart)]
        clean = model(tmp_path / "clean", given, {"w": 5})
        for folder in (family.more, apart):
            data = commitment(Manifest.open(folder).metadata)
            registry.mintDataset(data, [], sender=owner)
        links = [(6, Relation.TRAINED_ON), (7, Relation.TESTED_ON)]
        registry.mintModel(commitment(Manifest.open(clean).metadata), links, sender=owner)

        def told(*manifests):
            store = family.store if len(manifests) > 1 else Store(tmp_path / "empty")
            found = gather.report(8, Shelf(store, manifests), minted)
            return model_report.write(found, "markdown")

        assert "No problems found: no mark on a token, no rights reserved" in told(clean, apart)
        assert (
            "**Open:** No problems found. Not checked: the metadata of 2 artifacts, which is not "
            "available; 1 comparisons of test data with training data, which failed."
        ) in told(clean)

    def test_does_not_say_0_shared_where_nothing_was_compared(self, family, tmp_path, shelf):
        untested = model(tmp_path / "m", [tie_to("trained_on", family.more)], {"w": 5})
        text = model_report.write(of(untested, shelf), "markdown")
        assert "whether test data was also trained on, because the records don't name both" in text
        assert "marks on tokens, because no chain was asked" in text

    def test_reports_rights_reserved_in_what_training_data_was_derived_from(
        self, minted, registry, family, tmp_path, owner
    ):
        """`more`, which reserves none, is derived from `photos`, which does."""
        indirect = model(tmp_path / "m", [tie_to("trained_on", family.more)], {"w": 5})
        stated = commitment(Manifest.open(indirect).metadata)
        registry.mintModel(stated, [(2, Relation.TRAINED_ON)], sender=owner)
        found = gather.report(6, Shelf(family.store, [indirect]), minted)
        assert [(tie.source.name, tie.target.name) for tie in found.origins] == [
            ("more (token 2)", "photos (token 1)")
        ]
        text = model_report.write(found, "markdown")
        assert "photos (token 1), from which more (token 2) was derived, reserves rights" in text
        text = Page(eu_summary.write(found, "html")).text
        assert "photos (token 1)" in text
        assert "prohibited-training" in text

    def test_ends_although_a_lying_node_gives_circular_links(self, minted, shelf):
        """Links lead to older tokens, but a lying node can return a circle."""

        class Circle(Registry):
            def links(self, id):
                from alithis.chain.records import Link
                from alithis.manifest.terms import Relation as Named

                return (Link(5 if id == 4 else 4, Named.FINE_TUNED_FROM),)

        lying = Circle(minted._transport, minted.address)
        found = gather.report(5, shelf, lying)
        assert [
            (tie.source.record.id, tie.target.record.id) for tie in found.ties if tie.linked
        ] == [
            (5, 4),
            (4, 5),
        ]
        model_report.write(found, "html")

    def test_raises_when_the_node_stops_answering(self, minted, shelf):
        answered = []

        def change(method, answer):
            answered.append(method)
            if len(answered) > 8:
                raise TransportError("the node is gone")
            return answer

        with pytest.raises(TransportError, match="the node is gone"):
            gather.report(5, shelf, Registry(Altered(minted, change), minted.address))


class TestWritten:
    @pytest.fixture
    def found(self, family, shelf):
        return of(family.tuned, shelf)

    def test_writes_markdown(self, found):
        text = model_report.write(found, "markdown")
        assert "# Model report: tuned" in text
        assert (
            "| photos | base | 10 | 70 | CC-BY-4.0 | prohibited-training (plus:DataMining); rights "
            "are reserved (tdm:reservation) | transcript of a run, recorded by the publisher |"
        ) in text
        assert r"| photos | base | trained\_on | 2 of 10 (20.00%) | 8 | 1 | 3.0 |" in text
        assert r"| holdout | tested\_on | tuned | photos | 2 of 4 (50.00%) |" in text
        assert "- holdout (test data of tuned) shares 2 data points with photos (training" in text
        assert (
            "- photos, which is training data, reserves rights in its metadata: prohibited" in text
        )

    def test_html_is_complete_and_loads_nothing(self, found):
        page = model_report.write(found, "html")
        checked = Page(page)
        assert checked.headings[0] == "h1"
        assert "script" not in checked.tags
        assert "default-src 'none'" in page
        assert not re.search(r"""(src|srcset)=|url\(|@import""", page)
        assert checked.links == {"https://example.org/doors"}

    def test_html_allows_its_own_style_and_nothing_else(self, found):
        page = model_report.write(found, "html")
        (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
        (policy,) = re.findall('http-equiv="Content-Security-Policy" content="(.*?)"', page)
        sha256 = base64.b64encode(hashing.of_bytes(style.encode())).decode()
        assert policy == (
            f"default-src 'none'; style-src 'sha256-{sha256}'; base-uri 'none'; form-action 'none'"
        )

    def test_writes_json(self, found):
        value = as_object(found)
        names = [each["name"] for each in value["artifacts"]]
        assert names == ["tuned", "more", "holdout", "base", "photos"]
        assert value["ties"][3] == {
            "source": 3,
            "target": 4,
            "relation": "trained_on",
            "grade": "transcript",
            "linked": None,
            "depth": 1,
            "transcript": value["ties"][3]["transcript"],
        }
        assert value["ties"][3]["transcript"]["foreign"] == 1
        assert value["overlaps"][1]["shared"] == 2
        assert value["facts"]["parameters"] == {"rate": 0.1, "layers": [4, 4]}
        assert json.loads(json.dumps(value)) == value


class TestSummary:
    """The Commission's template, filled in where records have the answer."""

    @pytest.fixture
    def text(self, family, shelf):
        return eu_summary.write(of(family.tuned, shelf), "markdown")

    def test_has_the_sections_of_the_commissions_template(self, text):
        assert re.findall(r"^#+ (\d[\d.]*) ", text, re.MULTILINE) == [
            *("1", "1.1", "1.2", "1.3"),
            *("2", "2.1", "2.2", "2.2.1", "2.2.2", "2.3", "2.4", "2.5", "2.6"),
            *("3", "3.1", "3.2", "3.3"),
        ]

    def test_fills_in_what_records_answer(self, text):
        assert "| Provider | Ada |" in text
        assert r"| Models it was made from | base (fine\_tuned\_from, stated) |" in text
        assert "| Image | less than 1 million images (12) |" in text
        in_all = "12 in 2 datasets; one in several datasets is counted in each"
        assert f"| Data points in all | {in_all} |" in text
        assert "collection: Web Scraping" in text
        assert "| Datasets whose metadata reserve rights | photos |" in text
        assert "| photos | dataBiases | Doors of one town only. |" in text

    def test_counts_data_points_of_all_known_datasets(self, family, tmp_path):
        data = [dataset(tmp_path / "d", images(1, 2)), dataset(tmp_path / "e", images(1))]
        made = model(tmp_path / "m", [tie_to("trained_on", each) for each in data], {"w": 1})
        for known, said in (
            (data, "3 in 2 datasets; one in several datasets is counted in each"),
            (data[:1], "2 distinct, and those of 1 more datasets, which are not available"),
        ):
            text = eu_summary.write(of(made, Shelf(family.store, known)), "markdown")
            assert f"| Data points in all | {said} |" in text

    def test_leaves_open_what_only_the_provider_knows(self, text):
        opened = "Open: for the provider to fill in"
        assert f"| Authorised representative in the Union | {opened} |" in text
        assert f"| Crawlers, and who runs them | {opened} |" in text
        assert f"| What was done against illegal content | {opened} |" in text

    @pytest.mark.parametrize(
        ("statement", "number"),
        [("Web Scraping", "2.3"), ("User-Generated Content Data", "2.4"), ("Synthetic", "2.5")],
    )
    def test_puts_a_dataset_in_the_section_of_its_collection_type(
        self, tmp_path, family, statement, number
    ):
        data = dataset(tmp_path / "d", images(1), rai={"dataCollectionType": [statement]})
        made = model(tmp_path / "m", [tie_to("trained_on", data)], {"w": 1})
        written = eu_summary.as_object(of(made, Shelf(family.store, [data])))
        (listed,) = [each for each in written["sections"] if each["number"] == "2"]
        with_table = [
            each["number"]
            for each in listed["sections"]
            if any("table" in block for block in each["blocks"])
        ]
        assert with_table == [number]

    @pytest.mark.parametrize(
        ("count", "said"),
        [
            (999_999, "less than 1 million images"),
            (10**6, "1 million to 1 billion images"),
            (10**9, "more than 1 billion images"),
        ],
    )
    def test_gives_the_templates_ranges_of_images(self, count, said):
        assert eu_summary._size("Image", count) == f"{said} ({count:,})"


def filled(text: str) -> Report:
    """Return a report with one text in every field that strangers can write."""
    words = ("description", "license", "creator", "url", "version", "citeAs", "inLanguage")
    terms = ("fair4ml:mlTask", "fair4ml:intendedUse", "plus:DataMining", "tdm:policy")
    rai = [f"rai:{name}" for name in vocabulary.RAI]
    stated = SimpleNamespace(
        **{"document": dict.fromkeys((*words, *terms, *rai), text), "kind": "model"},
        **{"size": 3, "items": 3, "root": bytes(32), "form": SimpleNamespace(name="bytes")},
    )

    def artifact(token: int, kind: Kind = Kind.DATASET, **more) -> Artifact:
        zero = (Scheme.SHA256, 3, bytes(32), bytes(32))
        record = Record(token, kind, *zero, text, 0, None, True, False, 0, 0, 0)
        return Artifact(bytes(32), text, record, **more)

    made = artifact(5, Kind.MODEL, stated=stated)
    data = artifact(1, stated=stated, contents=ItemTotals(9, {"png": 3}))
    parent, missing = artifact(4, Kind.MODEL, stated=stated), artifact(2, problem=text)
    fed = Transcript(bytes(32), 3, 2, 1, 1, 3)
    ties = (
        Tie(made, data, "trained_on", "transcript", True, fed, 0),
        Tie(made, missing, "tested_on", "stated", False, None, 0),
        Tie(made, parent, "fine_tuned_from", "countersigned", True, None, 0),
        Tie(data, missing, "derived_from", "stated", True, None, 1),
    )
    return Report(
        model=made,
        chain=Chain(1, text, 1),
        facts={"parameters": {text: text}, "metrics": {text: {text: 1}}, "hardware": text},
        files=(ModelFile(text, bytes(32), 1),),
        ties=ties,
        overlaps=(
            Overlap("tested_on", data, data, made, 1),
            Overlap("tested_on", missing, data, made, None, text),
        ),
        parents=(Overlap("fine_tuned_from", parent, made, made, 1),),
        disagreements=(text,),
        unknown=(text,),
    )


def written(text: str, form: str) -> str:
    return "\n\n".join(each.write(filled(text), form) for each in (model_report, eu_summary))


def markdown_types(text: str) -> list[str]:
    """Return the types of the elements that a parser of GitHub's Markdown finds."""
    found = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        found.append(token.type)
        found += [child.type for child in token.children or [] if child.type != "text"]
    return found


class TestHostileTexts:
    """Untrusted text cannot change the structure of a report."""

    @pytest.fixture(scope="class")
    def plain(self):
        return Page(written("t", "html")), markdown_types(written("t", "markdown"))

    @pytest.mark.parametrize("text", HOSTILE)
    def test_html_keeps_its_structure(self, text, plain):
        page = Page(written(text, "html"))
        assert page.tags == plain[0].tags
        assert page.headings == plain[0].headings
        assert page.attributes <= plain[0].attributes | {"rel"}
        assert page.text.count(render.one_line(text)) >= 40
        assert all(link.startswith("https://") for link in page.links)

    @pytest.mark.parametrize("text", HOSTILE)
    def test_markdown_keeps_its_structure(self, text, plain):
        assert markdown_types(written(text, "markdown")) == plain[1]

    @settings(max_examples=examples(100))
    @given(text=st.text(min_size=1, max_size=40).filter(str.strip))
    def test_any_text_is_shown_as_text(self, text, plain):
        assert Page(written(text, "html")).tags == plain[0].tags
        assert markdown_types(written(text, "markdown")) == plain[1]

    @pytest.mark.parametrize("text", ["\x1b[2Jgone", "a\u202ebak", "a\x00b", "a\u2066b", "\ud800"])
    @pytest.mark.parametrize("form", ["html", "markdown"])
    def test_control_and_bidi_characters_are_shown_as_escapes(self, text, form):
        page = written(text, form)
        assert all(letter.isprintable() or letter == "\n" for letter in page)
        page.encode()

    @pytest.mark.parametrize(("form", "escaped"), [("html", "&lt;b&gt;"), ("markdown", r"\<b\>")])
    def test_a_template_cannot_forget_to_escape(self, form, escaped):
        template = render.environment(form).from_string("{{ x }}{{ [x]|join }}{{ x or 1 }}")
        assert template.render(x="<b>") == escaped * 3

    @pytest.mark.parametrize("form", ["html", "markdown"])
    def test_long_texts_and_tables_are_cut(self, form):
        found = filled("t")
        files = tuple(ModelFile(str(number), bytes(32), 1) for number in range(700))
        long = replace(found, files=files, unknown=("x" * 10_000,) * 700)
        page = model_report.write(replace(long, unknown=long.unknown[:1]), form)
        assert len(page) < 120_000
        assert page.count("and 200 more") == 1
        assert model_report.write(long, form).count("and 200 more") == 2
        assert len(eu_summary.as_object(long)["sections"][-1]["blocks"][0]["items"]) == 700

    def test_hostile_dataset_metadata_is_shown_as_text(self, tmp_path, family):
        """Publishers can write HTML, Markdown and values of wrong types."""
        payload = "<script>alert(1)</script>[x](javascript:alert(2))"
        data = dataset(tmp_path / "d", images(1), license="MIT", description="DESCRIPTION")
        rewrite(data, b'"DESCRIPTION"', json.dumps(payload).encode())
        wrong = {
            "license": {"name": payload},
            "creator": [payload, 7, None, {"name": [payload]}],
            "plus:DataMining": payload + "\ud800",
            "tdm:reservation": [payload, True],
            "tdm:policy": {"@id": f"javascript:{payload}"},
            "rai:dataBiases": payload,
            "inLanguage": {"@id": payload},
        }
        body = json.loads((data / "metadata.json").read_bytes()) | wrong
        (data / "metadata.json").write_text(json.dumps(body))
        made = model(tmp_path / "m", [tie_to("trained_on", data)], {"w": 1})
        found = of(made, Shelf(family.store, [data]))
        for write in (model_report.write, eu_summary.write):
            page = Page(write(found, "html"))
            assert "script" not in page.tags
            assert page.links == set()
            tokens = markdown_types(write(found, "markdown"))
            assert not {"html_block", "html_inline", "link_open", "image"} & set(tokens)
        json.dumps(as_object(found))

    def test_huge_texts_are_cut(self, tmp_path, family):
        data = dataset(tmp_path / "d", images(1), description="x" * 100_000, creators=["y"] * 2_000)
        made = model(tmp_path / "m", [tie_to("trained_on", data)], {"w": 1})
        found = of(made, Shelf(family.store, [data]))
        assert len(model_report.write(found, "markdown")) < 30_000


class TestContents:
    def test_withheld_items_are_not_counted(self, family, tmp_path):
        import shutil

        copy = shutil.copytree(family.photos, tmp_path / "photos")
        (copy / "items.parquet").unlink()
        with pytest.raises(NotStoredError, match=r"items\.parquet"):
            item_totals(Manifest.open(copy))

    def test_refuses_items_whose_sha256_differs_from_the_metadata(self, family, tmp_path):
        import shutil

        copy = shutil.copytree(family.photos, tmp_path / "photos")
        items = bytearray((copy / "items.parquet").read_bytes())
        items[40] ^= 1
        (copy / "items.parquet").write_bytes(items)
        with pytest.raises(IntegrityError, match=r"photos: items\.parquet: SHA-256"):
            item_totals(Manifest.open(copy))

    def test_refuses_items_beyond_the_byte_limit(self, family, monkeypatch):
        monkeypatch.setattr("alithis.manifest.items.MAX_BYTES", 100)
        with pytest.raises(StorageError, match="over 100 bytes"):
            item_totals(Manifest.open(family.photos))

    def test_refuses_to_list_files_of_a_dataset(self, family):
        with pytest.raises(FormatError, match="photos: is a dataset, not a model"):
            model_files(Manifest.open(family.photos))

    def test_refuses_a_listed_file_that_is_not_in_the_tree(self, tmp_path):
        """The publisher lists a file that its root does not commit to."""
        lying = with_items(tmp_path, lambda table: table.set_column(0, "leaf", [[b"\1" * 32]]))
        with pytest.raises(FormatError, match="00000 is in its items but not in its tree"):
            model_files(lying)

    def test_a_report_separates_contradictions_from_limits(self, tmp_path, monkeypatch):
        """A false item is a disagreement; a manifest beyond a limit is not known."""
        lying = with_items(tmp_path, lambda table: table.set_column(0, "leaf", [[b"\1" * 32]]))
        told = gather.report(lying, Shelf(Store(tmp_path / "store")))
        assert any("but not in its tree" in each for each in told.disagreements)
        assert isinstance(told.unlisted, FormatError)
        monkeypatch.setattr("alithis.manifest.items.MAX_ROWS", 0)
        told = gather.report(lying, Shelf(Store(tmp_path / "store")))
        assert told.disagreements == ()
        assert any("has over 0 items" in each for each in told.unknown)
        assert isinstance(told.unlisted, StorageError)

    def test_refuses_a_file_without_a_size(self, tmp_path):
        import pyarrow as pa

        none = pa.array([None], pa.int64())
        lying = with_items(tmp_path, lambda table: table.set_column(2, "size", none))
        with pytest.raises(FormatError, match="its items state no size for 00000"):
            model_files(lying)
        assert item_totals(lying).bytes is None

    @pytest.mark.parametrize(
        ("column", "value", "said"),
        [
            ("path", None, "has no leaf, no path"),
            ("leaf", None, "has no leaf, no path"),
            ("path", "#" * 5_000, "or a path that is too long"),
        ],
    )
    def test_refuses_a_row_without_a_valid_leaf_and_path(self, tmp_path, column, value, said):
        import pyarrow as pa

        def change(table):
            at = table.column_names.index(column)
            return table.set_column(at, column, pa.array([value], table[column].type))

        with pytest.raises(FormatError, match=said):
            model_files(with_items(tmp_path, change))

    def test_refuses_two_files_of_one_name(self, tmp_path):
        import pyarrow as pa

        def change(table):
            same = pa.array(["w"] * 2)
            return table.set_column(table.column_names.index("path"), "path", same)

        lying = with_items(tmp_path, change, [b"one", b"two"])
        with pytest.raises(FormatError, match="two files in its items have the name w"):
            model_files(lying)

    def test_refuses_more_rows_than_items(self, tmp_path, monkeypatch):
        """A few bytes of Parquet can encode any number of rows."""
        import pyarrow as pa

        lying = with_items(tmp_path, lambda table: pa.concat_tables([table] * 100))
        with pytest.raises(FormatError, match="more rows than the metadata states"):
            item_totals(lying)
        monkeypatch.setattr("alithis.manifest.items.MAX_ROWS", 0)
        with pytest.raises(StorageError, match="over 0 items"):
            item_totals(lying)

    def test_refuses_items_without_the_expected_columns(self, tmp_path):
        lying = with_items(tmp_path, lambda table: table.drop_columns(["size"]))
        with pytest.raises(SourceError, match="cannot be read"):
            model_files(lying)

    def test_accepts_file_names_with_a_hash_mark(self, tmp_path):
        (tmp_path / "a#b.bin").write_bytes(b"1")
        (tmp_path / "a").write_bytes(b"2")
        opened = build_model([tmp_path / "a#b.bin"], tmp_path / "m", description=Description("m"))
        assert [file.name for file in model_files(opened)] == ["a#b.bin"]

    def test_reads_manifests_from_a_gateway(self, family, ipfs_peer, tmp_path):
        """The manifests are only on an IPFS peer."""
        for folder in (family.more, family.holdout, family.base, family.photos):
            ipfs_peer.add_manifest(folder)
        gateways = FallbackGateways([Gateway(ipfs_peer.url)])
        found = of(family.tuned, Shelf(Store(tmp_path / "empty"), [], gateways))
        assert [each.shared for each in found.overlaps] == [0, 2]
        assert found.artifacts[-1].contents.endings == {"png": 10}


def with_items(folder: Path, change, points=(b"w",)) -> Manifest:
    """Build a model whose publisher changed items.parquet, and its digest in the metadata."""
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = build_plain(folder / "m", points, kind="model")
    items = folder / "m" / "items.parquet"
    before = opened.metadata.file("items.parquet")
    table = pq.read_table(items)
    table = change(table)
    if "leaf" in table.column_names and table["leaf"].type != pa.binary(32):
        at = table.column_names.index("leaf")
        table = table.set_column(at, "leaf", table["leaf"].cast(pa.binary(32)))
    pq.write_table(table, items)
    body = json.loads((folder / "m" / "metadata.json").read_bytes())
    for entry in body["distribution"]:
        if entry["@id"] == before.name:
            entry["sha256"] = hashlib.sha256(items.read_bytes()).hexdigest()
            entry["contentSize"] = f"{items.stat().st_size} B"
    (folder / "m" / "metadata.json").write_text(json.dumps(body))
    return Manifest.open(folder / "m")


class TestCommand:
    @pytest.fixture
    def options(self, family):
        return ["--store", family.store.root]

    def test_prints_markdown(self, family, options):
        assert run("report", family.tuned, *options).stdout.startswith("# Model report: tuned\n")

    def test_prints_to_standard_output_for_a_dash(self, family, options, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        args = ["report", family.tuned, *options]
        assert run(*args, "-o", "-").stdout == run(*args).stdout
        assert run(*args, "-o", "-", "--format", "html").stdout.startswith("<!doctype html>")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("name", "begins"),
        [
            *(("r.html", "<!doctype html>"), ("R.HTML", "<!doctype html>"), (".json", "{")),
            *(("r.md", "# Model"), ("report", "# Model")),
        ],
    )
    def test_chooses_the_format_by_the_files_ending(self, family, options, tmp_path, name, begins):
        said = run("report", family.tuned, *options, "-o", tmp_path / name).stdout
        assert said.startswith(f"{tmp_path / name}: 2 sources, ")
        assert (tmp_path / name).read_text().startswith(begins)

    def test_writes_the_eu_summary(self, family, options):
        args = ["report", family.tuned, *options, "--template", "eu-training-summary"]
        assert "# Training content of tuned: a draft summary" in run(*args).stdout
        value = json.loads(run(*args, "--format", "json").stdout)
        assert [each["number"] for each in value["sections"]] == ["1", "2", "3", ""]

    def test_uses_given_manifests_and_reports_those_that_cannot_be_opened(self, family, tmp_path):
        options = ["--store", tmp_path / "empty", "--manifest", family.more]
        options += ["--manifest", family.holdout, "--manifest", tmp_path]
        result = run("report", family.tuned, *options, "--format", "json")
        assert json.loads(result.stdout)["overlaps"][0]["shared"] == 0
        assert result.stderr.startswith(f"alithis: {tmp_path}/metadata.json: ")

    def test_reads_the_chain_from_a_node(self, family, options, upstream, accounts):
        contract = upstream.deploy()
        for name, links in {"more": [], "tuned": [(1, Relation.TRAINED_ON)]}.items():
            data = Manifest.open(getattr(family, name)).metadata
            call = contract.mintDataset if name == "more" else contract.mintModel
            call(commitment(data), links, sender=accounts[6])
        node = ["--rpc", upstream.uri, "--registry", contract.address, *options]
        value = json.loads(run("report", 2, *node, "--format", "json").stdout)
        assert value["chain"]["registry"] == contract.address
        assert value["artifacts"][0]["publisher"] == accounts[6].address
        assert value["ties"][0]["linked"] is True
        # The metadata states two inputs that the token, with its one link, does not have.
        assert len(value["disagreements"]) == 2
        by_manifest = run("report", family.tuned, *node, "--format", "json").stdout
        assert json.loads(by_manifest)["artifacts"] == value["artifacts"]
        assert "token 9" in refused("report", 9, *node)

    def test_refuses_wrong_options_in_one_line(self, family, tmp_path, options):
        assert "--rpc and --registry go together" in refused(
            "report", family.tuned, "--rpc", "http://127.0.0.1:1"
        )
        assert "3 is a token: give --rpc" in refused("report", 3, *options)
        assert "cannot be reached" in refused(
            "report", 3, "--rpc", "http://127.0.0.1:1", "--registry", "0x" + "00" * 20, *options
        )
        assert "is a dataset" in refused("report", family.photos, *options)
        paper = tmp_path / "r.pdf"
        assert "does not end in one of .md, " in refused("report", 3, *options, "-o", paper)
        run("report", family.tuned, *options, "--format", "markdown", "-o", paper)
        assert paper.read_text().startswith("# Model")
        missing = tmp_path / "no" / "r.html"
        assert "cannot be written" in refused("report", family.tuned, *options, "-o", missing)
