"""The names of ``import alithis``: what is public, and the examples of their docstrings."""

import doctest
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import alithis

FUNCTIONS = [name for name in alithis.__all__ if inspect.isfunction(getattr(alithis, name))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the examples take it: three photos, one of them in another folder too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))
    for name, content in {
        "photos/cat.jpg": b"cat",
        "photos/dog.jpg": b"dog",
        "photos/owl.jpg": b"owl",
        "others/cat.jpg": b"cat",
        "drawing.jpg": b"drawing",
        "model.bin": bytes(100),
    }.items():
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_the_public_names():
    assert alithis.__all__ == [
        "AlithisError",
        "Manifest",
        "Report",
        "Result",
        "Run",
        "audit",
        "hash_dataset",
        "hash_model",
        "open_manifest",
        "overlap",
        "prove",
        "report",
        "verify",
    ]
    assert all(inspect.getdoc(getattr(alithis, name)) for name in alithis.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_example_gives_what_it_says(name, folder):
    function = getattr(alithis, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(
        function, name, globs={"alithis": alithis}
    )
    assert example.examples
    found = doctest.DocTestRunner().run(example)
    assert (found.failed, found.attempted) == (0, len(example.examples))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_typed_and_says_what_it_takes_and_raises(name):
    function = getattr(alithis, name)
    said = inspect.getdoc(function)
    signature = inspect.signature(function)
    assert signature.return_annotation is not signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty
        assert f"    {parameter.name}: " in said
    assert "Raises:" in said


def test_verify_stays_a_function_where_its_package_is_imported():
    from alithis.verify.steps import verify

    assert inspect.isfunction(alithis.verify)
    assert alithis.verify is not verify


def test_import_loads_nothing_heavy():
    code = "import sys, alithis; print(*{'numpy', 'pyarrow', 'requests'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(alithis.__file__).parents[1])},
    )
    assert result.stdout.strip() == ""


def test_a_name_that_is_not_public():
    with pytest.raises(AttributeError, match="has no attribute 'Ledger'"):
        _ = alithis.Ledger


class TestTokens:
    """A token's root and size come from the chain."""

    def test_verify_against_a_chain(self, folder, upstream):
        manifest = alithis.hash_dataset("photos/", "photos.alithis")
        stated = manifest.metadata
        registry = upstream.deploy()
        registry.mintDataset(
            (stated.root, stated.size, 0, stated.digest), [], sender=upstream.accounts[0]
        )
        from alithis.storage.store import Store

        Store().put_manifest(Path("photos.alithis"))
        at = {"rpc": upstream.uri, "registry": registry.address}
        included = alithis.verify("photos/cat.jpg", "1", **at)
        assert (included.verdict, included.token) == ("included", 1)
        assert alithis.verify("drawing.jpg", "1", **at).verdict == "absent"
        assert alithis.open_manifest("1", **at).metadata.digest == stated.digest

    def test_a_token_without_a_registry(self, folder):
        with pytest.raises(alithis.AlithisError, match="give --rpc and --registry"):
            alithis.verify("drawing.jpg", "1")


class TestKeyed:
    def test_the_key_is_needed_to_verify(self, folder):
        manifest = alithis.hash_dataset("photos/", "photos.alithis", key_file="photos.key")
        key = {"key_file": "photos.key"}
        assert alithis.verify("photos/cat.jpg", manifest).verdict == "unverifiable"
        assert alithis.verify("photos/cat.jpg", manifest, **key).verdict == "included"
        assert alithis.verify("drawing.jpg", manifest, **key).verdict == "absent"
        alithis.prove("photos/cat.jpg", manifest, "cat.proof.json", **key)
        assert alithis.verify("cat.proof.json", manifest).verdict == "included"
        assert all(step.ok for step in alithis.audit("photos.alithis", source="photos/", **key))


def test_what_differs_is_found(folder):
    alithis.hash_dataset("photos/", "photos.alithis")
    Path("photos/owl.jpg").write_bytes(b"another")
    steps = alithis.audit("photos.alithis", source="photos/")
    assert [step.step for step in steps if not step.ok] == ["source"]


def test_a_relation_to_the_wrong_kind_is_refused(folder):
    train = alithis.hash_dataset("photos/", "train.alithis")
    with pytest.raises(alithis.AlithisError, match="needs a model"):
        alithis.hash_model("model.bin", "model.alithis", inputs=[("fine_tuned_from", train)])


def test_manifests_that_cannot_be_compared_raise_an_error(folder):
    files = alithis.hash_dataset("photos/", "files.alithis")
    Path("lines.txt").write_text("cat\ndog\n")
    lines = alithis.hash_dataset("lines.txt", "lines.alithis")
    with pytest.raises(alithis.AlithisError, match="different canonical forms"):
        alithis.overlap(files, lines)
