"""`make app`: a local chain that lasts, the demo's tokens on it, and the page, until Ctrl-C.

The chain's state, the store and the registry's address stay in build/app, so that the next start
goes on there; delete that folder to begin anew. State is written beside the old one and put in its
place when it is whole: after a power cut the chain is as it was at the last clean end.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
_APP = ROOT / "build" / "app"
_STATE, _DUMP, _REGISTRY = _APP / "chain.json", _APP / "chain.part", _APP / "registry.json"
_STORE, _INDEX, _LOG = _APP / "store", _APP / "index", _APP / "chain.log"
_CHAIN = 1337  # Ape's for filecoin:local
_READY = 20.0  # seconds that anvil may take
_END = 30.0  # seconds that a process may take to end
_BIN = Path(sys.executable).parent
_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(arguments: list[str]) -> int:
    """Run chain and page; return the exit status."""
    # As ape_geth finds it, without the second that importing Ape takes.
    anvil = shutil.which("anvil", path=_BIN) or shutil.which("anvil")
    if anvil is None:
        print("anvil is not installed: run 'make setup'", file=sys.stderr)
        return 2
    _APP.mkdir(parents=True, exist_ok=True)
    with _alone():
        if not (_REGISTRY.exists() and _usable(anvil)):
            _begin(anvil)
        registry = json.loads(_REGISTRY.read_text())["registry"]
        with _chain(anvil, _STATE) as uri:
            words = ["--rpc", uri, "--registry", registry, "--name", "Local chain", "--open"]
            places = ["--store", _STORE, "--index", _INDEX, "--log", "faults"]
            with _child([_BIN / "alithis", "serve", *words, *places, *arguments]) as page:
                status = page.wait()
        _keep()
        return status


@contextmanager
def _alone() -> Iterator[None]:
    """Keep a second one away, which would write over the first one's chain."""
    with (_APP / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _fail("another 'make app' runs already: end that one first")
        yield


def _begin(anvil: str) -> None:
    """Publish the demo's tokens on a new chain; what breaks off leaves nothing to go on with."""
    for path in (_REGISTRY, _STATE, _DUMP):
        path.unlink(missing_ok=True)
    shutil.rmtree(_INDEX, ignore_errors=True)  # of the chain before
    with _chain(anvil, None) as uri:
        registry = _publish(uri)
    _keep()
    partial = _REGISTRY.with_suffix(".part")
    partial.write_text(json.dumps({"registry": registry}))
    partial.replace(_REGISTRY)


def _usable(anvil: str) -> bool:
    """Tell whether anvil takes the state."""
    if not _STATE.exists():
        return False
    try:
        with _chain(anvil, _STATE):
            return True
    except SystemExit:
        print("The chain's state is damaged: beginning anew", file=sys.stderr)
        return False


@contextmanager
def _chain(anvil: str, state: Path | None) -> Iterator[str]:
    """Run anvil on a free port of loopback; it writes its state when it ends."""
    _DUMP.unlink(missing_ok=True)
    command = [anvil, "--host", "127.0.0.1", "--port", "0", "--chain-id", str(_CHAIN)]
    command += ["--dump-state", str(_DUMP)] + (["--load-state", str(state)] if state else [])
    with _LOG.open("wb") as output, _child(command, stdout=output) as process:
        yield f"http://{_listening(process)}"


def _listening(process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"Listening on (\S+)\n", _LOG.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    return _fail(f"anvil does not listen: {_LOG} says why")


def _keep() -> None:
    """Put the state that anvil has written in the place of the one before, if it is whole."""
    try:
        json.loads(_DUMP.read_bytes())
    except (OSError, ValueError):
        print(f"The chain's state was not written: {_LOG} says why", file=sys.stderr)
        return
    _DUMP.replace(_STATE)


def _publish(uri: str) -> str:
    """Run the demo on the chain; return the address of its registry."""
    command = [_BIN / "ape", "run", "demo", "--network", f"filecoin:local:{uri}"]
    said = []
    options = {"stdout": subprocess.PIPE, "cwd": ROOT}
    with _child([*command, "--store", _STORE], **options) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            print(line.decode(), end="", flush=True)
            said.append(line.decode())
        status = demo.wait()
    found = re.search(r"address (0x[0-9a-fA-F]{40})", "".join(said))
    if status or found is None:
        raise SystemExit(status or 2)
    return found[1]


@contextmanager
def _child(command: list[Any], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that ends with the block, and with this process however that ends.

    It has a group of its own: Ctrl-C must end the page first, and the chain after it.
    """
    process = subprocess.Popen(  # noqa: S603
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT if command[0] != _BIN / "alithis" else None,
        start_new_session=True,
        preexec_fn=_dies_with_parent(signal.SIGINT),
        **options,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, on which anvil writes its state; at last, make it."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _dies_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return what makes the kernel send a process a signal when its parent is gone (Linux)."""
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(number))


def _fail(words: str) -> NoReturn:
    print(words, file=sys.stderr)
    raise SystemExit(2)


def _interrupted(*_: object) -> NoReturn:
    """End as on Ctrl-C; what ends meanwhile is not interrupted again."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    if "MAKELEVEL" in os.environ:  # by hand it may outlive the shell it was started from
        _dies_with_parent(signal.SIGTERM)()
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        _keep()  # and that was the way to end it
