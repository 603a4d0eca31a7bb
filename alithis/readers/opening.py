"""Choose the reader for a path or URL: by its content first, then by its name's extension."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from alithis.errors import SourceError
from alithis.forms.form import BYTES, SAMPLE, Form
from alithis.readers import (
    archive,
    digest_lists,
    files,
    huggingface,
    lines,
    numeric,
    numpy_files,
    remote,
    tables,
)
from alithis.readers.columns import Choice
from alithis.readers.compression import decompressed, is_compressed
from alithis.readers.data_file import DataFile, LocalDataFile, read_errors
from alithis.readers.source import Skips, Source, utf8

_COMPRESSED = ("", ".gz", ".bz2", ".xz", ".zst")
_TAR = (*(f".tar{each}" for each in _COMPRESSED), ".tgz", ".tbz2", ".txz", ".tzst")

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "archive": (*_TAR, ".zip"),
    "webdataset": _TAR,
    "parquet": (".parquet", ".parq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "jsonl": tuple(
        f"{each}{compressed}" for each in (".jsonl", ".ndjson") for compressed in _COMPRESSED
    ),
    "csv": tuple(f".csv{compressed}" for compressed in _COMPRESSED),
    "tsv": tuple(f".tsv{compressed}" for compressed in _COMPRESSED),
    "text": tuple(f".txt{compressed}" for compressed in _COMPRESSED),
    "numpy": (".npy", ".npz"),
    "idx": ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz"),
    "listing": (".json",),
}
"""The extensions of the files of a kind."""

KINDS = ("folder", *ENDINGS, "huggingface")
"""The kinds of sources."""

_SINGLE = ("numpy", "idx", "listing")
_STARTS = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
    b"\x93NUMPY": "numpy",
    b"\0\0\x08": "idx",
}
_FOLDERS = ("label_from_folder", "split_from_folder")
_ROWS = ("form", "column", "columns", "label", "split", "keep", "split_from_folder")
_SAMPLES = ("form", "per_sample", "column", "label", *_FOLDERS)
_TAKES: Mapping[str, Sequence[str]] = {
    "folder": ("form", *_FOLDERS),
    **dict.fromkeys(("archive", "webdataset"), _SAMPLES),
    **dict.fromkeys(("parquet", "arrow", "jsonl", "csv", "tsv", "huggingface"), _ROWS),
    "text": ("form", "split_from_folder"),
    "numpy": ("column", "label", "labels"),
    "idx": ("labels",),
    "listing": (),
}
_ALL_OPTIONS = tuple(dict.fromkeys((*_ROWS, *_SAMPLES, "labels")))


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What of a source is a data point, and what is kept with it in items.parquet.

    Attributes:
        kind: one of `KINDS`; None to recognise it.
        form: the canonical form, if the source allows several.
        column: the column, array of a .npz or extension of a sample that is the data point.
        columns: the columns of a row that are its record.
        label: the column to keep as ``label``.
        split: the column to keep as ``split``.
        keep: other columns to keep, under their own names.
        per_sample: whether a data point of an archive is a sample; None for the kind's default.
        labels: for an IDX or .npy file, the file with the labels.
        label_from_folder: whether a file's parent folder is its label.
        split_from_folder: whether the first folder of a file's path is its split.
    """

    kind: str | None = None
    form: Form | None = None
    column: str | None = None
    columns: tuple[str, ...] | None = None
    label: str | None = None
    split: str | None = None
    keep: tuple[str, ...] = ()
    per_sample: bool | None = None
    labels: Path | None = None
    label_from_folder: bool = False
    split_from_folder: bool = False

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        if self.kind not in (None, *KINDS):
            raise SourceError(f"unknown type {self.kind!r}; the types are {', '.join(KINDS)}")
        if self.column is not None and self.columns is not None:
            raise SourceError("choose either one column, or the columns of a record")
        if self.label is not None and self.label_from_folder:
            raise SourceError("choose either a column or the folder's name as label")
        if self.split is not None and self.split_from_folder:
            raise SourceError("choose either a column or the folder's name as split")
        taken = {"leaf", "path", "size", "label", "split"}
        if len({*self.keep, *taken}) != len(self.keep) + len(taken):
            raise SourceError(
                f"keep {', '.join(self.keep)}: a column is named twice, or is one that every "
                "manifest "
                "has; for label and split there are separate options"
            )

    def choice(self) -> Choice:
        """Return the options that concern a table."""
        form = None if self.form is None else self.form.name
        if self.column is None and form not in (None, "record"):
            raise SourceError(f"the form of rows is record; choose a column to read as {form}")
        if self.column is not None and form in ("record", "sample"):
            raise SourceError(f"the form of a column is text, bytes or pixels, not {form}")
        keep = [(name, name) for name in self.keep]
        keep += [("label", self.label)] if self.label is not None else []
        keep += [("split", self.split)] if self.split is not None else []
        columns = None if self.columns is None else tuple(sorted(set(self.columns)))
        return Choice(
            None if self.column is None else self.form,
            self.column,
            columns,
            tuple(keep),
            self.split_from_folder,
        )


def open_source(source: str | Path, options: SourceOptions | None = None, **named: Any) -> Source:
    """Open the source at a path or URL.

    Args:
        source: a folder, a file, or the URL of one.
        options: what of it is a data point.
        **named: the same options by name: ``form=…``.

    Raises:
        SourceError: it cannot be read, is empty, has an unknown kind, or an option does not apply
            to its kind.
        MissingExtraError: an optional library that it needs is not installed.
    """
    options = options or SourceOptions(**named)
    if not str(source):  # Path("") is the current folder
        raise SourceError("the source is empty: give a folder, a file or a URL")
    if isinstance(source, str) and remote.is_url(source):
        found, is_folder, skipped = remote.list_url(source)
        where, several = found[0].where if not is_folder else source, is_folder
        return _opened(where, found, several, skipped, options)
    path = Path(str(source).removeprefix("file://"))
    if not path.is_dir():
        return _opened(str(path), [LocalDataFile.at(path)], False, Skips(), options)
    if options.kind == "huggingface" or (options.kind is None and huggingface.is_saved(path)):
        _check_options(str(path), "huggingface", options)
        return huggingface.saved(path, options.choice())
    names = files.listed(path)
    if (options.kind or _shards([name for name, _ in names]) or "folder") == "folder":
        _check_options(str(path), "folder", options)
        return files.folder(path, found=names, **_folder_options(options))
    local = [LocalDataFile(f"{path}/{name}", utf8(name), known) for name, known in names]
    return _opened(str(path), local, True, Skips(), options)


def _folder_options(options: SourceOptions) -> dict[str, Any]:
    return {
        "form": options.form or BYTES,
        "label_from_folder": options.label_from_folder,
        "split_from_folder": options.split_from_folder,
    }


def _shards(names: Sequence[str]) -> str | None:
    """Return the kind of a folder's files, if by their names all are shards of the same kind."""
    for kind in ("webdataset", "parquet", "arrow"):
        if all(_ends(name, kind) for name in names):
            return "archive" if kind == "webdataset" else kind
    return None


def _ends(name: str, kind: str) -> bool:
    return name.lower().endswith(ENDINGS[kind])


def _opened(
    where: str, found: Sequence[DataFile], several: bool, skipped: Skips, options: SourceOptions
) -> Source:
    kind = options.kind or (
        _shards([data_file.name for data_file in found]) or "folder"
        if several
        else _recognised(found[0])
    )
    if kind == "huggingface" or (kind == "folder" and not several):
        raise SourceError(f"{where}: not a local folder, and only those can be read as {kind}")
    _check_options(where, kind, options)
    if several and kind != "folder":
        for data_file in found:
            if not _ends(data_file.name, kind):
                skipped.add(data_file.name, f"its extension is not one of {kind}")
        found = [data_file for data_file in found if _ends(data_file.name, kind)]
        if not found:
            raise SourceError(
                f"{where}: contains no files with the extension {' or '.join(ENDINGS[kind])}"
            )
    source = _read(kind, found, options)
    source.skipped.extend(skipped)
    source.skipped.settle()
    return source


def _read(kind: str, found: Sequence[DataFile], options: SourceOptions) -> Source:
    if kind == "folder":
        return remote.folder(found, **_folder_options(options))  # type: ignore[arg-type]
    if kind in ("archive", "webdataset"):
        return archive.archives(found, _archive_options(kind, options))
    if kind in _SINGLE:
        return _read_single(kind, found, options)
    if kind == "text":
        return lines.text_lines(
            found, Choice(options.form, split_from_folder=options.split_from_folder)
        )
    readers: Mapping[str, Callable[[Sequence[DataFile], Choice], Source]] = {
        "parquet": tables.parquet,
        "arrow": tables.arrow,
        "jsonl": lines.jsonl,
        "csv": lines.delimited,
        "tsv": partial(lines.delimited, delimiter="\t"),
    }
    return readers[kind](found, options.choice())


def _read_single(kind: str, found: Sequence[DataFile], options: SourceOptions) -> Source:
    data_file, *others = found
    if others:
        raise SourceError(
            f"{others[0].where}: only one file of the type {kind} can be read at a time"
        )
    labels = None if options.labels is None else LocalDataFile.at(options.labels)
    if kind == "idx":
        return numeric.idx_file(data_file, labels)
    if kind == "numpy":
        return numpy_files.numpy_file(data_file, options.column, options.label, labels)
    return digest_lists.listing(data_file)


def _archive_options(kind: str, options: SourceOptions) -> archive.ArchiveOptions:
    per_sample = options.per_sample
    if per_sample is None:
        per_sample = kind == "webdataset" or options.column is not None
    if not per_sample and (options.column is not None or options.label is not None):
        raise SourceError(
            "a column or label of an archive is a file of a sample: choose --per sample"
        )
    form = options.form or BYTES
    if per_sample and options.column is None:
        if options.form is not None:
            raise SourceError(
                f"a whole sample cannot have the form {form.name}; choose one of its files with "
                "--column"
            )
        form = SAMPLE
    return archive.ArchiveOptions(
        form,
        per_sample,
        options.column,
        options.label,
        options.label_from_folder,
        options.split_from_folder,
    )


def _check_options(where: str, kind: str, options: SourceOptions) -> None:
    """Refuse options that do not apply to a kind, instead of ignoring them silently."""
    for name in _ALL_OPTIONS:
        if getattr(options, name) not in (None, (), False) and name not in _TAKES[kind]:
            raise SourceError(
                f"{where}: the option {name.replace('_', '-')} does not apply to the type {kind}"
            )


def _recognised(data_file: DataFile) -> str:
    """Return the kind of a file by its first bytes, or else by its name.

    Raises:
        SourceError: neither is known.
    """
    with data_file.open() as file, read_errors(data_file.where):
        head = file.peek(512)[:512]
        compressed = is_compressed(head)
        if compressed:
            head = decompressed(file).read(512)
    if head.startswith(b"FEA1"):
        raise SourceError(
            f"{data_file.where}: Feather version 1 is not supported; save it as version 2 or "
            "Parquet"
        )
    if head.startswith(b"PK") and not compressed:
        return "numpy" if _ends(data_file.name, "numpy") else "archive"
    for start, kind in _STARTS.items():
        if head.startswith(start) and (not compressed or kind == "idx"):
            return kind
    if head[257:262] == b"ustar":
        return "archive"
    for kind in ENDINGS:
        if _ends(data_file.name, kind):
            return kind
    raise SourceError(f"{data_file.where}: unknown type of file; name it with --type")
