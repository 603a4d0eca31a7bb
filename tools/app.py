"""`make app`: a local chain that lasts, the demo's tokens on it, and the page, until Ctrl-C.

The chain's state, the store and the registry's address stay in build/app, so that the next start
goes on there; delete that folder to begin anew.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ape_geth  # noqa: E402

_APP = ROOT / "build" / "app"
_STATE, _REGISTRY, _STORE = _APP / "chain.json", _APP / "registry.json", _APP / "store"
_CHAIN = 1337  # Ape's for filecoin:local
_READY = 20.0  # seconds that anvil may take
_BIN = Path(sys.executable).parent


def main() -> int:
    """Run chain and page; return the exit status."""
    anvil = ape_geth.find_anvil()
    if anvil is None:
        print("anvil is not installed: run 'make setup'", file=sys.stderr)
        return 2
    _APP.mkdir(parents=True, exist_ok=True)
    with _chain(anvil) as uri:
        if not (_REGISTRY.exists() and _STATE.exists()):
            _publish(uri)
        registry = json.loads(_REGISTRY.read_text())["registry"]
        command = [_BIN / "alithis", "serve", "--rpc", uri, "--registry", registry]
        words = ["--name", "Local chain", "--store", str(_STORE)]
        return subprocess.run([*command, *words, *sys.argv[1:]], check=False).returncode


@contextmanager
def _chain(anvil: str) -> Iterator[str]:
    """Run anvil on a free port of loopback; it keeps its state when it ends."""
    command = [anvil, "--host", "127.0.0.1", "--port", "0", "--chain-id", str(_CHAIN)]
    log = _APP / "chain.log"
    with log.open("wb") as output:
        # Its own group: Ctrl-C must end the page first, and the chain after it.
        process = subprocess.Popen(
            [*command, "--state", str(_STATE)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield f"http://{_listening(process, log)}"
    finally:
        process.send_signal(signal.SIGINT)  # on which it writes its state
        process.wait(30)


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"Listening on (\S+)\n", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise SystemExit(f"anvil does not listen: {log} says why")


def _publish(uri: str) -> None:
    """Run the demo on the chain, and keep the address of its registry."""
    command = [_BIN / "ape", "run", "demo", "--network", f"filecoin:local:{uri}"]
    said = []
    with subprocess.Popen(
        [*command, "--store", str(_STORE)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            print(line, end="", flush=True)
            said.append(line)
    found = re.search(r"address (0x[0-9a-fA-F]{40})", "".join(said))
    if demo.returncode or found is None:
        raise SystemExit(demo.returncode or 2)
    partial = _REGISTRY.with_suffix(".part")
    partial.write_text(json.dumps({"registry": found[1]}))
    os.replace(partial, _REGISTRY)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
