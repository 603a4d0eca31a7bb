"""Runs scripts as a user does, on a local chain or on a node that replaces Calibration."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sysconfig
from types import SimpleNamespace
from typing import Any

from click.testing import CliRunner

from helpers.anvil import Node
from helpers.paths import ROOT

OURS = ("ALITHIS_", "APE_ACCOUNTS_", "APE_FILECOIN_", "WEB3_")
"""Beginnings of variables that would change what a script does."""
ALONE = {"ALITHIS_GATEWAYS": "none", "ALITHIS_CACHE": "none"}
"""What keeps it from the network and from the user's cache."""

PASSPHRASE = "correct horse"
RICH, POOR = "alithis-rich", "alithis-poor"
"""Accounts that Ape keeps; the first has money on the stand-in for a live network."""
UNLOCKED = {f"APE_ACCOUNTS_{alias}_PASSPHRASE": PASSPHRASE for alias in (RICH, POOR)}

# As ape_geth has them, with the stand-in's clock.
TIMES = json.dumps(
    {"required_confirmations": 1, "block_time": 1, "transaction_acceptance_timeout": 60}
)


def run_script(
    *arguments: str, stdin: int = subprocess.DEVNULL, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `ape run …` in its own process, as a user does."""
    ape_command = shutil.which("ape", path=sysconfig.get_path("scripts")) or shutil.which("ape")
    assert ape_command, "Ape is not installed: run 'make setup'"
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


def run_here(
    node: Node, command: str, *options: str, network: str | None = None, **environment: str
) -> SimpleNamespace:
    """Runs a script on the node in Calibration's place, in this process.

    A tenth of the time that `run_live` takes, for what is refused before anything is sent: Ape
    keeps the clock of the real network here, and accounts that were unlocked stay so.
    """
    environment = ALONE | UNLOCKED | environment
    absent = {name: None for name in os.environ if name.startswith(OURS)}
    runner = CliRunner(mix_stderr=False, env=absent | environment)
    program = importlib.import_module(f"scripts.{command}").cli
    result = runner.invoke(program, [*options, "--network", network or node.choice])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return SimpleNamespace(returncode=result.exit_code, stdout=result.stdout, stderr=result.stderr)


def run_live(
    node: Node, command: str, *options: str, network: str | None = None, **environment: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `ape run COMMAND` on the node in Calibration's place, its accounts unlocked."""
    return run_script(
        *(command, *options, "--network", network or node.choice),
        **{"APE_FILECOIN_CALIBRATION": TIMES, **UNLOCKED, **environment},
    )
