"""Audit a manifest: recompute everything that it states, and compare it with its source.

All files are read as streams, so memory is bounded for a manifest of any size.
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
_NAMED = 10  # differing data points that are named in the report; all are counted


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
        directory: the manifest's directory.
        withheld: whether the items files may be missing, since a publisher may withhold them.
        source: the data points that the manifest claims to describe; they are hashed again and
            compared with it.
        form: the canonical form that the source is hashed in.
        key_check: the key check of the publisher's key, if the source yields keyed leaves
            instead of digests.
        mlcroissant: whether to validate the metadata with the library mlcroissant too.
        progress: receives the progress.

    Returns:
        The checks, in order. The list ends after a check whose failure makes the later ones
        meaningless.

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
    if not all(
        step.ok for step in steps[2:]
    ):  # the rest would read files that are not the stated ones
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
    return Step("document", True, f"no problems found in the {kind} and ERC-721 structure")


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
    """Check the number of leaves, their order and the tree, in one pass over the file."""
    count, rest = divmod((directory / LEAVES).stat().st_size, SIZE)
    yield _same("size", data.size, f"{count * SIZE + rest} bytes" if rest else count)
    if rest or count != data.size:
        return
    progress.phase("hashing the tree", count, unit="leaves")
    order = _Order()
    with ExitStack() as stack:
        leaves = stack.enter_context((directory / LEAVES).open("rb"))
        first = stack.enter_context(_FileComparison(directory / "tiles" / "1"))
        tree = merkle.tree(_advancing(order.watched(_blocks(leaves)), progress), first.take)
        tiled = first.same() and _same_tiles(directory, data, tree)
    yield order.step()
    yield _same("root", data.root.hex(), tree.root.hex())
    yield _same("frontier", _join(data.frontier), _join(tree.frontier))
    match = "match" if tiled else "do not match"
    yield Step("tiles", tiled, f"the files of tiles/ {match} the hashes of the leaves")


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _advancing(blocks: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for block in blocks:
        yield block
        progress.advance(len(block) // SIZE)


def _same_tiles(directory: Path, data: Metadata, tree: merkle.Tree) -> bool:
    """Compare which levels are listed, and the bytes of the levels from 2 on."""
    named = sorted(entry.name for entry in data.files if entry.name.startswith("tiles/"))
    levels = len(tree.upper_tiles) + 1 if tree.size >= merkle.TILE else 0
    return named == [f"tiles/{level}" for level in range(1, levels + 1)] and all(
        (directory / "tiles" / str(level)).read_bytes() == tile
        for level, tile in enumerate(tree.upper_tiles, start=2)
    )


class _Order:
    """Checks that leaves ascend while another consumer reads them."""

    def __init__(self) -> None:
        self._before = b""
        self._count = 0
        self._broken: int | None = None

    def watched(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks unchanged, and check them. Each block consists of whole leaves."""
        for block in blocks:
            if self._broken is None:
                self._check(self._before + block)
            self._before = block[-SIZE:]
            self._count += len(block) // SIZE
            yield block

    def step(self) -> Step:
        """Return the result, once all blocks have been read."""
        if self._broken is None:
            return Step("order", True, f"{self._count} leaves, each greater than the one before")
        detail = f"{LEAVES}: leaf {self._broken + 1} is not greater than leaf {self._broken}"
        return Step("order", False, detail)

    def _check(self, leaves: bytes) -> None:
        broken = first_disorder(leaves)
        if broken is not None:
            self._broken = self._count + broken - (1 if self._before else 0)


class _FileComparison:
    """Compares a file, which may be missing, with data that arrives in pieces."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb") if path.is_file() else None
        self._same = True

    def __enter__(self) -> _FileComparison:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def take(self, data: bytes) -> None:
        """Compare the next bytes of the file with ``data``."""
        found = self._file.read(len(data)) if self._file else b""
        self._same = self._same and found == data

    def same(self) -> bool:
        """Tell whether every piece matched, and the file has no more bytes."""
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
            problem = (
                f"{directory / items[-1].name}: the last leaves of the file {LEAVES} are missing"
            )
    if problem:
        return Step("items", False, problem)
    return Step("items", True, f"{data.items} rows; their leaves and order match the file {LEAVES}")


def _items_problem(
    directory: Path, data: Metadata, items: Sequence[FileEntry], rows: _Rows, progress: Progress
) -> str | None:
    import pyarrow as pa

    names, part = metadata.items_names(data.items)
    if [entry.name for entry in items] != names:
        expected = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return f"{metadata.FILE}: {data.items} items must be stored in {expected}"
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
    """Open an items file, to be read in pieces; reading ahead would need unbounded memory."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BLOCK)


def _table_problem(file: pq.ParquetFile, rows: int, schema: pa.Schema) -> str | None:
    import pyarrow as pa

    columns = [(column.name, column.type) for column in file.schema_arrow]
    wanted = [("leaf", pa.binary(SIZE)), ("path", pa.string()), ("size", pa.int64())]
    if columns[:3] != wanted or len({name for name, _ in columns}) != len(columns):
        return (
            "its first columns must be leaf (fixed_size_binary[32]), path and size, "
            "and no two columns may have the same name"
        )
    if not file.schema_arrow.equals(schema):
        return "its columns differ from those of the first part"
    if file.metadata.num_rows != rows:
        return f"expected {rows} rows, found {file.metadata.num_rows}"
    return None


class _Rows:
    """Compares the rows of the items files with the file of leaves, part by part."""

    def __init__(self, leaves: Path) -> None:
        self._leaves = leaves.open("rb")
        self._before = (b"", "")  # leaf and path of the last row read

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._leaves.close()

    def problem(self, file: pq.ParquetFile, progress: Progress) -> str | None:
        """Return what is wrong with the next part, or None.

        It is read in pieces: a small hostile file may decompress to any size.
        """
        for batch in filter(len, file.iter_batches(ROWS, columns=["leaf", "path"])):
            if batch["leaf"].null_count or batch["path"].null_count:
                return "a row has no leaf or no path"
            rows = leaf_rows(batch["leaf"])
            fresh = firsts(rows, self._before[0])
            found = rows[fresh].tobytes()
            if found != self._leaves.read(len(found)):
                return f"its leaves do not match the file {LEAVES}"
            if _is_disordered(batch["path"], fresh, self._before[1]):
                return "rows with the same leaf are not sorted by their paths"
            self._before = (rows[-1].tobytes(), batch["path"][-1].as_py())
            progress.advance(len(batch))
        return None

    def are_all(self) -> bool:
        """Tell, after the last part, whether every leaf had a row."""
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
    """Hash the source again, and compare its rows with the items, or else with the leaves."""
    if data.key_check != key_check:
        how = "with its publisher's key" if data.key_check else "without a key"
        detail = f"not compared: the scheme is {data.scheme}; hash the source {how}"
        return Step("source", False, detail)
    if form != data.form:
        return Step("source", False, f"canonical form: expected {data.form}, found {form}")
    with tempfile.TemporaryDirectory(prefix="alithis-audit-") as scratch:
        sorter = Sorter(Path(scratch), directory)
        progress.phase("hashing", source.count, unit="data points")
        sorter.fill(source.start(0), progress)
        progress.phase("comparing", data.items + sorter.rows, unit="data points")
        differences = _Comparison(sorter, directory, Path(scratch), progress).differences(items)
    if differences:
        return Step("source", False, "; ".join(differences))
    # Without items, paths, sizes, labels and repeats were not compared: do not claim it.
    if items:
        equal = "equal to the manifest's items in the columns that both have"
    else:
        equal = "with the same leaves as the manifest"
    return Step("source", True, f"{sorter.rows} data points, {equal}")


class _Comparison:
    """Compares the data points of the source with those that the manifest states.

    DuckDB does the comparison: it keeps within a memory limit and uses the disk beyond it.
    """

    def __init__(self, sorter: Sorter, directory: Path, scratch: Path, progress: Progress) -> None:
        self._sorter, self._directory = sorter, directory
        self._scratch, self._progress = scratch / "comparing", progress

    def differences(self, items: Sequence[FileEntry]) -> list[str]:
        """Describe which data points are missing from the source, added to it, or changed.

        Args:
            items: the items files to compare with; if there are none, the leaves are compared.
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
        names = [name for name in self._sorter.names if name in stated]
        columns = ", ".join(f"c{at}" for at in range(len(names)))
        register(database, "stated", self._advancing(_stated_rows(files, names)))
        register(database, "found", self._sorter.batches(names, self._progress))
        # A row that is n times on each side cancels out, so repeats are compared too.
        database.execute(
            f"CREATE TABLE odd AS SELECT {columns}, sum(side) AS n FROM ("  # noqa: S608
            f"SELECT {columns}, 1 AS side FROM stated UNION ALL "
            f"SELECT {columns}, -1 FROM found) GROUP BY ALL HAVING n <> 0"
        )
        database.execute(
            "CREATE TABLE differences AS SELECT c1 AS name, CASE WHEN min(n) > 0 THEN 'missing' "
            "WHEN max(n) < 0 THEN 'added' ELSE 'changed' END AS kind FROM odd GROUP BY c1"
        )

    def _compare_leaves(self, database: duckdb.DuckDBPyConnection) -> None:
        register(database, "stated", self._advancing(_stated_leaves(self._directory / LEAVES)))
        register(database, "found", self._sorter.batches(["leaf", "path"], self._progress))
        database.execute(
            "CREATE TABLE differences AS SELECT coalesce(min(c1), lower(hex(c0))) AS name, "
            "CASE WHEN max(side) > 0 THEN 'missing' ELSE 'added' END AS kind FROM ("
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
    """Count the data points that differ in each way, and name the first few."""
    for kind, words in (
        ("missing", "missing from the source"),
        ("added", "not in the manifest"),
        ("changed", "changed"),
    ):
        where = f"FROM differences WHERE kind = '{kind}'"
        (count,) = database.execute(f"SELECT count(*) {where}").fetchone() or (0,)
        if count:
            chosen = f"SELECT name {where} ORDER BY name LIMIT {_NAMED}"
            names = [name for (name,) in database.execute(chosen).fetchall()]
            yield f"{count} {words}: {', '.join(names)}" + (", …" if count > len(names) else "")
