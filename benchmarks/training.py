"""Real training loops with and without a Run, in turn, in one process.

``python -m benchmarks.training LOOP SECONDS FOLDER`` prints the times of pairs, with and without,
as JSON: so that loops of PyTorch run in the environment that has it (`make frameworks`). Pairs are
begun for so many seconds: single ones differ by more than a Run costs. FOLDER is for what is
written; ``images.npy`` and their manifest ``images.alithis`` are read there.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alithis.manifest.metadata import Description
from alithis.training.run import Run

ROOT = Path(__file__).resolve().parents[1]
_BATCH = 64

Train = Callable[[Any], None]
"""Trains once under a Run, or what stands for none: it is given the class."""


class Unrecorded:
    """Stands for a Run where nothing is recorded."""

    def __init__(self, name: str, **_: Any) -> None:
        """Keep the name."""
        self.description = Description(name)

    def __enter__(self) -> Unrecorded:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def use(self, data: Any, *_: Any) -> Any:
        """Return what is fed as it is."""
        return data

    def __getattr__(self, _: str) -> Callable[..., None]:
        """Take whatever is logged, and drop it."""
        return lambda *_, **__: None


def softmax(folder: Path) -> Train:
    """Train a linear classifier with NumPy, eight epochs: the loop of `ape run demo`."""
    pictures, labels = _images(folder)

    def train(recorder: Any) -> None:
        order = np.random.default_rng(0)
        weight, bias = np.zeros((784, 10), np.float32), np.zeros(10, np.float32)
        targets = np.eye(10, dtype=np.float32)[labels]
        with recorder("softmax") as run:
            images = run.use(pictures, folder / "images.alithis")
            for _ in range(8):
                for batch in np.array_split(order.permutation(len(labels)), len(labels) // 256):
                    inputs = images[batch].reshape(len(batch), -1).astype(np.float32) / 255
                    scores = inputs @ weight + bias
                    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
                    error = powers / powers.sum(axis=1, keepdims=True) - targets[batch]
                    weight -= 0.5 / len(batch) * inputs.T @ error
                    bias -= 0.5 / len(batch) * error.sum(axis=0)

    return train


def convolutions(folder: Path) -> Train:
    """Train a small convolutional network with PyTorch, two epochs, by a DataLoader."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    pictures, labels = _images(folder)
    data = TensorDataset(torch.from_numpy(pictures), torch.from_numpy(labels))

    def train(recorder: Any) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(800, 10)),
        )
        optimizer = torch.optim.Adam(network.parameters())
        with recorder("convolutions") as run:
            loader = DataLoader(data, batch_size=_BATCH, shuffle=True)
            loader = run.use(loader, folder / "images.alithis")
            for _ in range(2):
                for batch, wanted in loader:
                    loss = nn.functional.cross_entropy(network(batch[:, None] / 255), wanted)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()

    return train


def digits(folder: Path) -> Train:
    """Train the network of examples/digits.py on all digits, with PyTorch."""
    import torch

    torch.set_num_threads(1)
    example = _example("digits")
    images, labels = example.digits()
    manifest = example.dataset(images, labels, folder / "digits.alithis", "Handwritten digits.")

    def train(recorder: Any) -> None:
        vars(example)["Run"] = recorder
        torch.manual_seed(example.SEED)
        example.train("digits", example.layers(), images, labels, manifest, folder)

    return train


def speeches(folder: Path) -> Train:
    """Train the classifier of examples/text_classifier.py with scikit-learn, and test it."""
    example = _example("text_classifier")
    paths = example.speeches_of_parties(ROOT / example.SPEECHES)
    some = {"train": [path for at, path in enumerate(paths) if at % 5], "test": paths[::5]}
    data, test = (
        example.dataset(example.passages(part), folder / f"{name}.alithis", f"to {name}")
        for name, part in some.items()
    )

    def train(recorder: Any) -> None:
        vars(example)["Run"] = recorder
        example.trained("party", example.classifier(), data, test, folder)

    return train


LOOPS: dict[str, Callable[[Path], Train]] = {
    "softmax": softmax,
    "convolutions": convolutions,
    "digits": digits,
    "speeches": speeches,
}


def pairs(train: Train, seconds: float) -> list[list[tuple[float, float]]]:
    """Train in turn with and without a Run.

    Args:
        train: a loop.
        seconds: for which pairs are begun, at least two; one before them warms up.

    Returns:
        Of each turn, with (its record of the run included) and without: seconds that passed, and
        seconds of the processor's, of all threads and of commands that were run.
    """
    end = time.monotonic() + seconds
    found: list[list[tuple[float, float]]] = []
    while len(found) <= 2 or time.monotonic() < end:
        recorders = [Run, Unrecorded][:: -1 if len(found) % 2 else 1]  # each is first in turn
        times = {recorder: _seconds(train, recorder) for recorder in recorders}
        found.append([times[Run], times[Unrecorded]])
    return found[1:]


def _seconds(train: Train, recorder: Any) -> tuple[float, float]:
    start, used = time.perf_counter(), _used()
    train(recorder)
    return time.perf_counter() - start, _used() - used


def _used() -> float:
    commands = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + commands.ru_utime + commands.ru_stime


def _images(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = np.load(folder / "images.npy")
    return images, np.arange(len(images)) % 10


def _example(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "examples"))
    return importlib.import_module(name)


if __name__ == "__main__":
    loop, seconds, where = sys.argv[1:]
    with redirect_stdout(sys.stderr):
        times = pairs(LOOPS[loop](Path(where)), float(seconds))
    print(json.dumps(times))
