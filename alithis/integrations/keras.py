"""Keras 3, on any backend: a callback that records settings, metrics and weights in a Run.

What is fed is wrapped by `Run.use`: arrays, a ``PyDataset``, a DataLoader of PyTorch's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import MissingExtraError, SourceError

try:
    import keras
except ImportError as error:
    raise MissingExtraError("Keras", "keras") from error

from alithis.training.model import json_or_text

if TYPE_CHECKING:
    from alithis.training.run import Run


class RunCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Records a fit: its settings, the metrics of its last epoch, and the weights at its end.

    It stands last in the list of callbacks: one after it may change the weights when they are
    recorded already, as ``EarlyStopping(restore_best_weights=True)`` does.
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
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # scales the loss
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
    """Write a model's weights as a safetensors file, by the paths that Keras gives them.

    Of weights with the same path, in the order of ``model.weights``, the second is ``PATH#1``.

    Raises:
        MissingExtraError: safetensors is not installed.
        SourceError: the file cannot be written.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file
    except ImportError as error:
        raise MissingExtraError("safetensors", "keras") from error
    import numpy as np

    tensors = dict[str, Any]()
    for each in model.weights:
        name, count = each.path, 0
        while name in tensors:
            count += 1
            name = f"{each.path}#{count}"
        tensors[name] = np.ascontiguousarray(keras.ops.convert_to_numpy(each.value))
    try:
        save_file(tensors, Path(path))
    except (OSError, SafetensorError) as error:
        raise SourceError(f"{path}: cannot be written: {error}") from error
