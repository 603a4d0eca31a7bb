"""A manifest of very many data points, whose digests are made up and not read."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from alithis.audit import audit
from alithis.builder import build
from alithis.digest import BYTES
from alithis.manifest import Items, LocalFile, Manifest
from alithis.metadata import Description, FileEntry
from alithis.progress import Progress

_BATCH = 1 << 14
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Peak:
    """The most memory that this process and its children held at once, in bytes."""

    rss: int = 0


@contextmanager
def watched(interval: float = 0.1) -> Iterator[Peak]:
    """Watch the memory of this process and all below it."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(interval):
            peak.rss = max(peak.rss, sum(map(_resident, _family(os.getpid()))))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


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


@dataclass(slots=True)
class Phases(Progress):
    """Notes how long each phase takes."""

    seconds: dict[str, float] = field(default_factory=dict)
    _name: str = ""
    _begun: float = 0.0

    def phase(self, name: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        """End the phase before, and begin one."""
        self.end()
        self._name, self._begun = name, time.perf_counter()
        print(f"  {name} …", flush=True)

    def end(self) -> None:
        """End the phase."""
        if self._name:
            self.seconds[self._name] = round(time.perf_counter() - self._begun, 1)
        self._name = ""


def made_up(count: int) -> Iterator[Items]:
    """Yield data points of random digests, named as photos in shards are."""
    import numpy as np

    source = np.random.default_rng(0)
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        paths = [f"shard-{n >> 16:05}/{n:09}.jpg" for n in range(start, start + size)]
        yield Items(source.bytes(size * 32), paths, [size] * size, {"label": [0] * size})


class Counting:
    """A reader that counts what is read."""

    def __init__(self, path: Path, reads: list[int]) -> None:
        """Open the file; note the length of each read in ``reads``."""
        self._file, self._reads = LocalFile(path), reads
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
            leaf = LocalFile(folder / "leaves").read(source.randrange(size) * 32, 32)
        Manifest(data, open_file).prove(leaf)
        worst, most, total = max(worst, len(reads)), max(most, sum(reads)), total + sum(reads)
    return {
        "proofs": count,
        "reads at most": worst,
        "bytes at most": most,
        "bytes on average": round(total / count),
        "milliseconds each": round((time.perf_counter() - begun) / count * 1000, 2),
    }


def run(count: int, folder: Path) -> dict[str, object]:
    """Build, audit and look up; everything is written below the folder."""
    out, phases = folder / "large.alithis", Phases()
    with watched() as built:
        build(made_up(count), out, description=Description("large"), form=BYTES, progress=phases)
    phases.end()
    sizes = {path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*.*")}
    sizes["leaves"] = (out / "leaves").stat().st_size
    checks = Phases()
    with watched() as audited:
        steps = audit(out, progress=checks)
    checks.end()
    return {
        "data points": count,
        "build": phases.seconds,
        "build peak bytes": built.rss,
        "audit": checks.seconds,
        "audit peak bytes": audited.rss,
        "sound": all(step.ok for step in steps),
        "lookups": lookups(out, 1000),
        "sizes": sizes,
    }
