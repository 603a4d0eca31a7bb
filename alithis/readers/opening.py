"""From a name to a reader: what a path or URL holds is told by its content and its ending."""

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
    places,
    remote,
    tables,
)
from alithis.readers.columns import Choice
from alithis.readers.places import LocalFile, Place
from alithis.readers.source import Skips, Source, utf8

_PACKED = ("", ".gz", ".bz2", ".xz", ".zst")
_TAR = (*(f".tar{each}" for each in _PACKED), ".tgz", ".tbz2", ".txz", ".tzst")

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "archive": (*_TAR, ".zip"),
    "webdataset": _TAR,
    "parquet": (".parquet", ".parq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "jsonl": tuple(f"{each}{packed}" for each in (".jsonl", ".ndjson") for packed in _PACKED),
    "csv": tuple(f".csv{packed}" for packed in _PACKED),
    "tsv": tuple(f".tsv{packed}" for packed in _PACKED),
    "text": tuple(f".txt{packed}" for packed in _PACKED),
    "numpy": (".npy", ".npz"),
    "idx": ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz"),
    "listing": (".json",),
}
"""How the names of the files of a kind end."""

KINDS = ("folder", *ENDINGS, "huggingface")
"""What a source can be."""

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
class Options:
    """What of a source is a data point, and what is carried beside it.

    Attributes:
        kind: what the source is, one of `KINDS`; None to tell by looking.
        form: the canonical form, where the source leaves a choice.
        column: the column, array of a .npz or extension of a sample that is the data point.
        columns: of rows, the columns that make up the record.
        label: the column that is carried as ``label``.
        split: the column that is carried as ``split``.
        keep: further columns that are carried under their own names.
        per_sample: of archives, whether a data point is a sample; None for the kind's own.
        labels: for an IDX or .npy file, the file with the labels.
        label_from_folder: whether a file's parent folder is its label.
        split_from_folder: whether the first folder on a file's path is its split.
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
        """Refuse what contradicts itself."""
        if self.kind not in (None, *KINDS):
            raise SourceError(f"type {self.kind!r} is none of {', '.join(KINDS)}")
        if self.column is not None and self.columns is not None:
            raise SourceError("one column, or the columns of a record: not both")
        if self.label is not None and self.label_from_folder:
            raise SourceError("the label is in a column, or the folder's name: not both")
        if self.split is not None and self.split_from_folder:
            raise SourceError("the split is in a column, or the folder's name: not both")
        taken = {"leaf", "path", "size", "label", "split"}
        if len({*self.keep, *taken}) != len(self.keep) + len(taken):
            raise SourceError(
                f"keep {', '.join(self.keep)}: twice one column, or one that every manifest has; "
                "label and split have options of their own"
            )

    def choice(self) -> Choice:
        """Return what this says of a table."""
        form = None if self.form is None else self.form.name
        if self.column is None and form not in (None, "record"):
            raise SourceError(f"the form of rows is record; for {form}, name a column")
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


def open_source(source: str | Path, options: Options | None = None, **named: Any) -> Source:
    """Open what a path or URL holds.

    Args:
        source: a folder, a file, or the URL of one.
        options: what of it is a data point.
        **named: or the options by name: ``form=…``.

    Raises:
        SourceError: it cannot be read, is empty, is of no known kind, or does not fit the options.
        MissingExtraError: an optional library that it needs is not installed.
    """
    options = options or Options(**named)
    if isinstance(source, str) and remote.is_url(source):
        found, is_folder, skipped = remote.found(source)
        where, several = found[0].where if not is_folder else source, is_folder
        return _opened(where, found, several, skipped, options)
    path = Path(str(source).removeprefix("file://"))
    if not path.is_dir():
        return _opened(str(path), [LocalFile.at(path)], False, Skips(), options)
    if options.kind == "huggingface" or (options.kind is None and huggingface.is_saved(path)):
        _check_options(str(path), "huggingface", options)
        return huggingface.saved(path, options.choice())
    names = files.listed(path)
    if (options.kind or _shards([name for name, _ in names]) or "folder") == "folder":
        _check_options(str(path), "folder", options)
        return files.folder(path, found=names, **_folder_options(options))
    local = [LocalFile(f"{path}/{name}", utf8(name), known) for name, known in names]
    return _opened(str(path), local, True, Skips(), options)


def _folder_options(options: Options) -> dict[str, Any]:
    return {
        "form": options.form or BYTES,
        "label_from_folder": options.label_from_folder,
        "split_from_folder": options.split_from_folder,
    }


def _shards(names: Sequence[str]) -> str | None:
    """Return the kind of a folder's files, if by their names all are shards of one kind."""
    for kind in ("webdataset", "parquet", "arrow"):
        if all(_ends(name, kind) for name in names):
            return "archive" if kind == "webdataset" else kind
    return None


def _ends(name: str, kind: str) -> bool:
    return name.lower().endswith(ENDINGS[kind])


def _opened(
    where: str, found: Sequence[Place], several: bool, skipped: Skips, options: Options
) -> Source:
    kind = options.kind or (
        _shards([place.name for place in found]) or "folder" if several else _recognised(found[0])
    )
    if kind == "huggingface" or (kind == "folder" and not several):
        raise SourceError(f"{where}: is no folder on this machine, so it is not read as {kind}")
    _check_options(where, kind, options)
    if several and kind != "folder":
        for place in found:
            if not _ends(place.name, kind):
                skipped.add(place.name, f"not {kind}, by the ending of its name")
        found = [place for place in found if _ends(place.name, kind)]
        if not found:
            raise SourceError(f"{where}: no files in it end with {' or '.join(ENDINGS[kind])}")
    source = _read(kind, found, options)
    source.skipped.extend(skipped)
    source.skipped.settle()
    return source


def _read(kind: str, found: Sequence[Place], options: Options) -> Source:
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
    readers: Mapping[str, Callable[[Sequence[Place], Choice], Source]] = {
        "parquet": tables.parquet,
        "arrow": tables.arrow,
        "jsonl": lines.jsonl,
        "csv": lines.delimited,
        "tsv": partial(lines.delimited, delimiter="\t"),
    }
    return readers[kind](found, options.choice())


def _read_single(kind: str, found: Sequence[Place], options: Options) -> Source:
    place, *others = found
    if others:
        raise SourceError(f"{others[0].where}: of {kind} one file is read at a time")
    labels = None if options.labels is None else LocalFile.at(options.labels)
    if kind == "idx":
        return numeric.idx_file(place, labels)
    if kind == "numpy":
        return numpy_files.numpy_file(place, options.column, options.label, labels)
    return digest_lists.listing(place)


def _archive_options(kind: str, options: Options) -> archive.Options:
    per_sample = options.per_sample
    if per_sample is None:
        per_sample = kind == "webdataset" or options.column is not None
    if not per_sample and (options.column is not None or options.label is not None):
        raise SourceError("a column or label of an archive is a file of a sample: take samples")
    form = options.form or BYTES
    if per_sample and options.column is None:
        if options.form is not None:
            raise SourceError(f"a sample has one form, not {form.name}: or name its column")
        form = SAMPLE
    return archive.Options(
        form,
        per_sample,
        options.column,
        options.label,
        options.label_from_folder,
        options.split_from_folder,
    )


def _check_options(where: str, kind: str, options: Options) -> None:
    """Refuse options that a kind has no use for: they would be left out without a word."""
    for name in _ALL_OPTIONS:
        if getattr(options, name) not in (None, (), False) and name not in _TAKES[kind]:
            raise SourceError(f"{where}: read as {kind}, which takes no {name.replace('_', '-')}")


def _recognised(place: Place) -> str:
    """Return what a file is, by its first bytes, and where they do not tell by its name.

    Raises:
        SourceError: they do not tell either.
    """
    with place.open() as file, places.readable(place.where):
        head = file.peek(512)[:512]
        packed = places.is_packed(head)
        if packed:
            head = places.unpacked(file).read(512)
    if head.startswith(b"FEA1"):
        raise SourceError(f"{place.where}: Feather version 1; save it as version 2 or Parquet")
    if head.startswith(b"PK") and not packed:
        return "numpy" if _ends(place.name, "numpy") else "archive"
    for start, kind in _STARTS.items():
        if head.startswith(start) and (not packed or kind == "idx"):
            return kind
    if head[257:262] == b"ustar":
        return "archive"
    for kind in ENDINGS:
        if _ends(place.name, kind):
            return kind
    raise SourceError(f"{place.where}: of no known kind; --type says what it is")
