"""Where a wrapped object notes what it gives: shared by its copies in other processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from alithis.errors import AlithisError, SourceError
from alithis.forms.hashing import SIZE, of_ascii
from alithis.training.digester import Digester
from alithis.training.fed_log import Ledger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 1 << 14  # rows that are digested at a time
_LATER, _DIGESTED = 1, 2  # marks: of what was given and is digested later, with others; and is
_MANY = 1 << 10  # texts or numbers that are held, and digested together
_KNOWN = 1 << 12  # numbers that are held where the last ones were all digested before
_SHORT = 1 << 14  # characters: a longer text is not held


class Rows(Protocol):
    """Data points of a source, by their numbers."""

    def __call__(self, numbers: NDArray[np.intp], /) -> bytes:
        """Return their digests, joined."""

    def changed(self, numbers: NDArray[np.intp], /) -> NDArray[np.intp]:
        """Return those that may have been changed since they were digested."""


_process = [os.getpid()]  # to ask the system for each data point takes longer than all the rest
os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, os.getpid()))


class Pending(Protocol):
    """Takes notes on their way to a ledger: they may never arrive there."""

    def note(self, digests: bytes, given: int) -> None:
        """Take digests, joined, and how many data points were given."""

    def number(self, numbers: Sequence[int]) -> None:
        """Take numbers of data points."""

    def drop(self) -> None:
        """Forget what was taken."""


class _Held:
    """What a process was given and looks at later, all at once: that is quicker.

    A copy, in this process or another, holds nothing: nobody would ask it for what it holds.

    Attributes:
        limit: how much is held.
    """

    def __init__(self, limit: int, *, here: bool = True) -> None:
        """Begin with nothing; ``here`` tells whether anything may be held at all."""
        self._pid = _process[0] if here else None
        self.limit = limit
        self._lock = threading.RLock()  # a handler of signals may ask, too
        self._in_use = False
        self._given: list[Any] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing_held, ()

    def is_ours(self) -> bool:
        """Tell whether this process may hold things."""
        return _process[0] == self._pid

    def is_full(self, given: Iterable[Any]) -> bool:
        """Hold things, and tell whether they are enough now."""
        self._given.extend(given)
        return len(self._given) >= self.limit

    def look(self, use: Callable[[list[Any]], None]) -> None:
        """Use what is held, and hold it no longer once it was used: an interruption loses none."""
        if not self.is_ours():
            return
        with self._lock:
            if self._in_use:
                return
            try:
                self._in_use = True
                if some := self._given.copy():
                    use(some)
                    del self._given[: len(some)]
            finally:
                self._in_use = False


def _nothing_held() -> _Held:
    return _Held(0, here=False)


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
        pending: Pending | None = None,
    ) -> None:
        """Note into a ledger.

        Args:
            ledger: the ledger.
            digester: makes digests of what is given.
            pending: takes the notes on their way; by default they are in the ledger at once.
        """
        self.ledger, self.digester = ledger, digester
        self.note = pending.note if pending else ledger.note
        self.number = pending.number if pending else None
        self._pending = pending
        self._taken: list[Taken] = []
        texts = digester.form.name == "text" and digester.point is None
        self._held = _Held(_MANY, here=texts and not pending)

    @property
    def taken(self) -> Taken | None:
        """The source whose data points are noted by number, if there is one."""
        return self._taken[-1] if self._taken else None

    def numbered(self, taken: Taken) -> None:
        """Take up a source whose data points are noted by number."""
        self._taken.append(taken)

    def begin(self) -> None:
        """Begin an epoch: what the one before left on its way, in a batch that never came, goes."""
        if self._pending:
            self._pending.drop()

    def again(self) -> None:
        """Digest what is held, and what was changed in a source since it was given."""
        self._held.look(self._note_texts)
        for taken in self._taken:
            taken.again()

    def item(self, item: Any) -> None:
        """Note an item that is given; a text in ASCII is digested later, together with others."""
        if type(item) is str and item.isascii() and len(item) <= _SHORT and self._held.is_ours():
            if self._held.is_full((item,)):
                self._held.look(self._note_texts)
        else:
            self.note(self.digester.item(item), 1)

    def _note_texts(self, texts: list[str]) -> None:
        self.note(of_ascii(texts), len(texts))

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
        self._held = _Held(_MANY)
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
        self.later((number,))

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

    def later(self, numbers: Sequence[int]) -> None:
        """Note data points by their numbers, and digest new ones when there are many.

        Args:
            numbers: negative ones count from the end.
        """
        if self._log.number is not None:
            self._log.number(numbers)
        elif not self._held.is_ours():
            self._mark(numbers)
        elif self._held.is_full(numbers):
            self._held.look(self._mark)

    def _mark(self, numbers: Sequence[int]) -> None:
        marks = self._mapped()
        if marks is None:
            return
        try:
            given = _array(numbers)
            fresh = given[marks[given] == 0]
        except (IndexError, OverflowError) as error:
            raise SourceError(
                f"an item was given that is none of the source's {self._count}: {error}"
            ) from error
        if len(fresh):
            marks[fresh] = _LATER
            self._later += fresh.tolist()
        self._held.limit = _MANY if len(fresh) else _KNOWN
        if len(self._later) >= _MANY:
            self._digest(marks, _array(self._later))
            self._later = []
        self._log.ledger.count(len(given))

    def all(self) -> None:
        """Note that all were given once more."""
        import numpy as np

        self.note(np.arange(self._count))

    def again(self) -> None:
        """Digest what is still to be, in whatever process it was given, and what was changed."""
        import numpy as np

        self._held.look(self._mark)
        marks = self._mapped()
        if marks is None:
            return
        taken = np.flatnonzero(marks)
        later = taken[marks[taken] == _LATER]
        self._digest(marks, np.concatenate([later, self._rows.changed(taken)]))

    def _digest(self, marks: NDArray[np.uint8], numbers: NDArray[np.intp]) -> None:
        import numpy as np

        numbers = np.unique(numbers % self._count)
        for start in range(0, len(numbers), _BATCH):
            some = numbers[start : start + _BATCH]
            try:
                digests = self._rows(some)
            except AlithisError:
                raise
            except Exception as error:  # the source is the caller's: it raises what it likes
                raise SourceError(
                    "the source no longer gives a data point that was fed: "
                    f"{type(error).__name__}: {error}"
                ) from error
            self._noted(marks, some, digests)

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


def _array(numbers: Sequence[int]) -> NDArray[np.intp]:
    import numpy as np

    return np.array(numbers, np.intp)
