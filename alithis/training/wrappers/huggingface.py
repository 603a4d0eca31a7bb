"""Datasets of Hugging Face's library: a row is the raw row, whatever is made of it on the way.

What is mapped, filtered, shuffled, split or formatted after it was wrapped stays wrapped, and
each of its rows is still known as the row it came from. What no longer has a row for each counts
as all rows, and is not wrapped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.readers import Choice
from alithis.readers import columns as columns_module
from alithis.training.digester import Digester
from alithis.training.wrappers.log import Taken
from alithis.training.wrappers.proxy import Fed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROW = "alithis_row"
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
_INNER = frozenset(("_data", "_indices"))  # what the library joins datasets by


def is_dataset(data: Any) -> bool:
    """Tell whether something is a ``datasets.Dataset``."""
    found = getattr(sys.modules.get("datasets"), "Dataset", None)
    return isinstance(found, type) and isinstance(data, found)


class FedDataset(Fed):
    """A dataset that notes which raw rows it gives."""

    def __init__(self, data: Any, rows: NDArray[np.intp], taken: Taken) -> None:
        """Wrap a dataset.

        Args:
            data: it.
            rows: for each of its rows, the number of the raw row.
            taken: where raw rows are noted.
        """
        super().__init__(data)
        vars(self).update(_numbers=rows, _taken=taken)

    def __getitem__(self, key: Any) -> Any:
        """Return rows, or a column, and note the rows; of a column, all."""
        given = self._fed[key]
        if isinstance(key, str):
            self._taken.note(self._numbers)
        else:
            self._note(key)
        return given

    def __getitems__(self, keys: list[int]) -> Any:
        """Return a batch as PyTorch asks for it."""
        given = self._fed.__getitems__(keys)
        self._note(keys)
        return given

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows in turn, each noted as it is asked for."""
        for number, row in zip(self._numbers.tolist(), self._fed, strict=True):
            self._taken.one(number)
            yield row

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Any]:
        """Yield batches of rows, noted as they are asked for."""
        batches = self._fed.iter(batch_size, drop_last_batch)
        for start, batch in zip(range(0, len(self), batch_size), batches, strict=False):
            self._taken.note(self._numbers[start : start + batch_size])
            yield batch

    def map(self, *args: Any, **options: Any) -> Any:
        """Make other rows: as many, in order, or what counts as all rows and is not wrapped."""
        made = self._fed.map(*args, **options)
        if len(made) == len(self):
            return FedDataset(made, self._numbers, self._taken)
        self._taken.note(self._numbers)
        return made

    def filter(self, *args: Any, **options: Any) -> FedDataset:
        """Leave rows out."""
        data = self._fed
        if data._indices is not None:
            data = _formatted(data.with_format(None).flatten_indices(), data.format)
        kept, numbers = data.filter(*args, **options), self._numbers
        if len(kept) < len(self):
            numbers = numbers[kept._indices.column(0).to_numpy()]
        return FedDataset(kept, numbers, self._taken)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute; a method that gives another dataset gives it wrapped.

        Raises:
            SourceError: it is asked for to join datasets.
        """
        if name in _INNER:
            raise SourceError(
                "wrapped datasets are not joined by datasets' concatenate_datasets or "
                "interleave_datasets: join them first and wrap the result, or join what is "
                "wrapped with torch.utils.data.ConcatDataset"
            )
        if name in _OTHER_ROWS and len(self):  # the library adds no column where there are none
            return self._regrouped(name)
        found = super().__getattr__(name)
        if name in _SAME_ROWS | _OTHER_ROWS:
            return self._same_rows(found)
        if name in _ALL:
            self._taken.note(self._numbers)
        return found

    def _note(self, key: Any) -> None:
        import numpy as np

        if isinstance(key, range):
            key = list(key)
        if hasattr(type(key), "__index__"):
            self._taken.one(int(self._numbers[key]))
        else:
            self._taken.note(self._numbers[key if isinstance(key, slice) else np.asarray(key, int)])

    def _same_rows(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def called(*args: Any, **options: Any) -> Any:
            return FedDataset(method(*args, **options), self._numbers, self._taken)

        return called

    def _regrouped(self, name: str) -> Callable[..., Any]:
        """Call a method on a dataset with the rows' numbers as a column, which goes along.

        It takes no function of the caller's, and no format is applied: nobody sees the column.
        """

        @wraps(getattr(self._fed, name))
        def called(*args: Any, **options: Any) -> Any:
            tagged = self._fed.with_format(None).add_column(_ROW, self._numbers)
            result = getattr(tagged, name)(*args, **options)
            if isinstance(result, dict):
                return type(result)({split: self._untagged(part) for split, part in result.items()})
            return self._untagged(result)

        return called

    def _untagged(self, data: Any) -> FedDataset:
        table = data.with_format("arrow").select_columns([_ROW])[:]
        rows = _formatted(data.remove_columns(_ROW), self._fed.format)
        return FedDataset(rows, table[_ROW].to_numpy(), self._taken)


def _formatted(data: Any, form: dict[str, Any]) -> Any:
    """Give a dataset the format of another with the same columns."""
    columns = sorted(form["columns"])  # as the library has them
    return data.with_format(
        form["type"],
        columns if len(columns) < data.num_columns else None,
        form["output_all_columns"],
        **form["format_kwargs"],
    )


def of_dataset(data: Any, taken: Taken) -> FedDataset:
    """Wrap a dataset.

    Args:
        data: it.
        taken: where its rows are noted by their numbers.
    """
    import numpy as np

    return FedDataset(data, np.arange(len(data)), taken)


class DatasetRows:
    """Digests of a dataset's rows, or of a column's values, as `readers.dataset` makes them."""

    def __init__(self, data: Any, digester: Digester) -> None:
        """Digest rows.

        Raises:
            SourceError: it has no such columns.
        """
        form, point = digester.form, digester.point
        if point is None and form.name not in ("record",):
            raise SourceError(
                f"point= names the column with the data points ({form.name}); "
                f"there are {', '.join(data.column_names)}"
            )
        if point is not None and not isinstance(point, str):
            raise SourceError("point= names a column here")
        self._form = form
        self._choice = Choice(form=form, column=point, columns=form.columns)
        columns_module.form_of(self._choice, data.features.arrow_schema, "dataset")
        wanted = self._choice.needed(data.column_names)
        self._data = data.with_format("arrow", columns=wanted)

    def changed(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return none: the rows of such a dataset do not change."""
        return numbers[:0]

    def __call__(self, numbers: NDArray[np.intp]) -> bytes:
        """Return the digests; a null in the column is no data point, and has none."""
        from datasets.table import embed_table_storage

        if not len(numbers):
            return b""
        table = embed_table_storage(self._data[numbers.tolist()]).combine_chunks()
        return b"".join(
            columns_module.digested(rows, self._choice, self._form, "dataset", 0)[0].digests
            for rows in table.to_batches()
        )
