"""Where a wrapped object notes what it gives: shared by its copies in other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from alithis.digest import SIZE
from alithis.errors import SourceError
from alithis.ledger import Ledger
from alithis.points import Digester

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 1 << 14  # rows that are digested at a time
_MARK = 8  # bytes
_LATER = 1  # the mark of what was given and is digested later, with others
_MANY = 256

Note = Callable[[bytes, int], None]
"""Notes digests, joined, and how many data points were given."""


class Rows(Protocol):
    """Data points of a source, by their numbers."""

    def __call__(self, numbers: NDArray[np.intp], /) -> bytes:
        """Return their digests, joined."""

    def one(self, number: int, /) -> bytes:
        """Return the digest of one."""

    def marks(self, numbers: NDArray[np.intp], /) -> NDArray[np.uint64]:
        """Return for each a number above 1 that differs (very likely) once it was changed."""


class Log:
    """Notes data points as they are given; a copy in another process notes into the same folder.

    Attributes:
        ledger: where notes end up.
        digester: makes digests of what is given.
        note: takes notes.
        direct: whether they are in the ledger at once.
    """

    def __init__(self, ledger: Ledger, digester: Digester, note: Note | None = None) -> None:
        """Note into a ledger.

        Args:
            ledger: the ledger.
            digester: makes digests of what is given.
            note: takes the notes on their way to the ledger; by default they are there at once.
        """
        self.ledger, self.digester = ledger, digester
        self.note: Note = note or ledger.note
        self.direct = note is None
        self._taken: list[Taken] = []

    def numbered(self, taken: Taken) -> None:
        """Take up a source whose data points are noted by number."""
        self._taken.append(taken)

    def again(self) -> None:
        """Digest again what was given of sources: so it shows if they were changed meanwhile."""
        for taken in self._taken:
            taken.again()

    def item(self, item: Any) -> None:
        """Note an item that is given."""
        self.note(self.digester.item(item), 1)

    def batch(self, batch: Any) -> None:
        """Note a batch that is given."""
        digests = self.digester.batch(batch)
        self.note(digests, len(digests) // SIZE)


class Taken:
    """Which data points of a source were given, in whatever process: a mark each, in a file."""

    def __init__(self, log: Log, count: int, rows: Rows) -> None:
        """Begin with none.

        Args:
            log: where they are noted.
            count: how many data points there are.
            rows: gives their digests.

        Raises:
            SourceError: the disk takes no more.
        """
        self._log, self._count, self._rows = log, count, rows
        log.numbered(self)
        self._path = log.ledger.folder / "taken"
        self._marks: NDArray[np.uint64] | None = None
        self._later: list[int] = []
        try:
            self._path.write_bytes(bytes(count * _MARK))
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the map."""
        return self.__dict__ | {"_marks": None}

    def one(self, number: int) -> None:
        """Note a data point by its number."""
        marks = self._mapped()
        if marks is None:
            return
        if not self._log.direct:
            self._log.note(self._rows.one(number), 1)
            return
        self._log.note(b"", 1)
        if not marks[number]:
            marks[number] = _LATER
            self._later.append(number)
            if len(self._later) == _MANY:
                self._digest(marks, _array(self._later))
                self._later = []

    def note(self, numbers: NDArray[np.intp]) -> None:
        """Note data points by their numbers, each as often as it is given.

        They are digested first and marked then: if the process dies between, nothing is lost.
        """
        import numpy as np

        marks = self._mapped()
        if marks is None:
            return
        # What is on its way may never arrive, so it is not marked.
        fresh = np.unique(numbers[marks[numbers] == 0] if self._log.direct else numbers)
        for start in range(0, len(fresh), _BATCH):
            self._digest(marks, fresh[start : start + _BATCH])
        self._log.note(b"", len(numbers))

    def all(self) -> None:
        """Note that all were given once more."""
        import numpy as np

        self.note(np.arange(self._count))

    def again(self) -> None:
        """Digest what is still to be, in whatever process it was given, and what was changed."""
        import numpy as np

        marks = self._mapped()
        if marks is None:
            return
        taken = np.flatnonzero(marks)
        for start in range(0, len(taken), _BATCH):
            some = taken[start : start + _BATCH]
            self._digest(marks, some[marks[some] != self._rows.marks(some)])

    def _digest(self, marks: NDArray[np.uint64], numbers: NDArray[np.intp]) -> None:
        if len(numbers):
            self._log.note(self._rows(numbers), 0)
            if self._log.direct:
                marks[numbers] = self._rows.marks(numbers)

    def _mapped(self) -> NDArray[np.uint64] | None:
        """Map the file; None where it is gone, and the run over."""
        import numpy as np

        if self._marks is None and self._count:
            try:
                mapped = np.memmap(self._path, np.uint64, "r+", shape=(self._count,))
                self._marks = np.asarray(mapped)  # plain arrays are faster
            except FileNotFoundError:
                return None
        return self._marks if self._count else np.zeros(0, np.uint64)


def _array(numbers: list[int]) -> NDArray[np.intp]:
    import numpy as np

    return np.array(numbers, np.intp)
