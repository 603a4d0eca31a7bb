"""``alithis lineage``: the graph around a token."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alithis.cli.options import (
    ANY,
    REFERENCE,
    index_folder,
    open_reference,
    reference_options,
    say,
)

if TYPE_CHECKING:
    from alithis.chain.index import Index
    from alithis.chain.queries import IndexStatus
    from alithis.chain.registry import Registry
    from alithis.verify.library import Shelf
    from alithis.verify.reference import Resolver
    from alithis.verify.target import Target
    from alithis.verify.verdict import Result


@click.command()
@click.argument("subject", metavar="TOKEN|DIR|URL|CID|FILE|HASH|TOKEN#CLAIM")
@click.option(
    "--up/--down", "upward", default=None, help="Only what it came from, or what came from it."
)
@click.option("--derived", is_flag=True, help="Only links by which one was made of the other.")
@click.option("--depth", type=click.IntRange(1), metavar="N", help="At most so many links away.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "list", "mermaid", "dot", "svg", "json"]),
    help="What to print  [default: tree, or with --kind or --grade list].",
)
@click.option("--kind", type=click.Choice(["dataset", "model"]), help="List these alone.")
@click.option(
    "--grade",
    type=click.Choice(["stated", "transcript", "countersigned"]),
    help="List only those whose strongest path has this grade.",
)
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar=REFERENCE,
    help="A manifest, for names and transcripts; repeatable.",
)
@click.option(
    "--index",
    "index_place",
    type=ANY,
    envvar="ALITHIS_INDEX",
    help="Folder of the index  [default: in the user's cache].",
)
@reference_options(required=True)
def lineage(
    subject: str,
    upward: bool | None,
    derived: bool,
    depth: int | None,
    form: str | None,
    kind: str | None,
    grade: str | None,
    places: tuple[str, ...],
    index_place: Path | None,
    references: Resolver,
) -> None:
    """Show what an artifact came from, and what came from it, however indirectly.

    The registry's events are read into an index, which the next call continues. A manifest stands
    for the tokens that commit to it, a FILE or HASH for the tokens that it is provably in, and
    TOKEN#CLAIM for those with the data point that a claim is about. Each link has its grade: stated
    by its publisher, recorded in a transcript, or countersigned; a token has the marks against it.
    A list gives each token the lowest grade on the strongest path to it.

    \b
    Examples:
      alithis lineage 7 --rpc URL --registry 0x…                 # both ways
      alithis lineage photos.alithis --down --derived            # what was made from it
      alithis lineage photos.alithis --down --derived --kind model
      alithis lineage cat.jpg --down --derived --kind model      # … from this very file
      alithis lineage 7 --up --kind dataset                      # the data model 7 rests on
      alithis lineage 7 --up --kind dataset --grade stated       # … by mere statement
      alithis lineage 3#1 --down --kind model                    # models that claim 1 touches
      alithis lineage 7 --format svg > lineage.svg
    """
    from alithis.chain.index import Index
    from alithis.chain.queries import DERIVES
    from alithis.lineage.diagrams import dot, mermaid
    from alithis.lineage.drawing import Drawing
    from alithis.lineage.svg import svg
    from alithis.lineage.text import listing, tree
    from alithis.manifest.terms import Relation
    from alithis.verify.library import Shelf

    if (kind or grade) and form not in (None, "list"):
        raise click.UsageError(f"--kind and --grade go with a list, not with --format {form}")
    reader = references.registry
    assert reader is not None  # the options are required
    named = [open_reference(references, place).manifest for place in places]
    shelf = Shelf(references.store, named, references.gateways)
    with Index.in_folder(index_place or index_folder(), reader) as index:
        _sync(index)
        found = index.lineage(
            _tokens_of(subject, index, reader, references, shelf),
            DERIVES if derived else tuple(Relation),
            up=upward is not False,
            down=upward is not True,
            depth=depth,
        )
    drawing = Drawing.of(found, shelf)
    if form == "json":
        say(json.dumps(drawing.as_object(), indent=1))
    elif form == "list" or kind or grade:
        _say_list(listing(drawing, kind, grade))
    else:
        formats = {"tree": tree, "mermaid": mermaid, "dot": dot, "svg": svg}
        say(formats[form or "tree"](drawing))
    if found.truncated:
        say(f"alithis: only the first {len(found.nodes):,} tokens are shown", err=True)


def _sync(index: Index) -> None:
    """Read what is new on the chain; a long reading is shown."""
    spoken = time.monotonic()

    def report(progress: IndexStatus) -> None:
        nonlocal spoken
        if time.monotonic() - spoken > 2:
            say(f"indexed to block {progress.block:,} of {progress.head:,}", err=True)
            spoken = time.monotonic()

    index.sync(report=report)


def _tokens_of(
    subject: str, index: Index, reader: Registry, references: Resolver, shelf: Shelf
) -> list[int]:
    """Find the tokens that are meant."""
    from alithis.errors import NoTokenError
    from alithis.verify.reference import Reference
    from alithis.verify.target import Target
    from alithis.verify.verdict import INCLUDED

    claim = re.fullmatch(r"([0-9]{1,15})#([0-9]{1,9})", subject)
    if claim and not Path(subject).exists():
        return _claimed(int(claim[1]), int(claim[2]), index, reader, shelf)
    if not _is_data_point(subject):
        reference = Reference.parse(subject)
        if reference.kind == "token":
            return [int(reference.address)]
        tokens = index.tokens_with(references.digest(reference))
        if not tokens:
            raise NoTokenError(f"{reference}: no token of registry {reader.address} commits to it")
        return tokens
    results = _verified(Target.parse(subject), reader, shelf)
    tokens = [each.token for each in results if each.verdict == INCLUDED and each.token]
    unknown = sum(each.verdict == "unverifiable" for each in results)
    if not tokens:
        raise NoTokenError(
            f"{subject}: in none of {len(results)} tokens, {unknown} of which could not be checked"
        )
    _say_unknown(unknown, subject)
    return tokens


def _is_data_point(subject: str) -> bool:
    """Tell whether a subject is a data point's file or hash, not a reference to a manifest.

    A number is a token even where a file has it for its name: ./7 is that file.
    """
    from alithis.manifest import metadata

    if re.fullmatch("(0x)?[0-9a-fA-F]{64}", subject):
        return True
    path = Path(subject)
    return not subject.isdecimal() and path.name != metadata.FILE and path.is_file()


def _verified(asked: Target, reader: Registry, shelf: Shelf) -> list[Result]:
    from alithis.verify.tokens import verify_token

    return [verify_token(asked, reader, shelf, record) for record in reader.tokens()]


def _claimed(token: int, number: int, index: Index, reader: Registry, shelf: Shelf) -> list[int]:
    """Find the tokens that have the data point which a claim is about, its own among them.

    A keyed leaf stands for a data point in its own token alone.
    """
    from alithis.verify.target import Target
    from alithis.verify.verdict import INCLUDED

    leaf = index.claimed_leaf(token, number)
    if reader.record(token).scheme == "keyed":
        return [token]
    results = _verified(Target(f"claim {number}", digest=leaf), reader, shelf)
    others = [each.token for each in results if each.verdict == INCLUDED and each.token]
    unknown = sum(each.verdict == "unverifiable" for each in results if each.token != token)
    _say_unknown(unknown, "the claimed data point")
    return sorted({token, *others})


def _say_unknown(unknown: int, what: str) -> None:
    if unknown:
        say(f"alithis: {unknown} tokens could not be checked for {what}", err=True)


def _say_list(lines: str) -> None:
    if lines:
        say(lines)
    else:
        say("alithis: none", err=True)
