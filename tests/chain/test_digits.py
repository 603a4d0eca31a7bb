"""The lineage example on MNIST as a newcomer runs it: `ape run digits`."""

import json
import subprocess
import sys

import pytest

from helpers.html_page import Page
from helpers.paths import ROOT
from helpers.scripts import run_script

FOLDER = ROOT / "build" / "digits"


@pytest.fixture(scope="module")
def said():
    result = run_script("digits")
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_mints_every_member_with_its_links(said):
    assert "token 3: dataset mnist-train-0-4, derived_from token 1\n" in said
    assert "token 5: model digits-base, trained_on token 3, tested_on token 2\n" in said
    assert (
        "token 6: model digits-tuned, trained_on token 4, tested_on token 2, "
        "fine_tuned_from token 5\n"
    ) in said


def test_every_link_is_countersigned(said):
    assert (
        "└─ fine_tuned_from digits-base (token 5): countersigned\n"
        "   ├─ tested_on mnist-test (token 2): countersigned\n"
        "   └─ trained_on mnist-train-0-4 (token 3): countersigned\n"
        "      └─ derived_from mnist-train (token 1): countersigned\n"
    ) in said


def test_the_fine_tune_shares_only_its_frozen_tensors(said):
    shared = said.partition("shares with its parent\n")[2].partition("\n\n")[0]
    assert shared.split() == [
        "digits-tuned.safetensors#hidden.bias",
        "digits-tuned.safetensors#hidden.weight",
    ]


def test_the_models_reach_their_accuracy(said):
    for name, least in (("digits-base", 95), ("digits-tuned", 80)):
        accuracy = said.partition(f"  {name}: ")[2].partition("%")[0]
        assert float(accuracy) > least


def test_one_training_image_is_followed_to_the_fine_tune(said):
    assert "mnist-train-0-4 (token 3): included, at index 5411 of 30596\n" in said
    assert "mnist-train-5-9 (token 4): included" not in said
    assert "nought.png -> digits-base (token 5): strongest path is countersigned\n" in said
    assert "nought.png -> digits-tuned (token 6): strongest path is countersigned\n" in said


def test_writes_the_report(said):
    assert "mnist-test (token 2) shares 0 data points with mnist-train-0-4 (token 3)\n" in said
    assert "digits-tuned (token 6) shares 2 files and tensors with its parent\n" in said
    assert "disagreement" not in said
    assert "warning" not in said
    page = Page((FOLDER / "report.html").read_text())
    assert "countersigned by the target's owner" in page.text
    assert "svg" in page.tags
    summary = Page((FOLDER / "training-summary.html").read_text())
    assert "less than 1 million images (60,000)" in summary.text


def test_writes_the_exports(said):
    assert "the bill of materials is valid CycloneDX\n" in said
    bill = json.loads((FOLDER / "bill.cdx.json").read_bytes())
    (ancestor,) = bill["metadata"]["component"]["pedigree"]["ancestors"]
    assert ancestor["name"] == "digits-base"
    stated = json.loads((FOLDER / "provenance.intoto.json").read_bytes())
    dependencies = stated["predicate"]["buildDefinition"]["resolvedDependencies"]
    # Out of a checkout comes its commit, too.
    assert [each["name"] for each in dependencies if each["name"] != "code"] == [
        *("mnist-train-5-9", "mnist-test", "digits-base", "mnist-train"),
        *("mnist-train-0-4", "mnist-test", "mnist-train"),
    ]


def test_the_export_command_gives_the_same_result(said, tmp_path):
    command = [sys.executable, "-m", "alithis", "export", FOLDER / "digits-tuned.alithis"]
    command += ["--to", "cyclonedx", "--check", "--store", FOLDER / "store"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metadata"]["component"]["name"] == "digits-tuned"
