"""``alithis audit``: recompute all that a manifest states."""

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
@click.option("--withheld", is_flag=True, help="Accept that the items were kept back.")
@click.option(
    "--source",
    type=SourceType(exists=True, path_type=Path),
    help="Hash this again, and compare data point by point; with the options below.",
)
@source_options
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes  [default: one a processor]."
)
@key_option
@click.option("--croissant", is_flag=True, help="Have mlcroissant judge the metadata too.")
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
    """Recompute all that a manifest states: metadata, files, order, tree, items.

    With --source, the data is hashed again in the manifest's canonical form, and what the source
    lacks, has beyond the manifest, or has otherwise is counted and named. Give the options that
    the manifest was made with; for keyed leaves, the publisher's key.

    A manifest at a URL, on IPFS or of a token is copied to a temporary folder first; from IPFS it
    goes through the local store, as with `alithis store get`. A token takes --rpc and --registry.

    Exit status: 0 all holds, 2 something does not.

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
    """Read the key that leaves are to be made with again."""
    from alithis.errors import SourceError
    from alithis.manifest.reader import Manifest

    stated = Manifest.open(manifest_folder).metadata
    if stated.scheme == "sha256":
        return None
    key = read_key(key_file)
    if key is None:
        raise SourceError(f"{stated.name}: its leaves are keyed; --source takes --key-file too")
    key.require(stated.key_check)
    return key


def _audited_source(
    manifest_folder: Path, source: Path | str | None, reading: dict[str, Any]
) -> Source | None:
    """Open what is hashed again: a folder's files in the form that the manifest states."""
    from alithis.manifest.reader import Manifest

    if source is None:
        if any(map(was_typed, READING)):
            raise click.UsageError("the options of a source go with --source")
        return None
    is_folder = isinstance(source, Path) and source.is_dir() and reading["column"] is None
    form = Manifest.open(manifest_folder).metadata.form if is_folder else None
    stated = form if form and form.name in ("bytes", "pixels", "text") else None
    return open_source(source, stated=stated, **reading)


def _step(step: Step) -> dict[str, Any]:
    return {"step": step.step, "ok": step.ok, "detail": step.detail}
