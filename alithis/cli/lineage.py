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
    MANIFEST,
    chain_options,
    gateway_option,
    index_folder,
    say,
    store_option,
)

if TYPE_CHECKING:
    from alithis.chain.index import Index
    from alithis.chain.queries import IndexStatus
    from alithis.chain.registry import Registry
    from alithis.verify.library import Shelf
    from alithis.verify.target import Target
    from alithis.verify.verdict import Result


@click.command()
@click.argument("subject", metavar="TOKEN|MANIFEST|FILE|HASH|TOKEN#CLAIM")
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
    help="List those alone whose best way here has this as its weakest link.",
)
@chain_options(required=True)
@click.option(
    "--manifest", "manifests", type=MANIFEST, multiple=True, help="A manifest at hand, for names."
)
@click.option(
    "--index",
    "index_place",
    type=ANY,
    envvar="ALITHIS_INDEX",
    help="Folder of the index  [default: in the user's cache].",
)
@store_option
@gateway_option
def lineage(
    subject: str,
    upward: bool | None,
    derived: bool,
    depth: int | None,
    form: str | None,
    kind: str | None,
    grade: str | None,
    rpc: str,
    registry: str,
    chain: int | None,
    manifests: tuple[Path, ...],
    index_place: Path | None,
    store_folder: Path | None,
    gateways: tuple[str, ...],
) -> None:
    """Show what an artifact came from, and what came from it, however indirectly.

    The registry's events are read into an index, which the next call goes on with. A FILE or
    HASH stands for the tokens that it is provably in, TOKEN#CLAIM for those with the data point
    that a claim is about. Each link has its grade: stated by its publisher, recorded in a
    transcript, or countersigned; a token has the marks against it. A list gives each token the
    grade of the weakest link on the best way to it.

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
    from alithis.chain.registry import Registry
    from alithis.chain.rpc import HttpTransport
    from alithis.lineage.diagrams import dot, mermaid
    from alithis.lineage.drawing import Drawing
    from alithis.lineage.svg import svg
    from alithis.lineage.text import listing, tree
    from alithis.manifest.terms import Relation
    from alithis.storage.fallback import Gateways
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf

    if (kind or grade) and form not in (None, "list"):
        raise click.UsageError(f"--kind and --grade go with a list, not with --format {form}")
    reader = Registry(HttpTransport(rpc), registry, chain)
    shelf = Shelf(Store(store_folder), manifests, Gateways.named(gateways))
    with Index.in_folder(index_place or index_folder(), reader) as index:
        _sync(index)
        found = index.lineage(
            _tokens_with(subject, index, reader, shelf),
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


def _tokens_with(subject: str, index: Index, reader: Registry, shelf: Shelf) -> list[int]:
    """Find the tokens that are meant."""
    from alithis.errors import NoTokenError
    from alithis.manifest.reader import Manifest
    from alithis.verify.target import Target
    from alithis.verify.verdict import INCLUDED

    if subject.isdecimal() and len(subject) < 16 and not Path(subject).exists():
        return [int(subject)]
    claim = re.fullmatch(r"([0-9]{1,15})#([0-9]{1,9})", subject)
    if claim and not Path(subject).exists():
        return _claimed(int(claim[1]), int(claim[2]), index, reader, shelf)
    if Path(subject).is_dir():
        tokens = index.tokens_with(Manifest.open(Path(subject)).metadata.digest)
        if not tokens:
            raise NoTokenError(f"{subject}: no token of registry {reader.address} commits to it")
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
