"""The others: what they do of the same work, and how long it takes them.

Those from PyPI and npm live in environments of their own (`make bench` fills them); they time
themselves, so that the start of their interpreter does not count. One that is not there is named
as not run.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.inputs import RECORD

HOME = Path(".bench").absolute()
FRAMEWORKS = Path(".frameworks/bin/python").absolute()
_PYTHON = HOME / "venv" / "bin" / "python"

_MODEL_SIGNING = """
import sys, time
from model_signing import hashing
start = time.perf_counter()
hashing.Config().hash(sys.argv[1])
print(time.perf_counter() - start)
"""
_NETWORKX = """
import sys, time
import networkx
graph = networkx.read_edgelist(sys.argv[1], create_using=networkx.DiGraph, nodetype=int)
start = time.perf_counter()
networkx.ancestors(graph, int(sys.argv[2]))
print(time.perf_counter() - start)
"""
_PYMERKLE = """
import sys, time
from pymerkle import InmemoryTree
data = open(sys.argv[1], "rb").read()
start = time.perf_counter()
tree = InmemoryTree(algorithm="sha256")
for at in range(0, len(data), 32):
    tree.append_entry(data[at : at + 32])
tree.get_root()
print(time.perf_counter() - start)
"""
_OPENZEPPELIN = """
import { readFileSync } from 'node:fs'
import { SimpleMerkleTree } from '@openzeppelin/merkle-tree'
const data = readFileSync(process.argv[2])
const leaves = []
for (let at = 0; at < data.length; at += 32)
  leaves.push('0x' + data.subarray(at, at + 32).toString('hex'))
const start = performance.now()
SimpleMerkleTree.of(leaves).root
console.log((performance.now() - start) / 1000)
"""


class MissingPeerError(Exception):
    """A peer is not installed."""


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes, by the wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def hash_paths(paths: list[str]) -> list[bytes]:
    """Hash files with hashlib and nothing else."""
    digests = []
    for path in paths:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (the plain way, as fast as it goes)
            digests.append(hashlib.sha256(file.read()).digest())
    return digests


def plain_files(folder: Path) -> float:
    """List a folder and hash its files, half of them in each of two processes."""

    def work() -> None:
        paths = [f"{top}/{name}" for top, _, names in os.walk(folder) for name in names]
        half = len(paths) // 2
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(hash_paths, [paths[:half], paths[half:]])

    return seconds(work)


def plain_records(path: Path) -> float:
    """Hash the records of an IDX file in a loop."""

    def work() -> None:
        data = path.read_bytes()
        for start in range(16, len(data), RECORD):
            hashlib.sha256(data[start : start + RECORD]).digest()

    return seconds(work)


def plain_tree(leaves: bytes) -> float:
    """Hash leaves, and pairs of hashes up to the root, in a loop."""

    def work() -> None:
        sha256 = hashlib.sha256
        starts = range(0, len(leaves), 32)
        level = [sha256(b"\0" + leaves[start : start + 32]).digest() for start in starts]
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=False)
            odd = level[len(level) // 2 * 2 :]
            level = [sha256(b"\1" + left + right).digest() for left, right in pairs] + odd

    return seconds(work)


def plain_file(path: Path) -> float:
    """Hash one file with hashlib."""

    def work() -> None:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    return seconds(work)


def sha256sum_files(folder: Path) -> float:
    """Have two processes of sha256sum hash the files of a folder."""
    script = f"find {folder} -type f -print0 | xargs -0 -n 500 -P 2 sha256sum > /dev/null"
    return seconds(lambda: _run(["sh", "-c", script]))


def sha256sum_file(path: Path) -> float:
    """Have sha256sum hash one file."""
    return seconds(lambda: _run(["sha256sum", str(path)]))


def openssl_file(path: Path) -> float:
    """Have openssl hash one file."""
    return seconds(lambda: _run(["openssl", "dgst", "-sha256", str(path)]))


def model_signing(path: Path) -> float:
    """Have OpenSSF model-signing hash what it would sign."""
    return float(_run([str(_PYTHON), "-c", _MODEL_SIGNING, str(path)]))


def networkx(path: Path, token: int) -> float:
    """Have networkx, which has read a file of links into memory, find what links to a token."""
    return float(_run([str(_PYTHON), "-c", _NETWORKX, str(path), str(token)]))


def dvc(folder: Path) -> float:
    """Have DVC track a folder, without a copy in its cache: the whole command."""
    place = folder.parent
    program = str(_PYTHON.with_name("dvc"))
    _run([program, "init", "--no-scm", "--quiet", "--force"], place)
    try:
        return seconds(lambda: _run([program, "add", "--quiet", "--no-commit", folder.name], place))
    finally:
        shutil.rmtree(place / ".dvc")
        (place / f"{folder.name}.dvc").unlink(missing_ok=True)


def pymerkle(path: Path) -> float:
    """Have pymerkle build a tree over a file of leaves."""
    return float(_run([str(_PYTHON), "-c", _PYMERKLE, str(path)]))


def openzeppelin(path: Path) -> float:
    """Have OpenZeppelin's merkle-tree build one over a file of leaves."""
    if not (HOME / "node_modules" / "@openzeppelin" / "merkle-tree").is_dir():
        raise MissingPeerError
    script = HOME / "tree.mjs"
    script.write_text(_OPENZEPPELIN)
    return float(_run(["node", str(script), str(path)]))


def _run(command: list[str], folder: Path | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise MissingPeerError
    # DVC would call home.
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(  # noqa: S603
        command, check=True, capture_output=True, text=True, cwd=folder, env=environment
    )
    return done.stdout


def training(python: str, loop: str, seconds: float, folder: Path) -> list[list[list[float]]]:
    """Train in turn under a Run and without, in a process of its own: see `training.pairs`.

    Returns:
        Times with and without; nothing where the interpreter is not there.
    """
    if not Path(python).exists():
        return []
    words = [python, "-m", "benchmarks.training", loop, str(seconds), str(folder)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, timeout=2 * seconds + 300)  # noqa: S603
    found: list[list[list[float]]] = json.loads(done.stdout)
    return found
