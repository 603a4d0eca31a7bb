"""The examples, as anybody would run them."""

import subprocess
import sys
from pathlib import Path

import pytest

from alithis import overlap
from alithis.audit import audit
from alithis.digest import of_bytes
from alithis.inputs import stated_inputs
from alithis.manifest import Manifest
from alithis.proof import Inclusion

ROOT = Path(__file__).resolve().parents[2]
SPEECHES = ROOT / "node_modules" / "@stdlib" / "datasets-sotu" / "data"


def run(name, *arguments):
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    run("digits.py", folder)
    return {path.stem: Manifest.open(path) for path in folder.glob("*.alithis")}, folder


def shared(one, other):
    joined = b"".join(overlap.shared(one, other))
    return {joined[at : at + 32] for at in range(0, len(joined), 32)}


def test_the_part_is_in_the_whole_and_each_model_was_fed_its_own(digits):
    found, folder = digits
    whole, part = found["digits"], found["digits-even"]
    assert shared(whole, part) == set(part.leaves())
    for name, data in (("even", part), ("tuned", whole)):
        given = stated_inputs(found[name].metadata)[0]
        assert (given.relation, given.metadata) == ("trained_on", data.metadata.digest)
        assert given.transcript.root == data.metadata.root
        assert given.transcript.given == 8 * data.metadata.items
        assert all(step.ok for step in audit(folder / f"{name}.alithis"))


def test_the_fine_tune_shares_the_frozen_tensors_and_no_others(digits):
    found, folder = digits
    both = shared(found["even"], found["tuned"])
    paths = overlap.Paths.at(folder / "tuned.alithis", found["tuned"].metadata)
    assert paths is not None
    assert len(both) == 4  # weight and bias of two layers; two of a third differ, and the file
    parent = stated_inputs(found["tuned"].metadata)[-1]
    assert (parent.relation, parent.name) == ("fine_tuned_from", "even")
    assert parent.metadata == found["even"].metadata.digest


def test_a_picture_leads_to_the_fine_tune(digits):
    from sklearn.datasets import load_digits

    found, _ = digits
    leaf = of_bytes(load_digits().images[0].astype("u1").tobytes())
    proof = found["digits"].prove(leaf)
    assert isinstance(proof, Inclusion)
    (given, _) = stated_inputs(found["tuned"].metadata)
    assert given.metadata == found["digits"].metadata.digest


def test_texts(tmp_path):
    shown = run("text_classifier.py", SPEECHES, tmp_path)
    accuracy = float(shown.rpartition("accuracy ")[2].strip().rstrip("%"))
    assert accuracy > 65  # of two parties
    model = Manifest.open(tmp_path / "party.alithis")
    trained, tested = stated_inputs(model.metadata)
    for given, part in ((trained, "train"), (tested, "test")):
        data = Manifest.open(tmp_path / f"speeches-{part}.alithis").metadata
        assert given.metadata == data.digest
        assert given.transcript.root == data.root
        assert given.transcript.given == data.items
