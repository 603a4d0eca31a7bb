"""Where a wrapped object notes what it gives: shared by its copies in other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.ledger import Ledger
from alithis.points import Digester

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 1 << 14  # rows that are digested at a time

Note = Callable[[bytes, int], None]
"""Notes digests, joined, and how many data points were given."""
Rows = Callable[["NDArray[np.intp]"], list[bytes]]
"""Gives the digests of data points by their numbers."""


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
        self.note(b"".join(digests), len(digests))


class Taken:
    """Which data points of a source were given, in whatever process: a byte each, in a file."""

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
        self._flags: NDArray[np.bool_] | None = None
        try:
            self._path.write_bytes(bytes(count))
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the map."""
        return self.__dict__ | {"_flags": None}

    def one(self, number: int) -> None:
        """Note a data point by its number."""
        flags = self._mapped()
        if flags is None or (flags[number] and self._log.direct):
            self._log.note(b"", 1)
        else:
            self.note(_array([number]))

    def note(self, numbers: NDArray[np.intp]) -> None:
        """Note data points by their numbers, each as often as it is given.

        They are digested first and marked then: if the process dies between, nothing is lost.
        """
        import numpy as np

        flags = self._mapped()
        if flags is None:
            return
        # What is on its way may never arrive, so it is not marked.
        fresh = np.unique(numbers[~flags[numbers]] if self._log.direct else numbers)
        for start in range(0, len(fresh), _BATCH):
            some = fresh[start : start + _BATCH]
            self._log.note(b"".join(self._rows(some)), 0)
            if self._log.direct:
                flags[some] = True
        self._log.note(b"", len(numbers))

    def all(self) -> None:
        """Note that all were given once more."""
        import numpy as np

        self.note(np.arange(self._count))

    def again(self) -> None:
        """Digest what was given again, as it is now: so it shows if it was changed meanwhile."""
        import numpy as np

        flags = self._mapped()
        taken = np.flatnonzero(flags) if flags is not None else _array([])
        for start in range(0, len(taken), _BATCH):
            self._log.note(b"".join(self._rows(taken[start : start + _BATCH])), 0)

    def _mapped(self) -> NDArray[np.bool_] | None:
        """Map the file; None where it is gone, and the run over."""
        import numpy as np

        if self._flags is None and self._count:
            try:
                self._flags = np.memmap(self._path, bool, "r+", shape=(self._count,))
            except FileNotFoundError:
                return None
        return self._flags if self._count else np.zeros(0, bool)


def _array(numbers: list[int]) -> NDArray[np.intp]:
    import numpy as np

    return np.array(numbers, np.intp)
