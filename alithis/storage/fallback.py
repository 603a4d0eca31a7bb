"""Content by its CID from several untrusted IPFS gateways.

Blocks, and so metadata.json, are checked against their CIDs. Ranges of `leaves` and `tiles/` are
accepted only if they lead to the root. If a gateway fails or returns other bytes, the report names
it, and the next gateway is asked; a gateway that rate-limits us is asked last. The local store and
a cache are asked before the gateways, and are not trusted either.

Only the gateways that the user chose are asked. No URL from a manifest or a chain is ever fetched,
and a redirect may only lead to subdomains of the gateway itself: otherwise a publisher could make
a verifier's machine send requests into the verifier's own network (SSRF).

Sources: the IPFS specifications of path, subdomain and trustless gateways; RFC 9110, section 14.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from alithis.errors import (
    FormatError,
    IntegrityError,
    NotStoredError,
    StorageError,
)
from alithis.ipfs import unixfs
from alithis.ipfs.cid import Cid
from alithis.manifest import metadata as metadata_module
from alithis.manifest.reader import Manifest
from alithis.storage.cache import Cache
from alithis.storage.gateway import MAX_NAMES, METADATA_BLOCKS, Gateway, is_block
from alithis.storage.served_manifest import ServedManifest
from alithis.storage.sources import first_answer
from alithis.storage.store import Store

ENVIRONMENT = "ALITHIS_GATEWAYS"
"""The environment variable with the gateways' URLs, separated by spaces."""
NONE = "none"
"""In place of a URL: use no gateway."""
LOCAL = "http://127.0.0.1:8080"
"""The default address of a Kubo node's gateway; used by default if something listens there."""
PUBLIC = ("https://ipfs.io", "https://dweb.link")
"""The other default gateways."""
MAX_GATEWAYS = 8
_CONNECT_TIMEOUT = 0.2  # seconds


class FallbackGateways:
    """Gateways that are asked in turn, and a cache of their answers.

    Attributes:
        gateways: the gateways, in the order in which they are asked.
        cache: their earlier answers.
    """

    def __init__(self, gateways: Sequence[Gateway], cache: Cache | None = None) -> None:
        """Choose the gateways; nothing is sent yet."""
        self.gateways = tuple(gateways)
        self.cache = cache or Cache(None)

    @classmethod
    def from_urls(cls, urls: Sequence[str]) -> FallbackGateways:
        """Choose gateways by their URLs, with the default cache.

        Args:
            urls: the gateways' URLs; ``none`` alone means no gateway, an empty list the default
                gateways.

        Raises:
            StorageError: one is not a URL, or there are too many.
        """
        chosen = dict.fromkeys(urls or _defaults())
        if NONE in chosen:
            if len(chosen) > 1:
                raise StorageError(f"gateways: {NONE!r} cannot be combined with others")
            chosen = {}
        if len(chosen) > MAX_GATEWAYS:
            raise StorageError(f"{len(chosen)} gateways were given: give at most {MAX_GATEWAYS}")
        return cls([Gateway(url) for url in chosen], Cache.from_environment())

    @classmethod
    def from_environment(cls) -> FallbackGateways:
        """Choose the gateways in ``ALITHIS_GATEWAYS``, or else the default ones.

        Raises:
            StorageError: as `from_urls` does.
        """
        return cls.from_urls(os.environ.get(ENVIRONMENT, "").split())

    def block(self, cid: Cid, notes: list[str], limit: int = unixfs.MAX_BLOCK) -> bytes:
        """Return a block, which has been checked against its CID.

        Args:
            cid: the block's CID.
            notes: if a gateway answers, the errors of those before it are added here.
            limit: the block's maximum size in bytes.

        Raises:
            NotStoredError: no gateway has it.
            StorageError: no gateway gives a usable answer.
        """
        return self._block(cid, notes, limit)[0]

    def _block(self, cid: Cid, notes: list[str], limit: int) -> tuple[bytes, Gateway | None]:
        key = f"block {cid.digest.hex()}"
        kept = self.cache.get(key)
        if kept is not None and len(kept) <= limit and is_block(cid, kept):
            return kept, None
        source, block = first_answer(
            self.gateways, lambda gateway: gateway.block(cid, limit), notes
        )
        self.cache.put(key, block)
        return block, source

    def resolve(self, reference: str, notes: list[str]) -> Cid:
        """Return the CID that a path leads to; each directory on the path is checked.

        Args:
            reference: ``ipfs://CID`` or ``ipfs://CID/path``; the scheme may be left out.
            notes: see `block`.

        Raises:
            FormatError: it is not such a reference, or the path does not exist.
            StorageError: no gateway returns a directory on the path.
        """
        root, *names = reference.removeprefix("ipfs://").split("/")
        cid = Cid.parse(root)
        for name in _path(names, reference):
            found = unixfs.children(cid, self.block(cid, notes))
            if name not in found:
                raise FormatError(f"{reference}: {cid} has no entry {name!r}")
            cid = found[name]
        return cid

    def metadata(self, cid: Cid, notes: list[str]) -> tuple[bytes, str | None]:
        """Return a metadata.json.

        Args:
            cid: the file's CID, or that of a directory that contains it.
            notes: see `block`.

        Returns:
            Its bytes, and the gateway that returned them; None for the cache.

        Raises:
            FormatError: the CID is not that of such a file or directory.
            StorageError: no gateway gives a usable answer.
        """
        limit = metadata_module.MAX_BYTES
        block, source = self._block(cid, notes, limit)
        known = {cid: block}

        def get(each: Cid) -> bytes:
            return known.get(each) or self.block(each, notes, limit)

        cid = unixfs.children(cid, block).get(metadata_module.FILE, cid)
        pieces = unixfs.content(cid, get, limit, METADATA_BLOCKS)
        return b"".join(pieces), f"gateway {source.host}" if source else None

    def open(self, cid: Cid, store: Store) -> Manifest:
        """Open a manifest; only metadata.json is read.

        Args:
            cid: CID of its metadata.json, or of a directory that contains it.
            store: a store that may have its files.

        Raises:
            NotStoredError: neither the store nor a gateway has it.
            FormatError: it is not a well-formed manifest.
            StorageError: no gateway gives a usable answer.
        """
        notes = list[str]()
        try:
            return ServedManifest(
                store.read_bytes(cid, metadata_module.MAX_BYTES),
                store,
                self.gateways,
                self.cache,
                notes,
            )
        except NotStoredError as error:
            missing = error
        except IntegrityError as error:
            missing = NotStoredError(str(error))
            notes.append(str(error))
        try:
            data, origin = self.metadata(cid, notes)
        except StorageError as error:
            if not self.gateways:
                raise missing from error
            raise type(error)(f"{missing}; {error}") from error
        manifest = ServedManifest(data, store, self.gateways, self.cache, notes)
        manifest.origin = origin
        return manifest


def _defaults() -> tuple[str, ...]:
    parts = urlsplit(LOCAL)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), _CONNECT_TIMEOUT):
            return (LOCAL, *PUBLIC)
    except OSError:
        return PUBLIC


def _path(names: list[str], reference: str) -> list[str]:
    """Check and decode the names after a CID; they come from users and links."""
    if names and not names[-1]:
        names = names[:-1]
    found = [unquote(name) for name in names]
    if len(found) > MAX_NAMES or any(
        re.fullmatch(r"\.{0,2}|(?s:.*[/\0].*)", each) for each in found
    ):
        raise FormatError(f"{reference}: the path after the CID is not valid")
    return found
