"""The manifest of an artifact: build it, open it, find and prove leaves in it, audit it.

A manifest is a directory (docs/format.md): ``metadata.json``, ``items.parquet``, ``leaves`` and
``tiles/1``, ``tiles/2``, …. Proofs come out of ``leaves`` and ``tiles/`` by a few small reads, so
the same code serves a local directory and files at the other end of HTTP ranges: all it asks for
is a reader with ``size`` and ``read(offset, length)``.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from alithis import cid, merkle, metadata
from alithis.digest import SIZE, Buffer, Form, Pool, open_regular
from alithis.errors import (
    AlithisError,
    FormatError,
    IntegrityError,
    RootMismatchError,
    SourceError,
    StorageError,
)
from alithis.metadata import ITEMS, LEAVES, Description, FileEntry, Metadata
from alithis.proof import Exclusion, Inclusion, Proof

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

_INTERPOLATIONS = 4  # guesses by value; a file that is still not found then is skewed: halve
_PARALLEL = 1 << 17  # leaves from which on the workers pay for themselves
_ROW_GROUP = 1 << 17
_BLOCK = 1 << 20
_KEY = 1 << 64
_MAX_GROUPS = 1 << 10  # runs of 256 hashes that are kept in memory: 17 MB
_ENTRIES = {metadata.FILE, ITEMS, LEAVES, "tiles"}


class Reader(Protocol):
    """A file that is read in pieces, wherever it lies."""

    @property
    def size(self) -> int:
        """Bytes in the file."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes.

        Raises:
            StorageError: they cannot be had.
        """


@dataclass(frozen=True, slots=True)
class Items:
    """Data points, digested: what readers give and manifests are built from.

    Attributes:
        digests: their digests, 32 bytes each, joined.
        paths: their names in the source, POSIX and relative.
        sizes: their sizes in bytes, as stored.
        columns: what else is known of them: ``label``, …; the same columns in every batch.
    """

    digests: bytes
    paths: Sequence[str]
    sizes: Sequence[int]
    columns: Mapping[str, Sequence[str] | Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A check that was made.

    Attributes:
        step: what was checked.
        ok: whether it held.
        detail: what was found; where it failed, what was expected too.
    """

    step: str
    ok: bool
    detail: str


def build(
    batches: Iterable[Items],
    out: Path,
    *,
    description: Description,
    form: Form,
    kind: str = "dataset",
    pool: Pool | None = None,
    replace: bool = False,
    key_check: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write a manifest. It appears whole or not at all.

    Args:
        batches: the data points, in any order.
        out: the directory to write.
        description: the publisher's words.
        form: the canonical form the digests were made of.
        kind: ``dataset`` or ``model``.
        pool: workers for large trees.
        replace: whether an existing manifest may be replaced.
        key_check: where the batches hold keyed leaves in place of digests, their key's check.
        facts: further keys of the metadata's ``alithis`` object.
        terms: further JSON-LD terms of the metadata.

    Returns:
        The manifest, opened.

    Raises:
        SourceError: there is no data point, or ``out`` exists or cannot be written.
        FormatError: the description makes no valid metadata.
    """
    check_target(out, replace=replace)
    items = _gather(batches)
    place = out.resolve()  # the current folder may be what is replaced
    try:
        with appearing(place, replace=replace) as target:
            _write(target, items, description, form, kind, pool, key_check, facts, terms)
    except OSError as error:
        raise _unwritable(out, error) from error
    return Manifest.open(place)


def check_target(out: Path, *, replace: bool) -> None:
    """Check that a manifest may be written to a place, before any work is done for it.

    Raises:
        SourceError: it may not.
    """
    try:
        mode = out.lstat().st_mode
        names = {entry.name for entry in out.iterdir()} if stat.S_ISDIR(mode) else set()
    except FileNotFoundError:
        _check_parent(out)
        return
    except (OSError, ValueError) as error:
        raise _unwritable(out, error) from error
    if stat.S_ISLNK(mode):
        raise SourceError(f"{out}: is a symbolic link; name the folder itself")
    if metadata.FILE not in names or names - _ENTRIES:
        raise SourceError(f"{out}: exists and is no manifest; choose another place")
    if not replace:
        raise SourceError(f"{out}: exists; --force replaces it")
    _check_parent(out)


def _check_parent(out: Path) -> None:
    parent = next((parent for parent in out.absolute().parents if os.path.lexists(parent)), out)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise SourceError(f"{out}: cannot be written: {parent} is no folder one can write to")


def _unwritable(path: Path, error: OSError | ValueError) -> SourceError:
    return SourceError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")


class Manifest:
    """A manifest to look things up in.

    Attributes:
        metadata: its metadata, checked; whether it is what a chain pins is the verifier's to say.
    """

    def __init__(self, data: bytes, open_file: Callable[[FileEntry], Reader]) -> None:
        """Open a manifest, wherever its files are.

        Args:
            data: the bytes of metadata.json.
            open_file: gives a reader for a file of the manifest.

        Raises:
            FormatError: the metadata is not well-formed, or its frontier is not of its root.
        """
        self.metadata = metadata.load(data)
        self._open_file = open_file
        self._readers: dict[str, Reader] = {}
        self._groups: dict[tuple[int, int], list[bytes]] = {}
        if merkle.fold(self.metadata.frontier) != self.metadata.root:
            raise FormatError(f"{metadata.FILE}: the frontier does not fold to the root")

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open a manifest in a directory.

        Raises:
            FormatError: it is none, or not a well-formed one.
        """
        data = _read_metadata(directory)
        try:
            return cls(data, lambda entry: LocalFile(directory / entry.name))
        except FormatError as error:
            raise type(error)(f"{directory}: {error}") from error

    def prove(self, leaf: bytes) -> Proof:
        """Prove that a leaf is included, or that it is absent.

        Args:
            leaf: 32 bytes.

        Returns:
            A proof that holds against the metadata's root and size.

        Raises:
            ProofError: the leaf has not 32 bytes.
            IntegrityError: the manifest's files give no proof that holds.
            FormatError: the manifest lacks one of them.
            StorageError: they cannot be read.
        """
        merkle.check_leaf(leaf)
        index, found = self._find(leaf)
        proof = self._inclusion(leaf, index) if found else self._exclusion(leaf, index)
        try:
            proof.check(self.metadata.root, self.metadata.size)
        except RootMismatchError as error:
            raise IntegrityError(
                f"root that {LEAVES} and tiles/ lead to (alithis audit tells what is damaged)",
                expected=error.expected,
                found=error.calculated,
            ) from error
        return proof

    def at(self, index: int) -> Inclusion:
        """Prove which leaf stands at an index.

        Args:
            index: 0 to the size - 1.

        Returns:
            A proof, not checked: whoever holds a commitment checks it against that.

        Raises:
            IntegrityError: a file of the manifest is not as long as its metadata says.
            FormatError: the manifest lacks one.
            StorageError: they cannot be read.
        """
        return self._inclusion(self._leaf(index), index)

    def leaves(self) -> Iterator[bytes]:
        """Yield all leaves in order, 32 bytes each; they are read in blocks.

        Raises:
            AlithisError: as `blocks` does.
        """
        for block in self.blocks():
            yield from (block[at : at + SIZE] for at in range(0, len(block), SIZE))

    def blocks(self) -> Iterator[bytes]:
        """Yield all leaves in order, joined, up to 32,768 at a time.

        Raises:
            IntegrityError: the file is not as long as the metadata says.
            StorageError: it cannot be read.
        """
        reader = self._reader(LEAVES, self.metadata.size * SIZE)
        for offset in range(0, reader.size, _BLOCK):
            yield _exactly(reader, offset, min(_BLOCK, reader.size - offset))

    def _find(self, leaf: bytes) -> tuple[int, bool]:
        """Return where a leaf stands or would stand, and whether it is there.

        The leaves are digests, so their values are uniform and a leaf's value tells about where
        it is. A hostile file may be skewed: from the fifth read on the range is halved.
        """
        low, high = 0, self.metadata.size
        low_key, high_key, key = 0, _KEY, int.from_bytes(leaf[:8], "big")
        attempt = 0
        while low < high:
            guess = (low + high) // 2
            if attempt < _INTERPOLATIONS and low_key <= key < high_key:
                guess = low + (high - low) * (key - low_key) // (high_key - low_key)
            attempt += 1
            group = self._group(0, guess // merkle.TILE)
            start = guess // merkle.TILE * merkle.TILE
            if leaf < group[0]:
                high, high_key = start, int.from_bytes(group[0][:8], "big")
            elif leaf > group[-1]:
                low, low_key = start + len(group), int.from_bytes(group[-1][:8], "big")
            else:
                position = bisect_left(group, leaf)
                return start + position, group[position] == leaf
        return low, False

    def _inclusion(self, leaf: bytes, index: int) -> Inclusion:
        data = self.metadata
        return Inclusion(
            leaf,
            index,
            tuple(merkle.path_from_nodes(index, data.size, self._node, data.frontier)),
        )

    def _exclusion(self, leaf: bytes, index: int) -> Exclusion:
        left, right = (
            self.at(neighbour) if 0 <= neighbour < self.metadata.size else None
            for neighbour in (index - 1, index)
        )
        return Exclusion(leaf, index, left, right)

    def _leaf(self, index: int) -> bytes:
        return self._group(0, index // merkle.TILE)[index % merkle.TILE]

    def _node(self, height: int, index: int) -> bytes:
        """Return the hash of a complete node, out of one tile."""
        level, rest = divmod(height, merkle.TILE_HEIGHT)
        first = index << rest
        group = self._group(level, first // merkle.TILE)
        start = first % merkle.TILE
        hashes = group[start : start + (1 << rest)]
        return merkle.subtree_root(hashes if level else merkle.leaf_hashes(b"".join(hashes)))

    def _group(self, level: int, number: int) -> list[bytes]:
        """Return one run of 256 leaves (level 0) or of a tile level's hashes, by one read."""
        if (level, number) not in self._groups:
            count = self.metadata.size >> (merkle.TILE_HEIGHT * level)
            start = number * merkle.TILE
            length = min(merkle.TILE, count - start) * SIZE
            reader = self._reader(f"tiles/{level}" if level else LEAVES, count * SIZE)
            data = _exactly(reader, start * SIZE, length)
            if len(self._groups) == _MAX_GROUPS:
                self._groups.clear()
            self._groups[level, number] = [
                data[offset : offset + SIZE] for offset in range(0, length, SIZE)
            ]
        return self._groups[level, number]

    def _reader(self, name: str, size: int) -> Reader:
        if name not in self._readers:
            reader = self._open_file(self.metadata.file(name))
            if reader.size != size:
                raise IntegrityError(f"bytes in {name}", expected=size, found=reader.size)
            self._readers[name] = reader
        return self._readers[name]


def _exactly(reader: Reader, offset: int, length: int) -> bytes:
    data = reader.read(offset, length)
    if len(data) != length:
        raise IntegrityError(f"bytes read at {offset}", expected=length, found=len(data))
    return data


def audit(directory: Path, *, withheld: bool = False) -> list[Step]:
    """Recompute everything that a manifest in a directory states.

    Args:
        directory: the manifest.
        withheld: whether items.parquet may be missing: its publisher may keep it back.

    Returns:
        The checks, in order; after one that makes the next ones meaningless, none.
    """
    try:
        data = Manifest.open(directory).metadata
    except AlithisError as error:
        return [Step("metadata", False, str(error))]
    steps = [Step("metadata", True, f"{data.kind} {data.name}, SHA-256 {data.digest.hex()}")]
    present = [
        entry
        for entry in data.files
        if not (withheld and entry.name == ITEMS and not (directory / ITEMS).exists())
    ]
    steps += [_audit_file(directory, entry) for entry in present]
    if not all(step.ok for step in steps):
        return steps
    leaves = (directory / LEAVES).read_bytes()
    count, rest = divmod(len(leaves), SIZE)
    steps.append(_same("size", data.size, f"{len(leaves)} bytes" if rest else count))
    if not steps[-1].ok:
        return steps
    steps += [_audit_order(leaves), *_audit_tree(directory, data, leaves)]
    if any(entry.name == ITEMS for entry in present):
        steps.append(_audit_items(directory / ITEMS, data, leaves))
    return steps


def _audit_file(directory: Path, entry: FileEntry) -> Step:
    path = directory / entry.name
    try:
        found = cid.describe(path)
    except (AlithisError, OSError) as error:
        missing = not path.exists()
        return Step(entry.name, False, f"{path}: missing" if missing else str(error))
    for what, stated, computed in (
        ("size", entry.size, found.size),
        ("SHA-256", entry.sha256.hex(), found.sha256.hex()),
        ("CID", entry.cid, str(found.cid)),
    ):
        if stated != computed:
            return Step(entry.name, False, f"{path}: {what}: expected {stated}, found {computed}")
    return Step(entry.name, True, f"{found.size} bytes, {found.cid}")


def _audit_order(leaves: bytes) -> Step:
    broken = _not_ascending(leaves)
    if broken is None:
        return Step("order", True, f"{len(leaves) // SIZE} leaves ascend and differ")
    return Step("order", False, f"{LEAVES}: leaf {broken + 1} does not follow leaf {broken}")


def _not_ascending(leaves: bytes) -> int | None:
    """Return the first position whose next leaf is not greater; None where all ascend."""
    import numpy as np

    words = np.frombuffer(leaves, ">u8").reshape(-1, 4)
    greater = np.zeros(len(words) - 1, bool)
    for column in reversed(range(4)):
        before, after = words[:-1, column], words[1:, column]
        greater = (after > before) | ((after == before) & greater)
    broken = np.flatnonzero(~greater)
    return int(broken[0]) if len(broken) else None


def _audit_tree(directory: Path, data: Metadata, leaves: bytes) -> Iterator[Step]:
    tree = merkle.tree(leaves)
    yield _same("root", data.root.hex(), tree.root.hex())
    yield _same("frontier", _join(data.frontier), _join(tree.frontier))
    named = sorted(entry.name for entry in data.files if entry.name.startswith("tiles/"))
    built = [f"tiles/{level}" for level in range(1, len(tree.tiles) + 1)]
    same = named == built and all(
        (directory / name).read_bytes() == tile
        for name, tile in zip(built, tree.tiles, strict=True)
    )
    yield Step("tiles", same, "as the leaves give them" if same else "not what the leaves give")


def _join(hashes: Sequence[bytes]) -> str:
    return ",".join(node.hex() for node in hashes)


def _same(step: str, expected: object, found: object) -> Step:
    if expected == found:
        return Step(step, True, str(found))
    return Step(step, False, f"expected {expected}, found {found}")


def _audit_items(path: Path, data: Metadata, leaves: bytes) -> Step:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            problem = _table_problem(file, data) or _rows_problem(file, leaves)
    except (pa.ArrowException, OSError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        return Step("items", False, f"{path}: {problem}")
    return Step("items", True, f"{data.items} rows, in the order of their leaves")


def _table_problem(file: pq.ParquetFile, data: Metadata) -> str | None:
    import pyarrow as pa

    columns = [(column.name, column.type) for column in file.schema_arrow]
    wanted = [("leaf", pa.binary(SIZE)), ("path", pa.string()), ("size", pa.int64())]
    if columns[:3] != wanted or len({name for name, _ in columns}) != len(columns):
        return "its columns do not begin with leaf (fixed_size_binary[32]), path, size"
    if file.metadata.num_rows != data.items:
        return f"expected {data.items} rows, found {file.metadata.num_rows}"
    return None


def _rows_problem(file: pq.ParquetFile, leaves: bytes) -> str | None:
    """Compare the rows with the leaves, in pieces: what a hostile file unpacks to is unknown."""
    position, before = 0, (b"", "")
    for batch in filter(len, file.iter_batches(_ROW_GROUP, columns=["leaf", "path"])):
        if batch["leaf"].null_count or batch["path"].null_count:
            return "a row lacks its leaf or its path"
        rows = _fixed_rows(batch["leaf"])
        fresh = _firsts(rows, before[0])
        found = rows[fresh].tobytes()
        if found != leaves[position : position + len(found)]:
            return f"its leaves are not those of {LEAVES}, in their order"
        if _is_disordered(batch["path"], fresh, before[1]):
            return "rows with the same leaf do not stand in the order of their paths"
        position += len(found)
        before = (rows[-1].tobytes(), batch["path"][-1].as_py())
    return None if position == len(leaves) else f"it lacks the last leaves of {LEAVES}"


def _fixed_rows(column: pa.Array) -> NDArray[np.uint8]:
    import numpy as np

    start = column.offset * SIZE
    values = column.buffers()[1][start : start + len(column) * SIZE]
    return np.frombuffer(values, np.uint8).reshape(-1, SIZE)


def _is_disordered(paths: pa.Array, fresh: NDArray[np.bool_], before: str) -> bool:
    import numpy as np
    import pyarrow.compute as pc

    if not fresh[0] and paths[0].as_py() < before:
        return True
    ties = np.flatnonzero(~fresh[1:])
    return bool(pc.any(pc.less(paths.take(ties + 1), paths.take(ties))).as_py())


class LocalFile:
    """A reader of a local file; it is closed with its last reference."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            FormatError: it is not there, no regular file, or cannot be read.
        """
        try:
            self._handle, status = open_regular(path)
        except SourceError as error:
            raise FormatError(str(error)) from error
        weakref.finalize(self, os.close, self._handle)
        self._path = path
        self.size = status.st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from an offset on; fewer, where the file ends.

        Raises:
            StorageError: they cannot be read.
        """
        try:
            return os.pread(self._handle, length, offset)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be read: {error.strerror}") from error


@dataclass(slots=True)
class _Table:
    digests: bytearray = field(default_factory=bytearray)
    paths: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    columns: dict[str, list[str | int]] = field(default_factory=dict)


def _gather(batches: Iterable[Items]) -> _Table:
    table = _Table()
    for batch in batches:
        table.digests += batch.digests
        table.paths += batch.paths
        table.sizes += batch.sizes
        for name, values in batch.columns.items():
            table.columns.setdefault(name, []).extend(values)
    count = len(table.paths)
    if not count:
        raise SourceError("no data points: the source is empty")
    if {len(table.sizes), *map(len, table.columns.values())} != {count} or (
        len(table.digests) != count * SIZE
    ):
        raise SourceError(f"{count} data points, but not as many digests, sizes or labels")
    return table


def _write(
    target: Path,
    items: _Table,
    description: Description,
    form: Form,
    kind: str,
    pool: Pool | None,
    key_check: bytes | None,
    facts: Mapping[str, Any] | None,
    terms: Mapping[str, Any] | None,
) -> None:
    rows, order = _sorted(items)
    leaves = _distinct(rows)
    parallel = pool is not None and leaves.nbytes >= _PARALLEL * SIZE
    tree = merkle.tree(leaves, pool.map) if pool and parallel else merkle.tree(leaves)
    columns = _write_items(target / ITEMS, items, rows, order)
    _write_bytes(target / LEAVES, leaves)
    names = [ITEMS, LEAVES]
    if tree.tiles:
        (target / "tiles").mkdir()
    for level, tile in enumerate(tree.tiles, start=1):
        _write_bytes(target / "tiles" / str(level), tile)
        names.append(f"tiles/{level}")
    data = metadata.compose(
        kind=kind,
        description=description,
        form=form,
        root=tree.root,
        size=tree.size,
        items=len(items.paths),
        frontier=tree.frontier,
        files=[_entry(target, name) for name in names],
        columns=columns,
        key_check=key_check,
        facts=facts,
        terms=terms,
    )
    _write_bytes(target / metadata.FILE, data)


def _sorted(items: _Table) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Order the data points by leaf, then path, then what else tells two of them apart.

    Returns:
        The leaves as rows of 32 bytes in that order, and for each its index in the table.
    """
    import numpy as np

    rows = np.frombuffer(items.digests, np.uint8).reshape(-1, SIZE)
    keys = np.ascontiguousarray(rows[:, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    ties = np.flatnonzero(keys[1:] == keys[:-1])
    others: tuple[Sequence[Any], ...] = (items.paths, items.sizes, *items.columns.values())
    for start, stop in _runs(ties):
        order[start:stop] = sorted(
            order[start:stop].tolist(),
            key=lambda at: (rows[at].tobytes(), *(column[at] for column in others)),
        )
    return rows[order], order


def _runs(ties: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Turn the positions i with key[i] == key[i + 1] into ranges of equal keys."""
    import numpy as np

    breaks = np.flatnonzero(np.diff(ties) != 1) + 1
    for run in np.split(ties, breaks):
        if len(run):
            yield int(run[0]), int(run[-1]) + 2


def _distinct(rows: NDArray[np.uint8]) -> memoryview:
    """Return the rows without their repeats; the same memory, where there are none."""
    fresh = _firsts(rows, b"")
    return (rows if fresh.all() else rows[fresh]).data.cast("B")


def _firsts(rows: NDArray[np.uint8], before: bytes) -> NDArray[np.bool_]:
    """Tell for each row whether it differs from the one before it."""
    import numpy as np

    words = rows.view(np.uint64)
    fresh = np.ones(len(rows), bool)
    fresh[:1] = rows[:1].tobytes() != before
    np.any(words[1:] != words[:-1], axis=1, out=fresh[1:])
    return fresh


def _write_items(
    path: Path, items: _Table, rows: NDArray[np.uint8], order: NDArray[np.intp]
) -> dict[str, str]:
    """Write items.parquet.

    Returns:
        The Croissant data types of the columns beyond leaf, path and size.
    """
    import pyarrow.parquet as pq

    table = _items_table(items, rows, order)
    names = table.column_names
    pq.write_table(
        table,
        path,
        compression={name: "none" if name == "leaf" else "snappy" for name in names},
        use_dictionary=[name for name in names if name not in ("leaf", "path")],
        row_group_size=_ROW_GROUP,
        sorting_columns=pq.SortingColumn.from_ordering(
            table.schema, [("leaf", "ascending"), ("path", "ascending")]
        ),
        write_page_index=True,
    )
    _sync(path)
    return {name: _data_type(table.schema.field(name).type) for name in items.columns}


def _items_table(items: _Table, rows: NDArray[np.uint8], order: NDArray[np.intp]) -> pa.Table:
    import pyarrow as pa

    leaf = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(SIZE), len(rows), [None, pa.py_buffer(rows)]
    )
    try:
        others = {
            "path": pa.array(items.paths, pa.string()),
            "size": pa.array(items.sizes, pa.int64()),
            **{name: pa.array(values) for name, values in items.columns.items()},
        }
    except (TypeError, ValueError, OverflowError) as error:
        raise SourceError(f"{ITEMS}: a value that it cannot hold: {error}") from error
    take = pa.array(order)
    return pa.table({"leaf": leaf} | {name: array.take(take) for name, array in others.items()})


def _data_type(arrow: pa.DataType) -> str:
    import pyarrow as pa

    return "sc:Integer" if pa.types.is_integer(arrow) else "sc:Text"


def _entry(directory: Path, name: str) -> FileEntry:
    described = cid.describe(directory / name)
    return FileEntry(name, str(described.cid), described.sha256, described.size)


def _read_metadata(directory: Path) -> bytes:
    try:
        return LocalFile(directory / metadata.FILE).read(0, metadata.MAX_BYTES + 1)
    except FormatError as error:
        raise FormatError(f"{error}; is {directory} a manifest?") from error


@contextmanager
def appearing(out: Path, *, replace: bool) -> Iterator[Path]:
    """Give a directory to write into that becomes ``out`` at the end, or vanishes.

    What a killed run left beside ``out`` is swept: a run that lives holds a lock on its own.

    Args:
        out: where the directory is to appear; an absolute path.
        replace: whether a manifest that stands there may be replaced.

    Yields:
        The directory to write into.

    Raises:
        SourceError: something stands at ``out`` that may not be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    with _workplace(out) as place:
        new = place / "new"
        new.mkdir()
        yield new
        for directory in (new / "tiles", new):
            if directory.is_dir():
                _sync(directory)
        check_target(out, replace=replace)
        _put(new, out, place / "old")
        _sync(out.parent)


def _put(new: Path, out: Path, old: Path) -> None:
    with suppress(FileNotFoundError):
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        with suppress(FileNotFoundError):
            old.rename(out)
        raise


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """Give a locked folder beside ``out``, for as long as the work lasts."""
    place = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    place.mkdir()
    handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks: nothing is swept there either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Only locked it gets the name that a sweep looks for.
        place = place.rename(f"{place}.partial")
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def _sweep(out: Path) -> None:
    """Remove what killed runs left; put back what one was about to replace."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{16}}\.partial")
    for place in [entry for entry in out.parent.iterdir() if ours.fullmatch(entry.name)]:
        with suppress(OSError), _locked(place):
            if not os.path.lexists(out):
                with suppress(FileNotFoundError):
                    (place / "old").rename(out)
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        OSError: somebody else does, or there are no locks here.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, over one that may be there.

    What is no file of its own, a link or a device, is written through.

    Raises:
        OSError: it cannot be written.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(data)
        return
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        _write_bytes(partial, data)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _write_bytes(path: Path, data: Buffer) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
