"""The log of the data points that a training run reads: digests on the disk, from many processes.

Each process appends to its own file, mapped into memory, in a shared folder. Readers see an entry
at once, and it survives if the process is killed the next moment. A full file is turned into
a sorted run of distinct digests, and many runs are merged into one. Memory does not grow with the
number of data points, and the disk does not grow when data points repeat.

The folders are in the system's temporary folder. Each is locked while its run exists; the folder of
a run that was killed is removed when the next run begins (`RunFolder`).
"""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import stat
import tempfile
import threading
import weakref
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.forms.hashing import SIZE

if TYPE_CHECKING:
    import numpy as np
    from filelock import FileLock
    from numpy.typing import NDArray

RUN = 1 << 18
"""Digests that a process logs before it sorts them: 8 MiB."""

_HEAD = 16  # bytes: number of data points that were read, and of digests in the file
_FIRST = 1 << 10  # digests that a new file has room for
_MAX_RUNS = 16
_PREFIXES = 1 << 16
_KEY = f"S{SIZE}"
_PREFIX, _LOCK = "alithis-run-", "lock"
_ATTEMPTS = 5


class RunFolder:
    """A temporary folder for the logs of a run, removed with the run.

    Attributes:
        path: the folder; only its owner can read it (mode 0700).
    """

    def __init__(self) -> None:
        """Create the folder, and remove those of runs that were killed.

        Raises:
            OSError: it cannot be created.
        """
        base = Path(tempfile.gettempdir())
        _remove_abandoned(base)
        for _ in range(_ATTEMPTS):
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            self._lock = _lock(self.path)
            if self._lock is None or self._lock.is_locked:
                break
            # Another run removed the folder before we held the lock; create another one.
        self._process = os.getpid()

    def new(self) -> Path:
        """Create a folder in it, for the log of one wrapped object.

        Raises:
            OSError: it cannot be created.
        """
        return Path(tempfile.mkdtemp(dir=self.path))

    def remove(self) -> None:
        """Remove the folder, unless this is a forked worker: then the run still needs it."""
        if os.getpid() != self._process:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            shutil.rmtree(self.path, ignore_errors=True)  # Windows keeps a file that is open


def _lock(folder: Path) -> FileLock | None:
    """Try to lock a folder, without waiting; None on a file system without locks.

    The kernel releases the lock when the process ends, even if it is killed. filelock's soft lock,
    a file whose existence is the lock, would not be released, and is not used.

    `alithis.base.files.lock_file` cannot be used: it holds a lock during a ``with`` block of one
    thread, and this lock is held as long as the run exists, and released by any thread.
    """
    from filelock import FileLock, Timeout

    # Not bound to a thread: the garbage collector may call `RunFolder.remove` in any thread.
    lock = FileLock(folder / _LOCK, mode=0o600, thread_local=False, fallback_to_soft=False)
    try:
        with suppress(Timeout):
            lock.acquire(blocking=False)
    except (OSError, NotImplementedError):
        return None
    return lock


def _remove_abandoned(base: Path) -> None:
    """Remove the folders of runs that were killed: folders that nobody locks.

    In a shared temporary folder, other users may create anything with our prefix. So only a real
    folder (no symbolic link) that belongs to this user and that nobody else can enter is opened:
    otherwise its lock file could be another user's link to one of our files. `shutil.rmtree`
    follows no links either.
    """
    with suppress(OSError):
        for entry in list(os.scandir(base)):
            folder = Path(entry.path)
            if not entry.name.startswith(_PREFIX) or not _is_private(folder):
                continue
            lock = _lock(folder)
            if lock is not None and lock.is_locked:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
                shutil.rmtree(folder, ignore_errors=True)  # Windows keeps a file that is open


def _is_private(folder: Path) -> bool:
    """Return whether a path is a run's folder of this user that no other user can enter."""
    try:
        status, lock = folder.lstat(), (folder / _LOCK).lstat()
    except OSError:  # no lock file: another run creates the folder at this moment
        return False
    if not stat.S_ISDIR(status.st_mode) or not stat.S_ISREG(lock.st_mode):
        return False
    if not hasattr(os, "getuid"):  # Windows, where each user has a temporary folder
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o077


class FedLog:
    """A log of digests; a copy in another process appends to its own file in the same folder.

    Attributes:
        folder: the folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        """Log into a folder, which need not be empty."""
        self.folder = folder
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the folder: another process writes its own files there."""
        return FedLog, (self.folder,)

    def add(self, digests: bytes, given: int) -> None:
        """Log data points that were read. If the folder was removed, the run is over: do nothing.

        Args:
            digests: digests of data points, 32 bytes each, joined, with or without repeats.
            given: how many data points were read; more than there are digests if some were logged
                before.

        Raises:
            SourceError: the disk is full, or fails.
        """
        if self._pid != os.getpid():
            self._begin()  # after a fork, the file is the parent's, and its lock may be held
        with self._lock:
            try:
                for start in range(0, max(1, len(digests)), RUN * SIZE):
                    self._append(digests[start : start + RUN * SIZE])
            except FileNotFoundError:
                return
            except OSError as error:
                raise SourceError(
                    f"{self.folder}: the data points cannot be logged: {error.strerror}; "
                    "set TMPDIR to another folder"
                ) from error
            self._given += given
            self._write_head()

    def add_count(self, given: int) -> None:
        """Log that data points were read whose digests are logged separately; see `add`."""
        if self._map is None or self._pid != os.getpid():
            self.add(b"", given)
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
        """Map a larger file.

        It is filled with zeros: writing to a hole in a mapped file kills the process (SIGBUS) if
        the disk is full.
        """
        with self._path.open("ab") as file:
            file.write(bytes(_HEAD + room * SIZE - file.tell()))
        with self._path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._room = room

    def _settle(self) -> None:
        """Turn the content of the file into a sorted run, and merge the runs if there are many."""
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


class FedLogSnapshot:
    """The content of logs at one moment, from all processes.

    Attributes:
        given: number of data points that were read, repeats counted.
    """

    def __init__(self, logs: Sequence[FedLog]) -> None:
        """Read logs; later entries are not included.

        Raises:
            SourceError: a log cannot be read.
        """
        self.given, live = 0, list[bytes]()
        try:
            for log in logs:
                for path in sorted(log.folder.glob("*.live")):
                    data = path.read_bytes()
                    count = int.from_bytes(data[8:_HEAD], "little")
                    self.given += int.from_bytes(data[:8], "little")
                    live.append(data[_HEAD : _HEAD + count * SIZE])
            # The runs are read after the files: entries that another process moves from a file into
            # a run at this moment are then read twice, which is harmless. In the other order they
            # would be missed.
            runs = [run for log in logs for run in _runs(log.folder)]
        except OSError as error:
            raise SourceError(f"{error.filename}: cannot be read: {error.strerror}") from error
        kept = [_InMemory(data) for data in live if data]
        self._runs: list[_Run | _InMemory] = [*kept, *runs]

    def blocks(self) -> Iterator[NDArray[np.bytes_]]:
        """Yield the distinct digests, ascending, in arrays of type ``S32``."""
        return _merged(self._runs)


class _Run:
    """A sorted run of digests in a file, which stays open: a merge may remove it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self._length = os.fstat(self._file.fileno()).st_size // SIZE

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: int) -> bytes:
        return self.read(at, at + 1)

    def read(self, start: int, stop: int) -> bytes:
        self._file.seek(start * SIZE)
        return self._file.read((stop - start) * SIZE)


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
    """Sort digests and drop repeats.

    Sorting by the first eight bytes as integers is several times as fast as sorting by all 32. The
    result is right unless two different digests begin with the same eight bytes. This is checked;
    in that case all bytes are sorted.
    """
    import numpy as np

    heads = digests.view(">u8")[:: SIZE // 8].astype(np.uint64)
    order = np.argsort(heads, kind="stable")
    heads = heads[order]
    found: NDArray[np.bytes_] = digests[order]
    fresh = np.append(True, heads[1:] != heads[:-1])[: len(found)]
    again = np.flatnonzero(~fresh)
    same = np.array_equal(found[again], found[again - 1])
    return found[fresh] if same else np.unique(found)


def _runs(folder: Path) -> list[_Run]:
    """Open the runs in a folder; list them again if some were merged at this moment."""
    while True:
        try:
            return [_Run(path) for path in sorted(folder.glob("*.run"))]
        except FileNotFoundError:
            continue


def _merged(runs: Sequence[_Run | _InMemory]) -> Iterator[NDArray[np.bytes_]]:
    """Merge sorted runs of digests, one range of prefixes at a time.

    SHA-256 digests are evenly distributed, so equal ranges of prefixes contain about equal numbers
    of digests, and memory is bounded.
    """
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
