"""Checks whether a manifest's files are still available, from which hosts, and how fast.

Random ranges of each file are read, as a verifier reads them. They are random so that a host cannot
keep only the ranges that are tested. Each range is compared with the strongest reference that is
available: a local copy, the file's CID, a proof to the root, or the blocks around the range. If a
host only states that it has a file, the report says that this is the host's word.

``length`` is the weakest result: the host returned as many bytes as requested, and there was
nothing to compare them with.
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
from alithis.ipfs.car import LocalFile
from alithis.ipfs.cid import Cid
from alithis.manifest import merkle, metadata
from alithis.manifest.metadata import FileEntry
from alithis.manifest.reader import FileReader, Manifest, RangeReader
from alithis.storage.gateway import Gateway
from alithis.storage.hosts.bucket import Bucket
from alithis.storage.hosts.host import Host
from alithis.storage.hosts.kubo import Kubo
from alithis.storage.hosts.lighthouse import Deal, Lighthouse

THERE, MISSING, WRONG, UNKNOWN = "there", "missing", "wrong", "unknown"

SAMPLES = 3
"""Number of ranges that are read of each file."""
_LENGTH = merkle.TILE * SIZE  # bytes in a range, as many as a verifier reads at a time


@dataclass(frozen=True, slots=True)
class HostResult:
    """The result for a file at one host.

    Attributes:
        host: the host's name.
        state: ``there``, ``missing``, ``wrong`` if it returned other bytes, or ``unknown`` if it
            could not be asked.
        checked: what its answer was compared with: ``local copy``, ``CID``, ``proof``, ``blocks``;
            ``length`` if there was nothing to compare with, ``its word`` if it returns no content.
        ranges: number of ranges that it returned.
        bytes: number of bytes that it returned.
        seconds: how long that took.
        error: what is wrong.
        deals: storage deals on Filecoin, if the host states them.
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
class FileResult:
    """The result for a file.

    Attributes:
        name: its name in the manifest.
        cid: its CID.
        size: its size in bytes.
        hosts: the result for each host.
    """

    name: str
    cid: str
    size: int
    hosts: tuple[HostResult, ...]

    @property
    def state(self) -> str:
        """``there`` if a host has it; otherwise ``unknown`` if a host could not be asked."""
        states = {seen.state for seen in self.hosts}
        if THERE in states:
            return THERE
        return UNKNOWN if UNKNOWN in states else MISSING


@dataclass(frozen=True, slots=True)
class Availability:
    """The result for a manifest.

    Attributes:
        name: the artifact's name.
        cid: CID of its metadata.json.
        files: its files.
        withheld: names of the files that no host was asked for.
        required: hosts that must have every file.
    """

    name: str
    cid: str
    files: tuple[FileResult, ...]
    withheld: tuple[str, ...] = ()
    required: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> tuple[str, ...]:
        """A line for each file that is not available, or not at a required host."""
        lines = [f"{file.name}: {file.state}" for file in self.files if file.state != THERE]
        for file in self.files:
            for seen in file.hosts:
                if seen.host in self.required and seen.state != THERE:
                    lines.append(f"{file.name}: {seen.state} at {seen.host}")
        return tuple(lines)

    @property
    def status(self) -> int:
        """The exit status: 0 if all files are there, 1 if one is missing or wrong, 2 if unknown."""
        states = {file.state for file in self.files} | {
            seen.state for file in self.files for seen in file.hosts if seen.host in self.required
        }
        if states & {MISSING, WRONG}:
            return 1
        return 2 if UNKNOWN in states else 0


class FileSource(Protocol):
    """A host that may have a manifest's files."""

    name: str

    def open(self, entry: FileEntry) -> RangeReader | None:
        """Return a reader of a file; None if the host states that it has it but cannot be read.

        Raises:
            NotStoredError: the host states that it does not have the file.
            StorageError: the host cannot be asked.
        """

    def block(self, cid: Cid) -> bytes:
        """Return a block, checked against its CID.

        Raises:
            AlithisError: the host does not return blocks, or not this one.
        """

    def deals(self, entry: FileEntry) -> tuple[Deal, ...]:
        """Return the storage deals that the host states."""


class GatewayFiles:
    """The files of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        """Choose the host."""
        self._gateway, self.name = gateway, str(gateway)

    def open(self, entry: FileEntry) -> RangeReader:
        """Open a file: see `FileSource.open`."""
        return _Ranges(self._gateway, entry)

    def block(self, cid: Cid) -> bytes:
        """Return a block: see `FileSource.block`."""
        return self._gateway.block(cid)

    def deals(self, _: FileEntry) -> tuple[Deal, ...]:
        """Return an empty tuple: a gateway states no deals."""
        return ()


class _Ranges:
    def __init__(self, gateway: Gateway, entry: FileEntry) -> None:
        self._gateway, self._entry, self.size = gateway, entry, entry.size

    def read(self, offset: int, length: int) -> bytes:
        return self._gateway.read(self._entry, offset, length)


class HostFiles:
    """The files of a host that manifests are uploaded to."""

    def __init__(self, host: Host) -> None:
        """Choose the host."""
        self._host, self.name = host, host.name

    def open(self, entry: FileEntry) -> RangeReader | None:
        """Open a file: see `FileSource.open`."""
        # Only CID and size are used to look a file up, so the path may be empty.
        file = LocalFile(entry.name, Cid.parse(entry.cid), Path(), entry.size)
        if not self._host.has(file):
            raise NotStoredError(f"{self.name} has no {entry.name}")
        if isinstance(self._host, Kubo | Bucket):
            return self._host.open(file)
        return None

    def block(self, cid: Cid) -> bytes:
        """Refuse: these hosts return files only."""
        raise StorageError(f"{self.name} does not return blocks")

    def deals(self, entry: FileEntry) -> tuple[Deal, ...]:
        """Return the deals that Lighthouse states."""
        if isinstance(self._host, Lighthouse):
            return self._host.deals(Cid.parse(entry.cid))
        return ()


def check(
    data: bytes,
    hosts: Sequence[FileSource],
    *,
    local: Mapping[str, Path] | None = None,
    withheld: Sequence[str] = (),
    required: Sequence[str] = (),
    samples: int = SAMPLES,
    rng: random.Random | None = None,
) -> Availability:
    """Ask every host for every file of a manifest; hosts are asked in parallel.

    Args:
        data: the bytes of its metadata.json.
        hosts: the hosts.
        local: local files to compare with, by name.
        withheld: names of files that no host is asked for, because they were never uploaded.
        required: names of hosts that must have every file.
        samples: number of ranges to read of each file.
        rng: chooses the ranges.

    Raises:
        FormatError: the metadata is not well-formed.
    """
    described = Manifest(data, _nothing).metadata
    cid = cids.of_bytes(data)
    own = FileEntry(metadata.FILE, str(cid), described.digest, len(data))
    entries = [own, *(entry for entry in described.files if entry.name not in withheld)]
    rng = rng or random.SystemRandom()

    def ask(host: FileSource) -> list[HostResult]:
        visit = _SourceCheck(host, data, local or {}, samples, rng)
        return [visit.see(entry) for entry in entries]

    with ThreadPoolExecutor(max(len(hosts), 1), "alithis-check") as threads:
        seen = list(threads.map(ask, hosts))
    files = tuple(
        FileResult(entry.name, entry.cid, entry.size, shown)
        for entry, shown in zip(entries, zip(*seen, strict=True), strict=True)
    )
    return Availability(described.name, str(cid), files, tuple(withheld), tuple(required))


def _nothing(entry: FileEntry) -> RangeReader:
    raise NotStoredError(f"{entry.name} is not read")


@dataclass(slots=True)
class _MeteredReader:
    """Counts the bytes that a reader returns, and measures how long it takes."""

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


def _counts(meter: _MeteredReader | None) -> tuple[int, int, float]:
    return (meter.ranges, meter.received, round(meter.seconds, 6)) if meter else (0, 0, 0.0)


class _SourceCheck:
    """Checks one host, file by file."""

    def __init__(
        self,
        host: FileSource,
        data: bytes,
        local: Mapping[str, Path],
        samples: int,
        rng: random.Random,
    ) -> None:
        self._host, self._data, self._copies = host, data, local
        self._samples, self._rng = samples, rng

    def see(self, entry: FileEntry) -> HostResult:
        meter: _MeteredReader | None = None
        try:
            reader = self._host.open(entry)
            if reader is None:
                return self._found(entry, "its word", None)
            meter = _MeteredReader(reader)
            return self._found(entry, self._checked(entry, meter), meter)
        except NotStoredError as error:
            return self._failed(MISSING, error, meter)
        except (IntegrityError, ProofError) as error:
            return self._failed(WRONG, error, meter)
        except AlithisError as error:
            return self._failed(UNKNOWN, error, meter)

    def _found(self, entry: FileEntry, checked: str, meter: _MeteredReader | None) -> HostResult:
        counts, deals, error = _counts(meter), tuple[Deal, ...](), None
        try:
            deals = self._host.deals(entry)
        except AlithisError as failed:  # a failed request for deals says nothing about the file
            error = f"deals: {failed}"
        return HostResult(self._host.name, THERE, checked, *counts, error=error, deals=deals)

    def _failed(self, state: str, error: AlithisError, meter: _MeteredReader | None) -> HostResult:
        said = str(error).replace("\n", " ")
        return HostResult(self._host.name, state, None, *_counts(meter), error=said)

    def _checked(self, entry: FileEntry, meter: _MeteredReader) -> str:
        """Read some ranges, check them, and return what they were compared with.

        The references are tried from the strongest and cheapest to the weakest.

        Raises:
            IntegrityError: the file's size or the bytes of a range are wrong.
        """
        if meter.size != entry.size:
            raise IntegrityError(f"bytes in {entry.name}", expected=entry.size, found=meter.size)
        if entry.name == metadata.FILE:
            return self._compare(
                entry, meter, lambda at, length: self._data[at : at + length], "CID"
            )
        local = self._local_copy(entry)
        if local is not None:
            return self._compare(entry, meter, local.read, "local copy")
        # A file of one raw block: its CID is the hash of the whole content.
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

    def _local_copy(self, entry: FileEntry) -> RangeReader | None:
        """Open the local copy if its CID is the file's: a changed copy would accuse the host."""
        path = self._copies.get(entry.name)
        if path is None or cids.of_file(path) != Cid.parse(entry.cid):
            return None
        return FileReader(path)

    def _compare(
        self,
        entry: FileEntry,
        meter: _MeteredReader,
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
        return [(self._rng.randint(0, last), _LENGTH) for _ in range(self._samples)]

    def _prove(self, entry: FileEntry, meter: _MeteredReader) -> None:
        """Check inclusion proofs of random leaves, made of this file and others of the same host.

        Leaves and tiles contain hashes of the tree, so a range that leads to the committed root is
        right. Files of the same host only: a proof with ranges of several hosts would not show
        which of them returned wrong bytes.
        """

        def opened(other: FileEntry) -> RangeReader:
            reader = meter if other.name == entry.name else self._host.open(other)
            if reader is None:
                raise StorageError(f"{self._host.name} does not return content")
            return reader

        manifest = Manifest(self._data, opened)
        size, level = manifest.metadata.size, entry.name.removeprefix("tiles/")
        width = 0 if entry.name == metadata.LEAVES else merkle.TILE_HEIGHT * int(level)
        for _ in range(self._samples):
            node = self._rng.randrange(max(size >> width, 1))
            manifest.at(node << width).check(manifest.metadata.root, size)

    def _by_block(self, entry: FileEntry) -> Callable[[int, int], bytes]:
        """Return a function that reads a range of a file from the blocks that contain it."""
        root = Cid.parse(entry.cid)
        self._host.block(root)  # if the host does not return blocks, fail before a range is read

        def read(offset: int, length: int) -> bytes:
            return unixfs.read(root, self._host.block, offset, length)

        return read
