"""The chain of lineage on texts, as a newcomer runs it: `ape run speeches`.

Ape runs in the environment on the PATH, and trains with this one.
"""

import json
import subprocess
import sys

import pytest

from helpers.html_page import Page
from helpers.paths import ROOT
from helpers.scripts import run_script

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
    assert "used 9017 of its 9017 distinct data points and 0 others\n" in said
    assert "passage.txt -> party (token 4): strongest path is countersigned\n" in said
    assert "passage.txt -> party-recent (token 5): strongest path is countersigned\n" in said


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
    assert "15,148 in 2 datasets; one in several datasets is counted in each" in summary.text


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


def test_without_a_speech_nothing_is_trained(tmp_path):
    command = [sys.executable, ROOT / "examples" / "text_classifier.py", tmp_path, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no speeches" in done.stderr
