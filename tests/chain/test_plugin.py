"""The Ape plugin: `ape alithis …` in a folder that is not an Ape project."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from ape._cli import ApeCLI

from helpers.manifests import write
from helpers.paths import ROOT
from helpers.scripts import ALONE, OURS

GROUP = "ape_cli_subcommands"


@pytest.fixture
def plugin(monkeypatch):
    """Return the command that Ape builds from the entry points in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = project["entry-points"][GROUP].items()
    points = EntryPoints(EntryPoint(name, value, GROUP) for name, value in stated)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda: points)
    return ApeCLI().get_command(None, "alithis")


def test_ape_finds_the_commands_by_the_entry_point(plugin):
    assert sorted(plugin.commands) == ["deploy", "mint-dataset", "mint-model", "registry"]
    assert sorted(plugin.commands["registry"].commands) == [
        *("answer-claim", "attest", "claim", "countersign", "relay", "report-disorder"),
        *("retract", "revoke-nonce", "sign", "withdraw"),
    ]


@pytest.fixture
def run(tmp_path):
    """Run a command in an empty folder with its own home folder."""
    folder, home = tmp_path / "empty", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith((*OURS, "APE_", "COVERAGE_"))
    }
    script = "from alithis_ape.cli import cli; cli(prog_name='ape alithis')"

    def invoke(*arguments, status=0):
        result = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments), "--network", "filecoin"],
            cwd=folder,
            env={**inherited, **ALONE, "HOME": str(home), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == status, result.stdout + result.stderr
        return result

    return invoke


def test_a_registry_is_deployed_without_a_project(run):
    outcome = json.loads(run("deploy", "--json").stdout)
    assert outcome["network"] == "filecoin:local"
    assert outcome["registry"].startswith("0x")


def test_a_manifest_is_minted_without_a_project(run, tmp_path):
    folder = write(tmp_path / "rows.alithis", rows=3)
    assert json.loads(run("mint-dataset", folder, "--json").stdout)["token"] == 1
