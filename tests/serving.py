"""`alithis serve` in a process of its own, as a user runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def serving(*arguments: object) -> Iterator[str]:
    """Serve until the block ends; Ctrl-C then ends it, without a word and within seconds."""
    port = free_port()
    command = [sys.executable, "-m", "alithis", "serve", "--port", str(port), *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                requests.get(f"{url}/health", timeout=1)
                break
            except requests.ConnectionError:
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=15)
    assert said == f"{url}/  (Ctrl-C ends it)\n"
