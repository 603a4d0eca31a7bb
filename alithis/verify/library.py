"""Where manifests are found by the SHA-256 of their metadata.json."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from alithis.errors import (
    AlithisError,
    FormatError,
    NotStoredError,
)
from alithis.ipfs.cid import Cid
from alithis.manifest.metadata import Metadata
from alithis.manifest.reader import Manifest
from alithis.manifest.transcript import Input, Transcript, stated_inputs
from alithis.storage.fallback import Gateways
from alithis.storage.store import Store

_PATIENCE = 30.0  # seconds that are waited in vain for what artifacts state


@dataclass(frozen=True, slots=True)
class Statement:
    """What a model's metadata states.

    Attributes:
        name: its name; None where the metadata is not at hand.
        inputs: what it was made from; none where that is stated wrongly.
        root: the root of its own tree, 32 bytes; None where the metadata is not at hand.
    """

    name: str | None = None
    inputs: tuple[Input, ...] = ()
    root: bytes | None = None

    @classmethod
    def of(cls, stated: Metadata) -> Self:
        """Take it out of metadata."""
        try:
            return cls(stated.name, tuple(stated_inputs(stated)), stated.root)
        except FormatError:
            return cls(stated.name, root=stated.root)

    def transcript(
        self, relation: str, metadata: bytes, size: int, root: bytes | None = None
    ) -> Transcript | None:
        """Return what it states to have been fed of a dataset, unless that cannot be.

        Args:
            relation: of the model to the dataset.
            metadata: SHA-256 of the dataset's metadata.json, 32 bytes.
            size: the dataset's number of leaves.
            root: the root of its tree, 32 bytes; None where that is not known.
        """
        for given in self.inputs:
            recorded = given.transcript
            if (given.relation, given.metadata) != (relation, metadata) or recorded is None:
                continue
            if not recorded.contradiction(size, root):
                return recorded
        return None


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
