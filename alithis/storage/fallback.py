"""Content by its CID from IPFS gateways, none of which is believed.

Blocks, and with them metadata.json, are checked against their CIDs; what is read by range out of
`leaves` and `tiles/` counts only once it leads to the root. A gateway that gives nothing, or
something else, is named, and the next one is asked; one that asks to be left alone is asked last.
Before the gateways come the local store and a cache, which are believed no more.

Only gateways that the reader chose are asked, for content and nothing else: no URL out of a
manifest or a chain is ever fetched, and a redirect may lead to a gateway's own subdomains alone.

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
from alithis.storage.sources import first
from alithis.storage.store import Store

ENVIRONMENT = "ALITHIS_GATEWAYS"
"""Names the gateways, parted by spaces."""
NONE = "none"
"""The name that stands for no gateway."""
LOCAL = "http://127.0.0.1:8080"
"""A Kubo node's own gateway; one of the default ones where somebody listens there."""
PUBLIC = ("https://ipfs.io", "https://dweb.link")
"""The other default ones."""
MAX_GATEWAYS = 8
_LISTENS = 0.2  # seconds


class Gateways:
    """Gateways that are asked in turn, and a cache of what they gave.

    Attributes:
        each: the gateways, the first to be asked first.
        cache: what was fetched before.
    """

    def __init__(self, each: Sequence[Gateway], cache: Cache | None = None) -> None:
        """Choose them; nothing is sent yet."""
        self.each = tuple(each)
        self.cache = cache or Cache(None)

    @classmethod
    def named(cls, urls: Sequence[str]) -> Gateways:
        """Choose gateways by their URLs, with the usual cache.

        Args:
            urls: of gateways; ``none`` alone stands for no gateway, and none given for the
                default ones.

        Raises:
            StorageError: one is no URL, or there are too many.
        """
        chosen = dict.fromkeys(urls or _defaults())
        if NONE in chosen:
            if len(chosen) > 1:
                raise StorageError(f"gateways: {NONE!r} stands alone")
            chosen = {}
        if len(chosen) > MAX_GATEWAYS:
            raise StorageError(f"{len(chosen)} gateways; at most {MAX_GATEWAYS} are asked")
        return cls([Gateway(url) for url in chosen], Cache.usual())

    @classmethod
    def usual(cls) -> Gateways:
        """Choose those that ``ALITHIS_GATEWAYS`` names, or else the default ones.

        Raises:
            StorageError: as `named` does.
        """
        return cls.named(os.environ.get(ENVIRONMENT, "").split())

    def block(self, cid: Cid, notes: list[str], limit: int = unixfs.MAX_BLOCK) -> bytes:
        """Return a block, which has been checked against its CID.

        Args:
            cid: the block's.
            notes: takes what there is to say of gateways that were of no use.
            limit: bytes it may have.

        Raises:
            NotStoredError: no gateway has it.
            StorageError: none gives it.
        """
        return self._block(cid, notes, limit)[0]

    def _block(self, cid: Cid, notes: list[str], limit: int) -> tuple[bytes, Gateway | None]:
        key = f"block {cid.digest.hex()}"
        kept = self.cache.get(key)
        if kept is not None and len(kept) <= limit and is_block(cid, kept):
            return kept, None
        source, block = first(self.each, lambda gateway: gateway.block(cid, limit), notes)
        self.cache.put(key, block)
        return block, source

    def resolve(self, reference: str, notes: list[str]) -> Cid:
        """Return the CID that a reference leads to; each directory on the way is checked.

        Args:
            reference: ``ipfs://CID`` or ``ipfs://CID/path``, also without the scheme.
            notes: as `block` takes.

        Raises:
            FormatError: it is no such reference, or leads nowhere.
            StorageError: no gateway gives a directory on the way.
        """
        root, *names = reference.removeprefix("ipfs://").split("/")
        cid = Cid.parse(root)
        for name in _path(names, reference):
            found = unixfs.children(cid, self.block(cid, notes))
            if name not in found:
                raise FormatError(f"{reference}: {name!r} is not in {cid}")
            cid = found[name]
        return cid

    def metadata(self, cid: Cid, notes: list[str]) -> tuple[bytes, str | None]:
        """Return a metadata.json.

        Args:
            cid: its own, or of a directory that it is in.
            notes: as `block` takes.

        Returns:
            Its bytes, and which gateway gave them, unless the cache did.

        Raises:
            FormatError: the CID is of something else.
            StorageError: no gateway gives it.
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
        """Open a manifest; of its other files nothing is read yet.

        Args:
            cid: of its metadata.json, or of a directory that it is in.
            store: where its files may be too.

        Raises:
            NotStoredError: no gateway, and not the store, has it.
            FormatError: it is not a well-formed one.
            StorageError: none gives it.
        """
        notes = list[str]()
        try:
            return ServedManifest(
                store.read_bytes(cid, metadata_module.MAX_BYTES),
                store,
                self.each,
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
            if not self.each:
                raise missing from error
            raise type(error)(f"{missing}; {error}") from error
        manifest = ServedManifest(data, store, self.each, self.cache, notes)
        manifest.origin = origin
        return manifest


def _defaults() -> tuple[str, ...]:
    parts = urlsplit(LOCAL)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), _LISTENS):
            return (LOCAL, *PUBLIC)
    except OSError:
        return PUBLIC


def _path(names: list[str], reference: str) -> list[str]:
    """Read the names after a CID."""
    if names and not names[-1]:
        names = names[:-1]
    found = [unquote(name) for name in names]
    if len(found) > MAX_NAMES or any(
        re.fullmatch(r"\.{0,2}|(?s:.*[/\0].*)", each) for each in found
    ):
        raise FormatError(f"{reference}: no path into a directory")
    return found
