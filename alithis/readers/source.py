"""What a reader gives: data points that can be digested, in an order that never changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeVar

from alithis.errors import SourceError
from alithis.forms.form import Form
from alithis.forms.hashing import SIZE
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints

_Piece = TypeVar("_Piece")

MAX_NAMES = 100_000
"""Names of skipped things that are kept; all are counted."""


class Digested(Protocol):
    """Gives data points digested, in batches."""

    def __call__(self, pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        """Yield the data points from number ``first`` on, in the source's order.

        Args:
            pool: the workers.
            first: how many data points to leave out at the beginning; they are not hashed.

        Raises:
            SourceError: something cannot be read.
        """


@dataclass(slots=True)
class Skips:
    """What a reader passed over, because it is no data point: counted, and listed.

    It is complete once the source was read to its end.

    Attributes:
        count: how many things.
        names: the first 100,000 of them, each with the reason: ``("a/b", "a directory")``.
    """

    count: int = 0
    names: list[tuple[str, str]] = field(default_factory=list)
    _settled: tuple[int, int] = (0, 0)

    def add(self, name: str, reason: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.names) < MAX_NAMES:
            self.names.append((name, reason))

    def extend(self, other: Skips) -> None:
        """Note all that others noted."""
        self.count += other.count
        self.names += other.names[: MAX_NAMES - len(self.names)]

    def settle(self) -> None:
        """Keep for good what was noted until now, before the source is read."""
        self._settled = (self.count, len(self.names))

    def clear(self) -> None:
        """Begin to read: what is read twice is counted once."""
        self.count, names = self._settled
        del self.names[names:]


@dataclass(frozen=True, slots=True)
class Source:
    """Data points that can be digested.

    Attributes:
        form: their canonical form.
        count: how many there are; None where only reading tells.
        digested: gives them digested, in batches, with the workers of a pool, from a number on.
        identity: a fingerprint of what is read and how, that took no reading (names, sizes,
            times of change, options); empty where there is none, as for arrays in memory. Work
            that broke off is continued on a source of the same identity only.
        skipped: what was passed over so far.
        about: what the source says of itself: ``name``, ``url``.
        cut: see `parts`.
    """

    form: Form
    count: int | None
    digested: Digested
    identity: str = ""
    skipped: Skips = field(default_factory=Skips)
    about: Mapping[str, str] = field(default_factory=dict)
    cut: Callable[[int], list[Source]] | None = None

    def parts(self, count: int) -> list[Source]:
        """Cut it into at most so many sources, which together are this one, in its order.

        They can go to other processes and machines, if what they read can be read there. A source
        that is read from one end to the other only, or is in memory, stays whole.
        """
        return self.cut(count) if self.cut else [self]


def shares(things: Sequence[_Piece], count: int) -> list[Sequence[_Piece]]:
    """Cut a sequence into at most so many runs of about the same length."""
    step = -(-len(things) // max(1, count)) or 1
    return [things[start : start + step] for start in range(0, len(things), step)]


def fingerprint(*facts: Any) -> str:
    """Return a short text that differs where the facts do: SHA-256 of them as JSON."""
    text = json.dumps(facts, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return what tells whether a file changed: its size, and when it was last written."""
    return status.st_size, status.st_mtime_ns


def utf8(name: str) -> str:
    """Read a file name's bytes as UTF-8, whatever the locale takes them for."""
    return name if name.isascii() else os.fsencode(name).decode()


def check_name(root: str, name: str) -> None:
    """Check that a file's name can be written down.

    Raises:
        SourceError: it is not UTF-8.
    """
    try:
        utf8(name)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{root}/{os.fsencode(name)!r}: the name is not UTF-8; rename it"
        ) from error


def parent_folder(name: str) -> str:
    """Return the name of the folder that a data point lies in: its label.

    Raises:
        SourceError: it lies in none.
    """
    label = PurePosixPath(name).parent.name
    if not label:
        raise SourceError(f"{name}: lies in no folder that could be its label")
    return label


def first_folder(name: str) -> str:
    """Return the first folder on a data point's path: its split.

    Raises:
        SourceError: there is none.
    """
    split, slash, _ = name.partition("/")
    if not slash:
        raise SourceError(f"{name}: lies in no folder that could be its split")
    return split


def numbered(
    name: str, start: int, digests: bytes, size: int, labels: Sequence[Any] | None
) -> DataPoints:
    """Name the rows of an array or file, of equal size, by their index: ``name#0``, ….

    Args:
        name: the array's or file's.
        start: the first row's index.
        digests: the rows' digests, joined.
        size: bytes in a row.
        labels: labels of all rows, from the first of the file on.
    """
    stop = start + len(digests) // SIZE
    columns = {"label": labels[start:stop]} if labels else {}
    paths = [f"{name}#{at}" for at in range(start, stop)]
    return DataPoints(digests, paths, [size] * len(paths), columns)


def in_pieces(
    pieces: Iterable[_Piece],
    work: Callable[[_Piece], tuple[DataPoints, Skips]],
    count: Callable[[_Piece], tuple[int, Skips]],
    *,
    pool: Pool | None,
    first: int,
    skipped: Skips,
) -> Iterator[DataPoints]:
    """Digest a source piece by piece, from data point number ``first`` on.

    Args:
        pieces: parts of the source, in order.
        work: a module-level function that digests one.
        count: counts the data points of one, at less cost; for pieces before the first.
        pool: workers; None where the pieces cannot leave this process.
        first: how many data points to leave out.
        skipped: takes what was passed over, in the pieces left out too.
    """
    rest = iter(pieces)
    while first:
        piece = next(rest, None)
        if piece is None:
            return
        found, passed = count(piece)
        if found > first:
            rest = chain([piece], rest)
            break
        skipped.extend(passed)
        first -= found
    some = list(islice(rest, 2))  # for one piece, workers do not pay
    rest = chain(some, rest)
    for items, passed in pool.map(work, rest) if pool and len(some) > 1 else map(work, rest):
        skipped.extend(passed)
        if items.paths:
            yield _from(items, first)
        first = 0


def _from(items: DataPoints, first: int) -> DataPoints:
    if not first:
        return items
    columns = {name: values[first:] for name, values in items.columns.items()}
    return DataPoints(
        items.digests[first * SIZE :], items.paths[first:], items.sizes[first:], columns
    )


def joined(parts: Sequence[DataPoints]) -> DataPoints:
    """Return several batches as one; their paths, sizes and columns are lists."""
    names = parts[0].columns if parts else {}
    columns: dict[str, Any] = {
        name: [each for part in parts for each in part.columns[name]] for name in names
    }
    return DataPoints(
        b"".join(part.digests for part in parts),
        [path for part in parts for path in part.paths],
        [size for part in parts for size in part.sizes],
        columns,
    )
