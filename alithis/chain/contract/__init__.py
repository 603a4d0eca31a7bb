"""The compiled contract that ships with the package: no Solidity compiler needed.

``Alithis.json`` is written by ``tools/export_contract.py``; a test holds it equal to a fresh
compile of ``contracts/``.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def artifact() -> dict[str, Any]:
    """Loads the compiled contract; the caller must not change it.

    Returns:
        ``contractName``, ``abi`` (Solidity's JSON ABI), ``bytecode`` (what creates the contract)
        and ``deployedBytecode`` (what stands at its address, its immutables zero), both 0x-prefixed
        hexadecimal, ``interfaceId`` (ERC-165's, of IAlithis), and ``compiler`` (``name``,
        ``version``, ``evmVersion``, ``optimizer``).
    """
    file = resources.files(__name__).joinpath("Alithis.json")
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document
