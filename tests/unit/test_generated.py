"""What is written for the page out of the library is up to date, and so are its limits."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from alithis.manifest import terms
from helpers.paths import ROOT


@pytest.fixture
def tool() -> ModuleType:
    """tools/generate_terms.py as a module."""
    path = ROOT / "tools" / "generate_terms.py"
    spec = importlib.util.spec_from_file_location("generate_terms", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_files_are_up_to_date(tool, capsys):
    status = tool.main(["--check"])
    assert status == 0, capsys.readouterr().err


def test_check_names_stale_files_and_leaves_them(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "FOLDER", tmp_path / "generated")
    assert tool.main(["--check"]) == 1
    assert "terms.js is stale: run tools/generate_terms.py" in capsys.readouterr().err
    assert not (tmp_path / "generated").exists()
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("constant", "limit"),
    [("_MAX_LINKS", terms.MAX_LINKS), ("_MAX_URI", terms.MAX_TEXT_BYTES)],
)
def test_limits_are_the_contract_s(constant, limit):
    source = (ROOT / "contracts" / "Alithis.sol").read_text()
    (found,) = re.findall(rf"constant {constant} = (\d+);", source)
    assert int(found) == limit


@pytest.mark.parametrize(
    "term",
    [terms.Kind, terms.Scheme, terms.Relation, terms.ClaimStatus],
    ids=lambda each: str(each),
)
def test_words_stand_in_the_contract_s_order(term):
    source = "".join(path.read_text() for path in sorted(ROOT.glob("contracts/**/*.sol")))
    (body,) = re.findall(rf"enum {term.__name__} {{([^}}]*)}}", source)
    names = re.findall(r"^\s*([A-Z]\w*),?$", body, re.MULTILINE)
    assert [re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() for name in names] == [
        each.name for each in term
    ]
