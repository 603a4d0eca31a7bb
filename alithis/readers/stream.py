"""A source → the leaves of a manifest: plain digests, or keyed leaves instead of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from alithis.errors import SourceError
from alithis.forms.hashing import SIZE
from alithis.forms.keyed import PublisherKey
from alithis.forms.pool import Pool
from alithis.manifest.builder import Stream
from alithis.manifest.reader import DataPoints
from alithis.readers.source import Source

_KEYED_AT_ONCE = 1 << 13  # data points; for fewer, sending them to a worker takes longer


def stream(source: Source, pool: Pool, key: PublisherKey | None = None) -> Stream:
    """Return a source's data points as the stream that `build` takes.

    Args:
        source: the source.
        pool: the workers that hash.
        key: the publisher's key, for keyed leaves instead of digests.
    """
    if key is None:
        return Stream(source.identity, partial(_digested, source, pool), source.count)
    # The key is part of the identity: interrupted work must not be resumed with another key.
    identity = source.identity and f"{source.identity}, keyed {key.check.hex()}"
    return Stream(
        identity, lambda first: _keyed(_digested(source, pool, first), key, pool), source.count
    )


def _digested(source: Source, pool: Pool, first: int = 0) -> Iterator[DataPoints]:
    """Yield a source's data points; if all entries are skipped, the error states a reason."""
    found = first > 0
    for batch in source.digested(pool, first):
        found = True
        yield batch
    if not found and source.skipped.count:
        name, reason = source.skipped.names[0]
        raise SourceError(
            f"no data points: all {source.skipped.count:,} entries were skipped, for example "
            f"{name}: {reason}"
        )


def _keyed(batches: Iterable[DataPoints], key: PublisherKey, pool: Pool) -> Iterator[DataPoints]:
    """Replace digests by keyed leaves."""
    step = SIZE * _KEYED_AT_ONCE
    for batch in batches:
        parts = [batch.digests[at : at + step] for at in range(0, len(batch.digests), step)]
        leaves = pool.map(key.leaves, parts) if len(parts) > 1 else map(key.leaves, parts)
        yield replace(batch, digests=b"".join(leaves))
