"""Builds a manifest: data points → items, leaves, tiles and metadata, in a folder.

`sorter` sorts the readers' data points, `merkle` hashes the tree, `metadata` describes all files,
and `folder` moves the result to its final place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.base.files import flush, write_errors, write_new
from alithis.base.progress import Progress
from alithis.forms.form import Form
from alithis.forms.hashing import SIZE
from alithis.ipfs import cid
from alithis.manifest import merkle, metadata
from alithis.manifest.folder import atomic_folder, check_target, work_folder
from alithis.manifest.metadata import LEAVES, Description, FileEntry
from alithis.manifest.reader import DataPoints, Manifest
from alithis.manifest.sorter import ROWS, Collected, Presorted, Sorter, firsts, leaf_rows

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stream:
    """Data points that can be read from any position, so that interrupted work can be resumed.

    Attributes:
        identity: a text that is different for another source or another way to read it; empty if
            it is not known, so that interrupted work cannot be resumed.
        start: returns the data points from a given number on, always in the same order.
        count: the number of data points; None if it is not known beforehand.
    """

    identity: str
    start: Callable[[int], Iterable[DataPoints]]
    count: int | None = None


def build(
    batches: Iterable[DataPoints] | Stream | Presorted,
    out: Path,
    *,
    description: Description,
    form: Form,
    kind: str = "dataset",
    replace: bool = False,
    key_check: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    restart: bool = False,
) -> Manifest:
    """Write a manifest, atomically.

    Memory is bounded for any number of data points: beyond a few million, they are sorted on the
    disk, in a work folder beside ``out``. If a stream with an identity is interrupted after a few
    seconds of work, that folder is kept, and the same call resumes from it.

    Args:
        batches: the data points, in any order, or already sorted.
        out: the directory to write.
        description: the publisher's description.
        form: the canonical form that was hashed.
        kind: ``dataset`` or ``model``.
        replace: whether an existing manifest may be replaced.
        key_check: the key check of the publisher's key, if the batches hold keyed leaves instead
            of digests.
        facts: additional keys of the metadata's ``alithis`` object.
        terms: additional JSON-LD terms of the metadata.
        progress: receives the progress.
        restart: whether to discard the work of an interrupted run.

    Returns:
        The manifest, opened.

    Raises:
        SourceError: there are no data points, ``out`` exists or cannot be written, or another run
            is writing it.
        FormatError: the metadata would be invalid.
    """
    check_target(out, replace=replace)
    progress = progress or Progress()
    place = out.resolve()  # the current folder may be the one that is replaced
    with (
        work_folder(place) as (folder, is_kept),
        _collected(batches, folder, out, form if is_kept else None, progress, restart) as collected,
        write_errors(out),
        atomic_folder(place, replace=replace) as target,
    ):
        columns = _write_items(target, collected, progress)
        tree = _write_tree(target, progress)
        progress.phase("checksums")
        data = metadata.compose(
            kind=kind,
            description=description,
            form=form,
            root=tree.root,
            size=tree.size,
            items=collected.rows,
            frontier=tree.frontier,
            files=_entries(target),
            columns=columns,
            key_check=key_check,
            facts=facts,
            terms=terms,
        )
        write_new(target / metadata.FILE, data)
    return Manifest.open(place)


@contextmanager
def _collected(
    batches: Iterable[DataPoints] | Stream | Presorted,
    folder: Path,
    out: Path,
    form: Form | None,
    progress: Progress,
    restart: bool,
) -> Iterator[Collected]:
    """Collect all data points. If the form is None, no interrupted work is kept."""
    if isinstance(batches, Presorted):
        yield batches
        Sorter(folder, out).clear()  # work of an earlier run that was not presorted
        return
    stream = batches if isinstance(batches, Stream) else Stream("", lambda _: batches)
    sorter = Sorter(folder, out, key=_key(stream, form))
    with _kept(sorter, progress):
        done = sorter.resume(progress, restart=restart)
        progress.phase("hashing", stream.count, done, "data points")
        sorter.fill(stream.start(done), progress)
        yield sorter


def _key(stream: Stream, form: Form | None) -> bytes | None:
    """Return the key that two runs must share so that one can resume the other; None for none."""
    if not stream.identity or form is None:
        return None
    facts = {
        "alithis": version("alithis"),
        "format": metadata.VERSION,
        "source": stream.identity,
        "form": asdict(form),
    }
    return json.dumps(facts, indent=1).encode()


@contextmanager
def _kept(sorter: Sorter, progress: Progress) -> Iterator[None]:
    """Remove the work at the end, but keep what can be resumed if an error or Ctrl-C ends it."""
    try:
        yield
    except BaseException:
        if sorter.kept:
            progress.say(f"{sorter.kept:,} data points are kept; run the same command to resume")
        else:
            sorter.clear()
        raise
    sorter.clear()


def _write_items(target: Path, collected: Collected, progress: Progress) -> dict[str, str]:
    """Write the items files and the file of leaves.

    Returns:
        The Croissant data types of the columns other than leaf, path and size.
    """
    import pyarrow as pa

    names, part = metadata.items_names(collected.rows)
    tables, before = collected.tables(progress), b""
    tables = chain([next(tables)], tables)  # sorts, in a phase of its own
    progress.phase("writing items", collected.rows, unit="data points")
    with (target / LEAVES).open("xb") as leaves:
        for name in names:
            for table in _through(target / name, islice(tables, part // ROWS)):
                rows = leaf_rows(table["leaf"].chunk(0))
                leaves.write(rows[firsts(rows, before)].tobytes())
                before = rows[-1].tobytes()
                progress.advance(len(table))
        flush(leaves)
    return {
        name: "sc:Integer" if pa.types.is_integer(arrow) else "sc:Text"
        for name, arrow in collected.columns.items()
    }


def _through(path: Path, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Write tables to an items file, each as a row group, and yield them."""
    import pyarrow.parquet as pq

    first = next(tables)
    names = first.column_names
    with path.open("xb") as file:
        with pq.ParquetWriter(
            file,
            first.schema,
            # Digests do not compress. Leaves and paths differ in every row, so a dictionary would
            # store each value once more.
            compression={name: "none" if name == "leaf" else "snappy" for name in names},
            use_dictionary=[name for name in names if name not in ("leaf", "path")],
            sorting_columns=pq.SortingColumn.from_ordering(
                first.schema, [("leaf", "ascending"), ("path", "ascending")]
            ),
            write_page_index=True,
        ) as writer:
            for table in chain([first], tables):
                writer.write_table(table, row_group_size=len(table))
                yield table
        flush(file)


def _write_tree(target: Path, progress: Progress) -> merkle.Tree:
    size = (target / LEAVES).stat().st_size // SIZE
    progress.phase("hashing the tree", size, unit="leaves")
    if size < merkle.TILE:
        return merkle.tree(_leaf_blocks(target, progress))
    tiles = target / "tiles"
    tiles.mkdir()
    with (tiles / "1").open("xb") as file:
        tree = merkle.tree(_leaf_blocks(target, progress), file.write)
        flush(file)
    for level, tile in enumerate(tree.upper_tiles, start=2):
        write_new(tiles / str(level), tile)
    return tree


def _leaf_blocks(target: Path, progress: Progress) -> Iterator[bytes]:
    with (target / LEAVES).open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
            progress.advance(len(block) // SIZE)


def _entries(target: Path) -> list[FileEntry]:
    """Describe the files of the manifest; threads help, since hashlib releases the GIL."""
    files = sorted(path for path in target.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as threads:
        found = threads.map(cid.describe, files)
        return [
            FileEntry(path.relative_to(target).as_posix(), str(each.cid), each.sha256, each.size)
            for path, each in zip(files, found, strict=True)
        ]
