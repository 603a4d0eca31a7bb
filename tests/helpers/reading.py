"""Helpers for the readers' tests: they read a source to its end, from any data point on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from unittest import mock

from alithis.forms.pool import Pool
from alithis.readers import data_file


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def everything(source, first=0, workers=1):
    """The data points of a source from a number on, in order: (digest, path, size, columns)."""
    with Pool(workers) as pool:
        return rows(source, pool, first)


def rows(source, pool, first=0):
    with mock.patch.multiple(data_file, _HASHED=0, _PARSED=0):  # workers, however small the source
        batches = list(source.digested(pool, first))
    assert all(len(values) == len(b.paths) for b in batches for values in b.columns.values())
    assert all(len(b.digests) == 32 * len(b.paths) == 32 * len(b.sizes) for b in batches)
    return [
        (
            batch.digests[32 * at : 32 * at + 32],
            path,
            batch.sizes[at],
            {name: values[at] for name, values in batch.columns.items()},
        )
        for batch in batches
        for at, path in enumerate(batch.paths)
    ]


def read(source, workers=1):
    """All data points of a source: path -> (digest, size, columns)."""
    points = everything(source, workers=workers)
    found = {path: (digest, size, columns) for digest, path, size, columns in points}
    assert len(found) == len(points)
    assert source.count in (None, len(points))
    return found


def contents(source, workers=1):
    """path -> digest."""
    return {path: digest for path, (digest, _, _) in read(source, workers).items()}


def columns(source):
    """The carried columns of each data point, in order."""
    return [row[3] for row in everything(source)]


def skipped(source):
    """The entries that a source skipped, after reading it: name -> reason."""
    everything(source)
    assert source.skipped.count == len(source.skipped.names)
    return dict(source.skipped.names)


def assert_resumes(source, workers=1):
    """Asserts that reading from any data point on gives the same rest, and reports all skips."""
    whole = everything(source)
    names = list(source.skipped.names)
    with Pool(workers) as pool:
        for first in {0, 1, len(whole) // 3, len(whole) - 1, len(whole)}:
            assert rows(source, pool, first) == whole[first:]
            assert source.skipped.names == names


def fill(root: Path, *names: str) -> Path:
    """Write files that contain their own names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root
