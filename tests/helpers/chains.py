"""Scripts as a user runs them, on a node in Calibration's place, and chains as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ape

from helpers.anvil import Node
from helpers.paths import ROOT

OURS = ("ALITHIS_", "APE_ACCOUNTS_", "APE_FILECOIN_", "WEB3_")
"""Beginnings of variables that would change what a script does."""
ALONE = {"ALITHIS_GATEWAYS": "none", "ALITHIS_CACHE": "none"}
"""What keeps it from the network and from the user's cache."""

PASSPHRASE = "correct horse"
RICH, POOR = "alithis-rich", "alithis-poor"
"""Accounts that Ape keeps; the first has money on the stand-in for a live network."""

# As ape_geth has them, with the stand-in's clock.
TIMES = json.dumps(
    {"required_confirmations": 1, "block_time": 2, "transaction_acceptance_timeout": 60}
)


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
