"""Small datasets and models for the tests, and their commitments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alithis.forms import form, hashing
from alithis.forms.keyed import PublisherKey
from alithis.ipfs import cid
from alithis.manifest import builder, merkle, metadata
from alithis.manifest.reader import DataPoints, Manifest
from alithis.manifest.terms import Scheme


def build(
    out: Path,
    contents: Sequence[bytes],
    *,
    kind: str = "dataset",
    key: PublisherKey | None = None,
    **facts: object,
) -> Manifest:
    """Writes the manifest of some data points."""
    digests = b"".join(hashing.of_bytes(content) for content in contents)
    sizes = [len(content) for content in contents]
    return _build(out, key.leaves(digests) if key else digests, sizes, kind, key, facts)


def build_random(out: Path, count: int) -> Manifest:
    """Writes a manifest of data points with pseudorandom digests, the same in every run."""
    digests = np.random.default_rng(count).bytes(count * hashing.SIZE)
    return _build(out, digests, [1] * count)


def _build(
    out: Path,
    digests: bytes,
    sizes: Sequence[int],
    kind: str = "dataset",
    key: PublisherKey | None = None,
    facts: Mapping[str, object] | None = None,
) -> Manifest:
    items = DataPoints(digests, [f"{number:05}" for number in range(len(sizes))], sizes)
    description = metadata.Description(out.stem)
    return builder.build(
        [items],
        out,
        description=description,
        form=form.BYTES,
        kind=kind,
        key_check=key.check if key else None,
        facts=facts,
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


def tree_with_tiles(leaves: bytes) -> tuple[merkle.Tree, list[bytes]]:
    """The tree over leaves, and all levels of its tiles."""
    first = bytearray()
    tree = merkle.tree([leaves], first.extend)
    return tree, [bytes(first), *tree.upper_tiles] if first else []


def build_as_given(out: Path, leaves: Sequence[bytes]) -> Manifest:
    """Writes a dataset's manifest over leaves in the given order, as a dishonest publisher may."""
    tree, tiles = tree_with_tiles(b"".join(leaves))
    contents = {"leaves": b"".join(leaves)}
    contents |= {f"tiles/{level}": tile for level, tile in enumerate(tiles, start=1)}
    (out / "tiles").mkdir(parents=True)
    entries = []
    for name, content in contents.items():
        (out / name).write_bytes(content)
        described = cid.describe(out / name)
        entry = metadata.FileEntry(name, str(described.cid), described.sha256, described.size)
        entries.append(entry)
    data = metadata.compose(
        kind="dataset",
        description=metadata.Description(out.stem),
        form=form.BYTES,
        root=tree.root,
        size=tree.size,
        items=tree.size,
        frontier=tree.frontier,
        files=entries,
        columns={},
    )
    (out / metadata.FILE).write_bytes(data)
    return Manifest.open(out)
