"""The compiled contract that ships with the library is that of ``contracts/``."""

import importlib.util
import json
from pathlib import Path

import pytest

from alithis.contract import artifact

TOOL = Path(__file__).parents[1] / "tools" / "export_contract.py"


@pytest.fixture(scope="module")
def export():
    """tools/export_contract.py as a module."""
    spec = importlib.util.spec_from_file_location("export_contract", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fresh(export):
    """The text of the artifact, compiled now."""
    return export.compile_contract()


@pytest.fixture
def elsewhere(export, fresh, monkeypatch, tmp_path):
    """The artifact's place, moved into an empty folder; the contract is compiled once for all."""
    monkeypatch.setattr(export, "ROOT", tmp_path)
    monkeypatch.setattr(export, "ARTIFACT", tmp_path / "Alithis.json")
    monkeypatch.setattr(export, "compile_contract", lambda: fresh)
    return tmp_path / "Alithis.json"


def test_what_ships_is_a_fresh_compile(export, fresh):
    assert export.ARTIFACT.read_text(encoding="utf-8") == fresh
    assert artifact() == json.loads(fresh)


def test_missing_artifact_is_stale(export, elsewhere, capsys):
    assert export.main(["--check"]) == 1
    assert capsys.readouterr().err == "Alithis.json is stale: run tools/export_contract.py\n"
    assert not elsewhere.exists()


def test_stale_artifact_is_written_anew(export, elsewhere, fresh):
    elsewhere.write_text(fresh.replace("cancun", "prague"), encoding="utf-8")
    assert export.main(["--check"]) == 1
    assert export.main([]) == 0
    assert elsewhere.read_text(encoding="utf-8") == fresh
    assert export.main(["--check"]) == 0


def test_artifact_deploys_the_code_it_says(registry):
    """Apart from the one immutable, the block of the deployment, which is zero in the artifact."""
    code = registry.provider.get_code(registry.address)
    push = b"\x7f"  # PUSH32
    block = registry.deploymentBlock().to_bytes(32)
    assert code.count(push + block) == 1
    expected = bytes.fromhex(artifact()["deployedBytecode"].removeprefix("0x"))
    assert code.replace(push + block, push + bytes(32)) == expected


def test_compiler_is_the_pinned_one():
    compiler = artifact()["compiler"]
    assert (compiler["name"], compiler["evmVersion"]) == ("solidity", "cancun")
    assert compiler["version"].startswith("0.8.37+commit.")
    assert compiler["optimizer"] == {"enabled": True, "runs": 200}
