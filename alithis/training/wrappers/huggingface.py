"""Datasets of the Hugging Face library: the raw row is recorded, however it is transformed.

A dataset that is mapped, filtered, shuffled, split or formatted stays wrapped, and each of its rows
is still recorded as the raw row that it was made from. A transformation that does not make one row
from each row counts as reading all rows, and its result is not wrapped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.readers import Choice
from alithis.readers import columns as columns_module
from alithis.training.wrappers.hasher import ItemHasher
from alithis.training.wrappers.proxy import Wrapper
from alithis.training.wrappers.recorder import RowRecorder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROW = "alithis_row"  # a column with row numbers, while the library reorders rows
_SAME_ROWS = frozenset(
    (
        "add_column",
        "add_elasticsearch_index",
        "add_faiss_index",
        "align_labels_with_mapping",
        "cast",
        "cast_column",
        "class_encode_column",
        "flatten",
        "flatten_indices",
        "remove_columns",
        "rename_column",
        "rename_columns",
        "select_columns",
        "with_format",
        "with_transform",
    )
)
_OTHER_ROWS = frozenset(
    (
        "repeat",
        "select",
        "shard",
        "shuffle",
        "skip",
        "sort",
        "take",
        "train_test_split",
    )
)
_ALL = frozenset(
    (
        "add_item",
        "get_nearest_examples",
        "get_nearest_examples_batch",
        "to_csv",
        "to_dict",
        "to_json",
        "to_list",
        "to_pandas",
        "to_parquet",
        "to_polars",
        "to_sql",
        "to_tf_dataset",
        "to_iterable_dataset",
        "data",
        "save_to_disk",
        "push_to_hub",
        "batch",
        "unique",
    )
)
_INNER = frozenset(("_data", "_indices"))  # attributes that the library joins datasets by


def is_dataset(data: Any) -> bool:
    """Return whether an object is a ``datasets.Dataset``."""
    found = getattr(sys.modules.get("datasets"), "Dataset", None)
    return isinstance(found, type) and isinstance(data, found)


class DatasetWrapper(Wrapper):
    """A dataset that records which raw rows it returns."""

    def __init__(self, data: Any, numbers: NDArray[np.intp], rows: RowRecorder) -> None:
        """Wrap a dataset.

        Args:
            data: the dataset.
            numbers: for each of its rows, the number of the raw row.
            rows: records raw rows by their numbers.
        """
        super().__init__(data)
        vars(self).update(_numbers=numbers, _rows=rows)

    def __getitem__(self, key: Any) -> Any:
        """Return rows, or a column, and record the rows; a column reads all rows."""
        given = self._wrapped[key]
        if isinstance(key, str):
            self._rows.record(self._numbers)
        else:
            self._record(key)
        return given

    def __getitems__(self, keys: list[int]) -> Any:
        """Return a batch, as PyTorch asks for it."""
        given = self._wrapped.__getitems__(keys)
        self._record(keys)
        return given

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows in turn, each recorded when it is asked for."""
        for number, row in zip(self._numbers.tolist(), self._wrapped, strict=True):
            self._rows.record_one(number)
            yield row

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Any]:
        """Yield batches of rows, recorded when they are asked for."""
        batches = self._wrapped.iter(batch_size, drop_last_batch)
        for start, batch in zip(range(0, len(self), batch_size), batches, strict=False):
            self._rows.record(self._numbers[start : start + batch_size])
            yield batch

    def map(self, *args: Any, **options: Any) -> Any:
        """Map the rows.

        If the result has as many rows, each is taken to come from the row at its place, and is
        recorded when it is read. Otherwise all rows count as read now, and the result is not
        wrapped.
        """
        made = self._wrapped.map(*args, **options)
        if len(made) == len(self):
            return DatasetWrapper(made, self._numbers, self._rows)
        self._rows.record(self._numbers)
        return made

    def filter(self, *args: Any, **options: Any) -> DatasetWrapper:
        """Filter the rows."""
        data = self._wrapped
        if data._indices is not None:
            data = _formatted(data.with_format(None).flatten_indices(), data.format)
        kept, numbers = data.filter(*args, **options), self._numbers
        if len(kept) < len(self):
            numbers = numbers[kept._indices.column(0).to_numpy()]
        return DatasetWrapper(kept, numbers, self._rows)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute; a method that returns a dataset returns it wrapped.

        Raises:
            SourceError: the library tries to join this dataset with another.
        """
        if name in _INNER:
            raise SourceError(
                "concatenate_datasets and interleave_datasets cannot join recorded datasets: "
                "join them first and wrap the result, or join the recorded ones with "
                "torch.utils.data.ConcatDataset"
            )
        if name in _OTHER_ROWS and len(self):  # a column cannot be added to an empty dataset
            return self._regrouped(name)
        found = super().__getattr__(name)
        if name in _SAME_ROWS | _OTHER_ROWS:
            return self._same_rows(found)
        if name in _ALL:
            self._rows.record(self._numbers)
        return found

    def _record(self, key: Any) -> None:
        import numpy as np

        if isinstance(key, range):
            key = list(key)
        if hasattr(type(key), "__index__"):
            self._rows.record_one(int(self._numbers[key]))
        else:
            self._rows.record(
                self._numbers[key if isinstance(key, slice) else np.asarray(key, int)]
            )

    def _same_rows(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def called(*args: Any, **options: Any) -> Any:
            return DatasetWrapper(method(*args, **options), self._numbers, self._rows)

        return called

    def _regrouped(self, name: str) -> Callable[..., Any]:
        """Call a method on a dataset that has the row numbers as one more column.

        These methods call no function of the user and apply no format, so the column stays unseen.
        """

        @wraps(getattr(self._wrapped, name))
        def called(*args: Any, **options: Any) -> Any:
            tagged = self._wrapped.with_format(None).add_column(_ROW, self._numbers)
            result = getattr(tagged, name)(*args, **options)
            if isinstance(result, dict):
                return type(result)({split: self._untagged(part) for split, part in result.items()})
            return self._untagged(result)

        return called

    def _untagged(self, data: Any) -> DatasetWrapper:
        table = data.with_format("arrow").select_columns([_ROW])[:]
        rows = _formatted(data.remove_columns(_ROW), self._wrapped.format)
        return DatasetWrapper(rows, table[_ROW].to_numpy(), self._rows)


def _formatted(data: Any, form: dict[str, Any]) -> Any:
    """Set the format of a dataset to that of another with the same columns."""
    columns = sorted(form["columns"])  # the library sorts them too
    return data.with_format(
        form["type"],
        columns if len(columns) < data.num_columns else None,
        form["output_all_columns"],
        **form["format_kwargs"],
    )


def wrap_dataset(data: Any, rows: RowRecorder) -> DatasetWrapper:
    """Wrap a dataset; ``rows`` records its rows by their numbers."""
    import numpy as np

    return DatasetWrapper(data, np.arange(len(data)), rows)


class DatasetHasher:
    """Hashes a dataset's rows, or the values of a column, as `readers.dataset` does."""

    def __init__(self, data: Any, hasher: ItemHasher) -> None:
        """Hash rows.

        Raises:
            SourceError: the dataset lacks a column.
        """
        form, point = hasher.form, hasher.point
        if point is None and form.name != "record":
            raise SourceError(
                f"say with point= which column has the data points (their form is {form.name}); "
                f"the columns are {', '.join(data.column_names)}"
            )
        if point is not None and not isinstance(point, str):
            raise SourceError("point= must be the name of a column of a Hugging Face dataset")
        self._form = form
        self._choice = Choice(form=form, column=point, columns=form.columns)
        columns_module.form_of(self._choice, data.features.arrow_schema, "dataset")
        wanted = self._choice.needed(data.column_names)
        self._data = data.with_format("arrow", columns=wanted)

    def changed(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return an empty array: the rows of such a dataset cannot be changed."""
        return numbers[:0]

    def __call__(self, numbers: NDArray[np.intp]) -> bytes:
        """Return the digests; a row whose column is null has none."""
        from datasets.table import embed_table_storage

        if not len(numbers):
            return b""
        table = embed_table_storage(self._data[numbers.tolist()]).combine_chunks()
        return b"".join(
            columns_module.digested(rows, self._choice, self._form, "dataset", 0)[0].digests
            for rows in table.to_batches()
        )
