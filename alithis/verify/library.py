"""Where manifests are found by the SHA-256 of their metadata.json."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from alithis.errors import AlithisError, NotStoredError
from alithis.ipfs.cid import Cid
from alithis.manifest.reader import Manifest
from alithis.storage.fallback import Gateways
from alithis.storage.store import Store
from alithis.verify.grade import Statement

_PATIENCE = 30.0  # seconds that are waited in vain for what artifacts state


class Shelf:
    """Where manifests are found by the SHA-256 of their metadata.json.

    At hand, in a store, or through gateways, in this order.
    """

    def __init__(
        self,
        store: Store,
        manifests: Iterable[Path | Manifest] = (),
        gateways: Gateways | None = None,
    ) -> None:
        """Open the manifests that are folders.

        Args:
            store: the local store.
            manifests: those at hand.
            gateways: what to ask for what is in neither; by default nobody is asked.

        Raises:
            FormatError: a folder holds no well-formed manifest.
        """
        self._store = store
        self._gateways = gateways or Gateways(())
        self._asked, self._patience = self._gateways, _PATIENCE
        opened = [
            manifest if isinstance(manifest, Manifest) else Manifest.open(manifest)
            for manifest in manifests
        ]
        self._at_hand = {manifest.metadata.digest: manifest for manifest in opened}
        self._statements: dict[bytes, Statement] = {}

    def open(self, digest: bytes) -> Manifest:
        """Open the manifest whose metadata.json has a SHA-256.

        A stored one is opened anew each time, and not kept: a registry has more manifests than a
        process may have open files.

        Raises:
            NotStoredError: it is in none of the places.
            FormatError: it is not a well-formed one.
            StorageError: no gateway gives it.
        """
        return self._open(digest, self._gateways)

    def near(self, digest: bytes) -> Manifest:
        """Open a manifest as `open` does, if no gateway need be asked for its metadata.

        Raises:
            AlithisError: as `open` does.
        """
        return self._open(digest, Gateways((), self._gateways.cache))

    def _open(self, digest: bytes, gateways: Gateways) -> Manifest:
        if digest in self._at_hand:
            return self._at_hand[digest]
        try:
            return gateways.open(Cid.raw(digest), self._store)
        except NotStoredError as error:
            raise NotStoredError(
                f"{error}; --manifest or alithis store put brings it there"
            ) from error

    def statement(self, digest: bytes) -> Statement:
        """Return what an artifact's metadata states, if it is at hand."""
        if digest not in self._statements:
            begun = time.monotonic()
            try:
                self._statements[digest] = Statement.of(self._open(digest, self._asked).metadata)
            except AlithisError:
                self._statements[digest] = Statement()
                self._wait_less(time.monotonic() - begun)
        return self._statements[digest]

    def _wait_less(self, waited: float) -> None:
        """Note that nobody gave a statement; once that took too long, gateways are asked no more.

        A statement only adds names and transcripts: what is proved does without.
        """
        self._patience -= waited
        if self._patience < 0:
            self._asked = Gateways((), self._gateways.cache)
