"""Real training loops with and without a Run, in turn, in one process.

``python -m benchmarks.training LOOP RUNS IMAGES MANIFEST`` prints the times of pairs, with and
without, as JSON: so that a loop of PyTorch runs in the environment that has it (`make frameworks`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alithis.run import Run

_BATCH = 64
_LONGEST = 90.0  # seconds after which no further pair is begun


def softmax(images: Any, labels: NDArray[np.int64]) -> None:
    """Train a linear classifier with NumPy, eight epochs: the loop of `ape run demo`."""
    order = np.random.default_rng(0)
    weight, bias = np.zeros((784, 10), np.float32), np.zeros(10, np.float32)
    targets = np.eye(10, dtype=np.float32)[labels]
    for _ in range(8):
        for batch in np.array_split(order.permutation(len(labels)), len(labels) // 256):
            inputs = images[batch].reshape(len(batch), -1).astype(np.float32) / 255
            scores = inputs @ weight + bias
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            error = powers / powers.sum(axis=1, keepdims=True) - targets[batch]
            weight -= 0.5 / len(batch) * inputs.T @ error
            bias -= 0.5 / len(batch) * error.sum(axis=0)


def convolutions(images: Any, labels: NDArray[np.int64]) -> None:
    """Train a small convolutional network with PyTorch, two epochs, by a DataLoader."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters())
    loader = DataLoader(
        TensorDataset(images, torch.from_numpy(labels)), batch_size=_BATCH, shuffle=True
    )
    for _ in range(2):
        for batch, wanted in loader:
            loss = nn.functional.cross_entropy(network(batch[:, None] / 255), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


LOOPS: dict[str, Callable[[Any, NDArray[np.int64]], None]] = {
    "softmax": softmax,
    "convolutions": convolutions,
}


def pairs(
    loop: str, runs: int, images: NDArray[np.uint8], manifest: Path
) -> list[list[tuple[float, float]]]:
    """Train in turn with and without a Run.

    Args:
        loop: one of `LOOPS`.
        runs: turns that count, fewer where they take long; a first one warms up.
        images: pictures of 28 x 28 samples.
        manifest: theirs.

    Returns:
        Of each turn, with (its record of the run included) and without: seconds that passed, and
        seconds of the processor's, of all threads.
    """
    labels = np.arange(len(images)) % 10
    data: Any = images
    if loop == "convolutions":
        import torch

        data = torch.from_numpy(images)

    def recorded() -> None:
        with Run("benchmark") as run:
            LOOPS[loop](run.use(data, manifest), labels)

    def plain() -> None:
        LOOPS[loop](data, labels)

    end = time.monotonic() + _LONGEST
    found = [[_seconds(recorded), _seconds(plain)]]
    while len(found) <= runs and (time.monotonic() < end or len(found) == 1):
        found.append([_seconds(recorded), _seconds(plain)])
    return found[1:]


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


if __name__ == "__main__":
    name, turns, file, folder = sys.argv[1:]
    print(json.dumps(pairs(name, int(turns), np.load(file), Path(folder))))
