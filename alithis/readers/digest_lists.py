"""The JSON lists of digests, without data, that the first Alithis published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from alithis.base import untrusted_json
from alithis.errors import FormatError, SourceError
from alithis.forms.form import BYTES
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers.data_file import DataFile
from alithis.readers.source import Source, fingerprint

KEY = "image_sha256_hashes"
_MAX_BYTES = 1 << 29
_BATCH = 1 << 16
_HASH = re.compile(r"[0-9a-fA-F]{64}")


def listing(data_file: DataFile) -> Source:
    """Read the digests of a JSON list, in the form ``bytes``; the data points' sizes are unknown.

    Args:
        data_file: a file with an object whose ``image_sha256_hashes`` is ``{file name: digest}`` or
            ``{label: [digest, …]}``, and which may have ``dataset_name`` and ``dataset_url``.

    Raises:
        SourceError: the file is not such a list, or is larger than 512 MiB.
    """
    document = _document(data_file)
    rows = list(_rows(document.get(KEY), data_file))
    if not rows:
        raise SourceError(f"{data_file.where}: its {KEY} contains no digests")

    def digested(_: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        for start in range(first, len(rows), _BATCH):
            yield _items(rows[start : start + _BATCH])

    keys = {"name": "dataset_name", "url": "dataset_url"}
    about = {ours: document[key] for ours, key in keys.items() if document.get(key)}
    if not all(isinstance(value, str) for value in about.values()):
        raise SourceError(f"{data_file.where}: dataset_name or dataset_url is not text")
    identity = fingerprint("listing", data_file.where, data_file.stamp)
    return Source(BYTES, len(rows), digested, identity, about=about)


def _document(data_file: DataFile) -> dict[str, Any]:
    if data_file.stamp[0] > _MAX_BYTES:
        raise SourceError(
            f"{data_file.where}: {data_file.stamp[0]} bytes; a list of digests may have at most "
            f"{_MAX_BYTES}"
        )
    with data_file.open() as file:
        data = file.read(_MAX_BYTES + 1)
    try:
        return untrusted_json.parse(data, data_file.where)
    except FormatError as error:
        raise SourceError(str(error)) from error


def _rows(hashes: Any, data_file: DataFile) -> Iterator[tuple[bytes, str, str | None]]:
    """Yield each digest, its path and its label."""
    if not isinstance(hashes, dict):
        raise SourceError(f"{data_file.where}: not a list of digests: its {KEY} is not an object")
    kinds = {type(value) for value in hashes.values()}
    if not (kinds <= {str} or kinds <= {list}):
        raise SourceError(f"{data_file.where}: {KEY} contains neither digests nor lists of digests")
    for name, value in hashes.items():
        if isinstance(value, str):
            yield _digest(value, name, data_file), _name(name, data_file), None
        else:
            for at, each in enumerate(value):
                yield (
                    _digest(each, f"{name}#{at}", data_file),
                    f"{_name(name, data_file)}#{at}",
                    name,
                )


def _name(name: str, data_file: DataFile) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{data_file.where}: the name {name!r} is not Unicode text (half of a surrogate pair)"
        ) from error
    return name


def _digest(value: Any, name: str, data_file: DataFile) -> bytes:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise SourceError(f"{data_file.where}: {name!r}: not a SHA-256 of 64 hexadecimal digits")
    return bytes.fromhex(value)


def _items(rows: list[tuple[bytes, str, str | None]]) -> DataPoints:
    digests, paths, labels = zip(*rows, strict=True)
    columns = {"label": list(labels)} if labels[0] is not None else {}
    sizes: Any = [None] * len(rows)
    return DataPoints(b"".join(digests), list(paths), sizes, columns)
