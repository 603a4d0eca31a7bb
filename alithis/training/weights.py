"""A model's files as data points: each as a whole, and large ones in parts.

A safetensors file is also hashed tensor by tensor; any other file beyond 64 MiB also in pieces of
that size. Nothing is decoded, and nothing unpickled. Of a folder (a Hugging Face model repository,
say) every file is taken that is not hidden.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from alithis.base import files as base_files
from alithis.base.untrusted_json import parse
from alithis.errors import FormatError, SourceError
from alithis.forms import hashing
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers import Skips
from alithis.readers import files as files_module

PIECE = 1 << 26
"""Bytes of a piece of a file that is no safetensors file: 64 MiB."""

_MAX_HEADER = 100_000_000  # bytes; the safetensors library's own bound
_MAX_AXES = 64
_WORTH = 1 << 27  # bytes from which on workers, a tenth of a second to start, pay


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's files.

    Attributes:
        files: path of each file, and its name in the manifest: relative, POSIX.
        skipped: what of a folder was passed over.
    """

    files: Sequence[tuple[Path, str]]
    skipped: Skips = field(default_factory=Skips)

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Weights:
        """Take files, each under its own name, and the files in folders, each under its path.

        Raises:
            SourceError: there is none, two would have one name, or a folder cannot be listed.
            FormatError: a name is not UTF-8.
        """
        found, skipped = list[tuple[Path, str]](), Skips()
        for path in paths:
            if not path.is_dir():
                found.append((path, path.name))
                continue
            for name, _ in files_module.listed(path):
                if any(part.startswith(".") for part in name.split("/")):
                    skipped.add(name, "hidden")
                else:
                    found.append((path / name, name))
        if not found:
            raise SourceError("a model without weights: name the files that hold them")
        names = dict[str, Path]()
        for path, name in found:
            check_text(f"the file name {name!r}", name)
            if name in names:
                raise SourceError(f"{path}: two files of this name; rename one")
            names[name] = path
        for name, path in names.items():
            wholes = (name[: at.start()] for at in re.finditer("#", name))
            if whole := next((each for each in wholes if each in names), None):
                raise SourceError(f"{path}: named as if it were a part of {whole}; rename it")
        return cls(found, skipped)

    def digested(self, pool: Pool) -> Iterator[DataPoints]:
        """Yield the files, and parts of large ones, digested.

        Raises:
            SourceError: a file cannot be read, or changed meanwhile.
            FormatError: a safetensors file is damaged.
        """
        sizes = [_size(path) for path, _ in self.files]
        work = (
            task
            for (path, name), size in zip(self.files, sizes, strict=True)
            for task in _tasks(path, name, size)
        )
        yield from pool.map(_done, work) if sum(sizes) >= _WORTH else map(_done, work)


def check_text(what: str, text: str) -> None:
    """Check that a text is UTF-8.

    Raises:
        FormatError: it is not.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{what} is not UTF-8") from error


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    offset: int
    length: int
    dtype: str = ""
    shape: str = ""


@dataclass(frozen=True, slots=True)
class _Task:
    """A piece of work for a worker: a whole file, or some parts of one."""

    path: Path
    name: str
    stamp: tuple[int, int]
    parts: Sequence[_Part] = ()


def _size(path: Path) -> int:
    handle, status = base_files.open_regular(path)
    os.close(handle)
    return status.st_size


def _tasks(path: Path, name: str, size: int) -> Iterator[_Task]:
    """Plan the whole file first, then its parts: one worker takes it while others take those."""
    handle, status = base_files.open_regular(path)
    with os.fdopen(handle, "rb") as file:
        stamp = _stamp(status)
        is_safetensors = path.suffix == ".safetensors"
        parts = _tensors(path, name, file, size) if is_safetensors else _pieces(name, size)
    yield _Task(path, name, stamp)
    for group in _grouped(parts):
        yield _Task(path, name, stamp, group)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _grouped(parts: Sequence[_Part]) -> Iterator[Sequence[_Part]]:
    """Put parts together until there is enough of them for a worker."""
    group, size = list[_Part](), 0
    for part in parts:
        group.append(part)
        size += part.length
        if size >= PIECE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _done(task: _Task) -> DataPoints:
    """Do a piece of work; in a worker, maybe."""
    if not task.parts:
        value, size = hashing.of_file(task.path)
        if size != task.stamp[0]:
            raise base_files.changed(os.fspath(task.path))
        return DataPoints(value, [task.name], [size], {"dtype": [""], "shape": [""]})
    try:
        handle, before = base_files.open_regular(task.path)
        with os.fdopen(handle, "rb") as file:
            if _stamp(before) != task.stamp:
                raise base_files.changed(os.fspath(task.path))
            digests = [hashing.of_part(file, part.offset, part.length) for part in task.parts]
            after = os.fstat(file.fileno())
    except OSError as error:
        raise SourceError(f"{task.path}: cannot be read: {error.strerror}") from error
    base_files.check_unchanged(os.fspath(task.path), before, after, task.stamp[0])
    return DataPoints(
        b"".join(digests),
        [part.name for part in task.parts],
        [part.length for part in task.parts],
        {
            "dtype": [part.dtype for part in task.parts],
            "shape": [part.shape for part in task.parts],
        },
    )


def _pieces(name: str, size: int) -> list[_Part]:
    """Cut a file that has more than a piece; ``name#0``, ``name#1``, …."""
    if size <= PIECE:
        return []
    starts = range(0, size, PIECE)
    return [
        _Part(f"{name}#{at}", start, min(PIECE, size - start)) for at, start in enumerate(starts)
    ]


# -- safetensors -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    first: int  # bytes from the header's end on
    last: int


def _tensors(path: Path, name: str, file: BinaryIO, size: int) -> list[_Part]:
    """Read where the tensors of a safetensors file are."""
    try:
        start, header = _header(path, file, size)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    tensors = [_tensor(path, each, entry) for each, entry in header.items()]
    _check_layout(path, tensors, size - start)
    return [
        _Part(
            f"{name}#{tensor.name}",
            start + tensor.first,
            tensor.last - tensor.first,
            tensor.dtype,
            "x".join(map(str, tensor.shape)),
        )
        for tensor in tensors
    ]


def _header(path: Path, file: BinaryIO, size: int) -> tuple[int, dict[str, Any]]:
    """Read a safetensors header: where the tensors begin, and what they are.

    Its format: 8 bytes of little-endian length, that many bytes of JSON, the tensors.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER):
        raise FormatError(f"{path}: no safetensors file: its header is cut short")
    header = parse(file.read(length), str(path))
    header.pop("__metadata__", None)
    return 8 + length, header


def _tensor(path: Path, name: str, entry: Any) -> _Tensor:
    check_text(f"{path}: the tensor name {name[:80]!r}", name)
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        first, last = entry["data_offsets"]
        numbers = (*shape, first, last)
        whole = all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
        if not whole or len(shape) > _MAX_AXES:
            raise ValueError(numbers)
        if 8 * (last - first) != _bits(dtype) * math.prod(shape):
            raise ValueError(dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: tensor {name[:80]!r} is described wrongly") from error
    return _Tensor(name, dtype, shape, first, last)


def _bits(dtype: str) -> int:
    """Return the bits of an element, which its type's name tells: F32, BF16, F8_E4M3, …."""
    match = re.fullmatch(r"[A-Z]{1,2}([1-9]\d{0,2})(_[A-Z0-9]{1,12})?", dtype)
    if match is None and dtype != "BOOL":
        raise ValueError(dtype)
    return int(match[1]) if match else 8


def _check_layout(path: Path, tensors: Sequence[_Tensor], available: int) -> None:
    """Check that the tensors fill the file, side by side, as the format demands."""
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.first, tensor.last)):
        if tensor.first != end:
            raise FormatError(
                f"{path}: tensor {tensor.name[:80]!r} begins at byte {tensor.first}, "
                f"not where the one before it ends, at {end}"
            )
        end = tensor.last
    if end != available:
        raise FormatError(f"{path}: its tensors take {end} bytes, but it has {available}")
