"""A Kubo node, through its RPC."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode, urlsplit

from alithis.base.http import UPLOADS, is_private
from alithis.ipfs.car import LocalFile
from alithis.ipfs.cid import CHUNK_SIZE, MAX_LINKS, Cid
from alithis.manifest.reader import RangeReader
from alithis.storage.hosts.host import (
    MAX_RAW_KUBO,
    CarFile,
    EmptyBody,
    HttpHost,
    RawFile,
    ReportBytes,
)

KUBO = "ALITHIS_KUBO"
"""The environment variable with the RPC address of the host ``kubo``."""
KUBO_URL = "http://127.0.0.1:5001"


class Kubo(HttpHost):
    """A Kubo node, or another node with the same RPC; uploaded files are pinned."""

    # Kubo answers every failed command with status 500, so a retry would fail too.
    RETRIES = replace(UPLOADS, statuses=UPLOADS.statuses - {500})

    def __init__(self, url: str) -> None:
        """Choose the node; nothing is sent yet.

        Args:
            url: URL of its RPC, ``http://127.0.0.1:5001``; may contain a user and password.

        Raises:
            StorageError: it is not such a URL.
        """
        super().__init__("kubo")
        host = self._client.host(url)
        self._url = url.rstrip("/")
        self.name = f"kubo {host}"
        self.public = not is_private(urlsplit(url).hostname or "")

    def has(self, local: LocalFile) -> bool:
        """Return whether the whole file is pinned."""
        url = self._rpc("pin/ls", arg=str(local.cid), type="recursive")
        answer = self._ask(url, EmptyBody())
        if answer.status in (401, 403):
            raise self._refused(url, answer.status)
        if answer.status != 200:
            return False
        keys = self._object(url, answer).get("Keys")
        return isinstance(keys, dict) and str(local.cid) in keys

    def put(self, local: LocalFile, report: ReportBytes) -> Cid:
        """Add a file, or import its blocks; both commands pin it."""
        if local.size > MAX_RAW_KUBO:
            return self._import(local, report)
        url = self._rpc(
            "add",
            **{"cid-version": "1", "raw-leaves": "true", "hash": "sha2-256"},
            **{"chunker": f"size-{CHUNK_SIZE}", "max-file-links": str(MAX_LINKS)},
            **{"pin": "true", "progress": "false"},
        )
        return self._cid(url, self._send(url, local, RawFile(local), report).get("Hash"))

    def open(self, local: LocalFile) -> RangeReader:
        """Open a file for reading by range."""
        return _KuboFile(self, local)

    def read(self, cid: Cid, offset: int, length: int) -> bytes:
        """Read a range of a file.

        Raises:
            StorageError: the node does not return it.
        """
        url = self._rpc("cat", arg=str(cid), offset=str(offset), length=str(length))
        answer = self._client.ask(url, content=EmptyBody(), limit=length)
        if answer.status != 200:
            raise self._refused(url, answer.status)
        if answer.cut or len(answer.body) != length:
            raise self._client.failure(url, f"does not return the {length} requested bytes")
        return answer.body

    def _import(self, local: LocalFile, report: ReportBytes) -> Cid:
        url = self._rpc("dag/import", **{"pin-roots": "true"})
        root = self._send(url, local, CarFile(local), report).get("Root")
        if not isinstance(root, dict) or root.get("PinErrorMsg"):
            raise self._client.failure(url, "did not pin what it imported")
        link = root.get("Cid")
        return self._cid(url, link.get("/") if isinstance(link, dict) else None)

    def _rpc(self, command: str, **options: str) -> str:
        return f"{self._url}/api/v0/{command}?{urlencode(options)}"


class _KuboFile:
    """A reader of a file on a node."""

    def __init__(self, node: Kubo, local: LocalFile) -> None:
        self._node, self._cid, self.size = node, local.cid, local.size

    def read(self, offset: int, length: int) -> bytes:
        return self._node.read(self._cid, offset, length)
