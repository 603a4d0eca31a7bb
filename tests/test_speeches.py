"""The chain of lineage on texts, as a newcomer runs it: `ape run speeches`."""

import json
from types import SimpleNamespace

import pytest
from chains import ROOT, run_script
from test_report import Page

from alithis_ape.command import CommandError
from scripts import _chain, speeches

FOLDER = ROOT / "build" / "speeches"


@pytest.fixture(scope="module")
def said():
    result = run_script("speeches")
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_is_minted_link_by_link(said):
    assert "token 3: dataset speeches-recent, derived_from token 1\n" in said
    assert "token 4: model party, trained_on token 1, tested_on token 2\n" in said
    assert (
        "token 5: model party-recent, trained_on token 3, tested_on token 2, "
        "fine_tuned_from token 4\n"
    ) in said


def test_its_lineage_is_countersigned(said):
    assert (
        "├─ trained_on speeches-recent (token 3): countersigned\n"
        "│  └─ derived_from speeches-train (token 1): countersigned\n"
        "└─ fine_tuned_from party (token 4): countersigned\n"
        "   ├─ trained_on speeches-train (token 1): countersigned\n"
        "   └─ tested_on speeches-test (token 2): countersigned\n"
    ) in said


def test_the_fine_tune_shares_vocabulary_and_frequencies_alone(said):
    shared = said.partition("shares with its parent\n")[2].partition("\n\n")[0]
    assert shared.split() == [
        "party-recent.safetensors#tfidfvectorizer._tfidf.idf_",
        "vocabulary.txt",
    ]


def test_one_old_passage_is_followed_to_the_fine_tune(said):
    assert "speeches-train (token 1): included, at index 1625 of 9017\n" in said
    assert "canonical form text\n" in said
    assert "speeches-recent (token 3): included" not in said
    assert "fed with 9017 of its 9017 leaves and 0 others\n" in said
    assert "passage.txt -> party (token 4): countersigned, at the least\n" in said
    assert "passage.txt -> party-recent (token 5): countersigned, at the least\n" in said


def test_the_report(said):
    for part in ("speeches-recent (token 3)", "speeches-train (token 1)"):
        assert f"speeches-test (token 2) shares 0 data points with {part}\n" in said
    assert "party-recent (token 5) shares 2 files and tensors with its parent\n" in said
    assert "disagreement" not in said
    assert "warning" not in said
    page = Page((FOLDER / "report.html").read_text())
    assert "6,131 of 6,131 (100.00%)" in page.text
    assert "svg" in page.tags
    summary = Page((FOLDER / "training-summary.html").read_text())
    # The recent passages are among those of the whole.
    assert "15,148 in 2 datasets; one that several hold counts in each" in summary.text


def test_the_exports(said):
    assert "the bill of materials is valid CycloneDX\n" in said
    bill = json.loads((FOLDER / "bill.cdx.json").read_bytes())
    (ancestor,) = bill["metadata"]["component"]["pedigree"]["ancestors"]
    assert ancestor["name"] == "party"
    stated = json.loads((FOLDER / "provenance.intoto.json").read_bytes())
    dependencies = stated["predicate"]["buildDefinition"]["resolvedDependencies"]
    names = {each["name"] for each in dependencies}
    assert names >= {"speeches-recent", "speeches-train", "speeches-test", "party"}
    signed = json.loads((FOLDER / "model-signing.json").read_bytes())
    resources = {each["name"] for each in signed["predicate"]["resources"]}
    assert resources == {"party-recent.safetensors", "vocabulary.txt"}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path


def test_without_the_frameworks_it_says_what_installs_them(place):
    with pytest.raises(CommandError, match=r"not at .*/python: 'make examples' installs it"):
        speeches.train(place / "python", place / "data", place / "out")


def test_without_the_speeches_it_says_what_fetches_them(place):
    with pytest.raises(CommandError, match=r"speeches are not at .*: 'make setup' fetches them"):
        speeches.train(speeches.FRAMEWORKS, place / "nowhere", place / "out")


def test_a_training_that_fails_stops_the_example(place, capfd):
    with pytest.raises(CommandError, match=r"text_classifier\.py ended with status 1"):
        speeches.train(speeches.FRAMEWORKS, place / "data", place / "out")
    assert "no speeches" in capfd.readouterr().err


def test_nothing_is_minted_on_a_live_network():
    live = SimpleNamespace(is_dev=False, choice="filecoin:calibration")
    with (
        pytest.raises(CommandError, match="on local chains, not on filecoin:calibration"),
        _chain.local(live),
    ):
        pytest.fail("it goes on")
