"""Time manifests beside plain hashlib in the same run: ``python -m benchmarks``.

Each row alternates the two, so that a machine whose speed drifts slows both; the figures are
medians, and the ratio is the median of the pairs' ratios. Files are read from the page cache.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

FILES, FILES_BYTES = 20_000, 250_000_000
RECORDS, RECORD = 70_000, 784


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: seconds are medians, the ratio is the median over the pairs."""

    work: str
    alithis: float
    peer: str
    plain: float
    ratio: float
    limit: str


def make_files(folder: Path) -> None:
    """Write 20,000 files of 12,500 bytes on average, in 100 folders."""
    source = random.Random(0)
    for number in range(FILES):
        if number % 200 == 0:
            (folder / f"{number // 200:03}").mkdir(parents=True)
        size = source.randint(1, 2 * FILES_BYTES // FILES)
        (folder / f"{number // 200:03}" / f"{number:05}.bin").write_bytes(source.randbytes(size))


def make_records(path: Path) -> None:
    """Write an IDX file of 70,000 records of 28 x 28 bytes."""
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (RECORDS, 28, 28))
    path.write_bytes(header + random.Random(1).randbytes(RECORDS * RECORD))


def hash_paths(paths: list[str]) -> list[bytes]:
    """Hash files with hashlib and nothing else."""
    digests = []
    for path in paths:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (the plain way, as fast as it goes)
            digests.append(hashlib.sha256(file.read()).digest())
    return digests


def plain_files(folder: Path) -> None:
    """List a folder and hash its files, half of them in each of two processes."""
    paths = [f"{top}/{name}" for top, _, names in os.walk(folder) for name in names]
    half = len(paths) // 2
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(hash_paths, [paths[:half], paths[half:]])


def plain_records(path: Path) -> None:
    """Hash the records of an IDX file in a loop."""
    data = path.read_bytes()
    for start in range(16, len(data), RECORD):
        hashlib.sha256(data[start : start + RECORD]).digest()


def manifest_of(source: Path, out: Path) -> None:
    """Do all that `alithis manifest` does, in this process and its workers."""
    from alithis import builder, readers
    from alithis.digest import Pool
    from alithis.metadata import Description

    with Pool() as pool:
        opened = readers.open_source(source)
        builder.build(
            opened.digested(pool),
            out,
            description=Description("benchmark"),
            form=opened.form,
            replace=True,
        )


def command(source: Path, out: Path) -> None:
    """Run the whole command, the interpreter's start included."""
    program = [sys.executable, "-m", "alithis", "manifest", str(source), "-o", str(out), "--force"]
    subprocess.run(program, check=True, capture_output=True)  # noqa: S603


def compare(
    work: str, ours: Callable[[], None], peer: str, plain: Callable[[], None], limit: str, runs: int
) -> Row:
    """Time the two in turn, after one run of each that does not count."""
    pairs = [(seconds(ours), seconds(plain)) for _ in range(runs + 1)][1:]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    ratio = statistics.median(one / other for one, other in pairs)
    return Row(work, round(medians[0], 3), peer, round(medians[1], 3), round(ratio, 2), limit)


def seconds(work: Callable[[], None]) -> float:
    """Return how long a call takes, by the wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(folder: Path, runs: int) -> list[Row]:
    """Make the inputs and compare."""
    files, records, out = folder / "files", folder / "records.idx", folder / "out.alithis"
    make_files(files)
    make_records(records)
    two, one = "hashlib, 2 processes", "hashlib, 1 loop"
    plain_f, plain_r = partial(plain_files, files), partial(plain_records, records)
    return [
        compare(
            "manifest of 20,000 files, 250 MB",
            partial(manifest_of, files, out),
            two,
            plain_f,
            "<= 2 x",
            runs,
        ),
        compare("the same, whole command", partial(command, files, out), two, plain_f, "", runs),
        compare(
            "manifest of 70,000 records",
            partial(manifest_of, records, out),
            one,
            plain_r,
            "<= 1 s",
            runs,
        ),
        compare(
            "the same, whole command", partial(command, records, out), one, plain_r, "<= 1 s", runs
        ),
    ]


def main() -> None:
    """Print the comparison as a table, or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="alithis-benchmark-"))
    try:
        rows = run(folder, options.runs)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"{'work':34}{'alithis':>9}  {'peer':22}{'plain':>8}{'ratio':>8}  limit")
    for row in rows:
        print(
            f"{row.work:34}{row.alithis:7.3f} s  {row.peer:22}{row.plain:6.3f} s"
            f"{row.ratio:8.2f}  {row.limit}"
        )


if __name__ == "__main__":
    main()
