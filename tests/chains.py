"""A chain for the tests beside Ape's embedded one, and what is minted on it."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ape
import pytest
import requests

import ape_geth
from alithis.forms import hashing
from alithis.manifest import merkle
from alithis.manifest.terms import Relation

ROOT = Path(__file__).resolve().parents[1]
OURS = ("ALITHIS_", "APE_ACCOUNTS_", "APE_FILECOIN_", "WEB3_")
"""Beginnings of variables that would change what a script does."""
ALONE = {"ALITHIS_GATEWAYS": "none", "ALITHIS_CACHE": "none"}
"""What keeps it from the network and from the user's cache."""

CALIBRATION = 314159
READY_TIMEOUT = 20.0
"""Seconds that anvil may take to listen: it takes 0.1."""

LEAVES = tuple(sorted(hashing.of_bytes(bytes([number])) for number in range(5)))
COMMITMENT = (merkle.root(b"".join(LEAVES)), len(LEAVES), 0, hashing.of_bytes(b"metadata"))
"""IAlithis.Commitment over the leaves: root, size, scheme (Sha256), metadata digest."""
TRAINED_ON = Relation.TRAINED_ON.number

PASSPHRASE = "correct horse"
RICH, POOR = "alithis-rich", "alithis-poor"
"""Accounts that Ape keeps; the first has money on the stand-in for a live network."""
# As ape_geth has them, with the stand-in's clock.
TIMES = json.dumps(
    {"required_confirmations": 1, "block_time": 2, "transaction_acceptance_timeout": 60}
)

# anvil, tethered to its standard input: it ends when the pipe closes, if only because we died.
TETHERED = 'exec 3<&0; (read -r _ <&3; kill $$) & exec "$@" 3<&- </dev/null'


@dataclass(frozen=True, slots=True)
class Node:
    """A running anvil."""

    uri: str

    @property
    def choice(self) -> str:
        """The node in Calibration's place, as Ape's --network names it."""
        return f"filecoin:calibration:{self.uri}"


@contextmanager
def run_anvil(*options: str, chain_id: int = CALIBRATION) -> Iterator[Node]:
    """Runs anvil on a free port of loopback, until the block or this process ends."""
    anvil = ape_geth.find_anvil()
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
    """The host and port that anvil says it listens on."""
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


def run_script(
    *arguments: str, stdin: int = subprocess.DEVNULL, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `ape run …` in a process of its own, as a user does."""
    ape_command = Path(sysconfig.get_path("scripts")) / "ape"
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    return subprocess.run(
        [ape_command, "run", *arguments],
        cwd=ROOT,
        env={**inherited, **ALONE, **environment},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_live(
    node: Node, command: str, *options: str, network: str | None = None, **environment: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `ape run COMMAND` on the node in Calibration's place, its accounts unlocked."""
    unlocked = {f"APE_ACCOUNTS_{alias}_PASSPHRASE": PASSPHRASE for alias in (RICH, POOR)}
    return run_script(
        *(command, *options, "--network", network or node.choice),
        **{"APE_FILECOIN_CALIBRATION": TIMES, **unlocked, **environment},
    )


def rpc(node: Node, method: str, *params: Any) -> Any:
    """The node's answer to one JSON-RPC request."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return requests.post(node.uri, json=request, timeout=10).json()["result"]


@contextmanager
def per_example() -> Iterator[None]:
    """Takes back what a test, or a Hypothesis example, did to the chain.

    Not ``chain.isolate()``, which swallows a failing assertion.
    """
    provider = ape.networks.provider
    snapshot = provider.snapshot()
    try:
        yield
    finally:
        provider.restore(snapshot)
        ape.chain.history.revert_to_block(ape.chain.blocks.height)
