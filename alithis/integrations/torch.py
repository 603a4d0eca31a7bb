"""PyTorch: a module's weights as a safetensors file.

Pass the training data through `Run.use`: tensors, datasets or DataLoaders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.base.text import first_line
from alithis.errors import SourceError
from alithis.integrations.common import require, save_tensors
from alithis.training.model import json_or_text

if TYPE_CHECKING:
    from alithis.training.run import Run


def record(run: Run, module: Any, weights: Path | str, optimizer: Any = None) -> None:
    """Record a module: its class, its weights as a safetensors file, its optimizer's settings.

    Parts of its state that are not tensors are not written; ``not_written`` lists their names.

    Args:
        run: the run.
        module: a ``torch.nn.Module``, compiled or not.
        weights: the file to write; one that exists is replaced.
        optimizer: a ``torch.optim.Optimizer``.

    Raises:
        MissingExtraError: PyTorch or safetensors is not installed.
        SourceError: the file cannot be written, or a tensor cannot be stored in it.
    """
    write(run, module, weights)
    run.log_params(model=type(unwrapped(module)).__name__)
    if optimizer is not None:
        run.log_params(optimizer=_settings(optimizer))
    run.save_model(weights)


def write(run: Run, module: Any, path: Path | str) -> None:
    """Write a module's weights, and record the names of the state that is not written."""
    if left_out := save_weights(module, path):
        run.log_params(not_written=left_out)


def unwrapped(module: Any) -> Any:
    """Return the module that ``torch.compile`` wrapped, or the module itself."""
    return getattr(module, "_orig_mod", module)


def save_weights(module: Any, path: Path | str) -> list[str]:
    """Write a module's weights as a safetensors file; tied tensors are written once.

    Names are those of the module before ``torch.compile``.

    Returns:
        The names of state that is not a tensor (`get_extra_state`), which is not written.

    Raises:
        MissingExtraError: PyTorch or safetensors is not installed.
        SourceError: the file cannot be written, or a tensor cannot be stored in it.
    """
    torch = require("torch", "PyTorch", "torch")
    state = {_bare(name): value for name, value in module.state_dict().items()}
    found = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    try:
        tensors = _untied(found)
    except RuntimeError as error:  # a sparse tensor, or one on the device "meta", has no memory
        raise SourceError(f"{path}: cannot be written: {first_line(error)}") from error
    save_tensors(tensors, path, extra="torch", kind="torch")
    return sorted(state.keys() - found.keys())


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _untied(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors to write: of identical ones, the first by name.

    A view, which shares memory with another tensor but differs from it, is copied: safetensors
    refuses tensors that share memory.
    """
    tensors, known, storages = dict[str, Any](), set[Any](), set[int]()
    for name, tensor in sorted(found.items()):
        same = tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride()
        if tensor.numel() and same in known:
            continue
        known.add(same)
        storage = tensor.untyped_storage().data_ptr()
        tensors[name] = (tensor.clone() if storage in storages else tensor).contiguous()
        storages.add(storage)
    return tensors


def _settings(optimizer: Any) -> Any:
    """Return an optimizer's settings; if there are several parameter groups, those of each."""
    left_out = ("params", "param_names")
    groups = [
        {key: value for key, value in group.items() if key not in left_out}
        for group in optimizer.param_groups
    ]
    name = type(optimizer).__name__
    if len(groups) == 1 and "name" not in groups[0]:
        return json_or_text({"name": name, **groups[0]})
    return json_or_text({"name": name, "groups": groups})
