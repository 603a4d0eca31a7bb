"""The manifest of an artifact: build it, open it, find and prove leaves in it, audit it.

A manifest is a directory (docs/format.md): ``metadata.json``, ``items.parquet``, ``leaves`` and
``tiles/1``, ``tiles/2``, …. Proofs come out of ``leaves`` and ``tiles/`` by a few small reads, so
the same code serves a local directory and files at the other end of HTTP ranges: all it asks for
is a reader with ``size`` and ``read(offset, length)``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from alithis import cid, merkle, metadata
from alithis.digest import SIZE, Form, Pool
from alithis.errors import AlithisError, FormatError, IntegrityError, SourceError
from alithis.metadata import ITEMS, LEAVES, Description, FileEntry, Metadata
from alithis.proof import Exclusion, Inclusion, Proof

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_INTERPOLATIONS = 4  # guesses by value; a file that is still not found then is skewed: halve
_PARALLEL = 1 << 17  # leaves from which on the workers pay for themselves
_ROW_GROUP = 1 << 17
_BLOCK = 1 << 20
_KEY = 1 << 64


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
    try:
        with appearing(out, replace=replace) as target:
            _write(target, items, description, form, kind, pool, facts, terms)
    except OSError as error:
        raise SourceError(f"{out}: cannot be written: {error.strerror or error}") from error
    return Manifest.open(out)


def check_target(out: Path, *, replace: bool) -> None:
    """Check that a manifest may be written to a place, before any work is done for it.

    Raises:
        SourceError: it may not.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not (out / metadata.FILE).is_file():
        raise SourceError(f"{out}: exists and is no manifest; choose another place")
    if not replace:
        raise SourceError(f"{out}: exists; --force replaces it")


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
        return cls(
            _read_metadata(directory), lambda entry: LocalFile(directory.joinpath(entry.name))
        )

    def prove(self, leaf: bytes) -> Proof:
        """Prove that a leaf is included, or that it is absent.

        Args:
            leaf: 32 bytes.

        Returns:
            A proof that holds against the metadata's root and size.

        Raises:
            IntegrityError: the manifest's files give no proof that holds.
            StorageError: they cannot be read.
        """
        index, found = self._find(leaf)
        try:
            proof = self._inclusion(leaf, index) if found else self._exclusion(leaf, index)
            proof.check(self.metadata.root, self.metadata.size)
        except AlithisError as error:
            raise IntegrityError(
                f"{LEAVES} and tiles/ give no proof ({error}): the manifest is damaged or its "
                "order is broken; alithis audit tells more",
                expected=self.metadata.root,
                found="another root",
            ) from error
        return proof

    def leaves(self) -> Iterator[bytes]:
        """Yield all leaves in order, 32 bytes each, read in blocks.

        Raises:
            IntegrityError: the file is not as long as the metadata says.
            StorageError: it cannot be read.
        """
        reader = self._reader(LEAVES, self.metadata.size * SIZE)
        for offset in range(0, reader.size, _BLOCK):
            block = _exactly(reader, offset, min(_BLOCK, reader.size - offset))
            yield from (block[at : at + SIZE] for at in range(0, len(block), SIZE))

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
            self._inclusion(self._leaf(neighbour), neighbour)
            if 0 <= neighbour < self.metadata.size
            else None
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
    if len(leaves) % SIZE or not leaves:
        return Step("order", False, f"{LEAVES}: {len(leaves)} bytes are no rows of 32")
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
    yield _same("size", data.size, tree.size)
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
        table = pq.read_table(path, columns=["leaf", "path"], partitioning=None)
    except (pa.ArrowException, OSError) as error:
        return Step("items", False, f"{path}: {str(error).splitlines()[0]}")
    problem = _items_problem(table, data, leaves)
    if problem:
        return Step("items", False, f"{path}: {problem}")
    return Step("items", True, f"{data.items} rows, in the order of their leaves")


def _items_problem(table: pa.Table, data: Metadata, leaves: bytes) -> str | None:
    import numpy as np
    import pyarrow as pa

    if table.num_columns != 2 or table.schema.field("leaf").type != pa.binary(SIZE):
        return "has not the columns leaf (fixed_size_binary[32]) and path"
    if table.num_rows != data.items:
        return f"expected {data.items} rows, found {table.num_rows}"
    if table["leaf"].null_count:
        return "has rows without a leaf"
    column = table["leaf"].combine_chunks()
    start = column.offset * SIZE
    values = column.buffers()[1][start : start + table.num_rows * SIZE]
    rows = np.frombuffer(values, np.uint8).reshape(-1, SIZE)
    if _distinct(rows) != leaves:
        return f"its leaves are not those of {LEAVES}, in their order"
    return None


class LocalFile:
    """A reader of a local file."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            FormatError: it is not there or cannot be read.
        """
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise FormatError(f"{path}: {error.strerror}") from error
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from an offset on."""
        return os.pread(self._file.fileno(), length, offset)


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
    if not table.paths:
        raise SourceError("no data points: the source is empty")
    return table


def _write(
    target: Path,
    items: _Table,
    description: Description,
    form: Form,
    kind: str,
    pool: Pool | None,
    facts: Mapping[str, Any] | None,
    terms: Mapping[str, Any] | None,
) -> None:
    rows, order = _sorted(items)
    leaves = _distinct(rows)
    parallel = pool is not None and len(leaves) >= _PARALLEL * SIZE
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
        facts=facts,
        terms=terms,
    )
    _write_bytes(target / metadata.FILE, data)


def _sorted(items: _Table) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Order the data points by leaf, then path.

    Returns:
        The leaves as rows of 32 bytes in that order, and for each its index in the table.
    """
    import numpy as np

    rows = np.frombuffer(bytes(items.digests), np.uint8).reshape(-1, SIZE)
    keys = np.ascontiguousarray(rows[:, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    ties = np.flatnonzero(keys[1:] == keys[:-1])
    for start, stop in _runs(ties):
        run = sorted(order[start:stop], key=lambda at: (rows[at].tobytes(), items.paths[at]))
        order[start:stop] = run
    return rows[order], order


def _runs(ties: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Turn the positions i with key[i] == key[i + 1] into ranges of equal keys."""
    import numpy as np

    breaks = np.flatnonzero(np.diff(ties) != 1) + 1
    for run in np.split(ties, breaks):
        if len(run):
            yield int(run[0]), int(run[-1]) + 2


def _distinct(rows: NDArray[np.uint8]) -> bytes:
    import numpy as np

    first = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
    return bytes(rows[first].tobytes())


def _write_items(
    path: Path, items: _Table, rows: NDArray[np.uint8], order: NDArray[np.intp]
) -> dict[str, str]:
    """Write items.parquet.

    Returns:
        The Croissant data types of the columns beyond leaf, path and size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(order)
    take = pa.array(order)
    arrays = {
        "leaf": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(SIZE), count, [None, pa.py_buffer(rows.tobytes())]
        ),
        "path": pa.array(items.paths, pa.string()).take(take),
        "size": pa.array(items.sizes, pa.int64()).take(take),
    }
    for name, values in items.columns.items():
        arrays[name] = pa.array(values).take(take)
    table = pa.table(arrays)
    pq.write_table(
        table,
        path,
        compression={name: "none" if name == "leaf" else "snappy" for name in arrays},
        use_dictionary=[name for name in arrays if name not in ("leaf", "path")],
        row_group_size=_ROW_GROUP,
        sorting_columns=pq.SortingColumn.from_ordering(
            table.schema, [("leaf", "ascending"), ("path", "ascending")]
        ),
        write_page_index=True,
    )
    _sync(path)
    return {name: _data_type(arrays[name]) for name in items.columns}


def _data_type(array: pa.Array) -> str:
    import pyarrow as pa

    return "sc:Integer" if pa.types.is_integer(array.type) else "sc:Text"


def _entry(directory: Path, name: str) -> FileEntry:
    described = cid.describe(directory / name)
    return FileEntry(name, str(described.cid), described.sha256, described.size)


def _read_metadata(directory: Path) -> bytes:
    path = directory / metadata.FILE
    try:
        with path.open("rb") as file:
            return file.read(metadata.MAX_BYTES + 1)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}; is {directory} a manifest?") from error


@contextmanager
def appearing(out: Path, *, replace: bool) -> Iterator[Path]:
    """Give a directory to write into that becomes ``out`` at the end, or vanishes.

    What a killed run left beside ``out`` is swept: a run that lives holds a lock on its own.

    Args:
        out: where the directory is to appear.
        replace: whether a manifest that stands there may be replaced.

    Yields:
        The directory to write into.

    Raises:
        SourceError: something stands at ``out`` that may not be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix, suffix = f".{out.name}.", ".partial"
    for leftover in out.parent.iterdir():
        if leftover.name.startswith(prefix) and leftover.name.endswith(suffix):
            _sweep(leftover)
    partial = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=out.parent))
    try:
        with _locked(partial):
            partial.chmod(0o755)
            yield partial
            for directory in (partial / "tiles", partial):
                if directory.is_dir():
                    _sync(directory)
            check_target(out, replace=replace)
            if out.exists():
                shutil.move(out, partial.with_suffix(".old"))
            partial.rename(out)
            _sync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(partial.with_suffix(".old"), ignore_errors=True)


def _sweep(leftover: Path) -> None:
    with _locked(leftover) as free:
        if free:
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Hold a directory's lock, if nobody else does; gives whether it is held."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, over one that may be there.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _write_bytes(partial, data)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _write_bytes(path: Path, data: bytes) -> None:
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
