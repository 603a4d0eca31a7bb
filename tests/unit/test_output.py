"""Where commands may write a file (-o): nothing that is read or published is ever replaced."""

from __future__ import annotations

import json
import shutil

import pytest

import alithis
from alithis.errors import SourceError
from alithis.forms.hashing import of_bytes
from alithis.manifest.output import Output, check_output
from helpers.commands import refused, run

KEY = "11" * 32


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a dataset, a model and their manifests, where commands run."""
    for name in ("ALITHIS_RPC", "ALITHIS_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ALITHIS_GATEWAYS", "none")
    (tmp_path / "p").mkdir()
    for name in "123":
        (tmp_path / "p" / f"{name}.txt").write_text(name)
    (tmp_path / "m.bin").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    run("manifest", "p", "--workers", 1)
    run("model", "m.bin", "-o", "m.alithis", "--input", "trained_on=p.alithis", "--workers", 1)
    return tmp_path


COMMANDS = {
    "prove": "prove p.alithis p/1.txt",
    "proofs": "export p.alithis --to proofs",
    "croissant": "export p.alithis --to croissant",
    "cyclonedx": "export m.alithis --to cyclonedx",
    "in-toto": "export m.alithis --to in-toto",
    "model-signing": "export m.alithis --to model-signing",
    "report": "report m.alithis --format markdown",
    "report-html": "report m.alithis --format html",
    "report-json": "report m.alithis --format json",
    "summary": "report m.alithis --template eu-training-summary --format markdown",
    "summary-html": "report m.alithis --template eu-training-summary --format html",
    "summary-json": "report m.alithis --template eu-training-summary --format json",
    "car": "store export p.alithis",
}
EVERY = pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)


def everything(folder):
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "store" not in path.parts
    }


@EVERY
@pytest.mark.parametrize(
    "out", ["p.alithis/leaves", "p.alithis/metadata.json", "p.alithis/new", "link", "inside"]
)
def test_files_of_a_manifest_are_never_replaced(place, words, out):
    (place / "link").symlink_to("p.alithis/leaves")
    (place / "inside").symlink_to("p.alithis/tiles/9")
    before = everything(place)
    for force in ([], ["--force"]):
        said = refused(*words.split(), "-o", out, *force)
        assert f"Error: {out}: would change the manifest " in said
        assert said.endswith("choose another folder\n")
    assert everything(place) == before


@EVERY
def test_other_files_are_replaced_only_with_force(place, words):
    (place / "notes").write_text("mine")
    (place / "empty").touch()
    for out in ("p/2.txt", "m.bin", "notes"):
        before = (place / out).read_bytes()
        said = refused(*words.split(), "-o", out)
        assert f"Error: {out}: exists and is not a" in said
        assert "--force" in said
        assert (place / out).read_bytes() == before
    run(*words.split(), "-o", "notes", "--force")
    run(*words.split(), "-o", "empty")
    assert (place / "notes").read_bytes() == (place / "empty").read_bytes() != b"mine"


@EVERY
def test_a_command_replaces_what_it_wrote_before(place, words):
    run(*words.split(), "-o", "out")
    before = (place / "out").read_bytes()
    run(*words.split(), "-o", "out")
    assert (place / "out").read_bytes() == before


@EVERY
def test_a_folder_is_not_an_output(place, words):
    assert "p: is a folder; give the name of a file" in refused(*words.split(), "-o", "p")


@pytest.mark.parametrize("out", ["p/1.txt", "p/../p/1.txt", "hard", "soft"])
def test_the_file_that_is_proved_is_never_replaced(place, out):
    (place / "hard").hardlink_to("p/1.txt")
    (place / "soft").symlink_to("p/1.txt")
    for force in ([], ["--force"]):
        said = refused("prove", "p.alithis", "p/1.txt", "-o", out, *force)
        assert f"Error: {out}: is read by this command" in said
    for replace in (False, True):
        with pytest.raises(SourceError, match="is read by this command"):
            alithis.prove("p/1.txt", "p.alithis", out, replace=replace)
    assert (place / "p" / "1.txt").read_text() == "1"


def test_a_key_is_never_replaced(place):
    (place / "key").write_text(KEY)
    (place / "key").chmod(0o600)
    run("manifest", "p", "-o", "k.alithis", "--key-file", "key", "--workers", 1)
    words = ["prove", "k.alithis", "p/1.txt", "--key-file", "key", "-o", "key", "--force"]
    assert "key: is read by this command" in refused(*words)
    signing = ["export", "m.alithis", "--to", "model-signing", "--key", "key", "-o", "key"]
    assert "key: is read by this command" in refused(*signing, "--force")
    assert (place / "key").read_text() == KEY


def test_python_follows_the_same_rule(place):
    (place / "notes").write_text("mine")
    with pytest.raises(SourceError, match=r"notes: exists and is not a proof file.*replace=True"):
        alithis.prove("p/1.txt", "p.alithis", "notes")
    with pytest.raises(SourceError, match="would change the manifest"):
        alithis.prove("p/1.txt", alithis.open_manifest("p.alithis"), "p.alithis/leaves")
    assert (place / "notes").read_text() == "mine"
    for _ in range(2):
        alithis.prove("p/1.txt", "p.alithis", "new.json")
    alithis.prove("p/1.txt", "p.alithis", "notes", replace=True)
    assert json.loads((place / "notes").read_text())["leaf"] == of_bytes(b"1").hex()
    with pytest.raises(SourceError, match=r"no/x\.json: cannot be written"):
        alithis.prove("p/1.txt", "p.alithis", "no/x.json")


def test_symbolic_links_that_lead_in_circles_are_refused(place):
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    assert "Error: a: cannot be written: " in refused("prove", "p.alithis", "p/1.txt", "-o", "a")
    with pytest.raises(SourceError, match="cannot be written"):
        check_output("nul\0", Output.CAR)


def test_a_copy_of_a_manifest_is_a_manifest(place):
    shutil.copytree("p.alithis", "copy")
    (place / "copy" / "leaves").unlink()
    assert "would change" in refused("store", "export", "p.alithis", "-o", "copy/leaves")
