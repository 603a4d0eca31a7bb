"""PyTorch Lightning: a callback that records settings, metrics and weights in a Run.

Pass the training data through `Run.use` before you give it to the trainer: datasets or DataLoaders.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.integrations.common import require
from alithis.integrations.torch import write
from alithis.training.model import json_or_text

if TYPE_CHECKING:
    from alithis.training.run import Run

Callback = require("lightning.pytorch", "Lightning", "lightning").Callback

_OWN = (
    *("model", "max_epochs", "max_steps", "precision", "accumulate_grad_batches", "devices"),
    *("optimizers", "learning_rates", "not_written"),
)
"""Names that are recorded anyway; a hyperparameter of this name becomes ``hparams.NAME``."""


class RunCallback(Callback):  # type: ignore[misc, valid-type]
    """Records a fit: hyperparameters, optimizers, logged metrics, and the weights at its end.

    The weights are those of the module after all callbacks, for example averaged ones. After a test
    they are the weights that were tested, for example those of the best checkpoint.
    """

    def __init__(self, run: Run, weights: Path | str) -> None:
        """Record into a run.

        Args:
            run: the run.
            weights: the safetensors file to write; one that exists is replaced.
        """
        self._run, self._weights = run, Path(weights)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the settings."""
        self._run.log_params(
            model=type(pl_module).__name__,
            max_epochs=trainer.max_epochs,
            max_steps=trainer.max_steps,
            precision=str(trainer.precision),
            accumulate_grad_batches=trainer.accumulate_grad_batches,
            devices=trainer.num_devices,
        )
        settings = json_or_text(dict(pl_module.hparams))
        self._run.log_params(
            **{f"hparams.{name}" if name in _OWN else name: at for name, at in settings.items()}
        )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the optimizers, which are configured by now."""
        names = [type(each).__name__ for each in trainer.optimizers]
        rates = [group["lr"] for each in trainer.optimizers for group in each.param_groups]
        self._run.log_params(optimizers=names, learning_rates=json_or_text(rates))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the logged metrics."""
        self._log(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the logged metrics."""
        self._log(trainer)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the weights: callbacks that average them did so in ``on_train_end``."""
        self._save(trainer, pl_module)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the metrics of a test, and save the weights that were tested."""
        self._log(trainer)
        self._save(trainer, pl_module)

    def _save(self, trainer: Any, pl_module: Any) -> None:
        """Save the weights, in the first process only."""
        if trainer.is_global_zero:
            write(self._run, pl_module, self._weights)
            self._run.save_model(self._weights)

    def _log(self, trainer: Any) -> None:
        self._run.log_metrics(**json_or_text(trainer.callback_metrics))
