"""Helpers for several adapters: importing optional libraries, writing safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from alithis.base.text import first_line
from alithis.errors import MissingExtraError, SourceError


def require(module: str, library: str, extra: str) -> Any:
    """Import a module of an optional library.

    Args:
        module: the module's full name.
        library: the name of the library, for the error.
        extra: the extra of Alithis that installs it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(library, extra) from error


def save_tensors(
    tensors: Mapping[str, Any],
    path: Path | str,
    *,
    extra: str,
    kind: str = "numpy",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors as a safetensors file, over an existing one.

    Args:
        tensors: the tensors by name.
        path: the file to write.
        extra: the extra of Alithis that installs safetensors for the adapter.
        kind: ``numpy`` for arrays, or ``torch``.
        metadata: at most one entry: safetensors writes several entries in any order, so the same
            model could have a different digest each time.

    Raises:
        MissingExtraError: safetensors is not installed.
        SourceError: the file cannot be written, or a tensor cannot be stored in it.
    """
    library = require(f"safetensors.{kind}", "safetensors", extra)
    broken = require("safetensors", "safetensors", extra).SafetensorError
    try:
        library.save_file(dict(tensors), str(path), metadata=metadata)
    except (OSError, broken, RuntimeError, ValueError, KeyError) as error:
        raise SourceError(f"{path}: cannot be written: {first_line(error)}") from error
