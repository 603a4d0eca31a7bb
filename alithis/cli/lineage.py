"""``alithis lineage``: what a token was made from, and what was made from it."""

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
    "--up/--down",
    "upward",
    default=None,
    help="Show only what it came from, or only what came from it  [default: both].",
)
@click.option(
    "--derived",
    is_flag=True,
    help="Follow only links that mean 'was made from', so not tested_on, for example.",
)
@click.option("--depth", type=click.IntRange(1), metavar="N", help="Show at most N links away.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "list", "mermaid", "dot", "svg", "json"]),
    help="Output format  [default: tree; list with --kind or --grade].",
)
@click.option(
    "--kind", type=click.Choice(["dataset", "model"]), help="List only datasets, or only models."
)
@click.option(
    "--grade",
    type=click.Choice(["stated", "transcript", "countersigned"]),
    help="List only tokens whose strongest path has this grade.",
)
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar=REFERENCE,
    help="A manifest to read names and transcripts from; may be repeated.",
)
@click.option(
    "--index",
    "index_place",
    type=ANY,
    envvar="ALITHIS_INDEX",
    help="Folder of the index  [default: in your cache folder].",
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
    """Show what a dataset or model was made from, and what was made from it.

    The subject is a token; a manifest, which means the tokens that commit to it; a FILE or HASH,
    which means the tokens that provably contain it; or TOKEN#CLAIM, which means the tokens that
    contain the data point of that claim.

    Each link is shown with its evidence: stated by the publisher, recorded in a transcript, or
    countersigned by the owner of the other token. Each token is shown with its known problems. In
    a list, a token has the grade of its strongest path, which is the grade of that path's weakest
    link.

    The registry's events are kept in a local index, so the next call reads only new blocks.

    \b
    Examples:
      alithis lineage 7 --rpc URL --registry 0x…              # in both directions
      alithis lineage photos.alithis --down --derived         # what was made from it
      alithis lineage cat.jpg --down --derived --kind model   # models made from this file
      alithis lineage 7 --up --kind dataset                   # datasets behind model 7
      alithis lineage 7 --up --kind dataset --grade stated    # … only stated by publishers
      alithis lineage 3#1 --down --kind model                 # models that claim 1 affects
      alithis lineage 7 --format svg > lineage.svg

    All but the first assume that ALITHIS_RPC and ALITHIS_REGISTRY are set.
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
        raise click.UsageError(
            f"--kind and --grade cannot be used with --format {form}. Use --format list"
        )
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
        _say_list(listing(drawing, kind, grade), len(found.nodes) - len(found.roots))
    else:
        formats = {"tree": tree, "mermaid": mermaid, "dot": dot, "svg": svg}
        say(formats[form or "tree"](drawing))
    if found.truncated:
        say(f"alithis: only the first {len(found.nodes):,} tokens are shown", err=True)


def _sync(index: Index) -> None:
    """Read new events from the chain, and show progress if it takes long."""
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
    """Return the tokens that the subject means."""
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
            f"{subject}: is in none of the {len(results) - unknown} tokens that could be checked; "
            f"{unknown} could not be checked"
        )
    _say_unknown(unknown, subject)
    return tokens


def _is_data_point(subject: str) -> bool:
    """Tell whether a subject is a data point's file or hash, not a reference to a manifest.

    A number is always a token; a file that is called 7 is written ./7.
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
    """Return the tokens that contain the data point of a claim, the claimed token included.

    A keyed leaf cannot be compared with leaves of other tokens, so then it is that token alone.
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


def _say_list(lines: str, others: int) -> None:
    if lines:
        say(lines)
    elif others:
        say(f"alithis: no match; linked tokens looked at: {others:,}", err=True)
    else:
        say("alithis: no linked tokens were found with these options", err=True)
