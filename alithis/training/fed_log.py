"""Digests of what is fed, kept on the disk while a run goes on, by any number of processes.

Each process appends to a file of its own, mapped into memory, in a folder that they share: what
was noted is there at once for whoever reads, even of a process that is killed the next moment.
A full file becomes a sorted run of distinct digests, and many runs are merged into one, so that
neither memory nor, where points repeat, the disk grows with the number of points fed.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
import weakref
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.forms.hashing import SIZE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RUN = 1 << 18
"""Digests that a process notes before it sorts them: 8 MiB."""

_HEAD = 16  # bytes: data points noted in all, and digests in the file
_FIRST = 1 << 10
_MAX_RUNS = 16
_PREFIXES = 1 << 16
_KEY = f"S{SIZE}"


class Ledger:
    """Where digests are noted; a copy in another process notes into the same folder.

    Attributes:
        folder: the folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder, which need not be empty."""
        self.folder = folder
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder: another process has files of its own in it."""
        return Ledger, (self.folder,)

    def note(self, digests: bytes, given: int) -> None:
        """Note what was fed. Where the folder is gone, the run is over: nothing is noted.

        Args:
            digests: of data points, 32 bytes each, joined, with or without repeats.
            given: how many data points were fed; more than digests where some had been noted
                before.

        Raises:
            SourceError: the disk takes no more.
        """
        if self._pid != os.getpid():
            self._begin()  # after a fork the file, and maybe the lock, are the parent's
        with self._lock:
            try:
                for start in range(0, max(1, len(digests)), RUN * SIZE):
                    self._append(digests[start : start + RUN * SIZE])
            except FileNotFoundError:
                return
            except OSError as error:
                raise SourceError(
                    f"{self.folder}: what is fed cannot be noted: {error.strerror}; "
                    "TMPDIR names another place"
                ) from error
            self._given += given
            self._write_head()

    def count(self, given: int) -> None:
        """Note that data points were fed whose digests are noted by themselves; as `note` does."""
        if self._map is None or self._pid != os.getpid():
            self.note(b"", given)
            return
        with self._lock:
            self._given += given
            self._map[:8] = self._given.to_bytes(8, "little")

    def _begin(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._map: mmap.mmap | None = None
        self._given = self._count = self._room = 0
        self._runs: list[Path] = []

    def _append(self, digests: bytes) -> None:
        if self._map is None:
            self._path = self.folder / f"{secrets.token_hex(8)}.live"
            self._resize(_FIRST)
        wanted = self._count + len(digests) // SIZE
        if wanted > RUN:
            self._settle()
            wanted = len(digests) // SIZE
        if wanted > self._room:
            self._resize(max(wanted, min(4 * self._room, RUN)))
        assert self._map is not None
        start = _HEAD + self._count * SIZE
        self._map[start : start + len(digests)] = digests
        self._count = wanted

    def _resize(self, room: int) -> None:
        """Map a larger file. It is filled: of a hole on a full disk a write would be fatal."""
        with self._path.open("ab") as file:
            file.write(bytes(_HEAD + room * SIZE - file.tell()))
        with self._path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._room = room

    def _settle(self) -> None:
        """Make a sorted run of what is in the file; merge the runs where there are many."""
        assert self._map is not None
        self._runs.append(
            self._write_run([_InMemory(self._map[_HEAD : _HEAD + self._count * SIZE])])
        )
        self._count = 0
        self._write_head()
        if len(self._runs) > _MAX_RUNS:
            old = self._runs
            self._runs = [self._write_run([_Run(path) for path in old])]
            for path in old:
                path.unlink()

    def _write_run(self, runs: Sequence[_Run | _InMemory]) -> Path:
        path = self.folder / f"{secrets.token_hex(8)}.run"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            for block in _merged(runs):
                file.write(block.tobytes())
        return partial.replace(path)

    def _write_head(self) -> None:
        if self._map is not None:
            head = self._given.to_bytes(8, "little") + self._count.to_bytes(8, "little")
            self._map[:_HEAD] = head


class Noted:
    """What ledgers hold at a moment, of all processes.

    Attributes:
        given: data points that were fed, repeats counted.
    """

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        """Take what is there; what is noted later is not seen.

        Raises:
            SourceError: it cannot be read.
        """
        self.given, live = 0, list[bytes]()
        try:
            for ledger in ledgers:
                for path in sorted(ledger.folder.glob("*.live")):
                    data = path.read_bytes()
                    count = int.from_bytes(data[8:_HEAD], "little")
                    self.given += int.from_bytes(data[:8], "little")
                    live.append(data[_HEAD : _HEAD + count * SIZE])
            # Only now: what moves from a file into a run meanwhile is seen twice, not missed.
            runs = [run for ledger in ledgers for run in _runs(ledger.folder)]
        except OSError as error:
            raise SourceError(f"{error.filename}: cannot be read: {error.strerror}") from error
        kept = [_InMemory(data) for data in live if data]
        self._runs: list[_Run | _InMemory] = [*kept, *runs]

    def blocks(self) -> Iterator[NDArray[np.bytes_]]:
        """Yield the distinct digests, ascending, in arrays of type ``S32``."""
        return _merged(self._runs)


class _Run:
    """A sorted run of digests, in a file that stays open though it may be gone from its folder."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        self._length = os.fstat(self._file.fileno()).st_size // SIZE

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: int) -> bytes:
        return os.pread(self._file.fileno(), SIZE, at * SIZE)

    def read(self, start: int, stop: int) -> bytes:
        return os.pread(self._file.fileno(), (stop - start) * SIZE, start * SIZE)


class _InMemory:
    """A sorted run of digests in memory."""

    def __init__(self, digests: bytes) -> None:
        import numpy as np

        self._data: bytes = _distinct(np.frombuffer(digests, _KEY)).tobytes()

    def __len__(self) -> int:
        return len(self._data) // SIZE

    def __getitem__(self, at: int) -> bytes:
        return self.read(at, at + 1)

    def read(self, start: int, stop: int) -> bytes:
        return self._data[start * SIZE : stop * SIZE]


def _distinct(digests: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Sort digests and drop repeats: by their first eight bytes, which is quick, if these do."""
    import numpy as np

    heads = digests.view(">u8")[:: SIZE // 8].astype(np.uint64)
    order = np.argsort(heads, kind="stable")
    heads = heads[order]
    found: NDArray[np.bytes_] = digests[order]
    fresh = np.append(True, heads[1:] != heads[:-1])[: len(found)]
    again = np.flatnonzero(~fresh)
    distinct = np.array_equal(found[again], found[again - 1])
    return found[fresh] if distinct else np.unique(found)


def _runs(folder: Path) -> list[_Run]:
    """Open the runs in a folder; where some are merged meanwhile, look again."""
    while True:
        try:
            return [_Run(path) for path in sorted(folder.glob("*.run"))]
        except FileNotFoundError:
            continue


def _merged(runs: Sequence[_Run | _InMemory]) -> Iterator[NDArray[np.bytes_]]:
    """Merge sorted runs of digests, range by range; digests are spread evenly."""
    import numpy as np

    steps = min(_PREFIXES, 1 + sum(map(len, runs)) // RUN)
    starts = [0] * len(runs)
    for step in range(1, steps + 1):
        bound = (step * _PREFIXES // steps).to_bytes(3, "big")[1:]
        stops = [len(run) if step == steps else bisect_left(run, bound) for run in runs]
        parts = [run.read(a, b) for run, a, b in zip(runs, starts, stops, strict=True) if a < b]
        starts = stops
        if parts:
            joined = np.frombuffer(b"".join(parts), _KEY)
            yield _distinct(joined) if len(parts) > 1 else joined
