"""Writes the compiled contract into the library: ``alithis/chain/contract/Alithis.json``.

The compiler and its settings are those of ``ape-config.yaml``. The same source gives the same
bytes on every machine.

Usage: python tools/export_contract.py [--check]
"""

from __future__ import annotations

import argparse
import json
import operator
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_utils import keccak

if TYPE_CHECKING:
    from ethpm_types import Compiler, ContractType

ROOT = Path(__file__).resolve().parents[1]
ARTIFACT = ROOT / "alithis" / "chain" / "contract" / "Alithis.json"
NAME = "Alithis"
INTERFACE = "IAlithis"


def compile_contract() -> str:
    """Compiles the contracts afresh and gives the text of the artifact."""
    import ape

    project = ape.Project(ROOT)
    compiled = project.load_contracts(use_cache=False)
    (compiler,) = (c for c in project.manifest.compilers or [] if NAME in (c.contractTypes or []))
    document = render(
        compiled[NAME].contract_type, interface_id(compiled[INTERFACE].contract_type), compiler
    )
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def render(contract: ContractType, interface_id: int, compiler: Compiler) -> dict[str, Any]:
    """The artifact of one contract: what ``alithis.chain.contract.artifact`` documents."""
    fields = contract.model_dump(mode="json", by_alias=True, exclude_none=True)
    settings = compiler.settings or {}
    return {
        "contractName": contract.name,
        "abi": fields["abi"],
        "bytecode": fields["deploymentBytecode"]["bytecode"],
        "deployedBytecode": fields["runtimeBytecode"]["bytecode"],
        "interfaceId": f"0x{interface_id:08x}",
        "compiler": {
            "name": compiler.name,
            "version": compiler.version,
            "evmVersion": settings["evmVersion"],
            "optimizer": settings["optimizer"],
        },
    }


def interface_id(interface: ContractType) -> int:
    """An interface's identifier: the XOR of its functions' selectors (ERC-165)."""
    selectors = (int.from_bytes(keccak(text=method.selector)[:4]) for method in interface.methods)
    return reduce(operator.xor, selectors)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the artifact, or with --check says whether it is up to date."""
    parser = argparse.ArgumentParser(description="Writes the compiled contract into the library.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if it is stale")
    args = parser.parse_args(arguments)
    fresh = compile_contract()
    name = ARTIFACT.relative_to(ROOT)
    if ARTIFACT.is_file() and ARTIFACT.read_text(encoding="utf-8") == fresh:
        print(f"{name} is up to date")
        return 0
    if args.check:
        print(f"{name} is stale: run tools/export_contract.py", file=sys.stderr)
        return 1
    ARTIFACT.write_text(fresh, encoding="utf-8")
    print(f"{name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
