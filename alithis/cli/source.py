"""How commands read a source: its options, and its data points as leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import EXISTING
from alithis.errors import SourceError

if TYPE_CHECKING:
    from alithis.forms.form import Form
    from alithis.forms.keyed import PublisherKey
    from alithis.forms.pool import Pool
    from alithis.manifest.builder import Stream
    from alithis.manifest.reader import DataPoints
    from alithis.readers import Source

KINDS = (  # readers.KINDS; a test holds them equal, and --help needs no reader
    "folder",
    "archive",
    "webdataset",
    "parquet",
    "arrow",
    "jsonl",
    "csv",
    "tsv",
    "text",
    "numpy",
    "idx",
    "listing",
    "huggingface",
)


class SourceType(click.Path):
    """A path that exists, or a URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the URL as it is, or the path."""
        if isinstance(value, str) and "://" in value and not value.startswith("file://"):
            return value
        return super().convert(str(value).removeprefix("file://"), param, ctx)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a source is read."""
    options = (
        click.option(
            "--type",
            "kind",
            type=click.Choice(KINDS),
            help="What SOURCE is  [default: told by its content and its ending].",
        ),
        click.option(
            "--form",
            type=click.Choice(["bytes", "pixels", "text", "record"]),
            help="Canonical form  [default: bytes; of a column of strings text, of rows record].",
        ),
        click.option(
            "--mode",
            type=click.Choice(["L", "RGB", "RGBA"]),
            help="With --form pixels: the colour mode  [default: RGB].",
        ),
        click.option(
            "--column", metavar="COL", help="A data point is a value of this column, not a row."
        ),
        click.option(
            "--columns",
            metavar="COL",
            multiple=True,
            help="Of a row take this column; may be repeated.",
        ),
        click.option(
            "--per",
            type=click.Choice(["member", "sample"]),
            help="In archives a data point is a file, or the files of one key (WebDataset).",
        ),
        click.option("--label", metavar="COL", help="The column with the labels."),
        click.option("--split", metavar="COL", help="The column that tells train from test."),
        click.option(
            "--keep", metavar="COL", multiple=True, help="Carry this column; may be repeated."
        ),
        click.option(
            "--labels", type=EXISTING, help="For IDX or .npy: the file with their labels."
        ),
        click.option(
            "--label-from-folder", is_flag=True, help="A file's parent folder is its label."
        ),
        click.option(
            "--split-from-folder", is_flag=True, help="A path's first folder is its split."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


READING = (
    *("kind", "form", "mode", "column", "columns", "per", "label", "split", "keep", "labels"),
    *("label_from_folder", "split_from_folder"),
)
"""Names of the values of `source_options`."""


def open_source(
    source: Path | str,
    *,
    form: str | None,
    mode: str | None,
    columns: tuple[str, ...],
    per: str | None,
    stated: Form | None = None,
    **options: Any,
) -> Source:
    """Open a source as the options say; ``stated`` is the form of files where none is given."""
    from alithis import readers
    from alithis.forms import form as forms

    if mode and form != "pixels":
        raise click.UsageError("--mode goes with --form pixels")
    wanted = forms.Form(form, mode or "RGB" if form == "pixels" else None) if form else stated
    return readers.open_source(
        source,
        form=wanted,
        columns=columns or None,
        per_sample=None if per is None else per == "sample",
        **options,
    )


_KEYED_AT_ONCE = 1 << 13  # data points; fewer are done where they are


def _keyed(batches: Iterable[DataPoints], key: PublisherKey, pool: Pool) -> Iterator[DataPoints]:
    """Put keyed leaves in the place of digests."""
    from dataclasses import replace

    for batch in batches:
        step = 32 * _KEYED_AT_ONCE
        parts = [batch.digests[at : at + step] for at in range(0, len(batch.digests), step)]
        leaves = pool.map(key.leaves, parts) if len(parts) > 1 else map(key.leaves, parts)
        yield replace(batch, digests=b"".join(leaves))


def _some(source: Source, pool: Pool, first: int = 0) -> Iterator[DataPoints]:
    """Yield a source's data points; where all of it is passed over, say why."""
    found = first > 0
    for batch in source.digested(pool, first):
        found = True
        yield batch
    if not found and source.skipped.count:
        name, reason = source.skipped.names[0]
        raise SourceError(
            f"no data points: all {source.skipped.count:,} were passed over, as {name}: {reason}"
        )


def stream(source: Source, pool: Pool, key: PublisherKey | None = None) -> Stream:
    """Take a source's data points; where there is a key, keyed leaves in place of digests."""
    from alithis.manifest.builder import Stream

    if key is None:
        return Stream(source.identity, partial(_some, source, pool), source.count)
    # Work that broke off must not go on with another key.
    identity = source.identity and f"{source.identity}, keyed {key.check.hex()}"
    return Stream(
        identity, lambda first: _keyed(_some(source, pool, first), key, pool), source.count
    )
