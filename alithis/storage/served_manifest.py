"""A manifest whose files are read from gateways, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from alithis.errors import (
    AlithisError,
    IntegrityError,
    NotStoredError,
    ProofError,
    StorageError,
)
from alithis.forms.hashing import SIZE
from alithis.ipfs.cid import Cid
from alithis.manifest import merkle, metadata
from alithis.manifest.metadata import FileEntry
from alithis.manifest.proof import Exclusion, Inclusion, Proof
from alithis.manifest.reader import Manifest, RangeReader
from alithis.storage.cache import Cache
from alithis.storage.gateway import Gateway
from alithis.storage.sources import Source, first, note
from alithis.storage.store import Store

P = TypeVar("P", bound=Proof)


class _Stored:
    """Files in the local store."""

    resting = 0.0

    def __init__(self, store: Store) -> None:
        self._store = store

    def __str__(self) -> str:
        return f"the store {self._store.root}"

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        with self._store.open(Cid.parse(entry.cid)) as file:
            if file.size != entry.size:
                what = f"bytes in {entry.name} in the store {self._store.root}"
                raise IntegrityError(what, expected=entry.size, found=file.size)
            return file.read(offset, length)


class _Kept:
    """Ranges in the cache."""

    resting = 0.0

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def __str__(self) -> str:
        return "the cache"

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        data = self._cache.get(_range_key(entry, offset))
        if data is None or len(data) != length:
            raise NotStoredError  # there is nothing to say of it
        return data


def _range_key(entry: FileEntry, offset: int) -> str:
    return f"range {entry.cid} {offset}"


class ServedManifest(Manifest):
    """A manifest whose files several hosts have, none of which is believed.

    A look-up that does not lead to the root is made again, beginning with another host.
    """

    def __init__(
        self, data: bytes, store: Store, gateways: Sequence[Gateway], cache: Cache, notes: list[str]
    ) -> None:
        """Open it.

        Args:
            data: the bytes of metadata.json, checked.
            store: the local store, which is asked first.
            gateways: are asked after it.
            cache: what they gave before; asked before them.
            notes: what there is to say of gateways already.

        Raises:
            FormatError: the metadata is not well-formed, or its frontier is not of its root.
        """
        self._local: list[Source] = [_Stored(store), _Kept(cache)]
        self._gateways, self._cache = tuple(gateways), cache
        self._begin_with = 0
        self._useless = dict[tuple[Source, str], str]()
        super().__init__(data, lambda entry: self._reading(self._all()).open(entry))
        self.notes = notes

    def prove(self, leaf: bytes) -> Proof:
        """Prove that a leaf is included, or that it is absent: see `Manifest.prove`."""
        if len(leaf) != SIZE:
            raise ProofError(f"a leaf has {SIZE} bytes, not {len(leaf)}")
        return self._look_up(lambda manifest: manifest.prove(leaf))

    def at(self, index: int) -> Inclusion:
        """Prove which leaf stands at an index; other than with `Manifest.at`, the proof holds."""

        def look_up(manifest: Manifest) -> Inclusion:
            found = manifest.at(index)
            found.check(self.metadata.root, self.metadata.size)
            return found

        return self._look_up(look_up)

    def _look_up(self, question: Callable[[Manifest], P]) -> P:
        lies = list[str]()
        for reading in self._readings():
            try:
                found = question(Manifest(self.data, reading.open))
            except (IntegrityError, ProofError) as error:
                if not reading.used:
                    raise
                lies.append(f"{' or '.join(map(str, reading.used))} gave: {error}")
            except StorageError as error:
                if not lies:
                    raise
                lies.append(str(error))
                break
            else:
                note(self.notes, *lies)
                reading.keep(found, self.metadata.size, self._cache)
                return found
        raise StorageError("; ".join(dict.fromkeys(lies)))

    def _readings(self) -> Iterator[_Reading]:
        """Give each order of the sources that may help: the local ones first, then without them."""
        count = len(self._gateways)
        for local in (True, False):
            used = set[Source]()
            for turn in range(count if count else int(local)):
                begin = (self._begin_with + turn) % count if count else 0
                reading = self._reading(self._all(begin, local=local))
                yield reading
                used.update(reading.used)
                if local and not reading.gateways:
                    break  # the local ones alone are wrong
            else:
                if not used.intersection(self._local):
                    return

    def _all(self, begin: int = 0, *, local: bool = True) -> list[Source]:
        each = self._gateways
        return [*(self._local if local else ()), *each[begin:], *each[:begin]]

    def _reading(self, sources: list[Source]) -> _Reading:
        return _Reading(sources, self._useless, self.notes)


class _Reading:
    """Reads for one look-up, and remembers from whom."""

    def __init__(
        self, sources: list[Source], useless: dict[tuple[Source, str], str], notes: list[str]
    ) -> None:
        self._sources, self._useless, self._notes = sources, useless, notes
        self.used: dict[Source, None] = {}
        self._pieces: dict[tuple[str, int], tuple[FileEntry, bytes]] = {}

    @property
    def gateways(self) -> list[Gateway]:
        return [each for each in self.used if isinstance(each, Gateway)]

    def open(self, entry: FileEntry) -> RangeReader:
        return _Piecewise(self, entry)

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        keys = [(each, entry.name) for each in self._sources]
        asked = [key[0] for key in keys if key not in self._useless]
        known = [self._useless[key] for key in keys if key in self._useless]

        def question(source: Source) -> bytes:
            try:
                return source.read(entry, offset, length)
            except AlithisError as error:
                if isinstance(source, Gateway) and not source.resting:
                    self._useless[source, entry.name] = str(error)
                raise

        try:
            source, data = first(asked, question, self._notes)
        except AlithisError as error:
            if not known:
                raise
            said = dict.fromkeys(filter(None, [str(error), *known]))
            raise StorageError("; ".join(said)) from error
        self.used[source] = None
        if isinstance(source, Gateway):
            self._pieces[entry.name, offset] = entry, data
        return data

    def keep(self, found: Proof, size: int, cache: Cache) -> None:
        """Put into the cache what the proof was made of."""
        for place in _places(found, size) & self._pieces.keys():
            entry, data = self._pieces[place]
            cache.put(_range_key(entry, place[1]), data)


class _Piecewise:
    """A file whose ranges may come from several hosts."""

    def __init__(self, reading: _Reading, entry: FileEntry) -> None:
        self._reading, self._entry, self.size = reading, entry, entry.size

    def read(self, offset: int, length: int) -> bytes:
        return self._reading.read(self._entry, offset, length)


def _places(found: Proof, size: int) -> set[tuple[str, int]]:
    """Return the files and offsets of the runs of hashes that a proof may be made of."""
    proofs = (found.left, found.right) if isinstance(found, Exclusion) else (found,)
    places = set[tuple[str, int]]()
    for index in [each.index for each in proofs if each]:
        level = 0
        while size >> level * merkle.TILE_HEIGHT:
            name = f"tiles/{level}" if level else metadata.LEAVES
            run = index >> (level + 1) * merkle.TILE_HEIGHT
            places.add((name, run * merkle.TILE * SIZE))
            level += 1
    return places
