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
    first_folder,
    parent_folder,
    shares,
    stamp,
    utf8,
)

_MAX_DEPTH = 256
_MAX_WAYS = 1000  # to one folder, by links


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
        found: its files, where they were listed before.

    Raises:
        SourceError: the folder is empty or cannot be listed, links run in a circle, a name is
            not UTF-8, something is neither file nor folder, or a file lies in no folder that
            could be its label or split.
    """
    form.require()
    found = listed(path) if found is None else found
    names = [name for name, _ in found]
    known = dict[str, list[str]]()
    for column, asked, part in (
        ("label", label_from_folder, parent_folder),
        ("split", split_from_folder, first_folder),
    ):
        if asked:
            known[column] = [part(utf8(name)) for name in names]

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
        chosen = {"label_from_folder": label_from_folder, "split_from_folder": split_from_folder}
        return [folder(absolute, form=form, **chosen, found=part) for part in shares(found, count)]

    facts = fingerprint("folder", str(path.resolve()), form, list(known), found)
    return Source(form, len(names), digested, facts, cut=cut)


def listed(path: Path) -> list[tuple[str, tuple[int, int]]]:
    """List the files below a folder, in order: path in it, and stamp.

    Raises:
        SourceError: there are none, or as `folder` does.
    """
    found = sorted(_files(os.fspath(path), "", (), Counter()))
    if not found:
        raise SourceError(f"{path}: no files in it")
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
        below: the folder's path in it.
        above: identifies the folders on the way to it.
        times: how often each folder was listed: links that fan out multiply without a circle.
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
                    entry.stat()  # raises for a link that leads nowhere
                    raise SourceError(f"{root}/{name}: not a regular file")
    except OSError as error:
        raise SourceError(f"{error.filename or here}: cannot be read: {error.strerror}") from error
