"""Runs `alithis serve` in its own process, as a user does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@dataclass
class Served:
    """A server that runs, and its log."""

    url: str
    port: int
    process: subprocess.Popen[str]
    path: Path
    ended: bool = False

    def events(self, name: str) -> list[dict[str, Any]]:
        """The complete lines of the log so far."""
        lines = self.path.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in found if event["event"] == name]

    def end(self, number: int) -> None:
        """Sends the signal that ends the server, before the end of the ``with`` block."""
        self.ended = True
        self.process.send_signal(number)

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, headers=headers, timeout=30)


def wait_until(true, seconds: float = 30) -> None:
    """Waits for a condition, which must become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


@contextmanager
def served(*arguments: object, ends: int = signal.SIGINT) -> Iterator[Served]:
    """Serve until the block ends; then a signal ends the server, without output, within seconds."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        given = ["--index", f"{folder}/index", *map(str, arguments)]
        command = [sys.executable, "-m", "alithis", "serve", "--port", str(port), *given]
        log = Path(folder) / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=output, text=True, env=os.environ
            )
        found = Served(url, port, process, log)
        try:
            wait_until(lambda: process.poll() is not None or _answers(url))
            assert process.poll() is None, log.read_text()
            yield found
        finally:
            if not found.ended:
                process.send_signal(ends)
            said, _ = process.communicate(timeout=15)
        assert said == f"{url}/  (Ctrl-C stops it)\n"
        assert process.returncode == (0 if ends == signal.SIGINT else 128 + ends)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/live", timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def serving(*arguments: object) -> Iterator[str]:
    """Serve until the block ends."""
    with served(*arguments) as found:
        yield found.url
