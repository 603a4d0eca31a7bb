"""Any JSON in any place of metadata.json is a finding or a refusal, and never a traceback."""

from __future__ import annotations

import copy
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import alithis
from alithis.errors import AlithisError
from alithis.manifest import croissant, metadata, vocabulary
from alithis.manifest.audit import audit
from alithis.manifest.metadata import Description
from alithis.manifest.reader import Manifest
from alithis.reports import as_json, cyclonedx, eu_summary, in_toto, model_report, model_signing
from alithis.reports.gather import report
from alithis.storage.store import Store
from alithis.verify.library import Shelf
from helpers.commands import run

DROP = object()
VALUES = (
    *(None, True, -1, 1.5, 10**90, "", "x", "\ud800", "a\nb", "http://[::1", "a" * 3000),
    *([], {}, [[]], [{}], [None], ["x", 1], {"@id": []}, {"@id": {}}, {"@value": []}, DROP),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the manifests of a dataset and of a model that was trained on it."""
    place = tmp_path_factory.mktemp("hostile")
    (place / "p").mkdir()
    for name in "123":
        (place / "p" / name).write_text(name)
    (place / "m.bin").write_bytes(b"weights")
    words = Description(
        "p", license="MIT", creators=["A"], rai={"dataBiases": ["oil"]}, data_mining="prohibited"
    )
    data = alithis.hash_dataset(place / "p", place / "d", description=words, workers=1)
    with alithis.Run("m") as training:
        training.log_params(rate=1.5)
        training.log_metrics(accuracy=1)
        training.log_seeds(seed=3)
        list(training.use([b"1", b"4"], data))
        training.save_model(place / "m.bin")
    training.write(place / "m")
    return place


def nodes(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document, but its own."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (*above, key)
        if isinstance(inner, dict | list):
            yield from nodes(inner, (*above, key))


def mutated(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> bytes:
    document = copy.deepcopy(document)
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    if value is DROP:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(document).encode()


def tolerant(function, *args: Any) -> Any:
    """Calls a function, which may refuse in one line."""
    try:
        return function(*args)
    except AlithisError as error:
        if "\n" in str(error):
            raise
        return None


def base(data: bytes) -> Description:
    return Description.composed({}, vocabulary.parse_base(data, "base"), {"name": "x"})


def check_reports(model: Manifest, *others: Manifest, store: Path) -> None:
    found = tolerant(report, model, Shelf(Store(store), [model, *others], None))
    if found is None:
        return
    for module in (model_report, eu_summary):
        for form in ("markdown", "html"):
            module.write(found, form).encode()
    for write in (as_json.as_object, eu_summary.as_object, cyclonedx.bill, in_toto.statement):
        json.dumps(tolerant(write, found)).encode()


@pytest.mark.parametrize("name", ["d", "m"])
def test_structure_of_hostile_metadata_is_judged(place, name):
    """Every node by every value, through what needs no files."""
    document = json.loads((place / name / metadata.FILE).read_text())
    for path in nodes(document):
        for value in VALUES:
            data = mutated(document, path, value)
            tolerant(base, data)
            loaded = tolerant(metadata.load, data)
            if loaded is not None:
                croissant.problems(loaded)
                croissant.columns_problem(loaded, ["leaf"])
                json.dumps(croissant.through(loaded, "https://gateway.example"))


@pytest.mark.parametrize("name", ["d", "m"])
def test_hostile_metadata_is_audited_reported_and_exported(place, name, tmp_path):
    folder = Path(shutil.copytree(place / name, tmp_path / name))
    other = Manifest.open(place / ("m" if name == "d" else "d"))
    document = json.loads((folder / metadata.FILE).read_text())
    chance = random.Random(7)
    paths = list(nodes(document))
    for path in chance.sample(paths, min(60, len(paths))):
        data = mutated(document, path, chance.choice(VALUES))
        (folder / metadata.FILE).write_bytes(data)
        assert audit(folder)
        opened = tolerant(Manifest.open, folder)
        if opened is None:
            continue
        for function, *args in (
            (alithis.overlap, opened, other),
            (alithis.verify, place / "p" / "1", opened),
            (alithis.prove, place / "p" / "1", opened),
            (model_signing.statement, opened),
        ):
            tolerant(function, *args)
        pair = (opened, other) if name == "m" else (other, opened)
        check_reports(*pair, store=tmp_path / "store")


def test_a_source_that_is_not_text_is_a_finding(place, tmp_path):
    """It was looked up in a set, which ended in a traceback."""
    folder = Path(shutil.copytree(place / "d", tmp_path / "d"))
    document = json.loads((folder / metadata.FILE).read_text())
    path = ("recordSet", 0, "field", 0, "source", "fileObject", "@id")
    for value in ([], {}):
        (folder / metadata.FILE).write_bytes(mutated(document, path, value))
        said = run("audit", folder, status=2).stdout
        assert "field items/leaf: its source is not in the distribution" in said


def test_check_of_croissant_prints_nothing_else(place):
    """mlcroissant logs recommendations by absl, straight to standard error."""
    words = ["export", place / "d", "--to", "croissant", "--check"]
    command = [sys.executable, "-m", "alithis", *map(str, words)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    assert done.stderr == b""
    assert json.loads(done.stdout)["name"] == "p"
