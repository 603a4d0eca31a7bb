"""A manifest whose files are read by range, from the local store, a cache and gateways.

A range of `leaves` or `tiles/` cannot be checked alone, only together with the other ranges of a
proof. If a proof does not lead to the root, we do not know which source returned a wrong range. So
the look-up is repeated with the sources in another order, until one order yields a valid proof or
all orders were tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from alithis.errors import AlithisError, IntegrityError, NotStoredError, ProofError, StorageError
from alithis.forms.hashing import SIZE
from alithis.ipfs.cid import Cid
from alithis.manifest import merkle, metadata
from alithis.manifest.metadata import FileEntry
from alithis.manifest.proof import Exclusion, Inclusion, Proof
from alithis.manifest.reader import Manifest, RangeReader
from alithis.storage.cache import Cache
from alithis.storage.gateway import Gateway
from alithis.storage.sources import RangeSource, add_notes, first_answer
from alithis.storage.store import Store

P = TypeVar("P", bound=Proof)


class _StoredRanges:
    """Ranges of files in the local store."""

    wait_seconds = 0.0

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


class _CachedRanges:
    """Ranges that gateways returned before."""

    wait_seconds = 0.0

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def __str__(self) -> str:
        return "the cache"

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        data = self._cache.get(_cache_key(entry, offset))
        if data is None or len(data) != length:
            raise NotStoredError  # without a message: an empty cache is not worth reporting
        return data


def _cache_key(entry: FileEntry, offset: int) -> str:
    return f"range {entry.cid} {offset}"


class ServedManifest(Manifest):
    """A manifest whose files are read from several untrusted sources."""

    def __init__(
        self, data: bytes, store: Store, gateways: Sequence[Gateway], cache: Cache, notes: list[str]
    ) -> None:
        """Open it.

        Args:
            data: the bytes of metadata.json, checked.
            store: the local store, which is asked first.
            gateways: the gateways, which are asked after the cache.
            cache: earlier answers of gateways.
            notes: problems of gateways so far; later ones are added.

        Raises:
            FormatError: the metadata is not well-formed, or its frontier does not yield its root.
        """
        self._local: list[RangeSource] = [_StoredRanges(store), _CachedRanges(cache)]
        self._gateways, self._cache = tuple(gateways), cache
        self._failed = dict[tuple[RangeSource, str], str]()
        super().__init__(data, lambda entry: self._lookup(0, local=True).open(entry))
        self.notes = notes

    def prove(self, leaf: bytes) -> Proof:
        """Prove that a leaf is included, or that it is absent: see `Manifest.prove`."""
        if len(leaf) != SIZE:
            raise ProofError(f"a leaf has {SIZE} bytes, not {len(leaf)}")
        return self._look_up(lambda manifest: manifest.prove(leaf))

    def check_order(self) -> None:
        """Do nothing: a look-up checks the order of what it reads, and may repeat the reading."""

    def at(self, index: int) -> Inclusion:
        """Prove which leaf is at an index; unlike `Manifest.at`, this checks the proof.

        It has to, because only a failed check shows that a source returned a wrong range.
        """

        def look_up(manifest: Manifest) -> Inclusion:
            found = manifest.at(index)
            found.check(self.metadata.root, self.metadata.size)
            return found

        return self._look_up(look_up)

    def _look_up(self, question: Callable[[Manifest], P]) -> P:
        failures = list[str]()
        for lookup in self._lookups():
            manifest = Manifest(self.data, lookup.open)
            try:
                found = question(manifest)
            except (IntegrityError, ProofError) as error:
                if not lookup.used:
                    raise
                failures.append(f"{' or '.join(map(str, lookup.used))} gave: {error}")
            except StorageError as error:
                if not failures:
                    raise
                failures.append(str(error))
                break
            else:
                add_notes(self.notes, *failures)
                lookup.keep(found, self.metadata.size, self._cache)
                self.ordered = self.ordered or manifest.ordered
                return found
        raise StorageError("; ".join(dict.fromkeys(failures)))

    def _lookups(self) -> Iterator[_Lookup]:
        """Yield a look-up for each order of the sources that may give another result.

        First the local sources and then the gateways, each gateway once in front; then the same
        without the local sources, if they were used, because they may be damaged.
        """
        count = len(self._gateways)
        for local in (True, False):
            used = set[RangeSource]()
            for begin in range(count if count else int(local)):
                lookup = self._lookup(begin, local=local)
                yield lookup
                used.update(lookup.used)
                if local and not any(isinstance(source, Gateway) for source in lookup.used):
                    break  # only local sources were read: another gateway gives the same result
            else:
                if not used.intersection(self._local):
                    return

    def _lookup(self, begin: int, *, local: bool) -> _Lookup:
        gateways = (*self._gateways[begin:], *self._gateways[:begin])
        return _Lookup([*(self._local if local else ()), *gateways], self._failed, self.notes)


class _Lookup:
    """Reads ranges for one look-up, and records which sources returned them."""

    def __init__(
        self,
        sources: Sequence[RangeSource],
        failed: dict[tuple[RangeSource, str], str],
        notes: list[str],
    ) -> None:
        self._sources, self._failed, self._notes = sources, failed, notes
        self.used: dict[RangeSource, None] = {}
        self._received: dict[tuple[str, int], tuple[FileEntry, bytes]] = {}

    def open(self, entry: FileEntry) -> RangeReader:
        return _LookupFile(self, entry)

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        keys = [(source, entry.name) for source in self._sources]
        asked = [source for source, name in keys if (source, name) not in self._failed]
        known = [self._failed[key] for key in keys if key in self._failed]

        def question(source: RangeSource) -> bytes:
            try:
                return source.read(entry, offset, length)
            except AlithisError as error:
                if isinstance(source, Gateway) and not source.wait_seconds:
                    self._failed[source, entry.name] = str(error)
                raise

        try:
            source, data = first_answer(asked, question, self._notes)
        except AlithisError as error:
            if not known:
                raise
            texts = dict.fromkeys(filter(None, [str(error), *known]))
            raise StorageError("; ".join(texts)) from error
        self.used[source] = None
        if isinstance(source, Gateway):
            self._received[entry.name, offset] = entry, data
        return data

    def keep(self, found: Proof, size: int, cache: Cache) -> None:
        """Cache the ranges of a valid proof; only these were checked."""
        for name, offset in _ranges_of(found, size) & self._received.keys():
            entry, data = self._received[name, offset]
            cache.put(_cache_key(entry, offset), data)


class _LookupFile:
    """A file whose ranges may come from several sources."""

    def __init__(self, lookup: _Lookup, entry: FileEntry) -> None:
        self._lookup, self._entry, self.size = lookup, entry, entry.size

    def read(self, offset: int, length: int) -> bytes:
        return self._lookup.read(self._entry, offset, length)


def _ranges_of(found: Proof, size: int) -> set[tuple[str, int]]:
    """Return the files and offsets of the tiles that a proof may have been made from."""
    proofs = (found.left, found.right) if isinstance(found, Exclusion) else (found,)
    ranges = set[tuple[str, int]]()
    for index in [each.index for each in proofs if each]:
        level = 0
        while size >> level * merkle.TILE_HEIGHT:
            name = f"tiles/{level}" if level else metadata.LEAVES
            run = index >> (level + 1) * merkle.TILE_HEIGHT
            ranges.add((name, run * merkle.TILE * SIZE))
            level += 1
    return ranges
