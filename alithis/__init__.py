"""Alithis: proofs of where a machine-learning model's data came from.

`alithis.Run` records a training run; the modules are the steps between a data point and a proof
(README.md names them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alithis.training.run import Run

__all__ = ["Run"]


def __getattr__(name: str) -> Any:
    """Load `Run` when it is first asked for, so that importing Alithis takes no time."""
    if name != "Run":
        raise AttributeError(f"module 'alithis' has no attribute {name!r}")
    from alithis.training.run import Run

    return Run
