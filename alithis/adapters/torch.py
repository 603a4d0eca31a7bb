"""PyTorch: a module's weights as a safetensors file.

What is fed is wrapped by `Run.use`: tensors, datasets, DataLoaders.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import MissingExtraError
from alithis.model import spelt

if TYPE_CHECKING:
    from alithis.run import Run


def record(run: Run, module: Any, weights: Path | str, optimizer: Any = None) -> None:
    """Record a module: its class, its weights as a safetensors file, its optimizer's settings.

    Args:
        run: the run.
        module: a ``torch.nn.Module``.
        weights: the file to write; one that exists is replaced.
        optimizer: a ``torch.optim.Optimizer``.

    Raises:
        MissingExtraError: PyTorch or safetensors is not installed.
    """
    save_weights(module, weights)
    run.log_params(model=type(module).__name__)
    if optimizer is not None:
        settings = {"name": type(optimizer).__name__, **optimizer.defaults}
        run.log_params(optimizer=spelt(settings))
    run.save_model(weights)


def save_weights(module: Any, path: Path | str) -> None:
    """Write a module's weights as a safetensors file; of tensors that are shared, one stands.

    Raises:
        MissingExtraError: PyTorch or safetensors is not installed.
    """
    try:
        from safetensors.torch import save_model
    except ImportError as error:
        raise MissingExtraError("PyTorch and safetensors", "torch") from error
    save_model(module, str(path))
