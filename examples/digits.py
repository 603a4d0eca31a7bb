"""Handwritten digits: a dataset, a part of it, a model, and a fine-tune that keeps its layers.

    python examples/digits.py [FOLDER]

Install `alithis[sklearn,torch]` first. No network is needed: scikit-learn includes the digits. Four
manifests are written to FOLDER (default: build/digits):

    digits.alithis        1,797 pictures of 8 x 8 pixels
    digits-even.alithis   the even digits, derived from it
    even.alithis          a network trained on these
    tuned.alithis         the same, fine-tuned on all digits with its first layers frozen:
                          `alithis overlap even.alithis tuned.alithis --list` names them

`ape run mint_dataset` and `ape run mint_model --link derived_from=…` mint tokens for them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from alithis import Run, readers
from alithis.forms.pool import Pool
from alithis.integrations import torch as adapter
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.manifest.reader import Manifest
from alithis.manifest.transcript import Input

SEED, EPOCHS, BATCH = 0, 20, 32
LICENSE = "CC-BY-4.0"


def main(folder: Path) -> None:
    """Write the manifests."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = digits()
    even = labels % 2 == 0
    whole = dataset(images, labels, folder / "digits.alithis", "Handwritten digits.")
    part = dataset(images[even], labels[even], folder / "digits-even.alithis", "The even ones.")

    torch.manual_seed(SEED)
    network = layers()
    run = train("even", network, images[even], labels[even], part, folder)
    base = run.write(folder / "even.alithis", replace=True)

    for layer in network[:4]:
        layer.requires_grad_(False)
    run = train("tuned", network, images, labels, whole, folder)
    run.add_input(Input("fine_tuned_from", base.metadata.name, base.metadata.digest))
    run.write(folder / "tuned.alithis", replace=True)
    for name in ("digits", "digits-even", "even", "tuned"):
        data = Manifest.open(folder / f"{name}.alithis").metadata
        print(f"{name}.alithis: {data.size} of {data.form.name}, root {data.root.hex()}")


def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return pictures of 8 x 8 pixels with values from 0 to 16, and their labels."""
    found = load_digits()
    return found.images.astype(np.uint8), found.target.astype(np.int64)


def dataset(
    images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], out: Path, description: str
) -> Manifest:
    """Write the manifest of pictures."""
    source = readers.arrays(images, labels=labels, name=out.stem)
    words = Description(out.stem, description, LICENSE, creators=("E. Alpaydin", "C. Kaynak"))
    with Pool(1) as pool:
        return build(source.digested(pool), out, description=words, form=source.form, replace=True)


def layers() -> nn.Sequential:
    """Return an untrained network."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def train(
    name: str,
    network: nn.Module,
    images: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    manifest: Manifest,
    folder: Path,
) -> Run:
    """Train a network under a run."""
    optimizer = torch.optim.Adam(
        [each for each in network.parameters() if each.requires_grad], lr=0.01
    )
    with Run(
        name, description="Classifies handwritten digits.", task="image-classification"
    ) as run:
        run.log_seeds(torch=SEED)
        run.log_params(epochs=EPOCHS, batch_size=BATCH)
        data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
        loader = run.use(DataLoader(data, batch_size=BATCH, shuffle=True), manifest)
        for _ in range(EPOCHS):
            for pictures, wanted in loader:
                loss = nn.functional.cross_entropy(network(pictures / 16), wanted)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            found = network(torch.from_numpy(images) / 16).argmax(1).numpy()
        run.log_metrics(training_accuracy=round(float((found == labels).mean()), 4))
        adapter.record(run, network, folder / f"{name}.safetensors", optimizer)
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/digits"))
