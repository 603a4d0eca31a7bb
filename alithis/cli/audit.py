"""``alithis audit``: recompute everything that a manifest states."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import (
    REFERENCE,
    json_option,
    key_option,
    read_key,
    reference_options,
    say,
    was_typed,
)
from alithis.cli.source import READING, SourceType, open_source, source_options

if TYPE_CHECKING:
    from alithis.forms.keyed import PublisherKey
    from alithis.manifest.reader import Step
    from alithis.readers import Source
    from alithis.verify.reference import Resolver


@click.command()
@click.argument("place", metavar=REFERENCE)
@click.option("--withheld", is_flag=True, help="Accept a manifest whose items.parquet is withheld.")
@click.option(
    "--source",
    type=SourceType(exists=True, path_type=Path),
    help="The data: hash it again and compare it with the manifest, data point by data point.",
)
@source_options
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of processes  [default: one for each processor].",
)
@key_option
@click.option("--croissant", is_flag=True, help="Check the metadata with mlcroissant too.")
@reference_options()
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    /,
    place: str,
    withheld: bool,
    source: Path | str | None,
    workers: int | None,
    key_file: Path | None,
    croissant: bool,
    references: Resolver,
    as_json: bool,
    **reading: Any,
) -> None:
    """Check a manifest by recomputing everything in it: metadata, files, order, tree, items.

    With --source, the data is hashed again and compared with the manifest. Data points that are
    missing, added or changed are counted and named. Give the same options as when the manifest was
    made, and for keyed leaves the publisher's key.

    A manifest of a token, at a URL or on IPFS is first copied to a temporary folder, from IPFS by
    way of the local store. A token requires --rpc and --registry.

    Exit status: 0 if every check passes, 2 otherwise.

    \b
    Examples:
      alithis audit photos.alithis
      alithis audit photos.alithis --source photos/ --label-from-folder
      alithis audit corpus.alithis --source corpus.jsonl --column text
      alithis audit patients.alithis --source patients/ --key-file patients.key
      alithis audit https://example.org/photos.alithis
      alithis audit 7 --rpc URL --registry 0x…
    """
    from alithis.cli import terminal
    from alithis.forms.pool import Pool
    from alithis.manifest.audit import audit as recompute
    from alithis.readers.stream import stream
    from alithis.verify.reference import Reference

    reference = Reference.parse(place)
    with ExitStack() as stack:
        pool = stack.enter_context(Pool(workers))
        progress = stack.enter_context(terminal.shown())
        folder = stack.enter_context(references.local(reference, progress))
        key = _audited_key(folder, key_file) if source else None
        opened = _audited_source(folder, source, reading)
        steps = recompute(
            folder,
            withheld=withheld,
            source=stream(opened, pool, key) if opened else None,
            form=opened.form if opened else None,
            key_check=key.check if key else None,
            mlcroissant=croissant,
            progress=progress,
        )
    ok = all(step.ok for step in steps)
    if as_json:
        say(json.dumps({"ok": ok, "steps": [_step(step) for step in steps]}, indent=1))
    else:
        say(f"{reference}: {'sound' if ok else 'BROKEN'}")
        for step in steps:
            say(f"  {'ok  ' if step.ok else 'FAIL'} {step.step:13} {step.detail}")
    ctx.exit(0 if ok else 2)


def _audited_key(manifest_folder: Path, key_file: Path | None) -> PublisherKey | None:
    """Read the publisher's key if the manifest has keyed leaves."""
    from alithis.errors import SourceError
    from alithis.manifest.reader import Manifest

    stated = Manifest.open(manifest_folder).metadata
    if stated.scheme == "sha256":
        return None
    key = read_key(key_file)
    if key is None:
        raise SourceError(f"{stated.name}: its leaves are keyed. --source requires --key-file")
    key.require(stated.key_check)
    return key


def _audited_source(
    manifest_folder: Path, source: Path | str | None, reading: dict[str, Any]
) -> Source | None:
    """Open the data; a folder's files are read in the manifest's canonical form."""
    from alithis.manifest.reader import Manifest

    if source is None:
        if any(map(was_typed, READING)):
            raise click.UsageError("options for reading a source require --source")
        return None
    is_folder = isinstance(source, Path) and source.is_dir() and reading["column"] is None
    form = Manifest.open(manifest_folder).metadata.form if is_folder else None
    stated = form if form and form.name in ("bytes", "pixels", "text") else None
    return open_source(source, stated=stated, **reading)


def _step(step: Step) -> dict[str, Any]:
    return {"step": step.step, "ok": step.ok, "detail": step.detail}
