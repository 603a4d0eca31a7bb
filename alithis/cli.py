"""The ``alithis`` command: it works on files and reads chains; `ape run` sends transactions.

Exit status of every command: 0 done, 2 an error, said in one line. ``verify`` exits with 0 for
included, 1 for absent and 2 for could not check, ``overlap`` with 1 for more than is allowed.
Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from alithis.errors import AlithisError
from alithis.vocabulary import DATA_MINING

if TYPE_CHECKING:
    from alithis.builder import Stream
    from alithis.digest import Form, Pool
    from alithis.index import Edge, Index, Lineage, Progress
    from alithis.keyed import PublisherKey
    from alithis.manifest import Items, Manifest, Step
    from alithis.metadata import Description
    from alithis.overlap import Side
    from alithis.readers import Skips, Source
    from alithis.registry import Registry
    from alithis.storage import Store, StoredManifest
    from alithis.verifier import Result, Shelf, Target

_EXISTING = click.Path(exists=True, path_type=Path)
_MANIFEST = click.Path(exists=True, file_okay=False, path_type=Path)
_ANY = click.Path(path_type=Path)
_CHAIN = click.IntRange(min=0)
_TOKEN = click.IntRange(min=1)
_KINDS = (  # readers.KINDS; a test holds them equal, and --help needs no reader
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

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_key_option = click.option(
    "--key-file",
    type=_ANY,
    metavar="FILE",
    help="The publisher's key, for a dataset with keyed leaves.",
)
_store_option = click.option(
    "--store",
    "store_folder",
    type=_ANY,
    envvar="ALITHIS_STORE",
    metavar="FOLDER",
    help="The local store  [default: ALITHIS_STORE, or a folder of the user's data directory].",
)


class _Commands(click.Group):
    """A group whose failures are one line and exit status 2: click's own 1 would say absent."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            path = (error.ctx or ctx).command_path
            message = error.format_message().rstrip(".")
            raise _Failure(f"{message}; {path} --help shows how") from error
        except AlithisError as error:
            raise _Failure(str(error)) from error
        except KeyboardInterrupt as error:
            raise _Failure("interrupted", 128 + signal.SIGINT) from error
        except BrokenPipeError:
            _drop_output()
            ctx.exit(2)


class _Failure(click.ClickException):
    """What is wrong, in one line."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(_printable(message.replace("\n", " ")))
        self.exit_code = exit_code


def _drop_output() -> None:
    """Let go of the output that nobody reads, which Python would try to flush at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable(text: str) -> str:
    """Show foreign text without what a terminal would obey, and what it has no characters for."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def _say(text: str, *, err: bool = False) -> None:
    click.echo(_printable(text), err=err)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="alithis")
def cli() -> None:
    """Proofs of where a machine-learning model's data came from.

    \b
    Examples:
      alithis manifest photos/ -o photos.alithis     hash a dataset
      alithis verify cat.jpg --manifest photos.alithis
      alithis verify cat.jpg --rpc http://127.0.0.1:8545 --registry 0x…
    """


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack a character
    try:
        cli()
    except OSError as error:  # nothing but the output is left: files have errors of ours
        _drop_output()
        click.echo(f"Error: cannot write the output: {error.strerror or error}", err=True)
        sys.exit(2)
    except Exception:  # a defect of ours; Python's own exit status, 1, would say absent
        traceback.print_exc()
        sys.exit(2)


def _terminate(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)  # as an exception, so that half-written output is removed


class _SourceType(click.Path):
    """A path that exists, or a URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and "://" in value and not value.startswith("file://"):
            return value
        return super().convert(str(value).removeprefix("file://"), param, ctx)


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a source is read."""
    options = (
        click.option(
            "--type",
            "kind",
            type=click.Choice(_KINDS),
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
            "--labels", type=_EXISTING, help="For IDX or .npy: the file with their labels."
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


_READING = (
    *("kind", "form", "mode", "column", "columns", "per", "label", "split", "keep", "labels"),
    *("label_from_folder", "split_from_folder"),
)
"""Names of the values of `_source_options`."""


def _open_source(
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
    from alithis import digest, readers

    if mode and form != "pixels":
        raise click.UsageError("--mode goes with --form pixels")
    wanted = digest.Form(form, mode or "RGB" if form == "pixels" else None) if form else stated
    return readers.open_source(
        source,
        form=wanted,
        columns=columns or None,
        per_sample=None if per is None else per == "sample",
        **options,
    )


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
            type=_EXISTING,
            metavar="FILE",
            help="A Croissant file whose words are kept; the options above override it.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("source", type=_SourceType(exists=True, path_type=Path))
@click.option(
    "-o", "--out", type=_ANY, help="The manifest to write  [default: SOURCE's name + .alithis]."
)
@_source_options
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes  [default: one a processor]."
)
@_description_options
@click.option(
    "--key-file",
    type=_ANY,
    metavar="FILE",
    help="Make keyed leaves with the key in FILE; a new key, if there is no such file.",
)
@click.option("--force", is_flag=True, help="Replace a manifest that exists.")
@click.option("--restart", is_flag=True, help="Do not go on where a run was broken off.")
@_json_option
def manifest(
    source: Path | str,
    out: Path | None,
    workers: int | None,
    key_file: Path | None,
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
    on from there.

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
    from alithis import digest, display
    from alithis.builder import build
    from alithis.place import check_target

    reading = {name: others.pop(name) for name in _READING}
    target = out or Path(_stem(source) + ".alithis")
    if (
        isinstance(source, Path)
        and source.is_dir()
        and target.resolve().is_relative_to(source.resolve())
    ):
        raise click.UsageError(
            f"{target} lies inside {source}, and would become part of it: -o names another place"
        )
    check_target(target, replace=force)
    _description({"name": _stem(source)}, **others)  # says what is wrong before anything is read
    key = _publishers_key(key_file, source, target) if key_file else None
    seen = _Seen()
    start = time.perf_counter()
    with digest.Pool(workers) as pool, display.shown() as progress:
        opened = _open_source(source, **reading)
        built = build(
            seen.watch(_stream(opened, pool, key)),
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
    _advise(built, target, seen)


def _description(
    default: Mapping[str, str], metadata_from: Path | None, **words: Any
) -> Description:
    """Read what the options say of a dataset; ``default`` is what the source says of itself."""
    from alithis import vocabulary
    from alithis.metadata import Description

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
    from alithis import metadata, vocabulary
    from alithis.manifest import LocalFile

    data = LocalFile(path).read(0, metadata.MAX_BYTES + 1)
    if len(data) > metadata.MAX_BYTES:
        raise click.UsageError(
            f"{path}: more than {metadata.MAX_BYTES} bytes, which metadata may not have"
        )
    return vocabulary.parse_base(data, str(path))


def _publishers_key(key_file: Path, source: Path | str, target: Path) -> PublisherKey:
    """Read or make the key, at a place where it is neither hashed nor published."""
    from alithis.keyed import obtain_key

    for folder in (source, target) if isinstance(source, Path) else (target,):
        if key_file.resolve().is_relative_to(folder.resolve()):
            raise click.UsageError(f"{key_file} lies inside {folder}: keep the key elsewhere")
    key, made = obtain_key(key_file)
    if made:
        _say(f"{key_file}: made a new key; keep a copy, as nothing can replace it", err=True)
    return key


_KEYED_AT_ONCE = 1 << 13  # data points; fewer are done where they are


def _keyed(batches: Iterable[Items], key: PublisherKey, pool: Pool) -> Iterator[Items]:
    """Put keyed leaves in the place of digests."""
    from dataclasses import replace

    for batch in batches:
        step = 32 * _KEYED_AT_ONCE
        parts = [batch.digests[at : at + step] for at in range(0, len(batch.digests), step)]
        leaves = pool.map(key.leaves, parts) if len(parts) > 1 else map(key.leaves, parts)
        yield replace(batch, digests=b"".join(leaves))


class _Seen:
    """Counts the data points whose size is known, and how many of them are short."""

    SHORT, SMALL = 64, 1024  # bytes

    def __init__(self) -> None:
        self.count = self.short = self.small = 0

    def watch(self, stream: Stream) -> Stream:
        """Pass a stream through, and count."""
        from dataclasses import replace

        return replace(stream, start=lambda first: map(self._count, stream.start(first)))

    def _count(self, batch: Items) -> Items:
        sizes = [size for size in batch.sizes if size is not None]
        self.count += len(sizes)
        self.short += sum(size <= self.SHORT for size in sizes)
        self.small += sum(size <= self.SMALL for size in sizes)
        return batch


_FEW = 1 << 32  # different data points that are tried within seconds


def _advise(built: Manifest, target: Path, seen: _Seen) -> None:
    """Warn where what is published tells more than its publisher may think (docs/privacy.md)."""
    data = built.metadata
    if data.scheme == "keyed":
        _say(
            f"note: {target}/{data.items_files[0].name} holds names, sizes and labels as they "
            "are: keep it back if they are private",
            err=True,
        )
        return
    repeats = data.items - data.size
    if not seen.count:  # sizes are not known, or all was hashed in a run before this one
        return
    if seen.short * 100 >= seen.count:
        reason = f"{seen.short:,} of {seen.count:,} data points have at most {seen.SHORT} bytes"
    elif seen.small * 2 >= seen.count and data.items**2 < 2 * _FEW * repeats:
        reason = f"{repeats:,} of {data.items:,} data points are repeats: few different ones exist"
    else:
        return
    _say(
        f"warning: {reason}. Whoever guesses one can see that it is there; "
        "if they are private, publish with --key-file instead (docs/privacy.md)",
        err=True,
    )


def _stem(source: Path | str) -> str:
    if isinstance(source, str):
        parts = urlsplit(source)
        name = parts.path.rstrip("/").rpartition("/")[2] or parts.netloc.rpartition("@")[2]
        return name.removesuffix(".gz") or "dataset"
    return source.resolve().name.removesuffix(".gz") or "dataset"


def _stream(source: Source, pool: Pool, key: PublisherKey | None = None) -> Stream:
    """Take a source's data points; where there is a key, keyed leaves in place of digests."""
    from alithis.builder import Stream

    if key is None:
        return Stream(source.identity, partial(source.digested, pool), source.count)
    # Work that broke off must not go on with another key.
    identity = source.identity and f"{source.identity}, keyed {key.check.hex()}"
    return Stream(
        identity, lambda first: _keyed(source.digested(pool, first), key, pool), source.count
    )


def _show_manifest(
    built: Manifest, target: Path, skipped: Skips, seconds: float, *, as_json: bool
) -> None:
    from alithis.cid import Cid

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
        _say(json.dumps(facts, indent=1))
        return
    repeats = data.items - data.size
    _say(f"{target}: {data.items:,} data points in {seconds:.2f} s")
    _say(f"  leaves    {data.size:,} distinct" + (f", {repeats:,} repeats" if repeats else ""))
    if skipped.count:
        names = "; ".join(f"{name}: {reason}" for name, reason in skipped.names[:3])
        _say(f"  skipped   {skipped.count:,} ({names}{'; …' * (skipped.count > 3)})")
    _say(f"  root      {facts['root']}")
    _say(f"  metadata  {facts['metadata']}")
    _say(f"  token URI {facts['uri']}")


@cli.command()
@click.argument("place", metavar="MANIFEST|URL")
@click.argument("target", metavar="FILE|HASH")
@click.option("-o", "--out", type=_ANY, help="The proof file to write  [default: print it].")
@_key_option
@click.option("--chain", type=_CHAIN, metavar="ID", help="Chain that the proof is to name.")
@click.option("--registry", metavar="ADDRESS", help="Registry that the proof is to name.")
@click.option("--token", type=_TOKEN, metavar="ID", help="Token that the proof is to name.")
def prove(
    place: str,
    target: str,
    out: Path | None,
    key_file: Path | None,
    chain: int | None,
    registry: str | None,
    token: int | None,
) -> None:
    """Write a proof that a data point is in a manifest, or absent.

    FILE is brought into the manifest's canonical form; HASH is the SHA-256 of that form. The
    manifest is a folder, or the URL of one, which is read by HTTP range.

    Of keyed leaves, --key-file opens this one: the proof holds its item key, and tells nothing
    of the others.

    \b
    Examples:
      alithis prove photos.alithis cat.jpg -o cat.proof.json
      alithis prove https://example.org/photos.alithis cat.jpg -o cat.proof.json
      alithis prove patients.alithis scan.png --key-file patients.key -o scan.proof.json
      alithis verify cat.jpg --proof cat.proof.json --root … --size …
    """
    from dataclasses import replace

    from alithis import proof
    from alithis.ranges import open_manifest
    from alithis.verifier import Target

    opened = open_manifest(place)
    asked = Target.parse(target, key=_read_key(key_file))
    if asked.proof is not None:
        raise click.UsageError(f"{target} is a proof file already; alithis verify checks it")
    found = opened.prove(asked.leaf(opened.metadata))
    if isinstance(found, proof.Inclusion):
        found = replace(found, opening=asked.opening(opened.metadata))
    subject = proof.Subject(opened.metadata.name, opened.metadata.digest, chain, registry, token)
    data = proof.dump(found, subject)
    proof.load(data)  # what --registry brings in must be readable again
    if out is None:
        click.echo(data, nl=False)
        return
    _write(out, data)
    word = "inclusion" if isinstance(found, proof.Inclusion) else "absence"
    _say(f"{out}: proof of {word}, leaf {found.leaf.hex()}")
    if word == "absence" and opened.metadata.scheme == "keyed":
        _say("note: that it is this data point's leaf shows the publisher's key alone", err=True)


def _read_key(path: Path | None) -> PublisherKey | None:
    from alithis.keyed import read_key

    return None if path is None else read_key(path)


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    from alithis.errors import SourceError
    from alithis.place import write_whole

    try:
        write_whole(path, data)
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror}") from error


@cli.command()
@click.argument("target", metavar="FILE|HASH|PROOF")
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar="DIR|URL",
    help="A manifest, here or at a URL; without --rpc, the one to verify against. Repeatable.",
)
@click.option("--proof", "proof_file", type=_EXISTING, help="A proof file about FILE.")
@_key_option
@click.option("--root", metavar="HASH", help="The root that the manifest or proof must have.")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="The size, with --root.")
@click.option("--rpc", envvar="ALITHIS_RPC", metavar="URL", help="The chain  [or ALITHIS_RPC].")
@click.option(
    "--registry",
    envvar="ALITHIS_REGISTRY",
    metavar="ADDRESS",
    help="The registry on the chain  [or ALITHIS_REGISTRY].",
)
@click.option("--chain", type=_CHAIN, metavar="ID", help="Chain id that the endpoint must serve.")
@click.option(
    "--token",
    "tokens",
    type=_TOKEN,
    metavar="ID",
    multiple=True,
    help="A token to verify against; may be repeated  [default: all, or the proof's].",
)
@_store_option
@_json_option
@click.pass_context
def verify(
    ctx: click.Context,
    target: str,
    places: tuple[str, ...],
    proof_file: Path | None,
    key_file: Path | None,
    root: str | None,
    size: int | None,
    rpc: str | None,
    registry: str | None,
    chain: int | None,
    tokens: tuple[int, ...],
    store_folder: Path | None,
    as_json: bool,
) -> None:
    """Verify that a data point is in a dataset, or absent from it.

    The report gives each step of the proof, and the models whose publishers link to the dataset.

    With --rpc and --registry, root and size come from the chain, and the manifests from the
    local store or --manifest. Without, they come from --root and --size, or from the manifest
    itself, which the report then says.

    With --proof it is checked that the proof is about FILE. Against keyed leaves this takes a
    proof from their publisher, or the publisher's key.

    Exit status: 0 included, 1 absent, 2 could not check.

    \b
    Examples:
      alithis verify cat.jpg --manifest photos.alithis
      alithis verify cat.jpg --rpc http://127.0.0.1:8545 --registry 0x… --token 1
      alithis verify cat.jpg --manifest https://example.org/photos.alithis
      alithis verify cat.jpg --proof cat.proof.json --root 4f… --size 60000 --json
      alithis verify scan.png --manifest patients.alithis --key-file patients.key
    """
    from alithis import verifier

    asked = verifier.Target.parse(target, proof_file=proof_file, key=_read_key(key_file))
    if (root is None) != (size is None):
        raise click.UsageError("--root and --size go together")
    if rpc and registry and root is None:
        from alithis.registry import HttpTransport, Registry
        from alithis.storage import Store

        shelf = verifier.Shelf(Store(store_folder), _at_hand(places))
        opened = Registry(HttpTransport(rpc), registry, chain)
        results = verifier.verify_tokens(asked, opened, shelf, tokens or None)
    elif any(map(_was_typed, ("rpc", "registry", "chain", "tokens"))):
        raise click.UsageError(
            "--rpc and --registry go together, and without --root; --chain and --token go with them"
        )
    elif places or root:
        results = _verify_offline(asked, places, root, size)
    else:
        raise click.UsageError(
            "against what? Give --manifest DIR or URL, or --rpc URL and --registry ADDRESS, "
            "or, for a proof file, --root and --size"
        )
    _show_results(asked, results, as_json=as_json)
    ctx.exit(verifier.status(results))


def _verify_offline(
    asked: Target, places: tuple[str, ...], root: str | None, size: int | None
) -> list[Result]:
    from alithis import verifier

    committed = _root(root) if root else None
    if places:
        return [
            verifier.unopened(place, found)
            if isinstance(found, AlithisError)
            else verifier.verify_manifest(asked, found, root=committed, size=size)
            for place, found in _opened(places)
        ]
    if asked.proof is None or committed is None or size is None:
        raise click.UsageError("--root and --size alone serve proof files; add --manifest DIR")
    return [verifier.verify_proof(asked, root=committed, size=size)]


def _opened(places: tuple[str, ...]) -> Iterator[tuple[str, Manifest | AlithisError]]:
    """Open manifests; where there are several, one that cannot be opened does not end it."""
    from alithis.ranges import open_manifest

    for place in places:
        try:
            yield place, open_manifest(place)
        except AlithisError as error:
            if len(places) == 1:
                raise
            yield place, error


def _at_hand(places: tuple[str, ...]) -> Iterator[Manifest]:
    for _, found in _opened(places):
        if isinstance(found, AlithisError):
            _say(f"alithis: {found}", err=True)
        else:
            yield found


def _was_typed(parameter: str) -> bool:
    source = click.get_current_context().get_parameter_source(parameter)
    return source is click.core.ParameterSource.COMMANDLINE


def _root(text: str) -> bytes:
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != 32:
        raise click.UsageError("--root takes 64 hexadecimal digits")
    return data


def _show_results(asked: Target, results: list[Result], *, as_json: bool) -> None:
    from alithis import verifier

    if as_json:
        _say(json.dumps(verifier.as_json(asked, results), indent=1))
        return
    name = asked.name.replace("\n", "\\n")
    # Whoever asks about a file must not take a proof that poses as one for its answer.
    _say(f"{name}: a proof file, about another data point" if asked.kind == "proof" else name)
    for result in results:
        _say(verifier.as_text(result))
    if not results:
        _say("  the registry has no tokens yet: nothing to verify against")


@cli.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option("--list", "listed", is_flag=True, help="List the shared data points.")
@click.option(
    "--fail-over",
    type=click.IntRange(min=0),
    metavar="N",
    help="Exit with status 1 if they share more than N data points.",
)
@_json_option
@click.pass_context
def overlap(
    ctx: click.Context, left: str, right: str, listed: bool, fail_over: int | None, as_json: bool
) -> None:
    """Count the data points that two manifests share, exactly.

    A and B are manifests, of datasets or of models, in folders or at URLs. Their data points must
    have the same canonical form and, where leaves are keyed, the same publisher's key.

    Exit status: 0 done, 1 more than --fail-over allows, 2 could not compare.

    \b
    Examples:
      alithis overlap train.alithis test.alithis --fail-over 0
      alithis overlap base.alithis tuned.alithis --list
      alithis overlap train.alithis https://example.org/test.alithis --json
    """
    from alithis.overlap import Side, shared

    sides = Side.open(left), Side.open(right)
    found = shared(*(side.manifest for side in sides))
    show = _list_json if as_json else _list_lines
    count = show(found, sides) if listed else sum(len(leaves) // 32 for leaves in found)
    facts = {key: _side(side) for key, side in zip("ab", sides, strict=True)}
    if as_json:
        _say(json.dumps({"shared": count, **facts}, indent=1)[listed:].lstrip())
    else:
        _say(f"{count:,} shared data points")
        for side in facts.values():
            _say(f"  {count / side['size']:.4%} of the {side['size']:,} in {side['name']}")
    ctx.exit(1 if fail_over is not None and count > fail_over else 0)


def _side(side: Side) -> dict[str, Any]:
    data = side.manifest.metadata
    return {"name": data.name, "size": data.size, "root": data.root.hex()}


def _named(
    found: Iterable[bytes], sides: Sequence[Side]
) -> Iterator[tuple[bytes, list[str], list[str]]]:
    """Give shared data points as they are found: there may be more than memory holds."""
    for leaves in found:
        each = [leaves[at : at + 32] for at in range(0, len(leaves), 32)]
        left, right = (side.paths_of(each) for side in sides)
        yield from zip(each, left, right, strict=True)


def _list_lines(found: Iterable[bytes], sides: Sequence[Side]) -> int:
    count = 0
    for leaf, left, right in _named(found, sides):
        names = (", ".join(paths) or "-" for paths in (left, right))
        _say("  ".join((leaf.hex(), *names)))
        count += 1
    return count


def _list_json(found: Iterable[bytes], sides: Sequence[Side]) -> int:
    """Print the first member of a JSON object, which the caller goes on with."""
    count = 0
    click.echo('{"data_points": [', nl=False)
    for leaf, left, right in _named(found, sides):
        point = json.dumps({"leaf": leaf.hex(), "a": left, "b": right})
        click.echo(("," if count else "") + f"\n {point}", nl=False)
        count += 1
    click.echo("],")
    return count


@cli.command()
@click.argument("manifest_folder", metavar="MANIFEST", type=_MANIFEST)
@click.option("--withheld", is_flag=True, help="Accept that the items were kept back.")
@click.option(
    "--source",
    type=_SourceType(exists=True, path_type=Path),
    help="Hash this again, and compare data point by point; with the options below.",
)
@_source_options
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes  [default: one a processor]."
)
@_key_option
@click.option("--croissant", is_flag=True, help="Have mlcroissant judge the metadata too.")
@_json_option
@click.pass_context
def audit(
    ctx: click.Context,
    /,
    manifest_folder: Path,
    withheld: bool,
    source: Path | str | None,
    workers: int | None,
    key_file: Path | None,
    croissant: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Recompute all that a manifest states: metadata, files, order, tree, items.

    With --source, the data is hashed again in the manifest's canonical form, and what the source
    lacks, has beyond the manifest, or has otherwise is counted and named. Give the options that
    the manifest was made with; for keyed leaves, the publisher's key.

    Exit status: 0 all holds, 2 something does not.

    \b
    Examples:
      alithis audit photos.alithis
      alithis audit photos.alithis --source photos/ --label-from-folder
      alithis audit corpus.alithis --source corpus.jsonl --column text
      alithis audit patients.alithis --source patients/ --key-file patients.key
    """
    from alithis import digest, display
    from alithis.audit import audit as recompute

    key = _audited_key(manifest_folder, key_file) if source else None
    with digest.Pool(workers) as pool, display.shown() as progress:
        opened = _audited_source(manifest_folder, source, reading)
        steps = recompute(
            manifest_folder,
            withheld=withheld,
            source=_stream(opened, pool, key) if opened else None,
            form=opened.form if opened else None,
            key_check=key.check if key else None,
            mlcroissant=croissant,
            progress=progress,
        )
    ok = all(step.ok for step in steps)
    if as_json:
        _say(json.dumps({"ok": ok, "steps": [_step(step) for step in steps]}, indent=1))
    else:
        _say(f"{manifest_folder}: {'sound' if ok else 'BROKEN'}")
        for step in steps:
            _say(f"  {'ok  ' if step.ok else 'FAIL'} {step.step:13} {step.detail}")
    ctx.exit(0 if ok else 2)


def _audited_key(manifest_folder: Path, key_file: Path | None) -> PublisherKey | None:
    """Read the key that leaves are to be made with again."""
    from alithis.errors import SourceError
    from alithis.manifest import Manifest

    stated = Manifest.open(manifest_folder).metadata
    if stated.scheme == "sha256":
        return None
    key = _read_key(key_file)
    if key is None:
        raise SourceError(f"{stated.name}: its leaves are keyed; --source takes --key-file too")
    key.require(stated.key_check)
    return key


def _audited_source(
    manifest_folder: Path, source: Path | str | None, reading: dict[str, Any]
) -> Source | None:
    """Open what is hashed again: a folder's files in the form that the manifest states."""
    from alithis.manifest import Manifest

    if source is None:
        if any(map(_was_typed, _READING)):
            raise click.UsageError("the options of a source go with --source")
        return None
    is_folder = isinstance(source, Path) and source.is_dir() and reading["column"] is None
    form = Manifest.open(manifest_folder).metadata.form if is_folder else None
    stated = form if form and form.name in ("bytes", "pixels", "text") else None
    return _open_source(source, stated=stated, **reading)


def _step(step: Step) -> dict[str, Any]:
    return {"step": step.step, "ok": step.ok, "detail": step.detail}


@cli.group()
def store() -> None:
    """Manifests in and out of the local store.

    \b
    Examples:
      alithis store put photos.alithis
      alithis store ls
      alithis store get ipfs://f01551220… -o photos.alithis
    """


@store.command("put")
@click.argument("manifest_folder", metavar="MANIFEST", type=_MANIFEST)
@_store_option
@_json_option
def store_put(manifest_folder: Path, store_folder: Path | None, as_json: bool) -> None:
    """Copy a manifest's files into the store, each under its CID.

    \b
    Example:
      alithis store put photos.alithis
    """
    opened = _open_store(store_folder)
    cid = opened.put_manifest(manifest_folder)
    if as_json:
        _say(json.dumps({"cid": str(cid), "uri": "ipfs://" + cid.base16}, indent=1))
    else:
        _say(f"{manifest_folder}: stored as {cid}")


def _open_store(folder: Path | None) -> Store:
    from alithis.storage import Store

    return Store(folder)


@store.command("get")
@click.argument("reference", metavar="CID|DIGEST")
@click.option("-o", "--out", type=_ANY, required=True, help="The directory to write.")
@_store_option
@_json_option
def store_get(reference: str, out: Path, store_folder: Path | None, as_json: bool) -> None:
    """Copy a manifest out of the store; every file is checked against its digests.

    The reference is the CID of its metadata.json (a token's URI) or that file's SHA-256.

    \b
    Example:
      alithis store get ipfs://f01551220… -o photos.alithis
    """
    from alithis.cid import Cid

    digest = reference.removeprefix("0x")
    cid = Cid.parse(f"f01551220{digest.lower()}" if len(digest) == 64 else reference)
    withheld = _open_store(store_folder).get_manifest(cid, out)
    if as_json:
        _say(json.dumps({"manifest": str(out), "withheld": withheld}, indent=1))
        return
    _say(f"{out}: written" + (f"; not in the store: {', '.join(withheld)}" * bool(withheld)))


@store.command("ls")
@_store_option
@_json_option
def store_ls(store_folder: Path | None, as_json: bool) -> None:
    """List the manifests in the store.

    \b
    Example:
      alithis store ls
    """
    listing = _open_store(store_folder).manifests()
    if as_json:
        manifests = [_stored(manifest) for manifest in listing.manifests]
        _say(json.dumps({"manifests": manifests, "problems": listing.problems}, indent=1))
        return
    for manifest in listing.manifests:
        _say(
            f"{manifest.cid}  {manifest.kind:7}  {manifest.size:>12,} leaves"
            f"  {manifest.bytes:>14,} bytes  {manifest.name}"
        )
    for problem in listing.problems:
        _say(f"alithis: {problem}", err=True)
    if not listing.manifests:
        _say("no manifests; alithis store put MANIFEST adds one", err=True)


def _stored(manifest: StoredManifest) -> dict[str, Any]:
    return {
        "cid": str(manifest.cid),
        "name": manifest.name,
        "kind": manifest.kind,
        "size": manifest.size,
        "bytes": manifest.bytes,
        "withheld": manifest.withheld,
    }


@cli.command()
@click.argument("subject", metavar="TOKEN|MANIFEST|FILE|HASH")
@click.option(
    "--up/--down", "upward", default=None, help="Only what it came from, or what came from it."
)
@click.option("--derived", is_flag=True, help="Only links by which one was made of the other.")
@click.option("--depth", type=click.IntRange(1), metavar="N", help="At most so many links away.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "mermaid", "dot", "svg", "json"]),
    default="tree",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--rpc", envvar="ALITHIS_RPC", metavar="URL", required=True, help="The chain  [or ALITHIS_RPC]."
)
@click.option(
    "--registry",
    envvar="ALITHIS_REGISTRY",
    metavar="ADDRESS",
    required=True,
    help="The registry on the chain  [or ALITHIS_REGISTRY].",
)
@click.option("--chain", type=_CHAIN, metavar="ID", help="Chain id that the endpoint must serve.")
@click.option(
    "--manifest", "manifests", type=_MANIFEST, multiple=True, help="A manifest at hand, for names."
)
@click.option(
    "--index",
    "index_folder",
    type=_ANY,
    envvar="ALITHIS_INDEX",
    help="Folder of the index  [default: in the user's cache].",
)
@_store_option
def lineage(
    subject: str,
    upward: bool | None,
    derived: bool,
    depth: int | None,
    form: str,
    rpc: str,
    registry: str,
    chain: int | None,
    manifests: tuple[Path, ...],
    index_folder: Path | None,
    store_folder: Path | None,
) -> None:
    """Show what an artifact came from, and what came from it, however indirectly.

    The registry's events are read into an index, which the next call goes on with. A FILE or
    HASH stands for the tokens that it is provably in. Each link has its grade: stated by its
    publisher, recorded in a transcript, or countersigned; a token has the marks against it.

    \b
    Examples:
      alithis lineage 7 --rpc URL --registry 0x…                 # both ways
      alithis lineage photos.alithis --down --derived            # every model trained on it
      alithis lineage cat.jpg --down --derived                   # … on this very file
      alithis lineage 7 --up                                     # what model 7 rests on
      alithis lineage 7 --format svg > lineage.svg
    """
    from alithis.index import DERIVES, Index
    from alithis.registry import HttpTransport, Registry, Relation
    from alithis.storage import Store
    from alithis.verifier import Shelf

    reader = Registry(HttpTransport(rpc), registry, chain)
    shelf = Shelf(Store(store_folder), manifests)
    with Index.beneath(index_folder or _index_folder(), reader) as index:
        _sync(index)
        found = index.lineage(
            _tokens_of(subject, index, reader, shelf),
            DERIVES if derived else tuple(Relation),
            up=upward is not False,
            down=upward is not True,
            depth=depth,
        )
    _show_lineage(found, shelf, form)


def _index_folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("alithis") / "index"


def _sync(index: Index) -> None:
    """Read what is new on the chain; a long reading is shown."""
    spoken = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal spoken
        if time.monotonic() - spoken > 2:
            _say(f"indexed to block {progress.block:,} of {progress.head:,}", err=True)
            spoken = time.monotonic()

    index.sync(report=report)


def _tokens_of(subject: str, index: Index, reader: Registry, shelf: Shelf) -> list[int]:
    """Find the tokens that are meant."""
    from alithis.errors import NoTokenError
    from alithis.manifest import Manifest
    from alithis.verifier import INCLUDED, Target, verify_token

    if subject.isdecimal() and len(subject) < 16 and not Path(subject).exists():
        return [int(subject)]
    if Path(subject).is_dir():
        tokens = index.tokens_of(Manifest.open(Path(subject)).metadata.digest)
        if not tokens:
            raise NoTokenError(f"{subject}: no token of registry {reader.address} commits to it")
        return tokens
    asked = Target.parse(subject)
    results = [verify_token(asked, reader, shelf, record) for record in reader.tokens()]
    tokens = [each.token for each in results if each.verdict == INCLUDED and each.token]
    if not tokens:
        unknown = sum(each.verdict == "unverifiable" for each in results)
        raise NoTokenError(
            f"{subject}: in none of {len(results)} tokens, {unknown} of which could not be checked"
        )
    return tokens


def _show_lineage(found: Lineage, shelf: Shelf, form: str) -> None:
    from alithis.drawing import Drawing

    statements = {id: shelf.statement(node.metadata) for id, node in found.nodes.items()}

    def grade(edge: Edge) -> str:
        target = found.nodes[edge.target]
        stated = statements[edge.token]
        if edge.countersigned:
            return "countersigned"
        recorded = stated.transcript(edge.relation.value, target.metadata, target.size)
        return "transcript" if recorded else "stated"

    names = {id: stated.name for id, stated in statements.items() if stated.name}
    drawing = Drawing(found, names, grade)
    if form == "json":
        _say(json.dumps(drawing.as_json(), indent=1))
    else:
        _say(getattr(drawing, form)())
    if found.truncated:
        _say(f"alithis: only the first {len(found.nodes):,} tokens are shown", err=True)
