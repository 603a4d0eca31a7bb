"""Datasets and models that are linked to each other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from alithis.chain.registry import Registry
from alithis.forms import form, hashing
from alithis.forms.keyed import PublisherKey
from alithis.manifest import builder
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints as Rows
from alithis.manifest.reader import Manifest
from alithis.manifest.transcript import Input, Transcript
from alithis.reports import gather
from alithis.storage.store import Store
from alithis.training.model import ModelFacts, build_model
from alithis.verify.library import Shelf

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[click](javascript:alert(1))",
    "![](https://example.org/pixel.png)",
    "| a | b |",
    "# heading",
    "1. item",
    "- item",
    "``` code",
    "<!-- comment",
    "**bold** _it_ ~~gone~~",
    "www.example.org",
    "https://example.org/<b>",
    "someone@example.org",
    "a&lt;b&#60;",
    "\\<b>",
    "</table></main>",
    "$x$",
)


def dataset(out: Path, files: dict[str, bytes], key: PublisherKey | None = None, **words) -> Path:
    """Writes a dataset's manifest of some files."""
    digests = b"".join(hashing.of_bytes(content) for content in files.values())
    rows = Rows(
        key.leaves(digests) if key else digests,
        list(files),
        [len(content) for content in files.values()],
    )
    builder.build(
        [rows],
        out,
        description=Description(out.stem, **words),
        form=form.BYTES,
        key_check=key.check if key else None,
    )
    return out


def images(*numbers: int) -> dict[str, bytes]:
    return {f"{number:03}.png": b"image %d" % number for number in numbers}


def tie_to(relation: str, folder: Path, fed: list[bytes] | None = None, given=None) -> Input:
    """An input of a model, as its metadata states it."""
    manifest = Manifest.open(folder)
    digests = b"".join(map(hashing.of_bytes, fed)) if fed is not None else None
    recorded = Transcript.of(digests, manifest, given) if digests is not None else None
    return Input(relation, manifest.metadata.name, manifest.metadata.digest, recorded)


def model(out: Path, inputs: list[Input], tensors: dict[str, int], **facts) -> Path:
    """Writes the manifest of a model with a safetensors file of these numbers."""
    from safetensors.numpy import save_file

    weights = out.with_name(f"{out.stem}-weights")
    weights.mkdir()
    arrays = {name: np.full((4, 4), number, np.float32) for name, number in tensors.items()}
    save_file(arrays, weights / "model.safetensors")
    (weights / "config.json").write_bytes(b'{"of": "%s"}' % out.stem.encode())
    build_model(
        [weights],
        out,
        description=Description(out.stem, license="Apache-2.0", creators=["Ada"]),
        facts=ModelFacts(inputs=inputs, **facts),
    )
    return out


def make_family(folder: Path) -> SimpleNamespace:
    """photos and more; holdout, which shares two images with photos; base and tuned."""
    photos = dataset(
        folder / "photos.alithis",
        images(*range(10)),
        description="Photographs of doors.",
        license="CC-BY-4.0",
        creators=["Grace"],
        url="https://example.org/doors",
        data_mining="prohibited-training",
        rai={"dataCollectionType": ["Web Scraping"], "dataBiases": ["Doors of one town only."]},
    )
    more = dataset(folder / "more.alithis", images(20, 21), data_mining="allowed")
    holdout = dataset(folder / "holdout.alithis", images(8, 9, 30, 31), license="CC0-1.0")
    base = model(
        folder / "base.alithis",
        [tie_to("trained_on", photos, [b"image 0", b"image 1", b"else"], given=9)],
        {"body": 1, "head": 2},
    )
    tuned = model(
        folder / "tuned.alithis",
        [
            tie_to("trained_on", more),
            tie_to("tested_on", holdout, [b"image 8"]),
            tie_to("fine_tuned_from", base),
        ],
        {"body": 1, "head": 3},
        parameters={"rate": 0.1, "layers": [4, 4]},
        metrics={"accuracy": 0.9},
        environment={"python": "3.11"},
        hardware="two cores",
        seconds=12.5,
        task="door-classification",
    )
    folders = {"photos": photos, "more": more, "holdout": holdout, "base": base, "tuned": tuned}
    store = Store(folder / "store")
    for each in folders.values():
        store.put_manifest(each)
    return SimpleNamespace(**folders, store=store, folder=folder)


def of(folder: Path, shelf: Shelf, registry: Registry | None = None) -> gather.Report:
    return gather.report(Manifest.open(folder), shelf, registry)
