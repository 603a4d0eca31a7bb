"""Several sources of one thing, none of them believed: the first that serves is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from alithis.errors import (
    AlithisError,
    NotStoredError,
    StorageError,
)
from alithis.manifest.metadata import FileEntry

LONGEST_WAIT = 10.0
"""Seconds that are waited for a gateway that asks for it, where no other serves."""
_MAX_NOTES = 32
T = TypeVar("T")


class Source(Protocol):
    """Somewhere that ranges of a manifest's files are read from."""

    @property
    def resting(self) -> float:
        """Seconds for which it asks to be left alone."""

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        """Return a range of a file.

        Raises:
            AlithisError: it has it not, or gives something else.
        """


S = TypeVar("S", bound=Source)


def first(sources: Sequence[S], question: Callable[[S], T], notes: list[str]) -> tuple[S, T]:
    """Ask in turn, until somebody answers.

    Who asks to be left alone is asked after the others, once that time is over, if it is short.

    Args:
        sources: whom to ask.
        question: asks one of them.
        notes: takes what the others were of no use for, where somebody answers.

    Returns:
        Who answered, and the answer.

    Raises:
        NotStoredError: none has it.
        StorageError: nobody gives a usable answer.
    """
    inquiry = _Inquiry(question, notes)
    found = inquiry.ask(sources) or inquiry.ask_again()
    if found is None:
        raise inquiry.failure()
    return found


class _Inquiry(Generic[S, T]):
    """A question on its way: who was of no use, and who is to be asked again."""

    def __init__(self, question: Callable[[S], T], notes: list[str]) -> None:
        self._question, self._notes = question, notes
        self._errors: list[AlithisError] = []
        self._later: list[S] = []

    def ask(self, sources: Iterable[S]) -> tuple[S, T] | None:
        for source in sources:
            if not source.resting:
                try:
                    answer = self._question(source)
                except AlithisError as error:
                    self._errors.append(error)
                else:
                    self._note()
                    return source, answer
            if source.resting:
                self._later.append(source)
        return None

    def _note(self) -> None:
        """Name those that were of no use; that one has it not is no fault."""
        faults = (error for error in self._errors if not isinstance(error, NotStoredError))
        note(self._notes, *map(str, faults))

    def ask_again(self) -> tuple[S, T] | None:
        later, self._later = self._later, []
        return self.ask(self._rested(later))

    def _rested(self, sources: Iterable[S]) -> Iterator[S]:
        for source in sorted(sources, key=lambda each: each.resting):
            if source.resting <= LONGEST_WAIT:
                time.sleep(source.resting)
                yield source
            else:
                said = f"{source} asks to be left alone for {source.resting:,.0f} s"
                self._errors.append(StorageError(said))

    def failure(self) -> AlithisError:
        errors = self._errors
        if len(errors) == 1:
            return errors[0]
        said = "; ".join(filter(None, dict.fromkeys(map(str, errors))))
        absent = errors and all(isinstance(error, NotStoredError) for error in errors)
        return (NotStoredError if absent else StorageError)(said or "no gateway is chosen")


def note(notes: list[str], *lines: str) -> None:
    """Add lines that are not there yet, as long as there is room."""
    notes += [line for line in dict.fromkeys(lines) if line and line not in notes]
    del notes[_MAX_NOTES:]
