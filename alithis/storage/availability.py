"""Tells whether a manifest's files are still to be had, from which hosts, and how fast.

Of each file some random ranges are read, as a verifier reads them, and compared with the best
that is at hand: a local copy, the file's CID, the proof to the root, or the blocks around the
range. What a host merely says is told as its word.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from alithis.errors import (
    AlithisError,
    FormatError,
    IntegrityError,
    NotStoredError,
    ProofError,
    StorageError,
)
from alithis.forms import hashing
from alithis.forms.hashing import SIZE
from alithis.ipfs import cid as cids
from alithis.ipfs import unixfs
from alithis.ipfs.car import Part
from alithis.ipfs.cid import Cid
from alithis.manifest import merkle, metadata
from alithis.manifest.metadata import FileEntry
from alithis.manifest.reader import FileReader, Manifest, RangeReader
from alithis.storage.gateway import Gateway
from alithis.storage.hosts.bucket import Bucket
from alithis.storage.hosts.host import Backend
from alithis.storage.hosts.kubo import Kubo
from alithis.storage.hosts.lighthouse import Deal, Lighthouse

THERE, MISSING, WRONG, UNKNOWN = "there", "missing", "wrong", "unknown"

SAMPLES = 3
"""Ranges that are read of a file."""
_LENGTH = merkle.TILE * SIZE  # bytes in a range, as a look-up reads them


@dataclass(frozen=True, slots=True)
class Seen:
    """What a host showed of a file.

    Attributes:
        host: what it is called.
        state: ``there``, ``missing``, ``wrong`` where it gave something else, or ``unknown``.
        checked: what its answer was checked by: ``local copy``, ``CID``, ``proof``, ``blocks``;
            ``length`` where nothing was at hand, ``its word`` where it gives no content.
        ranges: how many ranges it gave.
        bytes: how many bytes they had.
        seconds: how long it took to give them.
        error: what is wrong.
        deals: storage deals on Filecoin, where the host tells.
    """

    host: str
    state: str
    checked: str | None = None
    ranges: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None
    deals: tuple[Deal, ...] = ()


@dataclass(frozen=True, slots=True)
class Watched:
    """A file, and what each host showed of it.

    Attributes:
        name: its name in the manifest.
        cid: its CID.
        size: its bytes.
        hosts: what each showed.
    """

    name: str
    cid: str
    size: int
    hosts: tuple[Seen, ...]

    @property
    def state(self) -> str:
        """Whether it is to be had: from any host, from none, or nobody knows."""
        states = {seen.state for seen in self.hosts}
        if THERE in states:
            return THERE
        return UNKNOWN if UNKNOWN in states else MISSING


@dataclass(frozen=True, slots=True)
class Health:
    """What came of it.

    Attributes:
        name: the artifact's name.
        cid: CID of its metadata.json.
        files: its files.
        withheld: names of files that were not asked for.
        required: hosts that must have every file.
    """

    name: str
    cid: str
    files: tuple[Watched, ...]
    withheld: tuple[str, ...] = ()
    required: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> tuple[str, ...]:
        """A line for each file that is not to be had, or not where it must be."""
        lines = [f"{file.name}: {file.state}" for file in self.files if file.state != THERE]
        for file in self.files:
            for seen in file.hosts:
                if seen.host in self.required and seen.state != THERE:
                    lines.append(f"{file.name}: {seen.state} at {seen.host}")
        return tuple(lines)

    @property
    def status(self) -> int:
        """The exit status: 0 all is there, 1 something is missing, 2 that is not known."""
        states = {file.state for file in self.files} | {
            seen.state for file in self.files for seen in file.hosts if seen.host in self.required
        }
        if states & {MISSING, WRONG}:
            return 1
        return 2 if UNKNOWN in states else 0


class Host(Protocol):
    """Somebody who may have a manifest's files."""

    name: str

    def open(self, entry: FileEntry) -> RangeReader | None:
        """Return a reader of a file; None where the host gives no content, but says it has it.

        Raises:
            NotStoredError: it says that it has it not.
            StorageError: it cannot be asked.
        """

    def block(self, cid: Cid) -> bytes:
        """Return a block, which has been checked.

        Raises:
            AlithisError: it gives no blocks, or not this one.
        """

    def deals(self, entry: FileEntry) -> tuple[Deal, ...]:
        """Return what it tells of storage deals."""


class GatewayHost:
    """A gateway, as a host."""

    def __init__(self, gateway: Gateway) -> None:
        """Take it."""
        self._gateway, self.name = gateway, str(gateway)

    def open(self, entry: FileEntry) -> RangeReader:
        """Open a file: see `Host.open`."""
        return _Ranges(self._gateway, entry)

    def block(self, cid: Cid) -> bytes:
        """Return a block: see `Host.block`."""
        return self._gateway.block(cid)

    def deals(self, _: FileEntry) -> tuple[Deal, ...]:
        """A gateway tells nothing of deals."""
        return ()


class _Ranges:
    def __init__(self, gateway: Gateway, entry: FileEntry) -> None:
        self._gateway, self._entry, self.size = gateway, entry, entry.size

    def read(self, offset: int, length: int) -> bytes:
        return self._gateway.read(self._entry, offset, length)


class BackendHost:
    """Somewhere that files are put, as a host."""

    def __init__(self, backend: Backend) -> None:
        """Take it."""
        self._backend, self.name = backend, backend.name

    def open(self, entry: FileEntry) -> RangeReader | None:
        """Open a file: see `Host.open`."""
        part = Part(entry.name, Cid.parse(entry.cid), Path(), entry.size)
        if not self._backend.has(part):
            raise NotStoredError(f"{self.name} has no {entry.name}")
        if isinstance(self._backend, Kubo | Bucket):
            return self._backend.open(part)
        return None

    def block(self, cid: Cid) -> bytes:
        """Give none: these hosts give files."""
        raise StorageError(f"{self.name} gives no blocks")

    def deals(self, entry: FileEntry) -> tuple[Deal, ...]:
        """Return what Lighthouse tells."""
        if isinstance(self._backend, Lighthouse):
            return self._backend.deals(Cid.parse(entry.cid))
        return ()


def check(
    data: bytes,
    hosts: Sequence[Host],
    *,
    at_hand: Mapping[str, Path] | None = None,
    withheld: Sequence[str] = (),
    required: Sequence[str] = (),
    samples: int = SAMPLES,
    chance: random.Random | None = None,
) -> Health:
    """Ask every host for every file of a manifest; the hosts are asked at the same time.

    Args:
        data: the bytes of its metadata.json.
        hosts: whom to ask.
        at_hand: files that are here, by name, to compare with.
        withheld: names of files that nobody is asked for.
        required: names of hosts that must have all of it.
        samples: ranges of each file that are read.
        chance: chooses them.

    Raises:
        FormatError: the metadata is not well-formed.
    """
    described = Manifest(data, _nothing).metadata
    cid = cids.of_bytes(data)
    own = FileEntry(metadata.FILE, str(cid), described.digest, len(data))
    entries = [own, *(entry for entry in described.files if entry.name not in withheld)]
    chance = chance or random.SystemRandom()

    def ask(host: Host) -> list[Seen]:
        visit = _Visit(host, data, at_hand or {}, samples, chance)
        return [visit.see(entry) for entry in entries]

    with ThreadPoolExecutor(max(len(hosts), 1), "alithis-check") as threads:
        seen = list(threads.map(ask, hosts))
    files = tuple(
        Watched(entry.name, entry.cid, entry.size, shown)
        for entry, shown in zip(entries, zip(*seen, strict=True), strict=True)
    )
    return Health(described.name, str(cid), files, tuple(withheld), tuple(required))


def _nothing(entry: FileEntry) -> RangeReader:
    raise NotStoredError(f"{entry.name} is not at hand")


@dataclass(slots=True)
class _Meter:
    """Counts what a reader gives, and how long it takes."""

    reader: RangeReader
    ranges: int = 0
    received: int = 0
    seconds: float = 0.0

    @property
    def size(self) -> int:
        return self.reader.size

    def read(self, offset: int, length: int) -> bytes:
        begun = time.monotonic()
        piece = self.reader.read(offset, length)
        self.seconds += time.monotonic() - begun
        self.ranges += 1
        self.received += len(piece)
        return piece


def _counts(meter: _Meter | None) -> tuple[int, int, float]:
    return (meter.ranges, meter.received, round(meter.seconds, 6)) if meter else (0, 0, 0.0)


class _Visit:
    """A host that is asked, file by file."""

    def __init__(
        self,
        host: Host,
        data: bytes,
        at_hand: Mapping[str, Path],
        samples: int,
        chance: random.Random,
    ) -> None:
        self._host, self._data, self._at_hand = host, data, at_hand
        self._samples, self._chance = samples, chance

    def see(self, entry: FileEntry) -> Seen:
        meter: _Meter | None = None
        try:
            reader = self._host.open(entry)
            if reader is None:
                return self._found(entry, "its word", None)
            meter = _Meter(reader)
            return self._found(entry, self._checked(entry, meter), meter)
        except NotStoredError as error:
            return self._failed(MISSING, error, meter)
        except (IntegrityError, ProofError) as error:
            return self._failed(WRONG, error, meter)
        except AlithisError as error:
            return self._failed(UNKNOWN, error, meter)

    def _found(self, entry: FileEntry, checked: str, meter: _Meter | None) -> Seen:
        counts, deals, error = _counts(meter), tuple[Deal, ...](), None
        try:
            deals = self._host.deals(entry)
        except AlithisError as failed:  # that does not make the file less there
            error = f"deals: {failed}"
        return Seen(self._host.name, THERE, checked, *counts, error=error, deals=deals)

    def _failed(self, state: str, error: AlithisError, meter: _Meter | None) -> Seen:
        said = str(error).replace("\n", " ")
        return Seen(self._host.name, state, None, *_counts(meter), error=said)

    def _checked(self, entry: FileEntry, meter: _Meter) -> str:
        """Read some ranges, check them, and tell by what.

        Raises:
            IntegrityError: the file has another length, or a range is another.
        """
        if meter.size != entry.size:
            raise IntegrityError(f"bytes in {entry.name}", expected=entry.size, found=meter.size)
        if entry.name == metadata.FILE:
            return self._compare(
                entry, meter, lambda at, length: self._data[at : at + length], "CID"
            )
        local = self._local(entry)
        if local is not None:
            return self._compare(entry, meter, local.read, "local copy")
        if entry.size <= unixfs.MAX_BLOCK and Cid.parse(entry.cid) == Cid.raw(entry.sha256):
            unixfs.check(Cid.parse(entry.cid), meter.read(0, entry.size))
            return "CID"
        if not metadata.is_items(entry.name):
            self._prove(entry, meter)
            return "proof" if meter.ranges else self._compare(entry, meter, None, "length")
        try:
            return self._compare(entry, meter, self._by_block(entry), "blocks")
        except (StorageError, FormatError):
            return self._compare(entry, meter, None, "length")

    def _local(self, entry: FileEntry) -> RangeReader | None:
        """Open the file that is here, if it is the one."""
        path = self._at_hand.get(entry.name)
        if path is None or cids.of_file(path) != Cid.parse(entry.cid):
            return None
        return FileReader(path)

    def _compare(
        self,
        entry: FileEntry,
        meter: _Meter,
        known: Callable[[int, int], bytes] | None,
        checked: str,
    ) -> str:
        for offset, length in self._places(entry.size):
            piece = meter.read(offset, length)
            if known is not None and piece != known(offset, length):
                what = f"{self._host.name}: {entry.name}: SHA-256 of {length} bytes at {offset}"
                expected, found = map(hashing.of_bytes, (known(offset, length), piece))
                raise IntegrityError(what, expected=expected, found=found)
        return checked

    def _places(self, size: int) -> list[tuple[int, int]]:
        if size <= _LENGTH:
            return [(0, size)] if size else []
        last = size - _LENGTH
        return [(self._chance.randint(0, last), _LENGTH) for _ in range(self._samples)]

    def _prove(self, entry: FileEntry, meter: _Meter) -> None:
        """Prove leaves at random places, through this file and, of the same host, the others."""

        def opened(other: FileEntry) -> RangeReader:
            reader = meter if other.name == entry.name else self._host.open(other)
            if reader is None:
                raise StorageError(f"{self._host.name} gives no content")
            return reader

        manifest = Manifest(self._data, opened)
        size, level = manifest.metadata.size, entry.name.removeprefix("tiles/")
        width = 0 if entry.name == metadata.LEAVES else merkle.TILE_HEIGHT * int(level)
        for _ in range(self._samples):
            node = self._chance.randrange(max(size >> width, 1))
            manifest.at(node << width).check(manifest.metadata.root, size)

    def _by_block(self, entry: FileEntry) -> Callable[[int, int], bytes]:
        """Return what reads a file by its blocks, of which only those around a range come."""
        root = Cid.parse(entry.cid)
        self._host.block(root)  # none at all: then not by them

        def read(offset: int, length: int) -> bytes:
            return unixfs.read(root, self._host.block, offset, length)

        return read
