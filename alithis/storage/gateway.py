"""One untrusted IPFS gateway.

Sources: the IPFS specifications of path, subdomain and trustless gateways.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from alithis.base.http import ONCE, Response, RetryPolicy, retry_after
from alithis.errors import (
    AlithisError,
    IntegrityError,
    NotStoredError,
    StorageError,
)
from alithis.forms.hashing import of_bytes
from alithis.ipfs import unixfs
from alithis.ipfs.car import Sections
from alithis.ipfs.cid import DAG_PB, RAW, Cid
from alithis.manifest.metadata import FileEntry
from alithis.storage.http_manifest import MAX_REDIRECTS, REDIRECTS, RemoteFile, Server

TIMEOUT = 30.0
"""Seconds to wait for an answer: a public gateway may have to search for the content."""
SHORT_TIMEOUT = 5.0
"""Seconds to wait for a gateway that did not answer twice in a row."""
RAW_TYPE, CAR_TYPE = "application/vnd.ipld.raw", "application/vnd.ipld.car"
_NO_FORMAT = (400, 406, 415, 501)  # answers of a gateway that does not support ?format=
_NO_FILES = 406  # answer of a trustless gateway, which only supports ?format=
_NOT_FOUND = (412, 504)  # answers of Kubo when no peer has a block
METADATA_BLOCKS = 64  # limit for metadata.json: mostly 1, a few with another profile
MAX_NAMES = 16  # limit for the path after a CID
MAX_OPEN_FILES = 256
_MAX_BLOCKS = 8  # blocks to keep in memory, up to 16 MiB


class Gateway(Server):
    """An IPFS gateway.

    Attributes:
        gives_blocks: whether it returns blocks other than a file's content; True until it refuses.
        gives_files: whether it returns files; True until it refuses, as trustless gateways do.
    """

    called: ClassVar[str] = "gateway"
    versioned: ClassVar[bool] = False  # the content of a CID never changes
    retries: ClassVar[RetryPolicy] = ONCE  # the next gateway is asked instead

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Choose the gateway; nothing is sent yet.

        Args:
            url: the part before ``/ipfs/CID``; its query, such as an access token, is sent with
                each request.
            timeout: seconds to wait for an answer.

        Raises:
            StorageError: the URL does not begin with ``http://`` or ``https://``.
        """
        super().__init__(url, timeout=timeout)
        parts = urlsplit(url)
        path = parts.path.rstrip("/").removesuffix("/ipfs")
        self._parts = parts._replace(path=path, fragment="")
        self._timeout, self._timeouts = timeout, 0
        self._busy_until = 0.0
        self.gives_blocks = self.gives_files = True
        self._blocks: dict[Cid, bytes] = {}
        self._files: dict[str, RemoteFile] = {}

    def __str__(self) -> str:
        """Return what errors call it."""
        return f"gateway {self.host}"

    @property
    def wait_seconds(self) -> float:
        """Seconds until it accepts requests again, if it rate-limits us (HTTP 429 or 503)."""
        return max(0.0, self._busy_until - time.monotonic())

    def url(self, cid: Cid, **query: str) -> str:
        """Return the URL of a CID."""
        path = f"{self._parts.path}/ipfs/{cid}"
        queries = filter(None, (self._parts.query, urlencode(query, safe=":*")))
        return urlunsplit(self._parts._replace(path=path, query="&".join(queries)))

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, limit: int, only: int
    ) -> tuple[str, Response]:
        """Request a file: see `Server.get`.

        After two timeouts in a row the timeout is short, so that a dead gateway costs little; the
        first answer restores it.
        """
        begun = time.monotonic()
        try:
            found, answer = super().get(url, headers=headers, limit=limit, only=only)
        except StorageError:
            self._timeouts += time.monotonic() - begun >= self._client.timeout
            if self._timeouts > 1:
                self._client.timeout = min(SHORT_TIMEOUT, self._timeout)
            raise
        self._timeouts, self._client.timeout = 0, self._timeout
        self._note_wait(answer)
        return found, answer

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        """Read a range of a file; if the gateway returns no files, from the blocks that contain it.

        Raises:
            StorageError: the gateway does not return exactly this range.
            IntegrityError: its file has another size.
            FormatError: the CID is not that of a file.
        """
        if self.gives_files:
            try:
                return self._read_file(entry, offset, length)
            except StorageError:
                if self.gives_files:
                    raise
        return unixfs.read(Cid.parse(entry.cid), self._block, offset, length)

    def _read_file(self, entry: FileEntry, offset: int, length: int) -> bytes:
        if entry.cid not in self._files:
            if len(self._files) == MAX_OPEN_FILES:
                self._files.clear()
            self._files[entry.cid] = RemoteFile(self, entry, self.url(Cid.parse(entry.cid)))
        return self._files[entry.cid].read(offset, length)

    def _block(self, cid: Cid) -> bytes:
        """Return a block; some are kept in memory, because ranges share their upper nodes."""
        if cid not in self._blocks:
            if len(self._blocks) == _MAX_BLOCKS:
                self._blocks.clear()
            self._blocks[cid] = self.block(cid)
        return self._blocks[cid]

    def block(self, cid: Cid, limit: int = unixfs.MAX_BLOCK) -> bytes:
        """Return a block, which has been checked against its CID.

        Raises:
            StorageError: the gateway does not return it, or it is larger than the limit.
            IntegrityError: the gateway returns another block.
        """
        answer = self._ask_block(cid, limit, format="raw")
        if answer.status in _NO_FORMAT and cid.codec == RAW:  # such a block is also a whole file
            answer = self._ask_block(cid, limit)
        if answer.status != 200 or answer.cut or not is_block(cid, answer.body):
            raise self._no_block(cid, limit, answer)
        return answer.body

    @contextmanager
    def car(self, cid: Cid, start: int) -> Iterator[Sections]:
        """Request all blocks of a file as one stream; each is checked when it is read.

        Args:
            cid: the file's CID.
            start: first byte that is needed; a gateway may send earlier blocks too.

        Raises:
            AlithisError: now or while reading: the gateway does not return such a stream.
        """
        query = {"format": "car", "dag-scope": "entity"}
        if start:
            query["entity-bytes"] = f"{start}:*"
        url, accept = self.url(cid, **query), f"{CAR_TYPE};version=1;order=dfs;dups=y"
        for _ in range(MAX_REDIRECTS + 1):
            self.requests += 1
            with self._client.stream(url, headers={"Accept": accept}) as (answer, body):
                if answer.status not in REDIRECTS:
                    self._check_car(answer, cid)
                    sections = Sections(body, f"gateway {self.host}")
                    try:
                        yield sections
                    finally:
                        self.received += sections.at
                    return
            url = self.redirected(url, answer.headers.get("Location", ""))
        raise self.too_many_redirects()

    def refused(self, status: int, name: str) -> StorageError:
        """Return the error for a status without content."""
        if status in _NOT_FOUND:
            return NotStoredError(f"gateway {self.host} cannot find {name} (HTTP {status})")
        if status == 429:
            return self.failure("rate-limits us (HTTP 429)")
        self.gives_files &= status != _NO_FILES
        return super().refused(status, name)

    def check_redirect(self, asked: SplitResult, target: SplitResult) -> None:
        """Check that a redirect stays at the gateway; subdomain gateways redirect to subdomains.

        Raises:
            StorageError: it leads to another host or port.
        """
        own, host = self._parts.hostname or "", target.hostname or ""
        if host != own and not host.endswith(f".{own}"):
            raise self.failure("redirects to another host")
        upgraded = asked.scheme == "http" and target.scheme == "https" and target.netloc == host
        if not upgraded and _port(target) != _port(asked):
            raise self.failure("redirects to another port")

    def _ask_block(self, cid: Cid, limit: int, **query: str) -> Response:
        headers = {"Accept": RAW_TYPE} if query else {}
        return self.get(self.url(cid, **query), headers=headers, limit=limit, only=200)[1]

    def _no_block(self, cid: Cid, limit: int, answer: Response) -> AlithisError:
        """Return the error for an answer that is not the block."""
        file = answer.status == 200 and not _is_type(answer, RAW_TYPE)
        if cid.codec == DAG_PB and (file or answer.status in _NO_FORMAT):
            self.gives_blocks = False
            return self.failure("returns no blocks, so its files cannot be checked")
        if answer.status != 200:
            return self.refused(answer.status, str(cid))
        if answer.cut:
            return self.failure(f"returns more than the {limit:,} bytes that {cid} may have")
        if answer.body.lstrip()[:1] == b"<":
            return self.failure(f"returns a web page, not {cid}")
        what = f"gateway {self.host}: {cid}: SHA-256"
        return IntegrityError(what, expected=cid.digest, found=of_bytes(answer.body))

    def _check_car(self, answer: Response, cid: Cid) -> None:
        self._note_wait(answer)
        if answer.status != 200:
            raise self.refused(answer.status, str(cid))
        if not _is_type(answer, CAR_TYPE):
            raise self.failure("does not return a CAR")

    def _note_wait(self, answer: Response) -> None:
        if answer.status in (429, 503):
            wait = retry_after(answer) or (1.0 if answer.status == 429 else 0.0)
            self._busy_until = time.monotonic() + wait


def _port(parts: SplitResult) -> int | None:
    """Return the port of a URL; None if it is not valid."""
    try:
        return parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        return None


def _is_type(answer: Response, wanted: str) -> bool:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() == wanted


def is_block(cid: Cid, block: bytes) -> bool:
    """Return whether a block matches a CID."""
    try:
        unixfs.check(cid, block)
    except IntegrityError:
        return False
    return True
