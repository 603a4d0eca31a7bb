"""Where data points come from: a folder, IDX files, NumPy arrays.

A reader knows its canonical form and gives batches of digested data points (`manifest.Items`).
It never drops a data point: what cannot be read stops it, with the name of what is wrong.
"""

from __future__ import annotations

from pathlib import Path

from alithis.digest import BYTES, Form
from alithis.errors import SourceError
from alithis.readers.files import folder
from alithis.readers.numeric import arrays, idx, idx_array, of_array
from alithis.readers.source import Skips, Source

__all__ = ["Skips", "Source", "arrays", "folder", "idx", "idx_array", "of_array", "open_source"]


def open_source(
    path: Path,
    *,
    form: Form = BYTES,
    labels: Path | None = None,
    label_from_folder: bool = False,
) -> Source:
    """Open what a path holds: a folder, or an IDX file (plain or gzipped).

    Args:
        path: the folder or file.
        form: the canonical form of a folder's files; an IDX file has its own.
        labels: for IDX images, the IDX file with their labels.
        label_from_folder: for a folder, whether each file's parent folder is its label.

    Raises:
        SourceError: the path cannot be read, is empty, or is none of these.
    """
    if path.is_dir():
        if labels:
            raise SourceError(f"{labels}: labels go with an IDX file; {path} is a folder")
        return folder(path, form=form, label_from_folder=label_from_folder)
    if label_from_folder:
        raise SourceError(f"{path}: is no folder, so no folder names a label")
    if form != BYTES:
        raise SourceError(f"{path}: an IDX file's form is pixels already")
    return idx(path, labels)
