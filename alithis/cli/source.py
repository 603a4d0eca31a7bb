"""The options for reading a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import EXISTING

if TYPE_CHECKING:
    from alithis.forms.form import Form
    from alithis.readers import Source

KINDS = (  # equal to readers.KINDS, which is slow to import; a test compares them
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
    """An existing path, or a URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a URL unchanged, or a path."""
        from alithis.base.remote_files import url_problem

        if isinstance(value, str) and "://" in value and not value.startswith("file://"):
            if problem := url_problem(value):
                self.fail(problem, param, ctx)
            return value
        return super().convert(str(value).removeprefix("file://"), param, ctx)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for reading a source."""
    options = (
        click.option(
            "--type",
            "kind",
            type=click.Choice(KINDS),
            help="The type of SOURCE  [default: detected by content and ending].",
        ),
        click.option(
            "--form",
            type=click.Choice(["bytes", "pixels", "text", "record"]),
            help="Canonical form  [default: bytes; text for a column of strings; record for rows].",
        ),
        click.option(
            "--mode",
            type=click.Choice(["L", "RGB", "RGBA"]),
            help="Colour mode for --form pixels  [default: RGB].",
        ),
        click.option(
            "--column", metavar="COL", help="Hash the values of this column instead of whole rows."
        ),
        click.option(
            "--columns",
            metavar="COL",
            multiple=True,
            help="Hash only this column of a row; may be repeated.",
        ),
        click.option(
            "--per",
            type=click.Choice(["member", "sample"]),
            help="In archives, hash each file (member) or each WebDataset sample.",
        ),
        click.option("--label", metavar="COL", help="The column with the labels."),
        click.option(
            "--split", metavar="COL", help="The column that names the split, such as train or test."
        ),
        click.option(
            "--keep",
            metavar="COL",
            multiple=True,
            help="Copy this column into the manifest; may be repeated.",
        ),
        click.option("--labels", type=EXISTING, help="The file with the labels, for IDX or .npy."),
        click.option(
            "--label-from-folder", is_flag=True, help="Use a file's parent folder as its label."
        ),
        click.option(
            "--split-from-folder", is_flag=True, help="Use the first folder of a path as its split."
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
    """Open a source as the options describe; ``stated`` is the form if --form is not given."""
    from alithis import readers
    from alithis.forms import form as forms

    if mode and form != "pixels":
        raise click.UsageError("--mode can only be used with --form pixels")
    wanted = forms.Form(form, mode or "RGB" if form == "pixels" else None) if form else stated
    return readers.open_source(
        source,
        form=wanted,
        columns=columns or None,
        per_sample=None if per is None else per == "sample",
        **options,
    )
