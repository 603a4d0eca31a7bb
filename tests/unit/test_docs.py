"""What README.md shows is what there is."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from alithis import cli, readers
from alithis.forms.pool import Pool
from alithis.manifest import builder, metadata, reader
from helpers.paths import ROOT
from helpers.readme import assert_shown_as_it_is, commands


@pytest.mark.parametrize("document", ["README.md", "docs/training.md"])
def test_the_training_snippet_runs_as_it_stands(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.arange(6 * 4, dtype="uint8").reshape(6, 2, 2)
    source = readers.arrays(images, name="images")
    description = metadata.Description("mnist-train")
    with Pool(1) as pool:
        builder.build(
            source.digested(pool),
            Path("mnist-train.alithis"),
            description=description,
            form=source.form,
        )
    Path("digits.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    text = (ROOT / document).read_text(encoding="utf-8")
    snippet = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]

    exec(snippet, {"train_images": images})

    data = reader.Manifest.open(Path("digits.alithis")).metadata
    assert (data.kind, data.name) == ("model", "digits")
    assert data.document["alithis"]["metrics"] == {"accuracy": 0.92}


@pytest.mark.parametrize("words", commands("alithis"))
def test_each_command_shown_exists_with_the_options_shown(words):
    assert_shown_as_it_is(cli.cli, words[1:])


TESTS = ROOT / "tests"
STORAGE = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")


def named_tests():
    """Each test that a table in docs/storage.md names; a bare name is of the class before it."""
    where = ""
    for name in re.findall(r"`((?:test_\w+\.py::(?:\w+::)?)?test_\w+)`", STORAGE):
        before, _, test = name.rpartition("::")
        where = before or where
        yield pytest.param(where, test, id=f"{where}::{test}")


@pytest.mark.parametrize(("where", "test"), named_tests())
def test_each_test_named_exists(where, test):
    file, _, group = where.partition("::")
    module = ast.parse(next(TESTS.rglob(file)).read_text(encoding="utf-8"))
    body = module.body
    if group:
        (body,) = [each.body for each in body if getattr(each, "name", "") == group]
    assert test in {getattr(each, "name", "") for each in body}


def test_each_option_of_the_store_is_in_its_manual():
    for name, command in cli.store.store.commands.items():
        assert f"alithis store {name}" in STORAGE or f"`{name}`" in STORAGE
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--out":
                    assert option in STORAGE, f"{name} {option}"


SERVE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def test_the_servers_manual_states_its_routes_and_limits():
    from alithis.chain import index
    from alithis.server import api, app, follower, limits, middleware

    paths = json.loads(api.description())["paths"]
    for path, methods in paths.items():
        written = path.replace("{id}", "ID").replace("{sha256}", "SHA256")
        assert f"| `{written}` |" in SERVE
        for parameter in methods["get"].get("parameters", ()):
            if path == "/api/tokens":
                assert f"`{parameter['name']}`" in SERVE
    bounds = [
        f"| {app.Limits().rate} per minute",
        f"| {middleware.CONTENT} times that",
        f"{limits.MAX_CLIENTS:,} are remembered",
        f"| {app._AT_ONCE}; {limits._CONNECTIONS} per client |",
        f"| {app._MAX_HEAD >> 10} KiB, and {limits._HEAD:.0f} seconds",
        f"after {limits._STALL:.0f} seconds",
        f"| {api._AT_ONCE} requests in parallel and {api._WAITING} in the queue, then 503; "
        f"{api._SECONDS:.0f} seconds for each",
        f"| {api.MAX_TOKENS}; {api.MAX_VERIFIED} in a verification",
        f"| {follower._WINDOWS} windows of {index.WINDOW:,} blocks",
        f"up to {follower._SLOWEST / 60:.0f} minutes",
        f"have {app._SHUTDOWN} seconds to finish",
    ]
    assert [bound for bound in bounds if bound not in SERVE] == []
