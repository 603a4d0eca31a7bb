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

_PATIENCE = 30.0  # total seconds to wait for metadata of linked artifacts that no gateway has


class Shelf:
    """Finds manifests by the SHA-256 of their metadata.json.

    It searches the given manifests, then the store, and then asks the gateways.
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
            gateways: the gateways to ask for other manifests; by default none.

        Raises:
            FormatError: a folder does not contain a well-formed manifest.
        """
        self._store = store
        self._gateways = gateways or FallbackGateways(())
        self._local = FallbackGateways((), self._gateways.cache)  # the cache only
        opened = [
            manifest if isinstance(manifest, Manifest) else Manifest.open(manifest)
            for manifest in manifests
        ]
        self._given = {manifest.metadata.digest: manifest for manifest in opened}
        self._statements: dict[bytes, Statement] = {}
        self._patience = _PATIENCE

    def open(self, digest: bytes) -> Manifest:
        """Open the manifest whose metadata.json has a SHA-256.

        A manifest from the store or a gateway is opened again each time: a registry may have more
        manifests than a process may have open files.

        Raises:
            NotStoredError: it was not found.
            FormatError: it is malformed.
            StorageError: no gateway gives a usable answer.
        """
        return self._open(digest, self._gateways)

    def open_local(self, digest: bytes) -> Manifest:
        """Open a manifest as `open` does, but ask no gateway for its metadata.

        Raises:
            AlithisError: see `open`.
        """
        return self._open(digest, self._local)

    def _open(self, digest: bytes, gateways: FallbackGateways) -> Manifest:
        if digest in self._given:
            return self._given[digest]
        try:
            return gateways.open(Cid.raw(digest), self._store)
        except NotStoredError as error:
            raise NotStoredError(
                f"{error}: give its folder with --manifest, or add it with `alithis store put`"
            ) from error

    def statement(self, digest: bytes) -> Statement:
        """Return what an artifact's metadata states; an empty statement if it is not available.

        A statement only adds names and transcripts to a proof. So the total time to wait for
        metadata that no gateway has is limited; after that, gateways are not asked again.
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
