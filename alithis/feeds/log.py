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
_LATER, _DIGESTED = 1, 2  # marks: of what was given and is digested later, with others; and is
_MANY = 256

Note = Callable[[bytes, int], None]
"""Notes digests, joined, and how many data points were given."""


class Rows(Protocol):
    """Data points of a source, by their numbers."""

    def __call__(self, numbers: NDArray[np.intp], /) -> bytes:
        """Return their digests, joined."""

    def one(self, number: int, /) -> bytes:
        """Return the digest of one."""

    def changed(self, numbers: NDArray[np.intp], /) -> NDArray[np.intp]:
        """Return those that may have been changed since they were digested."""


class Log:
    """Notes data points as they are given; a copy in another process notes into the same folder.

    Attributes:
        ledger: where notes end up.
        digester: makes digests of what is given.
        note: takes notes.
        number: takes numbers of data points; None where they are marked at once.
    """

    def __init__(
        self,
        ledger: Ledger,
        digester: Digester,
        note: Note | None = None,
        number: Callable[[list[int]], None] | None = None,
    ) -> None:
        """Note into a ledger.

        Args:
            ledger: the ledger.
            digester: makes digests of what is given.
            note: takes the notes on their way to the ledger; by default they are there at once.
            number: takes the numbers of data points on their way, where they have some.
        """
        self.ledger, self.digester = ledger, digester
        self.note: Note = note or ledger.note
        self.number = number
        self._taken: list[Taken] = []

    @property
    def taken(self) -> Taken | None:
        """The source whose data points are noted by number, if there is one."""
        return self._taken[-1] if self._taken else None

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
        self._marks: NDArray[np.uint8] | None = None
        self._later: list[int] = []
        try:
            self._path.write_bytes(bytes(count))
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the map."""
        return self.__dict__ | {"_marks": None}

    def one(self, number: int) -> None:
        """Note a data point by its number."""
        if self._log.number is not None:
            self._log.number([number])
            return
        marks = self._mapped()
        if marks is None:
            return
        self._log.ledger.count(1)
        if not marks[number]:
            marks[number] = _LATER
            self._later.append(number)
            self._digest_many(marks)

    def note(self, numbers: NDArray[np.intp], given: NDArray[Any] | None = None) -> None:
        """Note data points by their numbers, each as often as it is given.

        They are digested first and marked then: if the process dies between, nothing is lost.

        Args:
            numbers: negative ones count from the end.
            given: the data points themselves, where the source gave them as rows of an array.
        """
        if self._log.number is not None:  # what is on its way may never arrive: no mark yet
            self._log.number(numbers.tolist())
            return
        marks = self._mapped()
        if marks is None:
            return
        fresh = numbers[marks[numbers] == 0]
        if given is not None and len(fresh) == len(given) <= _BATCH:
            self._noted(marks, fresh, self._log.digester.rows(given))
        elif len(fresh):
            self._digest(marks, fresh)
        self._log.ledger.count(len(numbers))

    def later(self, numbers: NDArray[np.intp]) -> None:
        """Note data points by their numbers, and digest new ones when there are many."""
        marks = self._mapped()
        if marks is None:
            return
        fresh = numbers[marks[numbers] == 0]
        if len(fresh):
            marks[fresh] = _LATER
            self._later += fresh.tolist()
            self._digest_many(marks)
        self._log.ledger.count(len(numbers))

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
        later = taken[marks[taken] == _LATER]
        self._digest(marks, np.concatenate([later, self._rows.changed(taken)]))

    def _digest_many(self, marks: NDArray[np.uint8]) -> None:
        if len(self._later) >= _MANY:
            self._digest(marks, _array(self._later))
            self._later = []

    def _digest(self, marks: NDArray[np.uint8], numbers: NDArray[np.intp]) -> None:
        import numpy as np

        numbers = np.unique(numbers % self._count)
        for start in range(0, len(numbers), _BATCH):
            some = numbers[start : start + _BATCH]
            self._noted(marks, some, self._rows(some))

    def _noted(self, marks: NDArray[np.uint8], numbers: NDArray[np.intp], digests: bytes) -> None:
        self._log.note(digests, 0)
        marks[numbers] = _DIGESTED

    def _mapped(self) -> NDArray[np.uint8] | None:
        """Map the file; None where it is gone, and the run over."""
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


def _array(numbers: list[int]) -> NDArray[np.intp]:
    import numpy as np

    return np.array(numbers, np.intp)
