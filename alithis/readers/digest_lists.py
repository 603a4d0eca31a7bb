"""The JSON lists in which the first Alithis published datasets: digests, and no data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from alithis.base import untrusted_json
from alithis.errors import FormatError, SourceError
from alithis.forms.form import BYTES
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers.places import Place
from alithis.readers.source import Source, fingerprint

KEY = "image_sha256_hashes"
_MAX_BYTES = 1 << 29
_BATCH = 1 << 16
_HASH = re.compile(r"[0-9a-fA-F]{64}")


def listing(place: Place) -> Source:
    """Take the digests of a JSON list as data points, in the form ``bytes``; sizes are unknown.

    Args:
        place: a file with an object whose ``image_sha256_hashes`` is ``{file name: digest}`` or
            ``{label: [digest, …]}``, and which may have ``dataset_name`` and ``dataset_url``.

    Raises:
        SourceError: it is none, or larger than 512 MiB.
    """
    document = _document(place)
    rows = list(_rows(document.get(KEY), place))
    if not rows:
        raise SourceError(f"{place.where}: no digests in its {KEY}")

    def digested(_: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        for start in range(first, len(rows), _BATCH):
            yield _items(rows[start : start + _BATCH])

    keys = {"name": "dataset_name", "url": "dataset_url"}
    about = {ours: document[key] for ours, key in keys.items() if document.get(key)}
    if not all(isinstance(value, str) for value in about.values()):
        raise SourceError(f"{place.where}: dataset_name or dataset_url is no text")
    facts = fingerprint("listing", place.where, place.stamp)
    return Source(BYTES, len(rows), digested, facts, about=about)


def _document(place: Place) -> dict[str, Any]:
    if place.stamp[0] > _MAX_BYTES:
        raise SourceError(f"{place.where}: {place.stamp[0]} bytes; at most {_MAX_BYTES} are read")
    with place.open() as file:
        data = file.read(_MAX_BYTES + 1)
    try:
        return untrusted_json.parse(data, place.where)
    except FormatError as error:
        raise SourceError(str(error)) from error


def _rows(hashes: Any, place: Place) -> Iterator[tuple[bytes, str, str | None]]:
    """Yield each digest, its path and its label."""
    if not isinstance(hashes, dict):
        raise SourceError(f"{place.where}: no list of digests: its {KEY} is no object")
    kinds = {type(value) for value in hashes.values()}
    if not (kinds <= {str} or kinds <= {list}):
        raise SourceError(f"{place.where}: {KEY} holds neither digests nor lists of them")
    for name, value in hashes.items():
        if isinstance(value, str):
            yield _digest(value, name, place), _name(name, place), None
        else:
            for at, each in enumerate(value):
                yield _digest(each, f"{name}#{at}", place), f"{_name(name, place)}#{at}", name


def _name(name: str, place: Place) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{place.where}: {name!r}: half of a surrogate pair") from error
    return name


def _digest(value: Any, name: str, place: Place) -> bytes:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise SourceError(f"{place.where}: {name!r}: no SHA-256 in 64 hexadecimal digits")
    return bytes.fromhex(value)


def _items(rows: list[tuple[bytes, str, str | None]]) -> DataPoints:
    digests, paths, labels = zip(*rows, strict=True)
    columns = {"label": list(labels)} if labels[0] is not None else {}
    sizes: Any = [None] * len(rows)
    return DataPoints(b"".join(digests), list(paths), sizes, columns)
