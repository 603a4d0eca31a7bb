"""Datasets of the Hugging Face library: saved by ``save_to_disk``, and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from alithis.base import untrusted_json
from alithis.errors import FormatError, MissingExtraError, SourceError
from alithis.readers import columns
from alithis.readers.columns import Choice
from alithis.readers.data_file import LocalDataFile
from alithis.readers.source import Source
from alithis.readers.tables import Batch, arrow, of_batches

_MAX_STATE = 1 << 24
_ROWS = 1000


def is_saved(path: Path) -> bool:
    """Tell whether ``save_to_disk`` wrote a folder."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def saved(path: Path, choice: Choice) -> Source:
    """Read the rows of a dataset that ``save_to_disk`` wrote.

    Args:
        path: the folder, of one dataset or of several by split; then ``split`` is a column.
        choice: what of a row is a data point.

    Raises:
        SourceError: a file is missing or damaged, or a column is missing.
    """
    if not (path / "dataset_dict.json").is_file():
        return arrow(list(_shards(path, "")), choice)
    splits = _strings(_state(path / "dataset_dict.json").get("splits"), path)
    files = [data_file for split in splits for data_file in _shards(path / split, f"{split}/")]
    if not any(called == "split" for called, _ in choice.keep):
        choice = replace(choice, split_from_folder=True)
    return arrow(files, choice)


def _shards(path: Path, prefix: str) -> Iterator[LocalDataFile]:
    files = _state(path / "state.json").get("_data_files")
    if not isinstance(files, list) or not all(isinstance(each, dict) for each in files):
        raise SourceError(f"{path / 'state.json'}: lists no data files")
    for name in _strings([each.get("filename") for each in files], path):
        yield LocalDataFile.at(path / name, prefix + name)


def _state(path: Path) -> dict[str, Any]:
    with LocalDataFile.at(path).open() as file:
        data = file.read(_MAX_STATE)
    try:
        return untrusted_json.parse(data, str(path))
    except FormatError as error:
        raise SourceError(str(error)) from error


def _strings(values: Any, path: Path) -> list[str]:
    """Check that names are of files or folders in a folder, not of paths outside it."""
    if not isinstance(values, list) or not values:
        raise SourceError(f"{path}: its state lists no files")
    for name in values:
        if not isinstance(name, str) or PurePath(name).name != name or "\0" in name:
            raise SourceError(
                f"{path}: its state lists {name!r}, which is not a file in this folder"
            )
    return values


def dataset(data: Any, choice: Choice | None = None, *, name: str = "dataset") -> Source:
    """Read the rows of a ``datasets.Dataset`` or ``DatasetDict``.

    Files that the dataset refers to by path are read, and their bytes are part of the rows.

    Args:
        data: the dataset, or several by split; then ``split`` is a column.
        choice: what of a row is a data point; by default the whole row.
        name: what the rows' paths begin with: ``name#0``, or ``split/name#0``.

    Raises:
        MissingExtraError: the library ``datasets`` is not installed.
        SourceError: ``data`` is not such a dataset, is empty, or a column is missing.
    """
    library = _library()
    choice = choice or Choice()
    if isinstance(data, library.DatasetDict):
        if not any(called == "split" for called, _ in choice.keep):
            choice = replace(choice, split_from_folder=True)
        parts = {f"{split}/{name}": part for split, part in data.items()}
    elif isinstance(data, library.Dataset):
        parts = {name: data}
    else:
        raise SourceError(f"{name}: a {type(data).__name__} is not a Dataset or DatasetDict")
    if not any(map(len, parts.values())):
        raise SourceError(f"{name}: contains no rows")
    schemas = [part.features.arrow_schema for part in parts.values()]
    form = columns.only([columns.form_of(choice, schema, name) for schema in schemas])
    count = sum(map(len, parts.values())) if choice.column is None else None
    identity = "hf " + " ".join(part._fingerprint for part in parts.values())
    return of_batches(lambda: _batches(parts), choice, form, identity, count)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "hf") from error
    return datasets


def _batches(parts: dict[str, Any]) -> Iterator[Batch]:
    from datasets.table import embed_table_storage

    for name, part in parts.items():
        start = 0
        for table in part.with_format("arrow").iter(_ROWS):
            for rows in embed_table_storage(table).combine_chunks().to_batches():
                yield Batch(name, start, rows)
                start += rows.num_rows
