"""``alithis manifest``: hash a dataset."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from alithis.cli.options import ANY, EXISTING, json_option, refuse_standard_output, say
from alithis.cli.source import READING, SourceType, open_source, source_options, stream
from alithis.manifest.vocabulary import DATA_MINING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alithis.forms.keyed import PublisherKey
    from alithis.manifest.builder import Stream
    from alithis.manifest.metadata import Description
    from alithis.manifest.reader import Manifest
    from alithis.manifest.sorter import Presorted
    from alithis.readers import Skips


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
    _show_manifest(built, target, opened.skipped, seconds, as_json=as_json)
    _advise(built, target)


def _description(
    default: Mapping[str, str], metadata_from: Path | None, **words: Any
) -> Description:
    """Read what the options say of a dataset; ``default`` is what the source says of itself."""
    from alithis.manifest import vocabulary
    from alithis.manifest.metadata import Description

    base = _read_base(metadata_from) if metadata_from else {}
    for term in ("name", "url"):
        if words[term] is None and term not in base:
            words[term] = default.get(term)
    name = words.pop("name")
    if name is None:
        name = vocabulary.kept_terms(base).get("name", default["name"])
    statements: dict[str, list[str]] = {}
    for statement in words.pop("rai"):
        term, _, text = statement.partition("=")
        if not text:
            raise click.UsageError(f"--rai {statement}: write TERM=TEXT")
        statements.setdefault(term.removeprefix("rai:"), []).append(text)
    description = words.pop("description") or ""
    return Description(name, description, rai=statements, base=base, **words)


def _read_base(path: Path) -> dict[str, Any]:
    from alithis.manifest import metadata, vocabulary
    from alithis.manifest.reader import FileReader

    data = FileReader(path).read(0, metadata.MAX_BYTES + 1)
    if len(data) > metadata.MAX_BYTES:
        raise click.UsageError(
            f"{path}: more than {metadata.MAX_BYTES} bytes, which metadata may not have"
        )
    return vocabulary.parse_base(data, str(path))


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


class _Sizes:
    """Counts the data points whose size is known, and how many of them are short."""

    SHORT, SMALL = 64, 1024  # bytes

    def __init__(self, files: Iterable[Path]) -> None:
        """Count in items as they were written: runs that were broken off digested some of them."""
        import pyarrow.parquet as pq

        self.count = self.short = self.small = 0
        for path in files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["size"]):
                    self._add(_known(batch["size"]))

    def _add(self, sizes: NDArray[np.int64]) -> None:
        self.count += len(sizes)
        self.short += int((sizes <= self.SHORT).sum())
        self.small += int((sizes <= self.SMALL).sum())


def _known(column: Any) -> NDArray[np.int64]:
    """Return a column's numbers; `to_numpy` would import pandas, which takes long."""
    import numpy as np

    known = column.drop_null() if column.null_count else column
    if not len(known):
        return np.zeros(0, np.int64)
    return np.frombuffer(known.buffers()[1], np.int64, len(known), known.offset * 8)


_FEW = 1 << 32  # different data points that are tried within seconds


def _advise(built: Manifest, target: Path) -> None:
    """Warn where what is published tells more than its publisher may think (docs/privacy.md)."""
    data = built.metadata
    if data.scheme == "keyed":
        say(
            f"note: {target}/{data.items_files[0].name} holds names, sizes and labels as they "
            "are: keep it back if they are private",
            err=True,
        )
        return
    repeats = data.items - data.size
    seen = _Sizes(target / file.name for file in data.items_files)
    if not seen.count:
        return
    if seen.short * 100 >= seen.count:
        reason = f"{seen.short:,} of {seen.count:,} data points have at most {seen.SHORT} bytes"
    elif seen.small * 2 >= seen.count and data.items**2 < 2 * _FEW * repeats:
        reason = f"{repeats:,} of {data.items:,} data points are repeats: few different ones exist"
    else:
        return
    say(
        f"warning: {reason}. Whoever guesses one can see that it is there; "
        "if they are private, publish with --key-file instead (docs/privacy.md)",
        err=True,
    )


def _stem(source: Path | str) -> str:
    if isinstance(source, str):
        parts = urlsplit(source)
        name = parts.path.rstrip("/").rpartition("/")[2] or parts.netloc.rpartition("@")[2]
    else:
        name = source.resolve().name
    return re.sub(r"\.(gz|bz2|xz|zst)$", "", name, flags=re.IGNORECASE) or "dataset"


def _show_manifest(
    built: Manifest, target: Path, skipped: Skips, seconds: float, *, as_json: bool
) -> None:
    from alithis.ipfs.cid import Cid

    data = built.metadata
    facts = {
        "manifest": str(target),
        "name": data.name,
        "items": data.items,
        "size": data.size,
        "root": data.root.hex(),
        "metadata": data.digest.hex(),
        "uri": "ipfs://" + Cid.raw(data.digest).base16,
        "skipped": {"count": skipped.count, "names": [list(each) for each in skipped.names]},
    }
    if as_json:
        say(json.dumps(facts, indent=1))
        return
    repeats = data.items - data.size
    say(f"{target}: {data.items:,} data points in {seconds:.2f} s")
    say(f"  leaves    {data.size:,} distinct" + (f", {repeats:,} repeats" if repeats else ""))
    if skipped.count:
        names = "; ".join(f"{name}: {reason}" for name, reason in skipped.names[:3])
        say(f"  skipped   {skipped.count:,} ({names}{'; …' * (skipped.count > 3)})")
    say(f"  root      {facts['root']}")
    say(f"  metadata  {facts['metadata']}")
    say(f"  token URI {facts['uri']}")
