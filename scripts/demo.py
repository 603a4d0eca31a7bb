"""`ape run demo`: the whole workflow on real data, from images to proofs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis_ape import links as links_module
from alithis_ape import minting
from alithis_ape.command import CommandError, ConnectedCommand
from alithis_ape.contract import container, read_registry
from scripts import _sample

if TYPE_CHECKING:
    import numpy as np
    from ape.api import AccountAPI, NetworkAPI
    from ape.contracts import ContractInstance
    from numpy.typing import NDArray

    from alithis.manifest.reader import Manifest
    from alithis.storage.store import Store

INCLUDED = "2d1c3087ac5f2bed7c4d54a1b33bf75d09f479ee63c0df2e0a4378f6e7e9ae66"
"""SHA-256 of a training image's pixels, from a published list of MNIST's hashes."""

_FOLDER = _sample.BUILD / "demo"
_EPOCHS, _BATCH, _RATE, _SEED = 8, 256, 0.5, 0


@click.command(cls=ConnectedCommand)
@minting.store_option
def cli(network: NetworkAPI, store_folder: Path | None) -> None:
    """Run the whole workflow on MNIST: hash, store, deploy, mint, train, mint, verify.

    It runs on a local chain that ends with the command. Its output stays in build/.

    \b
    Example:
      ape run demo
    """
    from ape import accounts
    from ape.logging import LogLevel, logger

    from alithis.storage.store import Store

    if not network.is_dev:
        raise CommandError(f"the demo runs only on local chains, not on {network.choice}")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    store = Store(store_folder or _FOLDER / "store")
    publisher, builder = accounts.test_accounts[0], accounts.test_accounts[1]
    with logger.at_level(LogLevel.WARNING):
        with _stage("Hash MNIST image by image"):
            folders = [_hash(part) for part in ("train", "test")]
        with _stage("Store the manifests under their CIDs"):
            for folder in folders:
                _say(f"{folder.name} -> {store.put_manifest(folder)}")
        with _stage(f"Deploy the registry on {network.choice}"):
            contract = publisher.deploy(container())
            _say(f"address {contract.address}")
        with _stage("Mint the dataset tokens"):
            for folder in folders:
                _mint_token(contract, minting.open_sound(folder, "dataset"), publisher)
        with _stage("Train a classifier, recording what it is fed"):
            model = _train(*folders)
        with _stage("Mint the model token"):
            store.put_manifest(model)
            _mint_token(contract, minting.open_sound(model, "model"), builder)
        with _stage("Verify a training image and a drawing"):
            _verify(contract, store)


@contextmanager
def _stage(title: str) -> Iterator[None]:
    click.secho(title, bold=True)
    start = time.perf_counter()
    yield
    click.echo(f"  in {time.perf_counter() - start:.2f} s\n")


def _say(text: str) -> None:
    click.echo(f"  {text}")


def _hash(part: str) -> Path:
    from alithis.manifest.reader import Manifest

    folder = _sample.manifest(part)
    data = Manifest.open(folder).metadata
    _say(f"{data.name}: {data.items:,} images, {data.size:,} distinct, root {data.root.hex()}")
    return folder


def _mint_token(contract: ContractInstance, manifest: Manifest, account: AccountAPI) -> None:
    links = links_module.input_links(read_registry(contract), manifest)
    minted = minting.mint(contract, manifest, links, account)
    _say(f"token {minted.token}: {manifest.metadata.kind} {manifest.metadata.name}")
    _say(f"  publisher {account.address}, {minted.gas:,} gas")
    _say(f"  {minted.uri}")
    for link in links:
        _say(f"  {link.relation} token {link.target}")


# -- The model -----------------------------------------------------------------------------------


def _train(train: Path, test: Path) -> Path:
    """Train a softmax classifier in a Run, and return the model's manifest."""
    from safetensors.numpy import save_file

    from alithis import Run

    with Run("mnist-softmax", description="A softmax classifier of MNIST digits.") as run:
        images, labels = _part("train")
        run.log_params(epochs=_EPOCHS, batch_size=_BATCH, learning_rate=_RATE, seed=_SEED)
        weights = _fit(run.use(images, train, "trained_on"), labels)
        images, labels = _part("test")
        accuracy = _accuracy(run.use(images, test, "tested_on"), labels, weights)
        run.log_metrics(accuracy=round(accuracy, 4))
        save_file(weights, _FOLDER / "mnist-softmax.safetensors")
        run.save_model(_FOLDER / "mnist-softmax.safetensors")
    _say(f"accuracy {accuracy:.2%} on the test set")
    for given in run.inputs():
        fed = given.transcript
        if fed:
            _say(
                f"{given.relation} {given.name}: {fed.seen:,} of its data points fed, "
                f"{fed.unseen:,} not, {fed.foreign:,} foreign"
            )
    out = _sample.BUILD / "mnist-softmax.alithis"
    run.write(out, replace=True)
    return out


def _part(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    from alithis.readers import idx_array

    images, labels = _sample.files(part)
    return idx_array(images), idx_array(labels)


def _fit(images: Any, labels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Train a linear model by stochastic gradient descent on the cross-entropy."""
    import numpy as np

    generator = np.random.default_rng(_SEED)
    weight, bias = np.zeros((784, 10), np.float32), np.zeros(10, np.float32)
    targets = np.eye(10, dtype=np.float32)[labels]
    for _ in range(_EPOCHS):
        order = generator.permutation(len(images))
        for batch in np.split(order, range(_BATCH, len(order), _BATCH)):
            inputs = _inputs(images[batch])
            error = (_softmax(inputs @ weight + bias) - targets[batch]) / len(batch)
            weight -= _RATE * inputs.T @ error
            bias -= _RATE * error.sum(axis=0)
    return {"weight": weight, "bias": bias}


def _accuracy(
    images: Any, labels: NDArray[np.uint8], weights: dict[str, NDArray[np.float32]]
) -> float:
    scores = _inputs(images[:]) @ weights["weight"] + weights["bias"]
    return float((scores.argmax(axis=1) == labels).mean())


def _inputs(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype("float32") / 255


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


# -- The proofs ----------------------------------------------------------------------------------


def _verify(contract: ContractInstance, store: Store) -> None:
    """Verify two PNG files against the dataset tokens, as anyone could.

    Raises:
        CommandError: A verdict is not the expected one.
    """
    from alithis.verify import tokens as tokens_module
    from alithis.verify import verdict as verdicts
    from alithis.verify.library import Shelf
    from alithis.verify.target import Target

    registry = read_registry(contract)
    shelf = Shelf(store)
    for path, tokens, verdict in (
        (_training_image(), [1], verdicts.INCLUDED),
        (_drawing(), [1, 2], verdicts.ABSENT),
    ):
        click.echo(f"\n{path.relative_to(_sample.ROOT)}")
        target = Target.parse(str(path))
        for result in tokens_module.verify_tokens(target, registry, shelf, tokens):
            click.echo(verdicts.as_text(result))
            if result.verdict != verdict:
                raise CommandError(f"{path}: expected {verdict}, found {result.verdict}")


def _training_image() -> Path:
    """Write the training image whose pixels have the digest ``INCLUDED`` as a PNG file."""
    import hashlib

    images, _ = _part("train")
    for image in images:
        if hashlib.sha256(image.tobytes()).hexdigest() == INCLUDED:
            return _png(image, "training-image.png")
    raise CommandError(f"no training image has the digest {INCLUDED}")


def _drawing() -> Path:
    """Draw a digit that is not in MNIST."""
    import numpy as np

    image = np.zeros((28, 28), np.uint8)
    image[5:8, 8:20] = image[8:23, 17:20] = 255
    return _png(image, "drawing.png")


def _png(image: NDArray[np.uint8], name: str) -> Path:
    from PIL import Image

    Image.fromarray(image).save(_FOLDER / name)
    return _FOLDER / name
