"""The examples, run from the command line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from alithis.forms.hashing import of_bytes
from alithis.manifest import overlap
from alithis.manifest.audit import audit
from alithis.manifest.proof import Exclusion, Inclusion
from alithis.manifest.reader import Manifest
from alithis.manifest.transcript import stated_inputs

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


def test_transcripts_of_the_models(digits):
    found, folder = digits
    whole, part = found["digits"], found["digits-even"]
    assert shared(whole, part) == set(part.leaves())
    for name, data in (("even", part), ("tuned", whole)):
        given = stated_inputs(found[name].metadata)[0]
        assert (given.relation, given.metadata) == ("trained_on", data.metadata.digest)
        assert given.transcript.root == data.metadata.root
        assert given.transcript.given == 20 * data.metadata.items
        assert all(step.ok for step in audit(folder / f"{name}.alithis"))


def test_fine_tune_shares_the_frozen_tensors_and_no_others(digits):
    found, folder = digits
    both = shared(found["even"], found["tuned"])
    paths = overlap.Paths.at(folder / "tuned.alithis", found["tuned"].metadata)
    assert paths is not None
    assert len(both) == 4  # weight and bias of two layers; two of a third differ, and the file
    parent = stated_inputs(found["tuned"].metadata)[-1]
    assert (parent.relation, parent.name) == ("fine_tuned_from", "even")
    assert parent.metadata == found["even"].metadata.digest


def test_picture_leads_to_the_fine_tune(digits):
    from sklearn.datasets import load_digits

    found, _ = digits
    leaf = of_bytes(load_digits().images[0].astype("u1").tobytes())
    proof = found["digits"].prove(leaf)
    assert isinstance(proof, Inclusion)
    (given, _) = stated_inputs(found["tuned"].metadata)
    assert given.metadata == found["digits"].metadata.digest


@pytest.fixture(scope="module")
def speeches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speeches")
    said = run("text_classifier.py", SPEECHES, folder)
    return {path.stem: Manifest.open(path) for path in folder.glob("*.alithis")}, folder, said


def paths(folder, manifest, leaves):
    found = overlap.Paths.at(folder / f"{manifest.metadata.name}.alithis", manifest.metadata)
    return {path for each in found.of(sorted(leaves)) for path in each}


def cut(folder, manifest):
    """The speeches that a dataset's passages come from."""
    return {path.partition("#")[0] for path in paths(folder, manifest, manifest.leaves())}


def test_no_speech_is_both_trained_and_tested_on(speeches):
    found, folder, _ = speeches
    train, test = (cut(folder, found[f"speeches-{part}"]) for part in ("train", "test"))
    assert (len(train), len(test)) == (145, 37)
    assert train.isdisjoint(test)
    assert not shared(found["speeches-train"], found["speeches-test"])


def test_recent_passages_are_all_those_of_the_whole_since_1900(speeches):
    found, folder, _ = speeches
    whole, part = found["speeches-train"], found["speeches-recent"]
    assert shared(whole, part) == set(part.leaves())
    assert cut(folder, part) == {name for name in cut(folder, whole) if name >= "1900"}


def test_transcripts_of_the_classifiers(speeches):
    found, folder, _ = speeches
    for name, data in (("party", "train"), ("party-recent", "recent")):
        trained, tested, *_ = stated_inputs(found[name].metadata)
        assert (trained.relation, tested.relation) == ("trained_on", "tested_on")
        for given, part in ((trained, data), (tested, "test")):
            fed = found[f"speeches-{part}"].metadata
            assert given.metadata == fed.digest
            assert given.transcript.root == fed.root
            assert given.transcript.given == fed.items
        assert all(step.ok for step in audit(folder / f"{name}.alithis"))


def test_classifiers_learned_and_the_fine_tune_more_of_recent_speeches(speeches):
    *_, said = speeches
    found = re.findall(r"(\S+): ([0-9.]+)% of the test, ([0-9.]+)% of its passages since", said)
    accuracy = {name: (float(all_), float(recent)) for name, all_, recent in found}
    base, tuned = accuracy["party"], accuracy["party-recent"]
    assert base[0] > 70  # 52 by always saying the same
    assert tuned[1] > base[1] + 1


def test_fine_tune_keeps_vocabulary_and_frequencies_alone(speeches):
    found, folder, _ = speeches
    both = shared(found["party"], found["party-recent"])
    assert paths(folder, found["party-recent"], both) == {
        "party-recent.safetensors#tfidfvectorizer._tfidf.idf_",
        "vocabulary.txt",
    }
    parent = stated_inputs(found["party-recent"].metadata)[-1]
    assert (parent.relation, parent.name) == ("fine_tuned_from", "party")
    assert parent.metadata == found["party"].metadata.digest


def test_passage_is_of_the_whole_and_not_of_the_recent_ones(speeches):
    found, folder, _ = speeches
    leaf = of_bytes((folder / "passage.txt").read_bytes())
    assert isinstance(found["speeches-train"].prove(leaf), Inclusion)
    assert isinstance(found["speeches-recent"].prove(leaf), Exclusion)
