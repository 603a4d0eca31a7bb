"""Finds manifests by the SHA-256 of their metadata.json."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from alithis.errors import AlithisError, NotStoredError
from alithis.ipfs.cid import Cid
from alithis.manifest.reader import Manifest
from alithis.storage.fallback import FallbackGateways
from alithis.storage.store import Store
from alithis.verify.grade import Statement

_PATIENCE = 30.0  # seconds in all for gateways that do not have the metadata of linked artifacts


class Shelf:
    """Finds manifests by the SHA-256 of their metadata.json.

    It looks through the manifests it was given, then in a store, then asks gateways.
    """

    def __init__(
        self,
        store: Store,
        manifests: Iterable[Path | Manifest] = (),
        gateways: FallbackGateways | None = None,
    ) -> None:
        """Open the manifests that are given as folders.

        Args:
            store: the local store.
            manifests: manifests outside the store.
            gateways: asked for what is in neither; by default none is asked.

        Raises:
            FormatError: a folder holds no well-formed manifest.
        """
        self._store = store
        self._gateways = gateways or FallbackGateways(())
        self._local = FallbackGateways(
            (), self._gateways.cache
        )  # what gateways gave before, and no more
        opened = [
            manifest if isinstance(manifest, Manifest) else Manifest.open(manifest)
            for manifest in manifests
        ]
        self._given = {manifest.metadata.digest: manifest for manifest in opened}
        self._statements: dict[bytes, Statement] = {}
        self._patience = _PATIENCE

    def open(self, digest: bytes) -> Manifest:
        """Open the manifest whose metadata.json has a SHA-256.

        A stored one is opened anew each time, and not kept: a registry has more manifests than a
        process may have open files.

        Raises:
            NotStoredError: it is in none of the places.
            FormatError: it is malformed.
            StorageError: no gateway gives it.
        """
        return self._open(digest, self._gateways)

    def open_local(self, digest: bytes) -> Manifest:
        """Open a manifest as `open` does, but ask no gateway for its metadata.

        Raises:
            AlithisError: as `open` does.
        """
        return self._open(digest, self._local)

    def _open(self, digest: bytes, gateways: FallbackGateways) -> Manifest:
        if digest in self._given:
            return self._given[digest]
        try:
            return gateways.open(Cid.raw(digest), self._store)
        except NotStoredError as error:
            raise NotStoredError(
                f"{error}: name its folder with --manifest, or add it with alithis store put"
            ) from error

    def statement(self, digest: bytes) -> Statement:
        """Return what an artifact's metadata states; an empty statement if it is not available.

        A statement adds names and transcripts to what is proved without it. So gateways that do
        not have the metadata may cost a limited time in all; after that they are not asked again.
        """
        if digest not in self._statements:
            begun = time.monotonic()
            gateways = self._gateways if self._patience >= 0 else self._local
            try:
                self._statements[digest] = Statement.of(self._open(digest, gateways).metadata)
            except AlithisError:
                self._statements[digest] = Statement()
                self._patience -= time.monotonic() - begun
        return self._statements[digest]
