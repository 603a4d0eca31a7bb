"""Hypothesis strategies that several tests share."""

from __future__ import annotations

from hypothesis import strategies as st

# How long an example takes is the machine's business.

digests = st.binary(min_size=32, max_size=32)
"""32 bytes, such as a SHA-256."""

# A hostile publisher chooses leaves that lie close together, or share all that a search looks at.
_close = st.integers(0, 2000).map(lambda number: number.to_bytes(32, "big"))
_skewed = st.integers(0, 255).map(lambda bits: (1 << bits).to_bytes(32, "big"))
_alike = st.binary(min_size=2, max_size=2).map(lambda tail: b"\x55" * 30 + tail)
_edges = st.sampled_from([bytes(32), b"\xff" * 32])

leaves = st.one_of(digests, _close, _skewed, _alike, _edges)
"""32 bytes that a publisher may choose as it likes."""


def leaf_sets(*, min_size: int = 1, max_size: int = 40) -> st.SearchStrategy[list[bytes]]:
    """Distinct leaves, ascending."""
    return st.lists(leaves, min_size=min_size, max_size=max_size, unique=True).map(sorted)
