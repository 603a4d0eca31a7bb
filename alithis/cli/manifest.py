"""``alithis manifest``: hash a dataset."""

from __future__ import annotations

import os
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
    """Add the options that describe a dataset."""
    options = (
        click.option("--name", help="The dataset's name  [default: SOURCE's name]."),
        click.option("--description", help="A description in a sentence or two."),
        click.option("--license", help="SPDX licence expression or URL."),
        click.option("--creator", "creators", multiple=True, help="An author; may be repeated."),
        click.option("--url", help="Its home page."),
        click.option("--data-version", "version", help="The dataset's version."),
        click.option("--citation", help="How to cite it."),
        click.option(
            "--image",
            help="URI of a picture that wallets show  [default: a pattern made from the root].",
        ),
        click.option(
            "--rai",
            multiple=True,
            metavar="TERM=TEXT",
            help="A Croissant RAI statement, such as dataCollection=…; may be repeated.",
        ),
        click.option(
            "--data-mining",
            type=click.Choice(list(DATA_MINING)),
            metavar="WHAT",
            help=f"Whether the data may be mined: {', '.join(DATA_MINING)}.",
        ),
        click.option(
            "--data-mining-policy",
            metavar="URL",
            help="URL of the policy with the conditions for data mining.",
        ),
        click.option(
            "--metadata-from",
            type=EXISTING,
            metavar="FILE",
            help="A Croissant file to take descriptions from; the options above override it.",
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
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of processes  [default: one for each processor].",
)
@_description_options
@click.option(
    "--key-file",
    type=ANY,
    metavar="FILE",
    help="Make keyed leaves with the key in FILE. If there is no such file, a new key is made.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Hash on this machine, or on a Ray cluster (named by RAY_ADDRESS).",
)
@click.option("--force", is_flag=True, help="Replace an existing manifest.")
@click.option("--restart", is_flag=True, help="Start again instead of resuming an interrupted run.")
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
    """Fingerprint every data point of a dataset, and write the list as a manifest.

    SOURCE is a folder, a file, or the URL of one (https, s3, hf, gs, …): files, tar, zip,
    WebDataset, Parquet, Arrow, JSON Lines, CSV, text, NumPy, IDX, a dataset saved by Hugging
    Face's library, or a JSON list of digests from the first version of Alithis. By default, a data
    point is a file, a row or a line. A folder of shards is read shard by shard.

    An interrupted run keeps its work in a folder beside OUT, and the same command resumes it. With
    --engine ray nothing is kept, and SOURCE must be readable from all workers; the manifest is
    identical, byte for byte.

    With --key-file the published manifest reveals nothing about a data point until the publisher
    opens it. Use it for private data, and for data that others could guess (docs/privacy.md).

    \b
    Examples:
      alithis manifest photos/ -o photos.alithis --label-from-folder
      alithis manifest scans/ --form pixels --mode L
      alithis manifest photos.tar.gz                       each file in it
      alithis manifest shards/ --per sample --label cls    each sample (WebDataset)
      alithis manifest shards/ --column jpg                each sample's .jpg
      alithis manifest data.parquet                        each row
      alithis manifest data.parquet --column image --label label
      alithis manifest s3://bucket/data/ --type parquet --columns id --columns text
      alithis manifest s3://bucket/shards/ --engine ray
      alithis manifest corpus.jsonl.gz --column text --keep source
      alithis manifest table.csv --split subset
      alithis manifest corpus.txt                          each line
      alithis manifest images.npz --column x --label y
      alithis manifest train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz
      alithis manifest saved/ --column image               saved by Hugging Face's library
      alithis manifest https://example.org/list.json       a list of digests
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
    if isinstance(source, Path) and source.is_dir():
        _check_outside(source, target)
    if engine == "ray" and (key_file or restart):
        raise click.UsageError(
            "--engine ray cannot be used with --key-file, because the key must not leave this "
            "machine, or with --restart, because it always starts again"
        )
    refuse_standard_output(out, "a folder")
    check_target(target, replace=force)
    _description(
        {"name": _stem(source)}, **others
    )  # so that errors in it are reported before the data is read
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


def _check_outside(source: Path, target: Path) -> None:
    """Refuse a manifest in the folder that is read."""
    at, folder = _real(target), _real(source)
    if at == folder:
        raise click.UsageError(f"-o {target}: the output folder is the source. Name another place")
    if at.is_relative_to(folder):
        raise click.UsageError(
            f"{target} is inside {source} and would become part of it. Name another place with -o"
        )


def _real(path: Path) -> Path:
    """Resolve symbolic links; unlike `Path.resolve`, this accepts links that lead in a circle."""
    return Path(os.path.realpath(path))


def _description(
    source: Mapping[str, str], metadata_from: Path | None, rai: Iterable[str], **words: Any
) -> Description:
    """Return the description from the options, from --metadata-from, and from the source itself."""
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
    """Read or make the key, and refuse a place where it would be hashed or published."""
    from alithis.forms.keyed import obtain_key

    for folder in (source, target) if isinstance(source, Path) else (target,):
        if _real(key_file).is_relative_to(_real(folder)):
            raise click.UsageError(f"{key_file} is inside {folder}. Keep the key in another folder")
    key, made = obtain_key(key_file)
    if made:
        say(f"{key_file}: made a new key. Keep a copy: a lost key cannot be replaced", err=True)
    return key


def _stem(source: Path | str) -> str:
    if isinstance(source, str):
        parts = urlsplit(source)
        name = parts.path.rstrip("/").rpartition("/")[2] or parts.netloc.rpartition("@")[2]
    else:
        name = source.resolve().name
    return re.sub(r"\.(gz|bz2|xz|zst)$", "", name, flags=re.IGNORECASE) or "dataset"
