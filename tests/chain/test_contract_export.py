"""The compiled contract that ships with the library is that of ``contracts/``."""

import importlib.util
import json

import pytest
from eth_abi import encode
from eth_utils import keccak

from alithis.chain.contract import artifact
from helpers.paths import ROOT

TOOL = ROOT / "tools" / "export_contract.py"


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


PUSH1, PUSH32 = 0x60, 0x7F


def immutables(code):
    """Places of the immutables in a compiled contract: what it pushes is zero until it is deployed.

    A zero that is meant is pushed by PUSH0.
    """
    place = 0
    while place < len(code):
        width = code[place] - PUSH1 + 1 if PUSH1 <= code[place] <= PUSH32 else 0
        if width == 32 and not any(code[place + 1 : place + 33]):
            yield slice(place + 1, place + 33)
        place += 1 + width


def short_string(text):
    """OpenZeppelin's ShortString: the text, and in the last byte how many bytes it has."""
    return text.encode().ljust(31, b"\0") + bytes([len(text)])


def domain_separator(chain_id, address):
    """EIP-712's, of the domain that IAlithis names."""
    types = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    hashes = [keccak(text=text) for text in (types, "Alithis", "1")]
    return keccak(
        encode(["bytes32"] * 3 + ["uint256", "address"], [*hashes, chain_id, str(address)])
    )


def test_artifact_deploys_the_code_it_says(registry):
    """Apart from the immutables, which are zero in the artifact: the domain, and the block."""
    chain_id = registry.provider.chain_id
    code = registry.provider.get_code(registry.address)
    compiled = bytes.fromhex(artifact()["deployedBytecode"].removeprefix("0x"))
    places = list(immutables(compiled))
    assert {bytes(code[place]) for place in places} == {
        registry.deploymentBlock().to_bytes(32),
        domain_separator(chain_id, registry.address),
        chain_id.to_bytes(32),
        bytes.fromhex(registry.address[2:]).rjust(32, b"\0"),
        keccak(text="Alithis"),
        keccak(text="1"),
        short_string("Alithis"),
        short_string("1"),
    }
    blanked = bytearray(code)
    for place in places:
        blanked[place] = bytes(32)
    assert bytes(blanked) == compiled


def test_compiler_is_the_pinned_one():
    compiler = artifact()["compiler"]
    assert (compiler["name"], compiler["evmVersion"]) == ("solidity", "cancun")
    assert compiler["version"].startswith("0.8.37+commit.")
    assert compiler["optimizer"] == {"enabled": True, "runs": 200}
