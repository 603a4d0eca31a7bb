"""`make app`: a chain that lasts, and nothing left running, however it ends.

The demo's part is played by a bare registry, so that a run takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from helpers.paths import ROOT
from helpers.serving import free_port, wait_until

STAGED = """
import json, signal, sys, urllib.request
from pathlib import Path
sys.path.insert(0, {tools!r})
import app
from alithis.chain.contract import artifact

folder = Path({folder!r})
for name in ("_STATE", "_DUMP", "_REGISTRY", "_STORE", "_INDEX", "_LOG"):
    setattr(app, name, folder / getattr(app, name).name)
app._APP = folder

def ask(uri, method, *params):
    body = json.dumps({{"jsonrpc": "2.0", "id": 1, "method": method, "params": params}}).encode()
    asked = urllib.request.Request(uri, body, {{"Content-Type": "application/json"}})
    return json.load(urllib.request.urlopen(asked))["result"]

def publish(uri):
    print("publishing", flush=True)
    if {stuck!r}:
        signal.pause()
    sender = ask(uri, "eth_accounts")[0]
    sent = ask(uri, "eth_sendTransaction", {{"from": sender, "data": artifact()["bytecode"]}})
    while not (receipt := ask(uri, "eth_getTransactionReceipt", sent)):
        pass
    return receipt["contractAddress"]

app._publish = publish
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, app._interrupted)
try:
    sys.exit(app.main(["--no-open", "--port", {port!r}]))
except KeyboardInterrupt:
    app._keep()
"""


@dataclass
class App:
    folder: Path
    port: int = field(default_factory=free_port)
    stuck: bool = False

    def __post_init__(self):
        tools = str(ROOT / "tools")
        values = {"folder": str(self.folder), "port": str(self.port), "stuck": self.stuck}
        program = textwrap.dedent(STAGED).format(tools=tools, **values)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            cwd=ROOT,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.process.stdout.close()

    def ready(self):
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=5)
        except requests.RequestException:
            assert self.process.poll() is None, self.process.stdout.read()
            return None
        return answer.json() if answer.ok else None

    def running(self):
        wait_until(self.ready, 60)
        return self.ready()

    def end(self, number):
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def left(self):
        """Processes whose command line has this run's folder in it."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if entry.name.isdecimal() and int(entry.name) != self.process.pid:
                found += [words] * any(word.startswith(os.fsencode(self.folder)) for word in words)
        return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_where_it_was(tmp_path, number):
    with App(tmp_path / "app") as first:
        begun = first.running()
        assert first.left()
        status, said = first.end(number)
        assert (status, first.left()) == (0, [])
        assert "publishing" in said
        assert "Traceback" not in said
    registry = (tmp_path / "app" / "registry.json").read_text()
    with App(tmp_path / "app") as second:
        assert second.running() == begun
        assert "publishing" not in second.end(signal.SIGINT)[1]
    assert (tmp_path / "app" / "registry.json").read_text() == registry


def test_killed_outright_it_leaves_nothing_running(tmp_path):
    with App(tmp_path / "app") as first:
        begun = first.running()
        first.process.kill()
        first.process.wait(30)
        wait_until(lambda: not first.left())
    with App(tmp_path / "app") as second:
        assert second.running() == begun


def test_one_at_a_time(tmp_path):
    with App(tmp_path / "app") as first:
        first.running()
        with App(tmp_path / "app") as second:
            said, _ = second.process.communicate(timeout=30)
            assert second.process.returncode == 2
            assert "another 'make app' runs already" in said
        assert first.ready()


def test_a_damaged_state_is_begun_anew(tmp_path):
    with App(tmp_path / "app") as first:
        first.running()
        first.end(signal.SIGINT)
    state = tmp_path / "app" / "chain.json"
    state.write_bytes(state.read_bytes()[:5000])
    with App(tmp_path / "app") as second:
        second.running()
        said = second.end(signal.SIGINT)[1]
        assert "The chain's state is damaged: beginning anew" in said
    json.loads(state.read_bytes())


def test_what_breaks_off_at_first_is_begun_anew(tmp_path):
    with App(tmp_path / "app", stuck=True) as first:
        assert first.process.stdout.readline() == "publishing\n"
        assert first.end(signal.SIGTERM)[0] == 0
        assert first.left() == []
    assert not (tmp_path / "app" / "registry.json").exists()
    with App(tmp_path / "app") as second:
        second.running()
        assert "publishing" in second.end(signal.SIGINT)[1]


def test_a_port_that_is_taken(tmp_path):
    with App(tmp_path / "one") as first:
        first.running()
        with App(tmp_path / "two", port=first.port) as second:
            said, _ = second.process.communicate(timeout=60)
            assert second.process.returncode == 2
            assert "cannot listen: Address already in use" in said
            assert "Choose another address with" in said
            assert second.left() == []
        assert (tmp_path / "two" / "registry.json").exists()  # and so the next run is quick
