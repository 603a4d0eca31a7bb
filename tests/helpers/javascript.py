"""Runs the page's verifier in a Node process."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from helpers.paths import ROOT

PROGRAM = ROOT / "web" / "test" / "answers.mjs"


class RefusedError(Exception):
    """The page's verifier refused an input; the message is its reason."""


class Verifier:
    """Asks the page's verifier."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: str, **values: Any) -> Any:
        """The answer; a refusal is raised, any other error fails the test."""
        self._process.stdin.write(json.dumps({"ask": question, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the page's verifier broke down: see the standard error"
        answer = json.loads(line)
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        return answer["ok"]

    def holds(self, question: str, **values: Any) -> bool:
        """Whether it accepts."""
        try:
            self.ask(question, **values)
        except RefusedError:
            return False
        return True


@contextmanager
def running() -> Iterator[Verifier]:
    """Runs the verifier, for the ``with`` block."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("Node is not installed: run 'make setup'", pytrace=False)
    process = subprocess.Popen(
        [node, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Verifier(process)
    finally:
        process.stdin.close()
        process.wait(10)
