"""Asks several untrusted sources in turn, until one returns a usable answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from alithis.errors import AlithisError, NotStoredError, StorageError
from alithis.manifest.metadata import FileEntry

LONGEST_WAIT = 10.0
"""Maximum seconds to wait for a source that rate-limits us, if no other source answers."""
_MAX_NOTES = 32
T = TypeVar("T")


class RangeSource(Protocol):
    """A source of ranges of a manifest's files."""

    @property
    def wait_seconds(self) -> float:
        """Seconds until it accepts the next request; usually 0."""

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        """Return a range of a file.

        Raises:
            AlithisError: the source does not have it, or returns a wrong answer.
        """


S = TypeVar("S", bound=RangeSource)


def first_answer(sources: Sequence[S], question: Callable[[S], T], notes: list[str]) -> tuple[S, T]:
    """Ask sources in turn, until one answers.

    A source that rate-limits us is asked after the others, when its waiting time is over. If that
    takes longer than `LONGEST_WAIT`, it is not asked.

    Args:
        sources: the sources.
        question: asks one source.
        notes: if a source answers, the errors of those before it are added here. A source that
            simply does not have the content is not an error.

    Returns:
        The source that answered, and its answer.

    Raises:
        NotStoredError: no source has the content.
        StorageError: no source gives a usable answer.
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
    """Yield the sources to ask; those that rate-limit us come last, after their waiting time."""
    later = []
    for source in sources:
        if not source.wait_seconds:
            yield source
        if source.wait_seconds:  # not `else`: the answer to the request just made may have set it
            later.append(source)
    for source in sorted(later, key=lambda source: source.wait_seconds):
        if source.wait_seconds > LONGEST_WAIT:
            seconds = f"{source.wait_seconds:,.0f} s"
            errors.append(StorageError(f"{source} rate-limits us: try again in {seconds}"))
        else:
            time.sleep(source.wait_seconds)
            yield source


def _joined(errors: Sequence[AlithisError]) -> AlithisError:
    if len(errors) == 1:
        return errors[0]
    text = "; ".join(filter(None, dict.fromkeys(map(str, errors))))
    absent = errors and all(isinstance(error, NotStoredError) for error in errors)
    return (NotStoredError if absent else StorageError)(
        text or "no gateway is configured: name one with --gateway"
    )


def add_notes(notes: list[str], *lines: str) -> None:
    """Add the lines that are new, up to a maximum number of notes."""
    notes += [line for line in dict.fromkeys(lines) if line and line not in notes]
    del notes[_MAX_NOTES:]
