"""Runs slither over the contracts, through npm's solc: any finding that no comment allows fails.

npm's compiler serves standard JSON alone, so that slither is given an input of that kind. What
OpenZeppelin's own files hold is not reported. A finding in ours is fixed, or allowed where it
stands: ``// slither-disable-next-line <detector>`` with the reason beside it.

Usage: python tools/slither.py [SLITHER OPTIONS]
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import yaml
from install_solc import InstallError, installed_version, target_path

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = [
    "abi",
    "devdoc",
    "userdoc",
    "evm.bytecode",
    "evm.deployedBytecode",
    "evm.methodIdentifiers",
]


def standard_json() -> dict[str, Any]:
    """The contracts as Ape compiles them, with what slither reads selected."""
    config = yaml.safe_load((ROOT / "ape-config.yaml").read_text(encoding="utf-8"))
    paths = sorted((ROOT / config["contracts_folder"]).rglob("*.sol"))
    sources = {
        path.relative_to(ROOT).as_posix(): {"content": path.read_text(encoding="utf-8")}
        for path in paths
    }
    settings = {
        "evmVersion": config["solidity"]["evm_version"],
        "optimizer": {"enabled": True, "runs": 200},
        "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
        "outputSelection": {"*": {"*": OUTPUTS, "": ["ast"]}},
    }
    return {"language": "Solidity", "sources": sources, "settings": settings}


def main() -> int:
    """Runs slither; its exit status is ours."""
    slither = Path(sysconfig.get_path("scripts")) / "slither"
    solc = target_path(installed_version(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "input.json"
        source.write_text(json.dumps(standard_json()), encoding="utf-8")
        command = [slither, source, "--solc", solc, "--compile-force-framework", "Solc-json"]
        options = ["--filter-paths", "node_modules", *sys.argv[1:]]
        return subprocess.run([*command, *options], cwd=ROOT, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (InstallError, OSError) as error:
        raise SystemExit(f"tools/slither.py: {error}") from None
