"""Restores Ape's chain after a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ape


@contextmanager
def per_example() -> Iterator[None]:
    """Reverts what a test, or a Hypothesis example, did to the chain.

    Not ``chain.isolate()``, which swallows a failing assertion.
    """
    provider = ape.networks.provider
    snapshot = provider.snapshot()
    try:
        yield
    finally:
        provider.restore(snapshot)
        ape.chain.history.revert_to_block(ape.chain.blocks.height)
