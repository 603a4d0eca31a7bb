"""Record the data points that wrapped objects return: hash them, and add them to a log on the disk.

Recording happens in the middle of a training loop, so it has to be fast: items are collected and
hashed many at a time, and a row of an array is hashed only the first time that it is read. Copies
of a recorder in other processes (the workers of a DataLoader) write to the same folder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from alithis.errors import AlithisError, SourceError
from alithis.forms.hashing import SIZE, of_ascii
from alithis.training.fed_log import FedLog
from alithis.training.wrappers.hasher import ItemHasher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 1 << 14  # rows to hash at a time
_QUEUED, _HASHED = 1, 2  # marks of rows that were read: to be hashed with others, and hashed
_MANY = 1 << 10  # texts or numbers to collect before they are hashed together
_KNOWN = 1 << 12  # numbers to collect while all rows that are read were hashed before
_SHORT = 1 << 14  # characters of a text that may be collected


class RowHasher(Protocol):
    """Hashes data points by their numbers."""

    def __call__(self, numbers: NDArray[np.intp], /) -> bytes:
        """Return the digests, joined."""

    def changed(self, numbers: NDArray[np.intp], /) -> NDArray[np.intp]:
        """Return those of the data points that may have been changed since they were hashed."""


# The process id. Asking the system for it at each data point would take longer than all other work.
# It changes only after a fork; Windows has no fork, so there each process loads this module itself.
_process = [os.getpid()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, os.getpid()))


class Pending(Protocol):
    """Collects records of a batch that may never arrive in the training loop."""

    def add(self, digests: bytes, given: int) -> None:
        """Add digests, joined, and the number of data points that were read."""

    def add_numbers(self, numbers: Sequence[int]) -> None:
        """Add numbers of data points."""

    def drop(self) -> None:
        """Drop everything that was added."""


class _Queue:
    """Collects what a process reads, to use many entries at once.

    A copy in another process stays empty: nobody would flush it when that process ends.

    Attributes:
        limit: number of entries that fill the queue.
    """

    def __init__(self, limit: int, *, usable: bool = True) -> None:
        """Create an empty queue; if it is not usable, nothing may be put into it."""
        self._pid = _process[0] if usable else None
        self.limit = limit
        self._lock = threading.RLock()  # reentrant, because a signal handler may flush the queue
        self._in_use = False
        self._entries: list[Any] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _unusable_queue, ()

    def is_usable(self) -> bool:
        """Return whether this process may put entries into the queue."""
        return _process[0] == self._pid

    def put(self, entries: Iterable[Any]) -> bool:
        """Add entries, and return whether the queue is full."""
        self._entries.extend(entries)
        return len(self._entries) >= self.limit

    def flush(self, use: Callable[[list[Any]], None]) -> None:
        """Call a function with the entries, and then remove them: an interruption loses none."""
        if not self.is_usable():
            return
        with self._lock:
            if self._in_use:
                return
            try:
                self._in_use = True
                if some := self._entries.copy():
                    use(some)
                    del self._entries[: len(some)]
            finally:
                self._in_use = False


def _unusable_queue() -> _Queue:
    return _Queue(0, usable=False)


class Recorder:
    """Records data points; a copy in another process records into the same folder.

    Attributes:
        fed_log: the log that digests are added to.
        hasher: hashes items.
        add: adds digests, to the log or to what is pending.
        add_numbers: adds numbers of data points to what is pending; None if nothing is pending.
    """

    def __init__(self, fed_log: FedLog, hasher: ItemHasher, pending: Pending | None = None) -> None:
        """Record into a log.

        Args:
            fed_log: the log.
            hasher: hashes items.
            pending: collects the records of a batch until it arrives; by default records are
                added to the log at once.
        """
        self.fed_log, self.hasher = fed_log, hasher
        self.add = pending.add if pending else fed_log.add
        self.add_numbers = pending.add_numbers if pending else None
        self._pending = pending
        self._row_recorders: list[RowRecorder] = []
        texts = hasher.form.name == "text" and hasher.point is None
        self._queue = _Queue(_MANY, usable=texts and not pending)

    @property
    def rows(self) -> RowRecorder | None:
        """The recorder of numbered data points, if there is one."""
        return self._row_recorders[-1] if self._row_recorders else None

    def attach(self, rows: RowRecorder) -> None:
        """Attach a recorder of numbered data points, to flush it with this one."""
        self._row_recorders.append(rows)

    def begin_epoch(self) -> None:
        """Drop what the last epoch left pending: the rest of a batch that never arrived."""
        if self._pending:
            self._pending.drop()

    def flush(self) -> None:
        """Hash everything that was collected, and rows that were changed after they were read."""
        self._queue.flush(self._record_texts)
        for rows in self._row_recorders:
            rows.flush()

    def record_item(self, item: Any) -> None:
        """Record an item. An ASCII text is hashed later, together with others."""
        if type(item) is str and item.isascii() and len(item) <= _SHORT and self._queue.is_usable():
            if self._queue.put((item,)):
                self._queue.flush(self._record_texts)
        else:
            self.add(self.hasher.item(item), 1)

    def _record_texts(self, texts: list[str]) -> None:
        self.add(of_ascii(texts), len(texts))

    def record_batch(self, batch: Any) -> None:
        """Record a batch of data points."""
        digests = self.hasher.batch(batch)
        self.add(digests, len(digests) // SIZE)


class RowRecorder:
    """Records numbered data points: each is hashed once, however often it is read.

    A file with one byte for each data point marks which were read, by any process.
    """

    def __init__(self, recorder: Recorder, count: int, hasher: RowHasher) -> None:
        """Create the file of marks.

        Args:
            recorder: records the digests.
            count: the number of data points.
            hasher: hashes data points by their numbers.

        Raises:
            SourceError: the file cannot be written.
        """
        self._recorder, self._count, self._hasher = recorder, count, hasher
        recorder.attach(self)
        self._path = recorder.fed_log.folder / "marks"
        self._marks: NDArray[np.uint8] | None = None
        self._queue = _Queue(_MANY)
        self._to_hash: list[int] = []
        try:
            self._path.write_bytes(bytes(count))
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the mapped file."""
        return self.__dict__ | {"_marks": None}

    def record_one(self, number: int) -> None:
        """Record a data point by its number."""
        self.queue((number,))

    def record(self, numbers: NDArray[np.intp], given: NDArray[Any] | None = None) -> None:
        """Record data points by their numbers, each as often as it stands there.

        They are hashed first and marked then: if the process dies in between, they are hashed
        again, and none is lost.

        Args:
            numbers: negative ones count from the end.
            given: the data points themselves, if they are rows of an array.
        """
        if self._recorder.add_numbers is not None:  # no mark yet: the batch may never arrive
            self._recorder.add_numbers(numbers.tolist())
            return
        marks = self._mapped()
        if marks is None:
            return
        fresh = numbers[marks[numbers] == 0]
        if given is not None and len(fresh) == len(given) <= _BATCH:
            self._add(marks, fresh, self._recorder.hasher.rows(given))
        elif len(fresh):
            self._hash(marks, fresh)
        self._recorder.fed_log.add_count(len(numbers))

    def queue(self, numbers: Sequence[int]) -> None:
        """Record data points by their numbers later, many at once.

        Args:
            numbers: negative ones count from the end.
        """
        if self._recorder.add_numbers is not None:
            self._recorder.add_numbers(numbers)
        elif not self._queue.is_usable():
            self._mark(numbers)
        elif self._queue.put(numbers):
            self._queue.flush(self._mark)

    def _mark(self, numbers: Sequence[int]) -> None:
        marks = self._mapped()
        if marks is None:
            return
        try:
            given = _array(numbers)
            fresh = given[marks[given] == 0]
        except (IndexError, OverflowError) as error:
            raise SourceError(
                f"the data has more items than the {self._count} data points of its source: {error}"
            ) from error
        if len(fresh):
            marks[fresh] = _QUEUED
            self._to_hash += fresh.tolist()
        self._queue.limit = _MANY if len(fresh) else _KNOWN
        if len(self._to_hash) >= _MANY:
            self._hash(marks, _array(self._to_hash))
            self._to_hash = []
        self._recorder.fed_log.add_count(len(given))

    def record_all(self) -> None:
        """Record all data points once more."""
        import numpy as np

        self.record(np.arange(self._count))

    def flush(self) -> None:
        """Hash the rows that any process marked, and rows that changed since they were read."""
        import numpy as np

        self._queue.flush(self._mark)
        marks = self._mapped()
        if marks is None:
            return
        read = np.flatnonzero(marks)
        to_hash = read[marks[read] == _QUEUED]
        self._hash(marks, np.concatenate([to_hash, self._hasher.changed(read)]))

    def _hash(self, marks: NDArray[np.uint8], numbers: NDArray[np.intp]) -> None:
        import numpy as np

        numbers = np.unique(numbers % self._count)
        for start in range(0, len(numbers), _BATCH):
            some = numbers[start : start + _BATCH]
            try:
                digests = self._hasher(some)
            except AlithisError:
                raise
            except Exception as error:  # the source is the user's object: it may raise anything
                raise SourceError(
                    "the source no longer returns a data point that was read before: "
                    f"{type(error).__name__}: {error}"
                ) from error
            self._add(marks, some, digests)

    def _add(self, marks: NDArray[np.uint8], numbers: NDArray[np.intp], digests: bytes) -> None:
        self._recorder.add(digests, 0)
        marks[numbers] = _HASHED

    def _mapped(self) -> NDArray[np.uint8] | None:
        """Map the file of marks; None if it was removed because the run is over."""
        import numpy as np

        if self._marks is None:
            if not self._count:
                return np.zeros(0, np.uint8)
            try:
                mapped = np.memmap(self._path, np.uint8, "r+", shape=(self._count,))
            except FileNotFoundError:
                return None
            self._marks = np.asarray(mapped)  # plain arrays are faster
        return self._marks


def _array(numbers: Sequence[int]) -> NDArray[np.intp]:
    import numpy as np

    return np.array(numbers, np.intp)
