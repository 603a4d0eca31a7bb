"""A folder: every file below it is a data point."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from alithis.errors import SourceError
from alithis.forms import hashing
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers.source import (
    Source,
    check_name,
    fingerprint,
    folder_columns,
    split_evenly,
    stamp,
    utf8,
)

_MAX_DEPTH = 256
_MAX_WAYS = 1000  # in which symbolic links may lead to one folder


def folder(
    path: Path,
    *,
    form: Form = BYTES,
    label_from_folder: bool = False,
    split_from_folder: bool = False,
    found: Sequence[tuple[str, tuple[int, int]]] | None = None,
) -> Source:
    """Take every file below a folder as a data point.

    Symbolic links are followed.

    Args:
        path: the folder.
        form: the files' canonical form.
        label_from_folder: whether a file's parent folder is its label.
        split_from_folder: whether the first folder on a file's path is its split.
        found: its files, if they were listed before.

    Raises:
        SourceError: the folder is empty or cannot be listed, links form a loop, a name is not
            UTF-8, an entry is neither file nor folder, or a file is in no folder that could be
            its label or split.
    """
    form.require()
    found = listed(path) if found is None else found
    names = [name for name, _ in found]
    chosen = {"label_from_folder": label_from_folder, "split_from_folder": split_from_folder}
    known = folder_columns(list(map(utf8, names)), **chosen)

    def digested(pool: Pool, first: int = 0) -> Iterator[DataPoints]:
        start = first
        for digests, sizes in hashing.of_files(os.fspath(path), names[first:], form, pool):
            stop = start + len(sizes)
            columns = {column: values[start:stop] for column, values in known.items()}
            paths = [utf8(name) for name in names[start:stop]]
            yield DataPoints(digests, paths, sizes, columns)
            start = stop

    def cut(count: int) -> list[Source]:
        absolute = path.resolve()
        return [
            folder(absolute, form=form, **chosen, found=part) for part in split_evenly(found, count)
        ]

    facts = fingerprint("folder", str(path.resolve()), form, list(known), found)
    return Source(form, len(names), digested, facts, cut=cut)


def listed(path: Path) -> list[tuple[str, tuple[int, int]]]:
    """List the files below a folder, in order: path relative to it, and stamp.

    Raises:
        SourceError: there are none, or for the reasons that `folder` names.
    """
    found = sorted(_files(os.fspath(path), "", (), Counter()))
    if not found:
        raise SourceError(f"{path}: contains no files")
    return found


def _files(
    root: str,
    below: str,
    above: tuple[tuple[int, int], ...],
    times: Counter[tuple[int, int]],
) -> Iterator[tuple[str, tuple[int, int]]]:
    """List the files below a folder.

    Args:
        root: where the listing began.
        below: the folder's path relative to it.
        above: device and inode of each folder on the way to it, to find loops.
        times: how often each folder was listed. Links in n folders, each to the next one twice,
            form no loop, but there are 2^n paths.
    """
    here = f"{root}/{below}" if below else root
    try:
        status = Path(here).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise SourceError(f"{here}: a symbolic link leads back to a folder above it")
        if len(above) > _MAX_DEPTH:
            raise SourceError(f"{here}: more than {_MAX_DEPTH} folders deep")
        times[identity] += 1
        if times[identity] > _MAX_WAYS:
            raise SourceError(f"{here}: symbolic links lead here in more than {_MAX_WAYS} ways")
        with os.scandir(here) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                check_name(root, name)
                if entry.is_dir():
                    yield from _files(root, name, (*above, identity), times)
                elif entry.is_file():
                    yield name, stamp(entry.stat())
                else:
                    entry.stat()  # raises for a broken link
                    raise SourceError(f"{root}/{name}: not a regular file")
    except OSError as error:
        raise SourceError(f"{error.filename or here}: cannot be read: {error.strerror}") from error
