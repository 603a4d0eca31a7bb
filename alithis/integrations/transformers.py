"""Hugging Face's Trainer: a callback that records settings, metrics and the model in a Run.

What is fed is wrapped by `Run.use`: a ``datasets.Dataset``, as raw rows, before it is tokenised.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import MissingExtraError

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtraError("transformers", "transformers") from error

from alithis.integrations.torch import unwrapped, write
from alithis.training.model import json_or_text

if TYPE_CHECKING:
    from alithis.training.run import Run

_SETTINGS = (
    *("learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "weight_decay", "warmup_steps", "max_grad_norm"),
    *("bf16", "fp16"),
)


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Records a training: its settings, seeds and metrics, and the model at its end."""

    def __init__(self, run: Run, folder: Path | str) -> None:
        """Record into a run.

        Args:
            run: the run.
            folder: where the model is saved at the end, weights as safetensors beside its
                configuration and tokenizer; all that is there is taken as the model.
        """
        self._run, self._folder = run, Path(folder)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Record the settings and seeds."""
        settings = {name: getattr(args, name) for name in _SETTINGS if hasattr(args, name)}
        self._run.log_params(
            **settings,
            model=type(unwrapped(model)).__name__,
            model_type=getattr(getattr(model, "config", None), "model_type", None),
            optimizer=str(getattr(args.optim, "value", args.optim)),
            schedule=str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        )
        seeds = {"transformers": args.seed, "data": args.data_seed}
        self._run.log_seeds(**{name: seed for name, seed in seeds.items() if seed is not None})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Record what was logged last, but rates of speed."""
        speeds = ("_per_second", "_runtime", "total_flos")
        kept = {name: at for name, at in (logs or {}).items() if not name.endswith(speeds)}
        self._run.log_metrics(**json_or_text(kept))

    def on_train_end(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        processing_class: Any = None,
        **_: Any,
    ) -> None:
        """Save the model, in the process that is the first."""
        if not state.is_world_process_zero:
            return
        model = unwrapped(getattr(model, "module", model))
        if hasattr(model, "save_pretrained"):
            model.save_pretrained(self._folder)
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            write(self._run, model, self._folder / "model.safetensors")
        if processing_class is not None:
            processing_class.save_pretrained(self._folder)
        self._run.save_model(self._folder)
