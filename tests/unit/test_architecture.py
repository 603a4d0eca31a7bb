"""docs/architecture.md and its picture say what the code is."""

import re
from itertools import pairwise
from pkgutil import resolve_name
from xml.etree import ElementTree

import pytest

from tools import architecture
from tools.architecture import BOXES, Import

DOCUMENT = (architecture.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`(alithis\.[\w.]+)`", DOCUMENT)))
WALKS = {
    title: re.findall(r"^\d+\. `([\w.]+)`", text, re.MULTILINE)
    for title, text in re.findall(r"^### (.+→.+)\n((?:(?!##).*\n)*)", DOCUMENT, re.MULTILINE)
}


def test_the_picture_is_current():
    assert architecture.main(["--check"]) == 0, "run make architecture"


def test_the_picture_is_small_and_well_formed():
    data = architecture.PICTURE.read_bytes()
    assert len(data) < 30_000
    names = {
        each.text for each in ElementTree.fromstring(data).iter() if each.get("class") == "name"
    }
    assert names == BOXES.keys()


def test_every_package_has_a_row_in_the_document():
    assert [name for name in BOXES if f"| `{name}` |" not in DOCUMENT] == []


def problem(tmp_path, module, source):
    """What is wrong with an import in one module, beside empty packages for all boxes."""
    for name in BOXES:
        (tmp_path / "alithis" / name).mkdir(parents=True, exist_ok=True)
    path = tmp_path / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    found = list(architecture.imports(tmp_path))
    return [each for each in architecture.problems(found) if "no such package" not in each]


@pytest.mark.parametrize(
    "statement",
    [
        "from alithis.storage.store import Store",
        "import alithis.storage",
        "from alithis import storage",
        "def late():\n    from alithis.storage import store",
        "if TYPE_CHECKING:\n    from alithis.storage import store",
    ],
)
def test_an_import_that_runs_up_is_refused(tmp_path, statement):
    (found,) = problem(tmp_path, "alithis/manifest/overlap.py", statement)
    assert re.fullmatch(
        r"alithis/manifest/overlap\.py:\d: manifest imports storage, which stands above it\. .+",
        found,
    )


def test_an_import_across_a_row_is_refused(tmp_path):
    (found,) = problem(tmp_path, "alithis/chain/rpc.py", "from alithis.storage import store")
    assert "chain imports storage, which stands beside it" in found


def test_imports_that_run_down_are_no_problem(tmp_path):
    assert problem(tmp_path, "alithis/cli/verify.py", "from alithis.base import files") == []
    assert (
        problem(tmp_path, "alithis/base/files.py", "from alithis.errors import SourceError") == []
    )


def test_a_relative_import_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"^alithis/cli/verify\.py:1: a relative import"):
        problem(tmp_path, "alithis/cli/verify.py", "from .options import say")


def test_a_package_without_a_box_is_refused(tmp_path):
    (tmp_path / "alithis" / "annex").mkdir(parents=True)
    (found,) = problem(tmp_path, "alithis/cli/verify.py", "from alithis.annex import room")
    assert found.startswith("annex: has no box.")


def test_a_box_without_a_package_is_refused():
    assert list(architecture.problems([Import("cli", "errors", "")])) == [
        f"{name}: has a box, and no such package exists. Remove it from BOXES"
        for name in sorted(BOXES.keys() - {"cli", "errors"})
    ]


def test_an_arrow_that_a_longer_way_covers_is_left_out():
    arrows = {("cli", "verify"), ("verify", "manifest"), ("cli", "manifest"), ("manifest", "base")}
    assert set(architecture.reduced(arrows)) == arrows - {("cli", "manifest")}


def test_the_document_has_the_six_walks():
    assert list(WALKS) == [
        "Folder → manifest",
        "File → verdict",
        "Manifest → token",
        "Run → model",
        "Event → lineage",
        "Token → report",
    ]
    assert all(len(steps) >= 4 for steps in WALKS.values())


def is_there(name):
    try:
        return resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


def test_each_name_in_the_document_exists():
    assert [name for name in NAMES if not is_there(name)] == []


def test_each_name_in_the_document_is_public():
    assert [name for name in NAMES if "._" in name] == []


def test_each_path_in_the_document_exists():
    paths = re.findall(r"`([\w.]+/[\w./]*)`", DOCUMENT)
    assert [path for path in paths if not (architecture.ROOT / path).exists()] == []


def is_callable(step):
    module, _, name = step.rpartition(".")
    if not module.startswith("alithis_ape."):
        return callable(resolve_name(step))
    path = architecture.ROOT / f"{module.replace('.', '/')}.py"  # this suite does without Ape
    return f"\ndef {name}(" in path.read_text(encoding="utf-8")


def test_each_step_of_a_walk_is_a_function_or_class():
    steps = {step for steps in WALKS.values() for step in steps}
    assert [step for step in sorted(steps) if not is_callable(step)] == []


@pytest.fixture(scope="module")
def found():
    """All imports between packages."""
    return list(architecture.imports())


@pytest.mark.parametrize("title", WALKS)
def test_neighbouring_steps_of_a_walk_import_downward_only(title, found):
    packages = [step.removeprefix("alithis.").split(".")[0] for step in WALKS[title]]
    neighbours = {frozenset(pair) for pair in pairwise(packages)}
    between = [each for each in found if {each.importer, each.imported} in neighbours]
    assert [
        each.where for each in between if not architecture.runs_down(each.importer, each.imported)
    ] == []
