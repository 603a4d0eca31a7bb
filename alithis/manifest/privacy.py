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
    """Return a line of advice for the publisher of a manifest; None where there is none.

    Plain leaves of short data points can be guessed, and so can those of data points of which few
    different ones exist, as repeats show: n draws out of m values repeat about n²/2m times.

    Args:
        manifest: the manifest.
        folder: where its files are, the items among them.
    """
    data = manifest.metadata
    if data.scheme == "keyed":
        return (
            f"note: {folder}/{data.items_files[0].name} holds names, sizes and labels as they "
            "are: keep it back if they are private"
        )
    repeats = data.items - data.size
    # The file is read, not the source: an interrupted run digested some of the items earlier.
    sizes = _Sizes(folder / file.name for file in data.items_files)
    if not sizes.count:
        return None
    if sizes.short * 100 >= sizes.count:
        reason = f"{sizes.short:,} of {sizes.count:,} data points have at most {SHORT} bytes"
    elif sizes.small * 2 >= sizes.count and data.items**2 < 2 * _FEW * repeats:
        reason = f"{repeats:,} of {data.items:,} data points are repeats: few different ones exist"
    else:
        return None
    return (
        f"warning: {reason}. Anyone who guesses one can see that it is included; "
        "if they are private, publish with --key-file instead (docs/privacy.md)"
    )


class _Sizes:
    """Counts the data points whose size is known, and how many of them are short or small."""

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
    """Return a column's numbers; `to_numpy` would import pandas, which takes long."""
    import numpy as np

    known = column.drop_null() if column.null_count else column
    if not len(known):
        return np.zeros(0, np.int64)
    return np.frombuffer(known.buffers()[1], np.int64, len(known), known.offset * 8)
