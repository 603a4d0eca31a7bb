"""``alithis lineage``: the graph around a token."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alithis.cli.frame import ANY, CHAIN, MANIFEST, index_folder, say, store_option

if TYPE_CHECKING:
    from alithis.index import Edge, Index, Lineage, Progress
    from alithis.registry import Registry
    from alithis.verifier import Shelf


@click.command()
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
@click.option("--chain", type=CHAIN, metavar="ID", help="Chain id that the endpoint must serve.")
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
    index_place: Path | None,
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
    with Index.beneath(index_place or index_folder(), reader) as index:
        _sync(index)
        found = index.lineage(
            _tokens_of(subject, index, reader, shelf),
            DERIVES if derived else tuple(Relation),
            up=upward is not False,
            down=upward is not True,
            depth=depth,
        )
    _show_lineage(found, shelf, form)


def _sync(index: Index) -> None:
    """Read what is new on the chain; a long reading is shown."""
    spoken = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal spoken
        if time.monotonic() - spoken > 2:
            say(f"indexed to block {progress.block:,} of {progress.head:,}", err=True)
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
        say(json.dumps(drawing.as_json(), indent=1))
    else:
        say(getattr(drawing, form)())
    if found.truncated:
        say(f"alithis: only the first {len(found.nodes):,} tokens are shown", err=True)
