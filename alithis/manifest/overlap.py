"""Finds exactly the data points that two manifests share.

The leaves of both manifests ascend, so one pass over each file finds every leaf that is in both, in
memory that does not depend on their sizes. The same pass checks that the leaves ascend, and that
each file has the SHA-256 and the root that its metadata states.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alithis.base.text import first_line
from alithis.errors import FormatError, IntegrityError, SourceError
from alithis.forms.form import Form
from alithis.forms.hashing import SIZE
from alithis.manifest import merkle
from alithis.manifest.metadata import LEAVES, Metadata
from alithis.manifest.reader import Manifest, ascending_blocks

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_BATCH = 1 << 16  # rows of items that are read at a time
_PROVED = set[tuple[bytes, bytes]]()
"""SHA-256 and root of files whose tree was hashed: a report compares a dataset with many."""


def require_comparable(left: Metadata, right: Metadata) -> None:
    """Check that equal data points would have equal leaves in two artifacts.

    Raises:
        FormatError: they would not; the message states the reason.
    """
    forms = [replace(each.form, width=None, height=None) for each in (left, right)]
    for what, same, said in (
        ("schemes", left.scheme == right.scheme, f"{left.scheme} and {right.scheme}"),
        ("canonical forms", forms[0] == forms[1], " and ".join(map(shown, forms))),
        ("publisher's keys", left.key_check == right.key_check, "by their key checks"),
    ):
        if not same:
            raise FormatError(
                f"{left.name} and {right.name} have different {what}, {said}: "
                "a data point in both would have two leaves"
            )
    for what in ("width", "height"):
        first, second = getattr(left.form, what), getattr(right.form, what)
        if None not in (first, second) and first != second:
            raise FormatError(
                f"{left.name} and {right.name} hold images of different {what}, "
                f"{first} and {second}: none can be in both"
            )


def shown(form: Form) -> str:
    """Return a canonical form in words: its name and those attributes that are set."""
    facts = {name: value for name, value in asdict(form).items() if value is not None}
    return " ".join(map(str, facts.values()))


def shared(left: Manifest, right: Manifest) -> Iterator[bytes]:
    """Find the leaves that two artifacts share.

    Args:
        left: one manifest.
        right: the other.

    Returns:
        Blocks of shared leaves, 32 bytes each, joined; all leaves ascend. The files are checked
        while they are read, so an error may come after some leaves. Then no result is valid.

    Raises:
        FormatError: the two cannot be compared.
        IntegrityError: a file of leaves differs from what its metadata states.
        StorageError: it cannot be read.
    """
    require_comparable(left.metadata, right.metadata)
    return _shared(left, right)


def _shared(left: Manifest, right: Manifest) -> Iterator[bytes]:
    blocks = _Blocks(left), _Blocks(right)
    while all(block.fill() for block in blocks):
        first, second = blocks
        yield _common(first, second)
        done, other = (first, second) if first.last <= second.last else (second, first)
        # Later leaves of "done" are greater than its last one, so smaller leaves of "other" cannot
        # be shared any more.
        other.drop_before(done.keys[-1])
        done.drop()
    for block in blocks:
        block.finish()


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two manifests that are compared.

    Attributes:
        manifest: the manifest.
        paths: the paths of its data points; None if the items are not available.
    """

    manifest: Manifest
    paths: Paths | None

    def paths_of(self, leaves: Sequence[bytes]) -> list[list[str]]:
        """Return the paths of the data points with these leaves; see `Paths.of`."""
        return self.paths.of(leaves) if self.paths else [[] for _ in leaves]


class _Blocks:
    """A file of leaves, read and checked in blocks."""

    def __init__(self, manifest: Manifest) -> None:
        import numpy as np

        self._name = manifest.metadata.name
        self._stated = manifest.metadata.file(LEAVES).sha256
        self._root = manifest.metadata.root
        self._tree = None if (self._stated, self._root) in _PROVED else merkle.TreeHasher()
        self._source = ascending_blocks(manifest)
        self._hasher = hashlib.sha256()
        self.rows: NDArray[np.uint8] = np.empty((0, SIZE), np.uint8)
        self.keys: NDArray[np.uint64] = np.empty(0, np.uint64)

    @property
    def last(self) -> bytes:
        """The last leaf of the current block."""
        return bytes(self.rows[-1])

    def fill(self) -> bool:
        """Read the next block if the current one is empty; return False at the end of the file."""
        if not len(self.rows):
            self._take(next(self._source, b""))
        return len(self.rows) > 0

    def drop(self) -> None:
        """Drop the rest of the current block."""
        self.drop_first(len(self.rows))

    def drop_before(self, key: np.uint64) -> None:
        """Drop the leaves whose first eight bytes are less."""
        import numpy as np

        self.drop_first(int(np.searchsorted(self.keys, key)))

    def drop_first(self, count: int) -> None:
        """Drop the first leaves of the current block."""
        self.rows, self.keys = self.rows[count:], self.keys[count:]

    def finish(self) -> None:
        """Read the file to its end, and check its SHA-256 and its root.

        Raises:
            IntegrityError: the file differs from what the metadata states.
        """
        for block in self._source:
            self._take(block)
        if self._hasher.digest() != self._stated:
            raise IntegrityError(
                f"{self._name}: SHA-256 of {LEAVES}",
                expected=self._stated,
                found=self._hasher.digest(),
            )
        if self._tree and (found := self._tree.finish().root) != self._root:
            raise IntegrityError(
                f"{self._name}: root of {LEAVES}", expected=self._root, found=found
            )
        _PROVED.add((self._stated, self._root))

    def _take(self, block: bytes) -> None:
        import numpy as np

        self._hasher.update(block)
        if self._tree:
            self._tree.update(block)
        self.rows = np.frombuffer(block, np.uint8).reshape(-1, SIZE)
        self.keys = np.ascontiguousarray(self.rows[:, :8]).view(">u8").ravel().astype(np.uint64)


def _common(left: _Blocks, right: _Blocks) -> bytes:
    """Return the leaves that are in both current blocks."""
    import numpy as np

    places = np.searchsorted(right.keys, left.keys)
    places[places == len(right.keys)] = 0
    alike = np.flatnonzero(right.keys[places] == left.keys)
    same = (left.rows[alike] == right.rows[places[alike]]).all(axis=1)
    # Leaves with the same first eight bytes; only a hostile publisher has many. A set keeps the
    # time linear.
    if not same.all():
        known = {row.tobytes() for row in right.rows}
        same = np.array([row.tobytes() in known for row in left.rows[alike]], bool)
    return bytes(left.rows[alike[same]].tobytes())


class Paths:
    """The paths of data points, from a manifest's items."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Set the items files; they are read when paths are requested.

        Args:
            files: the items files, in order.
        """
        self._batches = _batches(files)
        self._batch: tuple[pa.Array, pa.Array] | None = None
        self._begun = False

    @classmethod
    def at(cls, directory: Path, data: Metadata) -> Paths | None:
        """Open the items of a manifest in a directory; None if they are not available."""
        files = [directory / entry.name for entry in data.items_files]
        return cls(files) if files and all(file.is_file() for file in files) else None

    def of(self, leaves: Sequence[bytes]) -> list[list[str]]:
        """Return the paths of the data points that have these leaves.

        Args:
            leaves: ascending leaves, not less than those of the calls before.

        Raises:
            SourceError: an items file cannot be read.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        found: dict[bytes, list[str]] = {leaf: [] for leaf in leaves}
        wanted = pa.array(leaves, pa.binary(SIZE))
        if leaves and not self._begun:
            self._batch, self._begun = next(self._batches, None), True
        while leaves and self._batch is not None and self._batch[0][0].as_py() <= leaves[-1]:
            column, paths = self._batch
            mask = pc.is_in(column, value_set=wanted)
            for leaf, path in zip(column.filter(mask), paths.filter(mask), strict=True):
                found[leaf.as_py()].append(path.as_py())
            if column[-1].as_py() > leaves[-1]:
                break
            self._batch = next(self._batches, None)
        return list(found.values())


def _batches(files: Iterable[Path]) -> Iterator[tuple[pa.Array, pa.Array]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for name, wanted in (("leaf", pa.binary(SIZE)), ("path", pa.string())):
                    if (found := file.schema_arrow.field(name).type) != wanted:
                        raise SourceError(
                            f"{path}: the column {name} has the type {found}, not {wanted}"
                        )
                for batch in file.iter_batches(_BATCH, columns=["leaf", "path"]):
                    if batch["leaf"].null_count or batch["path"].null_count:
                        raise SourceError(f"{path}: a row has no leaf or no path")
                    if len(batch):
                        yield batch["leaf"], batch["path"]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise SourceError(f"{path}: cannot be read: {first_line(error)}") from error
