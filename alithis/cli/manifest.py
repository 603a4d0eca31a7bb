"""``alithis manifest``: hash a dataset."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from alithis.cli.options import (
    ANY,
    EXISTING,
    json_option,
    read_bounded,
    refuse_standard_output,
    say,
    say_built,
)
from alithis.cli.source import READING, SourceType, open_source, source_options
from alithis.manifest.vocabulary import DATA_MINING

if TYPE_CHECKING:
    from alithis.forms.keyed import PublisherKey
    from alithis.manifest.builder import Stream
    from alithis.manifest.metadata import Description
    from alithis.manifest.sorter import Presorted


def _description_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say in words what a dataset is."""
    options = (
        click.option("--name", help="The dataset's name  [default: SOURCE's name]."),
        click.option("--description", help="What it is, in a sentence or two."),
        click.option("--license", help="SPDX licence expression or URL."),
        click.option("--creator", "creators", multiple=True, help="An author; may be repeated."),
        click.option("--url", help="Its home page."),
        click.option("--data-version", "version", help="The dataset's version."),
        click.option("--citation", help="How to cite it."),
        click.option(
            "--image", help="URI of a picture for wallets  [default: a pattern of the root]."
        ),
        click.option(
            "--rai",
            multiple=True,
            metavar="TERM=TEXT",
            help="A statement of Croissant RAI, such as dataCollection=…; may be repeated.",
        ),
        click.option(
            "--data-mining",
            type=click.Choice(list(DATA_MINING)),
            metavar="WHAT",
            help=f"What its owner lets others mine: {', '.join(DATA_MINING)}.",
        ),
        click.option(
            "--data-mining-policy", metavar="URL", help="The policy with the conditions for that."
        ),
        click.option(
            "--metadata-from",
            type=EXISTING,
            metavar="FILE",
            help="A Croissant file whose words are kept; the options above override it.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", type=SourceType(exists=True, path_type=Path))
@click.option(
    "-o", "--out", type=ANY, help="The manifest to write  [default: SOURCE's name + .alithis]."
)
@source_options
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes  [default: one a processor]."
)
@_description_options
@click.option(
    "--key-file",
    type=ANY,
    metavar="FILE",
    help="Make keyed leaves with the key in FILE; a new key, if there is no such file.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who digests and sorts: this machine, or Ray's workers (RAY_ADDRESS names the cluster).",
)
@click.option("--force", is_flag=True, help="Replace a manifest that exists.")
@click.option("--restart", is_flag=True, help="Do not go on where a run was broken off.")
@json_option
def manifest(
    source: Path | str,
    out: Path | None,
    workers: int | None,
    key_file: Path | None,
    engine: str,
    force: bool,
    restart: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Hash a dataset data point by data point, and write its manifest.

    SOURCE is a folder or file on this machine, or the URL of one (https, s3, hf, gs, …):
    files, tar, zip, WebDataset, Parquet, Arrow, JSON Lines, CSV, text, NumPy, IDX, a dataset
    saved by Hugging Face's library, or the first Alithis' JSON list of digests. A data point
    is a file, a row or a line, by default. A folder of shards is read shard by shard.

    A run that is broken off leaves what it has done in a folder beside OUT; the same command goes
    on from there. With --engine ray there is no such folder, and SOURCE must be where all workers
    reach it; the manifest is the same, byte for byte.

    With --key-file what is published tells nothing of a data point, unless its publisher shows
    it: for private data, and for data that can be guessed (docs/privacy.md).

    \b
    Examples:
      alithis manifest photos/ -o photos.alithis --label-from-folder
      alithis manifest scans/ --form pixels --mode L
      alithis manifest photos.tar.gz                       a file in it, a data point
      alithis manifest shards/ --per sample --label cls    WebDataset
      alithis manifest shards/ --column jpg                of each sample the .jpg
      alithis manifest data.parquet                        rows, as records
      alithis manifest data.parquet --column image --label label
      alithis manifest s3://bucket/data/ --type parquet --columns id --columns text
      alithis manifest s3://bucket/shards/ --engine ray
      alithis manifest corpus.jsonl.gz --column text --keep source
      alithis manifest table.csv --split subset
      alithis manifest corpus.txt                          lines
      alithis manifest images.npz --column x --label y
      alithis manifest train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz
      alithis manifest saved/ --column image               of Hugging Face's library
      alithis manifest https://example.org/list.json       the first Alithis' list
      alithis manifest patients/ --key-file ~/keys/patients.key
      alithis manifest art/ --license CC-BY-4.0 --data-mining prohibited-training
      alithis manifest art/ --metadata-from croissant.json --rai dataBiases="Mostly oil on canvas"
    """
    from alithis.cli import terminal
    from alithis.forms.pool import Pool
    from alithis.manifest.builder import build
    from alithis.manifest.folder import check_target
    from alithis.manifest.privacy import advice
    from alithis.readers.stream import stream

    reading = {name: others.pop(name) for name in READING}
    target = out or Path(_stem(source) + ".alithis")
    if (
        isinstance(source, Path)
        and source.is_dir()
        and target.resolve().is_relative_to(source.resolve())
    ):
        raise click.UsageError(
            f"{target} lies inside {source}, and would become part of it: -o names another place"
        )
    if engine == "ray" and (key_file or restart):
        raise click.UsageError(
            "--engine ray goes without --key-file, since the key must not leave this machine, and "
            "without --restart, since it begins anew always"
        )
    refuse_standard_output(out, "a folder")
    check_target(target, replace=force)
    _description({"name": _stem(source)}, **others)  # says what is wrong before anything is read
    key = _publishers_key(key_file, source, target) if key_file else None
    start = time.perf_counter()
    with ExitStack() as stack:
        progress = stack.enter_context(terminal.shown())
        opened = open_source(source, **reading)
        points: Stream | Presorted
        if engine == "ray":
            from alithis.integrations import ray

            with_ray = ray.presorted(opened, workers=workers, progress=progress)
            points = stack.enter_context(with_ray)
        else:
            points = stream(opened, stack.enter_context(Pool(workers)), key)
        built = build(
            points,
            target,
            description=_description({"name": _stem(source), **opened.about}, **others),
            form=opened.form,
            replace=force,
            progress=progress,
            restart=restart,
            key_check=key.check if key else None,
        )
    seconds = time.perf_counter() - start
    data, skipped = built.metadata, opened.skipped
    repeats = data.items - data.size
    lines = [
        f"{target}: {data.items:,} data points in {seconds:.2f} s",
        f"  leaves    {data.size:,} distinct" + (f", {repeats:,} repeats" if repeats else ""),
    ]
    if skipped.count:
        names = "; ".join(f"{name}: {reason}" for name, reason in skipped.names[:3])
        lines.append(f"  skipped   {skipped.count:,} ({names}{'; …' * (skipped.count > 3)})")
    say_built(built, target, skipped, lines, as_json=as_json)
    if line := advice(built, target):
        say(line, err=True)


def _description(
    source: Mapping[str, str], metadata_from: Path | None, rai: Iterable[str], **words: Any
) -> Description:
    """Read what the options say of a dataset; ``source`` is what the source says of itself."""
    from alithis.manifest import metadata, vocabulary

    base = {}
    if metadata_from:
        data = read_bounded(metadata_from, metadata.MAX_BYTES)
        base = vocabulary.parse_base(data, str(metadata_from))
    statements: dict[str, list[str]] = {}
    for statement in rai:
        term, _, text = statement.partition("=")
        if not text:
            raise click.UsageError(f"--rai {statement}: write TERM=TEXT")
        statements.setdefault(term.removeprefix("rai:"), []).append(text)
    given = {name: value for name, value in words.items() if value is not None}
    return metadata.Description.composed(given | {"rai": statements}, base, source)


def _publishers_key(key_file: Path, source: Path | str, target: Path) -> PublisherKey:
    """Read or make the key, at a place where it is neither hashed nor published."""
    from alithis.forms.keyed import obtain_key

    for folder in (source, target) if isinstance(source, Path) else (target,):
        if key_file.resolve().is_relative_to(folder.resolve()):
            raise click.UsageError(f"{key_file} lies inside {folder}: keep the key elsewhere")
    key, made = obtain_key(key_file)
    if made:
        say(f"{key_file}: made a new key; keep a copy, as nothing can replace it", err=True)
    return key


def _stem(source: Path | str) -> str:
    if isinstance(source, str):
        parts = urlsplit(source)
        name = parts.path.rstrip("/").rpartition("/")[2] or parts.netloc.rpartition("@")[2]
    else:
        name = source.resolve().name
    return re.sub(r"\.(gz|bz2|xz|zst)$", "", name, flags=re.IGNORECASE) or "dataset"
