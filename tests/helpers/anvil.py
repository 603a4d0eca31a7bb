"""Nodes for the tests: anvil, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import requests

from alithis.chain.contract import artifact
from helpers.abi import Account, Contract, Receipt, to_hex

CALIBRATION = 314159
READY_TIMEOUT = 20.0
"""Seconds that anvil may take to listen: it takes 0.1."""

# anvil, tied to its standard input: it ends when the pipe closes, also because we were killed.
TETHERED = 'exec 3<&0; (read -r _ <&3; kill $$) & exec "$@" 3<&- </dev/null'


@dataclass(frozen=True)
class Node:
    """A running anvil."""

    uri: str

    @property
    def choice(self) -> str:
        """The value of Ape's --network for this node, which replaces Calibration."""
        return f"filecoin:calibration:{self.uri}"

    def rpc(self, method: str, *params: Any) -> Any:
        """Returns the result of one JSON-RPC request, which must have one."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = requests.post(self.uri, json=request, timeout=10).json()
        assert "error" not in answer, answer
        return answer["result"]

    @cached_property
    def accounts(self) -> list[Account]:
        """The accounts that anvil signs for."""
        from eth_utils import to_checksum_address

        return [Account(to_checksum_address(each)) for each in self.rpc("eth_accounts")]

    def deploy(self, sender: str | None = None) -> Contract:
        """Deploys a registry from the exported artifact."""
        from eth_utils import to_checksum_address

        receipt = self._mined({"data": artifact()["bytecode"]}, sender or self.accounts[0])
        return Contract(self, to_checksum_address(receipt["contractAddress"]))

    def send(self, to: str, data: bytes, sender: str) -> Receipt:
        """Mines a transaction; it must succeed."""
        receipt = self._mined({"to": to, "data": to_hex(data)}, sender)
        block = self.rpc("eth_getBlockByNumber", receipt["blockNumber"], False)
        number, time = (int(block[name], 16) for name in ("number", "timestamp"))
        return Receipt(receipt["transactionHash"], number, time)

    def read(self, to: str, data: bytes) -> bytes:
        """Returns the result of a call in the state after the last block."""
        answer = self.rpc("eth_call", {"to": to, "data": to_hex(data)}, "latest")
        return bytes.fromhex(answer.removeprefix("0x"))

    def _mined(self, transaction: dict[str, str], sender: str) -> dict[str, Any]:
        sent = self.rpc("eth_sendTransaction", {"from": sender, **transaction})
        deadline = time.monotonic() + READY_TIMEOUT
        # anvil answers before it mines.
        while (receipt := self.rpc("eth_getTransactionReceipt", sent)) is None:
            assert time.monotonic() < deadline, "the transaction is not mined"
            time.sleep(0.002)
        assert receipt["status"] == "0x1"
        return receipt

    def snapshot(self) -> str:
        """Returns a snapshot for `restore`."""
        return self.rpc("evm_snapshot")

    def restore(self, snapshot: str) -> None:
        """Reverts the chain to a snapshot."""
        assert self.rpc("evm_revert", snapshot)


def find_anvil() -> str | None:
    """Returns the path of anvil: in the folder of the running Python, or on PATH."""
    return shutil.which("anvil", path=sysconfig.get_path("scripts")) or shutil.which("anvil")


@contextmanager
def run_anvil(*options: str, chain_id: int = CALIBRATION) -> Iterator[Node]:
    """Runs anvil until the block or this process ends."""
    anvil = find_anvil()
    if anvil is None:
        pytest.fail("anvil is not installed: run 'make setup'", pytrace=False)
    chain = ["--host", "127.0.0.1", "--port", "0", "--chain-id", str(chain_id)]
    command = ["sh", "-c", TETHERED, "sh", anvil, *chain, *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield Node(f"http://{_listening(process, log.fileno())}")
        finally:
            process.stdin.close()
            process.wait(10)


def _listening(process: subprocess.Popen[bytes], log: int) -> str:
    """Returns the host and port that anvil says it listens on."""
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        text = os.pread(log, 1 << 16, 0).decode(errors="replace")
        _, found, rest = text.partition("Listening on ")
        if found and "\n" in rest:
            return rest.split()[0]
        if process.poll() is not None:
            pytest.fail(f"anvil ended with status {process.returncode}: {text}", pytrace=False)
        time.sleep(0.02)
    pytest.fail(f"anvil does not listen after {READY_TIMEOUT:.0f} s: {text}", pytrace=False)
