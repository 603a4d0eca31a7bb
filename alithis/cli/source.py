"""How commands read a source: its options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import EXISTING

if TYPE_CHECKING:
    from alithis.forms.form import Form
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
