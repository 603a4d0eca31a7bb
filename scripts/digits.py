"""`ape run digits`: lineage on MNIST, from images to a fine-tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis_ape.command import ConnectedCommand
from scripts import _chain, _sample
from scripts._chain import Member

if TYPE_CHECKING:
    import numpy as np
    from ape.api import NetworkAPI
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]

_FOLDER = _sample.BUILD / "digits"
_HIDDEN, _BATCH, _RATE, _EPOCHS, _SEED = 64, 256, 0.5, 4, 0
_FROZEN = ("hidden.weight", "hidden.bias")
_LICENSE = "https://creativecommons.org/licenses/by-sa/3.0/"


@click.command(cls=ConnectedCommand)
def cli(network: NetworkAPI) -> None:
    """Follow MNIST images through two datasets and a model to a fine-tuned model.

    MNIST's training images are split into two derived datasets, the digits 0 to 4 and 5 to 9. A
    network is trained on the first; then its last layer is fine-tuned on the second, and the rest
    is frozen. Everything is minted and countersigned. The example shows that the fine-tune shares
    its frozen tensors with its parent, writes a report and exports, and follows one image of a
    zero, which the fine-tune was not trained on, to the fine-tune.

    It runs on a local chain that ends with the command. Its output stays in build/digits.

    \b
    Example:
      ape run digits
    """
    with _chain.local(network):
        _run()


def _run() -> None:
    _chain.title("Hash the images, and two datasets made of them")
    train, test = (_sample.manifest(part, _FOLDER) for part in ("train", "test"))
    low, high = (_subset(first) for first in (0, 5))
    _chain.title("Train on the digits 0 to 4, then fine-tune on 5 to 9")
    base, weights = _base(low, test)
    members = [
        Member(train),
        Member(test),
        Member(low, links=[("derived_from", 0)]),
        Member(high, links=[("derived_from", 0)]),
        Member(base, publisher=1),
        Member(_tuned(high, test, base, weights), publisher=2),
    ]
    frozen = [f"digits-tuned.safetensors#{name}" for name in _FROZEN]
    _chain.run(members, _FOLDER, frozen=frozen, example=_nought(), what="image")


# -- Data ----------------------------------------------------------------------------------------


def _part(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    from alithis.readers import idx_array

    images, labels = _sample.files(part)
    return idx_array(images), idx_array(labels)


def _digits(first: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the training images of five digits, and their labels."""
    images, labels = _part("train")
    chosen = (labels >= first) & (labels < first + 5)
    return images[chosen], labels[chosen]


def _subset(first: int) -> Path:
    """Hash the training images of five digits as a separate dataset."""
    from alithis import readers
    from alithis.forms.pool import Pool
    from alithis.manifest import builder
    from alithis.manifest.metadata import Description

    images, labels = _digits(first)
    name = f"mnist-train-{first}-{first + 4}"
    out = _FOLDER / f"{name}.alithis"
    source = readers.arrays(images, labels=labels.tolist(), name=name)
    with Pool() as pool:
        builder.build(
            source.digested(pool),
            out,
            description=Description(
                name,
                f"MNIST's training images of the digits {first} to {first + 4}.",
                license=_LICENSE,
                data_mining="allowed",
            ),
            form=source.form,
            replace=True,
        )
    _chain.say(f"{name}: {len(images):,} images")
    return out


def _nought() -> Path:
    """Write the first training image of a zero as a PNG file."""
    from PIL import Image

    images, labels = _digits(0)
    path = _FOLDER / "nought.png"
    Image.fromarray(images[labels.tolist().index(0)]).save(path)
    return path


# -- Models --------------------------------------------------------------------------------------


def _base(low: Path, test: Path) -> tuple[Path, Weights]:
    """Train a network with one hidden layer on the digits 0 to 4."""
    import numpy as np

    generator = np.random.default_rng(_SEED)
    weights = {
        "hidden.weight": (generator.standard_normal((784, _HIDDEN)) / 28).astype(np.float32),
        "hidden.bias": np.zeros(_HIDDEN, np.float32),
        "head.weight": np.zeros((_HIDDEN, 10), np.float32),
        "head.bias": np.zeros(10, np.float32),
    }
    made = _train("digits-base", "A network that reads the digits 0 to 4.", weights, 0, low, test)
    return made, weights


def _tuned(high: Path, test: Path, base: Path, weights: Weights) -> Path:
    """Fine-tune the last layer on the digits 5 to 9."""
    name, words = "digits-tuned", "digits-base, its last layer fine-tuned on the digits 5 to 9."
    return _train(name, words, dict(weights), 5, high, test, base)


def _train(
    name: str,
    description: str,
    weights: Weights,
    first: int,
    data: Path,
    test: Path,
    parent: Path | None = None,
) -> Path:
    """Train a network in a Run, and return its manifest."""
    from safetensors.numpy import save_file

    from alithis import Run
    from alithis.manifest.reader import Manifest
    from alithis.manifest.transcript import Input
    from alithis.training.model import build_model

    frozen = _FROZEN if parent else ()
    with Run(name, description=description, license="MIT", task="image-classification") as run:
        images, labels = _digits(first)
        run.log_params(
            hidden=_HIDDEN, epochs=_EPOCHS, batch_size=_BATCH, learning_rate=_RATE, frozen=frozen
        )
        _fit(run.use(images, data, "trained_on"), labels, weights, frozen)
        images, labels = _part("test")
        accuracy = _accuracy(run.use(images, test, "tested_on"), labels, weights, first)
        run.log_metrics(accuracy=round(accuracy, 4))
    _FOLDER.mkdir(parents=True, exist_ok=True)
    file, out = _FOLDER / f"{name}.safetensors", _FOLDER / f"{name}.alithis"
    save_file(weights, file)
    facts = run.facts()
    if parent is not None:
        stated = Manifest.open(parent).metadata
        came_from = Input("fine_tuned_from", stated.name, stated.digest)
        facts = _with(facts, came_from)
    build_model([file], out, description=run.description, facts=facts, replace=True)
    _chain.say(f"{name}: {accuracy:.2%} of the test images of its digits")
    return out


def _with(facts: Any, given: Any) -> Any:
    from dataclasses import replace

    return replace(facts, inputs=[*facts.inputs, given])


def _fit(images: Any, labels: NDArray[np.uint8], weights: Weights, frozen: tuple[str, ...]) -> None:
    """Minimise the cross-entropy by gradient descent, without changing frozen tensors."""
    import numpy as np

    generator = np.random.default_rng(_SEED)
    targets = np.eye(10, dtype=np.float32)[labels]
    for _ in range(_EPOCHS):
        order = generator.permutation(len(images))
        for batch in np.split(order, range(_BATCH, len(order), _BATCH)):
            inputs = _inputs(images[batch])
            hidden, scores = _scores(inputs, weights)
            error = (_softmax(scores) - targets[batch]) / len(batch)
            back = (error @ weights["head.weight"].T) * (hidden > 0)
            steps = {
                "head.weight": hidden.T @ error,
                "head.bias": error.sum(axis=0),
                "hidden.weight": inputs.T @ back,
                "hidden.bias": back.sum(axis=0),
            }
            for name in steps.keys() - frozen:
                weights[name] = weights[name] - _RATE * steps[name]


def _accuracy(images: Any, labels: NDArray[np.uint8], weights: Weights, first: int) -> float:
    """Return the share of the test images of five digits that are classified correctly."""
    chosen = (labels >= first) & (labels < first + 5)
    _, scores = _scores(_inputs(images[chosen]), weights)
    return float((scores.argmax(axis=1) == labels[chosen]).mean())


def _scores(
    inputs: NDArray[np.float32], weights: Weights
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    hidden = (inputs @ weights["hidden.weight"] + weights["hidden.bias"]).clip(min=0)
    return hidden, hidden @ weights["head.weight"] + weights["head.bias"]


def _inputs(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype("float32") / 255


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
