"""What a reader returns: a `Source` of data points, in an order that never changes.

The order is fixed so that an interrupted command can be resumed from data point number n, and so
that parts which several machines hash give the same manifest as one machine.
"""

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
"""Number of skipped entries that are listed by name; all are counted."""


class Digested(Protocol):
    """Hashes data points, in batches."""

    def __call__(self, pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        """Yield the data points from number ``first`` on, in the source's order.

        Args:
            pool: the workers.
            first: how many data points to leave out at the beginning; they are not hashed.

        Raises:
            SourceError: a file cannot be read, or a data point has no canonical form.
        """


@dataclass(slots=True)
class Skips:
    """The entries that a reader skipped because they are not data points: counted and listed.

    It is complete once the source was read to its end.

    Attributes:
        count: how many entries were skipped.
        names: the first 100,000 of them, each with the reason: ``("a/b", "a directory")``.
    """

    count: int = 0
    names: list[tuple[str, str]] = field(default_factory=list)
    _settled: tuple[int, int] = (0, 0)

    def add(self, name: str, reason: str) -> None:
        """Add an entry."""
        self.count += 1
        if len(self.names) < MAX_NAMES:
            self.names.append((name, reason))

    def extend(self, other: Skips) -> None:
        """Add all entries of another list."""
        self.count += other.count
        self.names += other.names[: MAX_NAMES - len(self.names)]

    def settle(self) -> None:
        """Keep the entries so far when the source is read again."""
        self._settled = (self.count, len(self.names))

    def clear(self) -> None:
        """Drop what the last reading added: a source that is read twice counts its skips once."""
        self.count, names = self._settled
        del self.names[names:]


@dataclass(frozen=True, slots=True)
class Source:
    """Data points to hash.

    Attributes:
        form: their canonical form.
        count: how many there are; None if that is only known after reading them.
        digested: hashes them in batches, with the workers of a pool, from a number on.
        identity: a fingerprint of what is read and how, made without reading the content (names,
            sizes, modification times, options). An interrupted command is resumed only on a
            source of the same identity. Empty for arrays in memory, which have none.
        skipped: what was skipped so far.
        about: what the source states about itself: ``name``, ``url``.
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
        """Cut the source into at most ``count`` sources that follow each other in its order.

        They can be sent to other processes and machines that can read the same files. A source
        that can only be read from start to end, or is in memory, stays whole.
        """
        return self.cut(count) if self.cut else [self]


def split_evenly(things: Sequence[_Piece], count: int) -> list[Sequence[_Piece]]:
    """Cut a sequence into at most ``count`` parts of about the same length."""
    step = -(-len(things) // max(1, count)) or 1
    return [things[start : start + step] for start in range(0, len(things), step)]


def fingerprint(*facts: Any) -> str:
    """Return the SHA-256 of values as JSON: equal values have equal fingerprints."""
    text = json.dumps(facts, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return what differs after a file was changed: its size and modification time."""
    return status.st_size, status.st_mtime_ns


def utf8(name: str) -> str:
    """Read a file name's bytes as UTF-8, whatever the encoding of the locale is."""
    return name if name.isascii() else os.fsencode(name).decode()


def check_name(root: str, name: str) -> None:
    """Check that a file's name is UTF-8, as names in a manifest are.

    Raises:
        SourceError: the name is not UTF-8.
    """
    try:
        utf8(name)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{root}/{os.fsencode(name)!r}: the name is not UTF-8; rename it"
        ) from error


def parent_folder(name: str) -> str:
    """Return the name of the folder that a data point is in: its label.

    Raises:
        SourceError: the data point is not in a folder.
    """
    label = PurePosixPath(name).parent.name
    if not label:
        raise SourceError(f"{name}: is not in a folder, so no folder name can be its label")
    return label


def first_folder(name: str) -> str:
    """Return the first folder on a data point's path: its split.

    Raises:
        SourceError: the path has no folder.
    """
    split, slash, _ = name.partition("/")
    if not slash:
        raise SourceError(f"{name}: is not in a folder, so no folder name can be its split")
    return split


def folder_columns(
    names: Sequence[str], *, label_from_folder: bool, split_from_folder: bool
) -> dict[str, list[str]]:
    """Return the columns ``label`` and ``split`` of files, taken from their folders.

    Raises:
        SourceError: a file is not in a folder.
    """
    wanted = {"label": parent_folder} if label_from_folder else {}
    wanted |= {"split": first_folder} if split_from_folder else {}
    return {column: [part(name) for name in names] for column, part in wanted.items()}


def row_points(
    name: str, start: int, digests: bytes, size: int, labels: Sequence[Any] | None
) -> DataPoints:
    """Return rows of equal size as data points, named by their index: ``name#0``, ….

    Args:
        name: the name of the array or file.
        start: the first row's index.
        digests: the rows' digests, joined.
        size: bytes in a row.
        labels: labels of all rows, from the first of the file on.
    """
    stop = start + len(digests) // SIZE
    columns = {"label": labels[start:stop]} if labels else {}
    paths = [f"{name}#{at}" for at in range(start, stop)]
    return DataPoints(digests, paths, [size] * len(paths), columns)


def digest_pieces(
    pieces: Iterable[_Piece],
    work: Callable[[_Piece], tuple[DataPoints, Skips]],
    count: Callable[[_Piece], tuple[int, Skips]],
    *,
    pool: Pool | None,
    first: int,
    skipped: Skips,
) -> Iterator[DataPoints]:
    """Hash a source piece by piece, from data point number ``first`` on.

    Args:
        pieces: parts of the source, in order.
        work: a module-level function that hashes a piece.
        count: counts the data points of a piece, which is cheaper; for pieces before ``first``.
        pool: the workers; None to do the work in this process.
        first: how many data points to leave out.
        skipped: receives what was skipped, also in the pieces before ``first``.
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
    some = list(islice(rest, 2))  # a single piece is not worth starting workers for
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


def concatenated(parts: Sequence[DataPoints]) -> DataPoints:
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
