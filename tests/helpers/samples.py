"""Commitments for the tests, and functions to mint them on any chain."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from helpers import reference
from helpers.registry_model import Commitment, Kind, Scheme


def digest(name: str) -> bytes:
    """Returns some 32 bytes, the same for the same name."""
    return sha256(name.encode()).digest()


LEAVES = tuple(sorted(sha256(bytes([number])).digest() for number in range(5)))
COMMITMENT = (reference.mth(LEAVES), len(LEAVES), Scheme.SHA256, digest("metadata"))
"""IAlithis.Commitment over the leaves."""


def commitment(name: str = "some", size: int = 5, scheme: int = Scheme.SHA256) -> Commitment:
    """Returns a commitment with a made-up root."""
    return digest(f"{name} root"), size, scheme, digest(f"{name} metadata")


def mint(
    registry: Any,
    kind: Kind,
    commitment: Commitment,
    links: Sequence[tuple[int, int]] = (),
    *,
    sender: Any,
) -> Any:
    """Mints a dataset or a model; a link is a target's id and a Relation."""
    function = registry.mintModel if kind == Kind.MODEL else registry.mintDataset
    return function(commitment, list(links), sender=sender)
