"""What a manifest reveals that its publisher may not expect (docs/privacy.md)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.manifest.reader import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHORT, SMALL = 64, 1024
"""Bytes up to which a data point is short, or small."""
_FEW = 1 << 32  # different data points that can be tried within seconds


def advice(manifest: Manifest, folder: Path) -> str | None:
    """Return one line of advice for the publisher of a manifest; None if there is none.

    Plain leaves can be guessed if the data points are short, or if only few different ones are
    possible. Repeats show the latter: n draws out of m values repeat about n²/2m times.

    Args:
        manifest: the manifest.
        folder: the folder with its files, including the items.
    """
    data = manifest.metadata
    if data.scheme == "keyed":
        return (
            f"note: {folder}/{data.items_files[0].name} holds names, sizes and labels as they "
            "are: do not publish this file if they are private"
        )
    repeats = data.items - data.size
    # The file is read, not the source: a resumed run has read only the rest of the source.
    sizes = _Sizes(folder / file.name for file in data.items_files)
    if not sizes.count:
        return None
    if sizes.short * 100 >= sizes.count:
        reason = f"{sizes.short:,} of {sizes.count:,} data points have at most {SHORT} bytes"
    elif sizes.small * 2 >= sizes.count and data.items**2 < 2 * _FEW * repeats:
        reason = f"{repeats:,} of {data.items:,} data points are repeats: few values are possible"
    else:
        return None
    return (
        f"warning: {reason}. Anyone who guesses one can check that it is included. "
        "If they are private, publish with --key-file instead (docs/privacy.md)"
    )


class _Sizes:
    """Counts the data points of known size, and those that are short or small."""

    def __init__(self, files: Iterable[Path]) -> None:
        import pyarrow.parquet as pq

        self.count = self.short = self.small = 0
        for path in files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["size"]):
                    self._add(_known(batch["size"]))

    def _add(self, sizes: NDArray[np.int64]) -> None:
        self.count += len(sizes)
        self.short += int((sizes <= SHORT).sum())
        self.small += int((sizes <= SMALL).sum())


def _known(column: Any) -> NDArray[np.int64]:
    """Return a column's numbers, without `to_numpy`, which imports pandas (slow)."""
    import numpy as np

    known = column.drop_null() if column.null_count else column
    if not len(known):
        return np.zeros(0, np.int64)
    return np.frombuffer(known.buffers()[1], np.int64, len(known), known.offset * 8)
