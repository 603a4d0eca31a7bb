"""Asking several untrusted sources for one thing, until one of them has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from alithis.errors import AlithisError, NotStoredError, StorageError
from alithis.manifest.metadata import FileEntry

LONGEST_WAIT = 10.0
"""Seconds to wait for a gateway that rate-limits us, if no other one answers."""
_MAX_NOTES = 32
T = TypeVar("T")


class RangeSource(Protocol):
    """Somewhere that ranges of a manifest's files are read from."""

    @property
    def wait_seconds(self) -> float:
        """Seconds that it asks us to wait before the next request; mostly 0."""

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        """Return a range of a file.

        Raises:
            AlithisError: the source does not have it, or gives something else.
        """


S = TypeVar("S", bound=RangeSource)


def first_answer(sources: Sequence[S], question: Callable[[S], T], notes: list[str]) -> tuple[S, T]:
    """Ask sources in turn, until one answers.

    A source that rate-limits us is asked after the others, when its time is over, if that is soon.

    Args:
        sources: whom to ask.
        question: asks one of them.
        notes: if one answers, the errors of those before it are added here. That a source does
            not have something is not an error.

    Returns:
        The source that answered, and its answer.

    Raises:
        NotStoredError: none has it.
        StorageError: none gives a usable answer.
    """
    errors = list[AlithisError]()
    for source in _in_turn(sources, errors):
        try:
            answer = question(source)
        except AlithisError as error:
            errors.append(error)
        else:
            faults = (error for error in errors if not isinstance(error, NotStoredError))
            add_notes(notes, *map(str, faults))
            return source, answer
    raise _joined(errors)


def _in_turn(sources: Sequence[S], errors: list[AlithisError]) -> Iterator[S]:
    """Yield sources that may be asked; those that rate-limit us last, after their wait."""
    later = []
    for source in sources:
        if not source.wait_seconds:
            yield source
        if source.wait_seconds:  # also if the answer just now was such a request
            later.append(source)
    for source in sorted(later, key=lambda source: source.wait_seconds):
        if source.wait_seconds > LONGEST_WAIT:
            text = f"{source} rate-limits us for {source.wait_seconds:,.0f} s: try again then"
            errors.append(StorageError(text))
        else:
            time.sleep(source.wait_seconds)
            yield source


def _joined(errors: Sequence[AlithisError]) -> AlithisError:
    if len(errors) == 1:
        return errors[0]
    text = "; ".join(filter(None, dict.fromkeys(map(str, errors))))
    absent = errors and all(isinstance(error, NotStoredError) for error in errors)
    return (NotStoredError if absent else StorageError)(text or "no gateway is chosen")


def add_notes(notes: list[str], *lines: str) -> None:
    """Add lines that are new, up to a number of notes."""
    notes += [line for line in dict.fromkeys(lines) if line and line not in notes]
    del notes[_MAX_NOTES:]
