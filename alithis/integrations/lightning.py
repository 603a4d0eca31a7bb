"""PyTorch Lightning: a callback that records settings, metrics and weights in a Run.

What is fed is wrapped by `Run.use`: datasets or DataLoaders, before the trainer has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import MissingExtraError

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise MissingExtraError("Lightning", "lightning") from error

from alithis.integrations.torch import write
from alithis.training.model import json_or_text

if TYPE_CHECKING:
    from alithis.training.run import Run


_OWN = (
    *("model", "max_epochs", "max_steps", "precision", "accumulate_grad_batches", "devices"),
    *("optimizers", "learning_rates", "not_written"),
)
"""What is recorded beside hyperparameters; one of these names is put as ``hparams.NAME``."""


class RunCallback(Callback):  # type: ignore[misc]
    """Records a fit: hyperparameters, optimizers, what was logged, and the weights at its end.

    The weights are those that the module has when all callbacks are done, averaged ones too.
    After a test they are those that were tested, of the best checkpoint perhaps.
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
        """Record the optimizers; there are some only now."""
        names = [type(each).__name__ for each in trainer.optimizers]
        rates = [group["lr"] for each in trainer.optimizers for group in each.param_groups]
        self._run.log_params(optimizers=names, learning_rates=json_or_text(rates))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record what was logged."""
        self._log(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record what was logged."""
        self._log(trainer)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the weights: callbacks that average them did so at the training's end."""
        self._save(trainer, pl_module)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Record what was logged of a test, and save the weights that were tested."""
        self._log(trainer)
        self._save(trainer, pl_module)

    def _save(self, trainer: Any, pl_module: Any) -> None:
        """Save the weights, in the process that is the first."""
        if trainer.is_global_zero:
            write(self._run, pl_module, self._weights)
            self._run.save_model(self._weights)

    def _log(self, trainer: Any) -> None:
        self._run.log_metrics(**json_or_text(trainer.callback_metrics))
