"""The commands that README.md shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import click
import pytest

from helpers.paths import ROOT


def commands(program: str) -> Iterator[Any]:
    """Yields each command line of a program that the README shows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == [program]:
                yield pytest.param(words, id=" ".join(words))


def assert_shown_as_it_is(command: click.Command, rest: Sequence[str]) -> None:
    """Holds that a command has the subcommands and options that are shown."""
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    options = (parameter.opts + parameter.secondary_opts for parameter in command.params)
    known = {option for each in options for option in each}
    assert {word for word in rest if word.startswith("-")} <= known | {"--network"}
