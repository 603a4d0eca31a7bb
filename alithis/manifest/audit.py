"""Audit a manifest: recompute all that it states, and compare it with its source.

Everything is read in a stream, so that memory is bounded whatever the size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from alithis.base.progress import Progress
from alithis.base.text import first_line
from alithis.errors import AlithisError
from alithis.forms.form import Form
from alithis.forms.hashing import SIZE
from alithis.ipfs import cid
from alithis.manifest import croissant, merkle, metadata
from alithis.manifest.builder import Stream
from alithis.manifest.metadata import LEAVES, FileEntry, Metadata
from alithis.manifest.reader import Manifest, Step, first_disorder
from alithis.manifest.sorter import ROWS, Sorter, connected, firsts, indices, leaf_rows, register

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

_BLOCK = 1 << 20
_NAMED = 10  # data points that are named where the source differs


def audit(
    directory: Path,
    *,
    withheld: bool = False,
    source: Stream | None = None,
    form: Form | None = None,
    key_check: bytes | None = None,
    mlcroissant: bool = False,
    progress: Progress | None = None,
) -> list[Step]:
    """Recompute everything that a manifest in a directory states.

    Args:
        directory: the manifest.
        withheld: whether the files of items may be missing: their publisher may keep them back.
        source: the data points it is said to be of, to be hashed again and compared.
        form: the canonical form that the source is hashed in.
        key_check: where the source gives keyed leaves in place of digests, their key's check.
        mlcroissant: whether the library of that name is to judge the metadata too.
        progress: receives the progress.

    Returns:
        The checks, in order; after one that makes the next ones meaningless, none.

    Raises:
        SourceError: the source cannot be read.
        MissingExtraError: mlcroissant is not installed.
    """
    progress = progress or Progress()
    try:
        data = Manifest.open(directory).metadata
    except AlithisError as error:
        return [Step("metadata", False, str(error))]
    steps = [Step("metadata", True, f"{data.kind} {data.name}, SHA-256 {data.digest.hex()}")]
    steps.append(_audit_document(data, mlcroissant=mlcroissant))
    present = [entry for entry in data.files if not (withheld and _is_withheld(directory, entry))]
    progress.phase("checking files", len(present), unit="files")
    with ThreadPoolExecutor() as threads:
        for step in threads.map(lambda entry: _audit_file(directory, entry), present):
            steps.append(step)
            progress.advance(1)
    if not all(step.ok for step in steps[2:]):
        return steps
    steps += _audit_leaves(directory, data, progress)
    items = data.items_files if set(data.items_files) <= set(present) else ()
    if items and steps[-1].step != "size":
        steps.append(_audit_items(directory, data, items, progress))
    if source:
        steps.append(_audit_source(directory, data, items, source, form, key_check, progress))
    return steps


def _is_withheld(directory: Path, entry: FileEntry) -> bool:
    return metadata.is_items(entry.name) and not (directory / entry.name).exists()


def _audit_document(data: Metadata, *, mlcroissant: bool) -> Step:
    problems = croissant.problems(data)
    if mlcroissant and data.kind == "dataset":
        problems += croissant.judged(data)
    if problems:
        return Step("document", False, f"{metadata.FILE}: {'; '.join(problems)}")
    kind = "Croissant" if data.kind == "dataset" else "FAIR4ML"
    return Step("document", True, f"well-formed {kind}, and ERC-721 metadata")


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


def _audit_leaves(directory: Path, data: Metadata, progress: Progress) -> Iterator[Step]:
    """Check number, order and tree in one pass over the leaves."""
    count, rest = divmod((directory / LEAVES).stat().st_size, SIZE)
    yield _same("size", data.size, f"{count * SIZE + rest} bytes" if rest else count)
    if rest or count != data.size:
        return
    progress.phase("hashing the tree", count, unit="leaves")
    order = _Order()
    with ExitStack() as stack:
        leaves = stack.enter_context((directory / LEAVES).open("rb"))
        first = stack.enter_context(_Comparison(directory / "tiles" / "1"))
        tree = merkle.tree(_advancing(order.watched(_blocks(leaves)), progress), first.take)
        tiled = first.same() and _same_tiles(directory, data, tree)
    yield order.step()
    yield _same("root", data.root.hex(), tree.root.hex())
    yield _same("frontier", _join(data.frontier), _join(tree.frontier))
    yield Step("tiles", tiled, "as the leaves give them" if tiled else "not what the leaves give")


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _advancing(blocks: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for block in blocks:
        yield block
        progress.advance(len(block) // SIZE)


def _same_tiles(directory: Path, data: Metadata, tree: merkle.Tree) -> bool:
    """Compare the levels from 2 on, and which levels there are."""
    named = sorted(entry.name for entry in data.files if entry.name.startswith("tiles/"))
    levels = len(tree.upper_tiles) + 1 if tree.size >= merkle.TILE else 0
    return named == [f"tiles/{level}" for level in range(1, levels + 1)] and all(
        (directory / "tiles" / str(level)).read_bytes() == tile
        for level, tile in enumerate(tree.upper_tiles, start=2)
    )


class _Order:
    """Watches leaves go by, whether they ascend."""

    def __init__(self) -> None:
        self._before = b""
        self._count = 0
        self._broken: int | None = None

    def watched(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks, of whole leaves, as they come."""
        for block in blocks:
            if self._broken is None:
                self._check(self._before + block)
            self._before = block[-SIZE:]
            self._count += len(block) // SIZE
            yield block

    def step(self) -> Step:
        """Return the result."""
        if self._broken is None:
            return Step("order", True, f"{self._count} leaves ascend and differ")
        detail = f"{LEAVES}: leaf {self._broken + 1} does not follow leaf {self._broken}"
        return Step("order", False, detail)

    def _check(self, leaves: bytes) -> None:
        broken = first_disorder(leaves)
        if broken is not None:
            self._broken = self._count + broken - (1 if self._before else 0)


class _Comparison:
    """Compares a file, which may be missing, with data that comes in pieces."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb") if path.is_file() else None
        self._same = True

    def __enter__(self) -> _Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def take(self, data: bytes) -> None:
        """Compare the next bytes."""
        found = self._file.read(len(data)) if self._file else b""
        self._same = self._same and found == data

    def same(self) -> bool:
        """Tell whether all was the same, and nothing is left."""
        return self._same and not (self._file and self._file.read(1))


def _join(hashes: Sequence[bytes]) -> str:
    return ",".join(node.hex() for node in hashes)


def _same(step: str, expected: object, found: object) -> Step:
    if expected == found:
        return Step(step, True, str(found))
    return Step(step, False, f"expected {expected}, found {found}")


def _audit_items(
    directory: Path, data: Metadata, items: Sequence[FileEntry], progress: Progress
) -> Step:
    progress.phase("checking items", data.items, unit="data points")
    with _Rows(directory / LEAVES) as rows:
        problem = _items_problem(directory, data, items, rows, progress)
        if not problem and not rows.are_all():
            problem = f"{directory / items[-1].name}: it lacks the last leaves of {LEAVES}"
    if problem:
        return Step("items", False, problem)
    return Step("items", True, f"{data.items} rows, in the order of their leaves")


def _items_problem(
    directory: Path, data: Metadata, items: Sequence[FileEntry], rows: _Rows, progress: Progress
) -> str | None:
    import pyarrow as pa

    names, part = metadata.items_names(data.items)
    if [entry.name for entry in items] != names:
        return f"{metadata.FILE}: {data.items} items stand in {names[0]} to {names[-1]}"
    left, schema = data.items, None
    for name in names:
        try:
            with _parquet(directory / name) as file:
                schema = schema or file.schema_arrow
                problem = (
                    _table_problem(file, min(part, left), schema)
                    or croissant.columns_problem(data, schema.names)
                    or rows.problem(file, progress)
                )
        except (pa.ArrowException, OSError) as error:
            problem = first_line(error)
        if problem:
            return f"{directory / name}: {problem}"
        left -= part
    return None


def _parquet(path: Path) -> pq.ParquetFile:
    """Open a file of items to be read piece by piece, and not ahead."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BLOCK)


def _table_problem(file: pq.ParquetFile, rows: int, schema: pa.Schema) -> str | None:
    import pyarrow as pa

    columns = [(column.name, column.type) for column in file.schema_arrow]
    wanted = [("leaf", pa.binary(SIZE)), ("path", pa.string()), ("size", pa.int64())]
    if columns[:3] != wanted or len({name for name, _ in columns}) != len(columns):
        return "its columns do not begin with leaf (fixed_size_binary[32]), path, size"
    if not file.schema_arrow.equals(schema):
        return "its columns are not those of the first part"
    if file.metadata.num_rows != rows:
        return f"expected {rows} rows, found {file.metadata.num_rows}"
    return None


class _Rows:
    """Compares the rows of items with the leaves, part by part."""

    def __init__(self, leaves: Path) -> None:
        self._leaves = leaves.open("rb")
        self._before = (b"", "")

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._leaves.close()

    def problem(self, file: pq.ParquetFile, progress: Progress) -> str | None:
        """Compare a part, in pieces: what a hostile file unpacks to is unknown."""
        for batch in filter(len, file.iter_batches(ROWS, columns=["leaf", "path"])):
            if batch["leaf"].null_count or batch["path"].null_count:
                return "a row lacks its leaf or its path"
            rows = leaf_rows(batch["leaf"])
            fresh = firsts(rows, self._before[0])
            found = rows[fresh].tobytes()
            if found != self._leaves.read(len(found)):
                return f"its leaves are not those of {LEAVES}, in their order"
            if _is_disordered(batch["path"], fresh, self._before[1]):
                return "rows with the same leaf do not stand in the order of their paths"
            self._before = (rows[-1].tobytes(), batch["path"][-1].as_py())
            progress.advance(len(batch))
        return None

    def are_all(self) -> bool:
        """Tell, after the last part, whether no leaves are left."""
        return not self._leaves.read(1)


def _is_disordered(paths: pa.Array, fresh: NDArray[np.bool_], before: str) -> bool:
    import numpy as np
    import pyarrow.compute as pc

    if not fresh[0] and paths[0].as_py() < before:
        return True
    ties = np.flatnonzero(~fresh[1:])
    return bool(pc.any(pc.less(paths.take(indices(ties + 1)), paths.take(indices(ties)))).as_py())


def _audit_source(
    directory: Path,
    data: Metadata,
    items: Sequence[FileEntry],
    source: Stream,
    form: Form | None,
    key_check: bytes | None,
    progress: Progress,
) -> Step:
    """Hash the source again, and compare it row by row; without items, leaf by leaf."""
    if data.key_check != key_check:
        return Step("source", False, f"scheme {data.scheme}: the source's leaves take its key")
    if form != data.form:
        return Step("source", False, f"canonical form: expected {data.form}, found {form}")
    with tempfile.TemporaryDirectory(prefix="alithis-audit-") as scratch:
        spool = Sorter(Path(scratch), directory)
        progress.phase("hashing", source.count, unit="data points")
        spool.fill(source.start(0), progress)
        progress.phase("comparing", data.items + spool.rows, unit="data points")
        differences = _Found(spool, directory, Path(scratch), progress).differences(items)
    if differences:
        return Step("source", False, "; ".join(differences))
    return Step("source", True, f"{spool.rows} data points, each as the manifest has it")


class _Found:
    """What the source has, to be compared with what the manifest states."""

    def __init__(self, spool: Sorter, directory: Path, scratch: Path, progress: Progress) -> None:
        self._spool, self._directory = spool, directory
        self._scratch, self._progress = scratch / "comparing", progress

    def differences(self, items: Sequence[FileEntry]) -> list[str]:
        """Say what is missing from the source, foreign to the manifest, or changed.

        Args:
            items: the files that say which data points there are; without them, the leaves do.
        """
        with connected(self._scratch, self._directory) as database:
            if items:
                self._compare_rows(database, [self._directory / entry.name for entry in items])
            else:
                self._compare_leaves(database)
            return list(_listed(database))

    def _compare_rows(self, database: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq

        stated = pq.read_schema(files[0]).names
        names = [name for name in self._spool.names if name in stated]
        columns = ", ".join(f"c{at}" for at in range(len(names)))
        register(database, "stated", self._advancing(_stated_rows(files, names)))
        register(database, "found", self._spool.batches(names, self._progress))
        database.execute(
            f"CREATE TABLE odd AS SELECT {columns}, sum(side) AS n FROM ("  # noqa: S608
            f"SELECT {columns}, 1 AS side FROM stated UNION ALL "
            f"SELECT {columns}, -1 FROM found) GROUP BY ALL HAVING n <> 0"
        )
        database.execute(
            "CREATE TABLE differences AS SELECT c1 AS name, CASE WHEN min(n) > 0 THEN 'missing' "
            "WHEN max(n) < 0 THEN 'foreign' ELSE 'changed' END AS kind FROM odd GROUP BY c1"
        )

    def _compare_leaves(self, database: duckdb.DuckDBPyConnection) -> None:
        register(database, "stated", self._advancing(_stated_leaves(self._directory / LEAVES)))
        register(database, "found", self._spool.batches(["leaf", "path"], self._progress))
        database.execute(
            "CREATE TABLE differences AS SELECT coalesce(min(c1), lower(hex(c0))) AS name, "
            "CASE WHEN max(side) > 0 THEN 'missing' ELSE 'foreign' END AS kind FROM ("
            "SELECT c0, NULL AS c1, 1 AS side FROM stated UNION ALL "
            "SELECT c0, c1, -1 FROM found) GROUP BY c0 HAVING min(side) = max(side)"
        )

    def _advancing(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            self._progress.advance(len(batch))


def _stated_rows(files: Sequence[Path], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for path in files:
        with _parquet(path) as file:
            yield from file.iter_batches(ROWS, columns=names)


def _stated_leaves(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with path.open("rb") as file:
        for block in _blocks(file):
            column = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(SIZE), len(block) // SIZE, [None, pa.py_buffer(block)]
            )
            yield pa.record_batch([column], ["leaf"])


def _listed(database: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Say how many data points differ in each way, and name some."""
    for kind in ("missing", "foreign", "changed"):
        where = f"FROM differences WHERE kind = '{kind}'"
        (count,) = database.execute(f"SELECT count(*) {where}").fetchone() or (0,)
        if count:
            chosen = f"SELECT name {where} ORDER BY name LIMIT {_NAMED}"
            names = [name for (name,) in database.execute(chosen).fetchall()]
            yield f"{count} {kind}: {', '.join(names)}" + (", …" if count > len(names) else "")
