"""``alithis overlap``: count the data points that two manifests share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import json_option, say

if TYPE_CHECKING:
    from alithis.manifest.overlap import Side


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option("--list", "listed", is_flag=True, help="List the shared data points.")
@click.option(
    "--fail-over",
    type=click.IntRange(min=0),
    metavar="N",
    help="Exit with status 1 if they share more than N data points.",
)
@json_option
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
    from alithis.manifest.overlap import shared

    sides = _opened(left), _opened(right)
    found = shared(*(side.manifest for side in sides))
    show = _list_json if as_json else _list_lines
    count = show(found, sides) if listed else sum(len(leaves) // 32 for leaves in found)
    facts = {key: _side(side) for key, side in zip("ab", sides, strict=True)}
    if as_json:
        say(json.dumps({"shared": count, **facts}, indent=1)[listed:].lstrip())
    else:
        say(f"{count:,} shared data points")
        for side in facts.values():
            say(f"  {count / side['size']:.4%} of the {side['size']:,} in {side['name']}")
    ctx.exit(1 if fail_over is not None and count > fail_over else 0)


def _opened(place: str) -> Side:
    from alithis.manifest.overlap import Paths, Side
    from alithis.storage.http_manifest import is_url, open_manifest

    manifest = open_manifest(place)
    return Side(manifest, None if is_url(place) else Paths.at(Path(place), manifest.metadata))


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
        names = (", ".join(paths).replace("\n", "\\n") or "-" for paths in (left, right))
        say("  ".join((leaf.hex(), *names)))  # a line each, whatever the paths hold
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
