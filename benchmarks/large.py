"""A manifest of very many data points, whose digests are made up and not read."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alithis.base.progress import Progress
from alithis.forms.form import BYTES
from alithis.manifest.audit import audit
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description, FileEntry
from alithis.manifest.reader import DataPoints, FileReader, Manifest

_BATCH = 1 << 14
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Phase:
    """What a phase took.

    Attributes:
        seconds: by the wall clock.
        peak: the most memory that this process and its children held at once, in bytes.
    """

    seconds: float = 0.0
    peak: int = 0


class Watch(Progress):
    """Notes what each phase takes; a context manager."""

    def __init__(self) -> None:
        """Begin before the first phase."""
        self.phases: dict[str, Phase] = {}
        self._current, self._begun = Phase(), time.perf_counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        """Begin to watch the memory."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the last phase."""
        self._end()
        self._over.set()
        self._thread.join()

    def phase(self, name: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        """End the phase before, and begin one."""
        self._end()
        self._current = self.phases.setdefault(name, Phase())
        print(f"  {name}", file=sys.stderr, flush=True)

    def _end(self) -> None:
        now = time.perf_counter()
        self._current.seconds = round(self._current.seconds + now - self._begun, 1)
        self._begun = now

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            held = sum(map(_resident, _family(os.getpid())))
            self._current.peak = max(self._current.peak, held)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in children:
            yield from _family(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def made_up(count: int) -> Iterator[DataPoints]:
    """Yield data points of random digests, named as photos in shards are."""
    import numpy as np

    source = np.random.default_rng(0)
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        paths = [f"shard-{n >> 16:05}/{n:09}.jpg" for n in range(start, start + size)]
        yield DataPoints(source.bytes(size * 32), paths, [size] * size, {"label": [0] * size})


class Counting:
    """A reader that counts what is read."""

    def __init__(self, path: Path, reads: list[int]) -> None:
        """Open the file; note the length of each read in ``reads``."""
        self._file, self._reads = FileReader(path), reads
        self.size = self._file.size

    def read(self, offset: int, length: int) -> bytes:
        """Read, and note it."""
        self._reads.append(length)
        return self._file.read(offset, length)


def lookups(folder: Path, count: int) -> dict[str, float]:
    """Prove random digests absent and leaves included, each with nothing in memory before."""
    data, source = (folder / "metadata.json").read_bytes(), random.Random(0)
    size = Manifest.open(folder).metadata.size
    worst, most, total = 0, 0, 0
    begun = time.perf_counter()
    for number in range(count):
        reads: list[int] = []

        def open_file(entry: FileEntry, reads: list[int] = reads) -> Counting:
            return Counting(folder / entry.name, reads)

        leaf = source.randbytes(32)
        if number % 2:
            leaf = FileReader(folder / "leaves").read(source.randrange(size) * 32, 32)
        Manifest(data, open_file).prove(leaf)
        worst, most, total = max(worst, len(reads)), max(most, sum(reads)), total + sum(reads)
    return {
        "proofs": count,
        "reads at most": worst,
        "bytes at most": most,
        "bytes on average": round(total / count),
        "milliseconds each": round((time.perf_counter() - begun) / count * 1000, 2),
    }


def run(count: int, folder: Path) -> dict[str, Any]:
    """Build, audit and look up; everything is written below the folder.

    Returns:
        What each phase took, and what the files have in bytes.
    """
    out = folder / "large.alithis"
    with Watch() as built:
        build(made_up(count), out, description=Description("large"), form=BYTES, progress=built)
    with Watch() as audited:
        steps = audit(out, progress=audited)
    if not all(step.ok for step in steps):
        raise SystemExit(f"the audit fails: {steps}")
    return {
        "count": count,
        "build": {name: asdict(phase) for name, phase in built.phases.items()},
        "audit": {name: asdict(phase) for name, phase in audited.phases.items()},
        "lookups": lookups(out, 1000),
        "items": sum(path.stat().st_size for path in out.glob("*.parquet")),
        "leaves": (out / "leaves").stat().st_size,
    }
