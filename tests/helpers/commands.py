"""The `alithis` command, run in this process."""

from __future__ import annotations

import inspect
import json
from typing import Any

from click.testing import CliRunner, Result

from alithis import cli

# Since click 8.2 the two outputs are kept apart without being asked; Ape pins an older one.
APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def invoke(*args: object) -> Result:
    """Runs a command, and accepts any exit status."""
    return CliRunner(**APART).invoke(cli.cli, [str(arg) for arg in args], prog_name="alithis")


def run(*args: object, status: int = 0) -> Result:
    """Runs a command, which must exit with this status."""
    result = invoke(*args)
    assert result.exit_code == status, result.stdout + result.stderr
    return result


def run_json(*args: object, status: int = 0) -> Any:
    """Runs a command with --json."""
    return json.loads(run(*args, "--json", status=status).stdout)


def refused(*args: object) -> str:
    """Runs a command that must be refused, and returns the error, which must be one line."""
    result = run(*args, status=2)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert "Traceback" not in result.stderr
    return result.stderr
