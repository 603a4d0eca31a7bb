"""Keras 3, on any backend: a callback that records settings, metrics and weights in a Run.

Pass the training data through `Run.use`: arrays, a ``PyDataset`` or a PyTorch DataLoader.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.integrations.common import require, save_tensors
from alithis.training.model import json_or_text

if TYPE_CHECKING:
    from alithis.training.run import Run

keras = require("keras", "Keras", "keras")


class RunCallback(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
    """Records a fit: its settings, the metrics of its last epoch, and the weights at its end.

    Put it last in the list of callbacks: a callback after it could change the weights when they are
    already saved, as ``EarlyStopping(restore_best_weights=True)`` does.
    """

    def __init__(self, run: Run, weights: Path | str) -> None:
        """Record into a run.

        Args:
            run: the run.
            weights: the safetensors file to write; one that exists is replaced.
        """
        super().__init__()
        self._run, self._weights = run, Path(weights)

    def on_train_begin(self, logs: Any = None) -> None:
        """Record the settings."""
        model, loss = self.model, self.model.loss
        optimizer = getattr(
            model.optimizer, "inner_optimizer", model.optimizer
        )  # of a LossScaleOptimizer
        self._run.log_params(
            model=model.name,
            backend=keras.backend.backend(),
            epochs=self.params.get("epochs"),
            steps=self.params.get("steps"),
            loss=json_or_text(getattr(loss, "name", loss)),
            optimizer={"name": optimizer.name, "learning_rate": float(optimizer.learning_rate)},
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the metrics."""
        self._run.log_metrics(**json_or_text(logs or {}))

    def on_train_end(self, logs: Any = None) -> None:
        """Save the weights."""
        save_weights(self.model, self._weights)
        self._run.save_model(self._weights)


def save_weights(model: Any, path: Path | str) -> None:
    """Write a model's weights as a safetensors file, named by their paths in Keras.

    If several weights have the same path, the second in ``model.weights`` is named ``PATH#1``.

    Raises:
        MissingExtraError: safetensors is not installed.
        SourceError: the file cannot be written.
    """
    import numpy as np

    tensors = dict[str, Any]()
    for each in model.weights:
        name, count = each.path, 0
        while name in tensors:
            count += 1
            name = f"{each.path}#{count}"
        tensors[name] = np.ascontiguousarray(keras.ops.convert_to_numpy(each.value))
    save_tensors(tensors, path, extra="keras")
