"""A model's files as data points: each file as a whole, and large files also in parts.

A safetensors file is also hashed tensor by tensor, so that a fine-tune that keeps some tensors
shares leaves with its parent. Any other file beyond 64 MiB is also hashed in pieces of that size.
Nothing is decoded or unpickled. Of a folder (such as a Hugging Face model repository), every file
that is not hidden is hashed.
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
from alithis.readers.files import listed
from alithis.readers.source import stamp

PIECE = 1 << 26
"""Bytes of a piece of a file other than safetensors: 64 MiB."""

_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_MAX_AXES = 64
_WORTH = 1 << 27  # bytes; for less, starting workers (0.1 s) costs more than they save


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's files.

    Attributes:
        files: path of each file, and its name in the manifest: relative, POSIX.
        skipped: entries of a folder that were skipped.
    """

    files: Sequence[tuple[Path, str]]
    skipped: Skips = field(default_factory=Skips)

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Weights:
        """Return files, named by their file names, and files in folders, named by their paths.

        Raises:
            SourceError: there are no files, two have the same name, or a folder cannot be listed.
            FormatError: a name is not UTF-8.
        """
        found, skipped = list[tuple[Path, str]](), Skips()
        for path in paths:
            if not path.is_dir():
                found.append((path, path.name))
                continue
            for name, _ in listed(path):
                if any(part.startswith(".") for part in name.split("/")):
                    skipped.add(name, "hidden")
                else:
                    found.append((path / name, name))
        if not found:
            raise SourceError("no weights: give the files that contain them")
        names = dict[str, Path]()
        for path, name in found:
            check_text(f"the file name {name!r}", name)
            if name in names:
                raise SourceError(f"{path}: another file has the same name; rename one")
            names[name] = path
        for name, path in names.items():
            wholes = (name[: at.start()] for at in re.finditer("#", name))
            if whole := next((each for each in wholes if each in names), None):
                raise SourceError(f"{path}: its name could be that of a part of {whole}; rename it")
        return cls(found, skipped)

    def digested(self, pool: Pool) -> Iterator[DataPoints]:
        """Hash the files, and the parts of large ones.

        Raises:
            SourceError: a file cannot be read, or changed while it was read.
            FormatError: a safetensors file is damaged.
        """
        sizes = [_size(path) for path, _ in self.files]
        work = (
            task
            for (path, name), size in zip(self.files, sizes, strict=True)
            for task in _tasks(path, name, size)
        )
        yield from pool.map(_hashed, work) if sum(sizes) >= _WORTH else map(_hashed, work)


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
    """Work for a worker: a whole file, or some parts of it."""

    path: Path
    name: str
    stamp: tuple[int, int]
    parts: Sequence[_Part] = ()


def _size(path: Path) -> int:
    handle, status = base_files.open_regular(path)
    os.close(handle)
    return status.st_size


def _tasks(path: Path, name: str, size: int) -> Iterator[_Task]:
    """Plan the whole file first, then its parts: one worker hashes it while others do the parts."""
    handle, status = base_files.open_regular(path)
    with os.fdopen(handle, "rb") as file:
        file_stamp = stamp(status)
        is_safetensors = path.suffix == ".safetensors"
        parts = _tensors(path, name, file, size) if is_safetensors else _pieces(name, size)
    yield _Task(path, name, file_stamp)
    for group in _grouped(parts):
        yield _Task(path, name, file_stamp, group)


def _grouped(parts: Sequence[_Part]) -> Iterator[Sequence[_Part]]:
    """Group small parts: sending one to a worker costs more than to hash it."""
    group, size = list[_Part](), 0
    for part in parts:
        group.append(part)
        size += part.length
        if size >= PIECE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _hashed(task: _Task) -> DataPoints:
    """Hash a file or some of its parts, perhaps in a worker process."""
    if not task.parts:
        value, size = hashing.of_file(task.path)
        if size != task.stamp[0]:
            raise base_files.changed(os.fspath(task.path))
        return DataPoints(value, [task.name], [size], {"dtype": [""], "shape": [""]})
    try:
        handle, before = base_files.open_regular(task.path)
        with os.fdopen(handle, "rb") as file:
            if stamp(before) != task.stamp:
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
    """Cut a file that is longer than a piece into ``name#0``, ``name#1``, …."""
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
    first: int  # bytes, counted from the end of the header
    last: int


def _tensors(path: Path, name: str, file: BinaryIO, size: int) -> list[_Part]:
    """Read the positions of the tensors in a safetensors file."""
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
    """Read a safetensors header: the position of the first tensor, and the JSON object.

    A file consists of 8 bytes with the length of the JSON (little-endian), the JSON, the tensors.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER):
        raise FormatError(f"{path}: not a safetensors file: its header is cut short")
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
        raise FormatError(
            f"{path}: is damaged: the header's entry for tensor {name[:80]!r} is invalid. "
            "Save or download the file again"
        ) from error
    return _Tensor(name, dtype, shape, first, last)


def _bits(dtype: str) -> int:
    """Return the bits of an element, from the name of its type: F32, BF16, F8_E4M3, …."""
    match = re.fullmatch(r"[A-Z]{1,2}([1-9]\d{0,2})(_[A-Z0-9]{1,12})?", dtype)
    if match is None and dtype != "BOOL":
        raise ValueError(dtype)
    return int(match[1]) if match else 8


def _check_layout(path: Path, tensors: Sequence[_Tensor], available: int) -> None:
    """Check that the tensors fill the file without gaps or overlaps, as the format requires."""
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.first, tensor.last)):
        if tensor.first != end:
            raise FormatError(
                f"{path}: is damaged: tensor {tensor.name[:80]!r} starts at byte {tensor.first}, "
                f"but the tensor before it ends at {end}. Save or download the file again"
            )
        end = tensor.last
    if end != available:
        raise FormatError(
            f"{path}: is damaged: its tensors have {end} bytes, but the file has {available}. "
            "Save or download the file again"
        )
