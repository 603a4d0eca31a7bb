"""Files that a source consists of: local or remote, opened for reading and checked for changes.

A `DataFile` is small and can be sent to worker processes, which open it themselves. Every reader
opens files here, so that each error names the file, and a file that changes while it is read is
never hashed half old and half new.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from alithis.base import files as base_files
from alithis.errors import ChangedError, SourceError
from alithis.forms.form import Form
from alithis.forms.pool import Pool
from alithis.readers.source import check_name, fingerprint, stamp, utf8

MAX_READ = 1 << 26
"""Bytes to read at a time; a header that states a longer piece is refused."""

_BLOCK = 1 << 20

# Bytes from which on workers save more time than the second that they take to start: of files
# that are only hashed, and of files that are parsed too.
_HASHED, _PARSED = 1 << 29, 1 << 25


class DataFile(Protocol):
    """A file that can be opened any number of times."""

    @property
    def name(self) -> str:
        """Its path in the source, POSIX and relative."""

    @property
    def where(self) -> str:
        """Its path or URL, for messages."""

    @property
    def stamp(self) -> tuple[Any, ...]:
        """Its size, and a value that differs after it was changed."""

    @property
    def is_local(self) -> bool:
        """Whether worker processes can open it."""

    def open(self) -> Any:
        """Open it for reading: a context manager that yields a buffered file.

        Raises:
            SourceError: the file cannot be read.
            ChangedError: the file changed after it was listed, or while it was open.
        """


def identity_of(kind: str, files: Sequence[DataFile], *options: Any) -> str:
    """Return `Source.identity` of a source that consists of files."""
    return fingerprint(kind, [(each.where, each.stamp) for each in files], *options)


def useful_pool(pool: Pool, files: Sequence[DataFile], form: Form) -> Pool | None:
    """Return the pool if its workers save more time than they take to start, otherwise None."""
    size = sum(each.stamp[0] or 0 for each in files)
    least = _HASHED if form.name in ("bytes", "sample") else _PARSED
    return pool if pool.workers > 1 and size >= least else None


@dataclass(frozen=True, slots=True)
class LocalDataFile:
    """A file on this machine."""

    path: str
    name: str
    stamp: tuple[int, int]
    is_local: bool = True

    @classmethod
    def at(cls, path: Path, name: str | None = None) -> LocalDataFile:
        """Return the file at a path; ``name`` is its path in the source, by default its file name.

        Raises:
            SourceError: there is no such file, or its name is not UTF-8.
        """
        check_name(str(path.parent), path.name)
        handle, status = base_files.open_regular(path)
        os.close(handle)
        return cls(str(path), utf8(path.name) if name is None else name, stamp(status))

    @property
    def where(self) -> str:
        """Its path, for messages."""
        return self.path

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open it: see `DataFile.open`."""
        handle, before = base_files.open_regular(self.path)
        with io.BufferedReader(io.FileIO(handle), _BLOCK) as file:
            if stamp(before) != self.stamp:
                raise changed_since(self.path)
            with read_errors(self.path):
                yield file
            base_files.check_unchanged(self.path, before, os.fstat(handle), before.st_size)


def changed_since(where: str) -> ChangedError:
    """Return the error for a file that is not as it was when the source was opened."""
    return ChangedError(f"{where}: changed since it was opened; start again")


@contextmanager
def read_errors(where: str) -> Iterator[None]:
    """Turn errors of reading and decompressing into ones that name the file."""
    import lzma

    try:
        yield
    except ChangedError:
        raise
    except SourceError as error:
        if str(error).startswith(where):
            raise
        raise SourceError(f"{where}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{where}: damaged gzip data: {error}. Download it again") from error
    except lzma.LZMAError as error:
        raise SourceError(f"{where}: damaged xz data: {error}. Download it again") from error
    except OSError as error:
        raise SourceError(f"{where}: cannot be read: {error.strerror or error}") from error
