"""``alithis overlap``: count the data points that two manifests share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import REFERENCE, json_option, open_reference, reference_options, say

if TYPE_CHECKING:
    from alithis.manifest.overlap import Side
    from alithis.verify.reference import Resolver


@click.command()
@click.argument("left", metavar=f"A:{REFERENCE}")
@click.argument("right", metavar=f"B:{REFERENCE}")
@click.option("--list", "listed", is_flag=True, help="List the shared data points.")
@click.option(
    "--fail-over",
    type=click.IntRange(min=0),
    metavar="N",
    help="Exit with status 1 if they share more than N data points.",
)
@reference_options()
@json_option
@click.pass_context
def overlap(
    ctx: click.Context,
    left: str,
    right: str,
    listed: bool,
    fail_over: int | None,
    references: Resolver,
    as_json: bool,
) -> None:
    """Count the data points that two datasets or models share, exactly.

    A and B are manifests: a folder, an http, https or s3 URL, ipfs://CID, or a token, which
    requires --rpc and --registry. They can be compared if their data points have the same
    canonical form and, for keyed leaves, the same publisher's key. Only equal data points are
    counted: a copy that was cropped, for example, is another data point. --list gives their paths
    for a manifest that is a folder.

    Exit status: 0 if they were compared, 1 if they share more than --fail-over allows, 2 if they
    could not be compared.

    \b
    Examples:
      alithis overlap train.alithis test.alithis --fail-over 0
      alithis overlap base.alithis tuned.alithis --list
      alithis overlap train.alithis https://example.org/test.alithis --json
      alithis overlap 7 ipfs://f01551220… --rpc URL --registry 0x…
    """
    from alithis.manifest.overlap import shared, shown

    sides = _opened(references, left), _opened(references, right)
    found = shared(*(side.manifest for side in sides))
    show = _list_json if as_json else _list_lines
    count = show(found, sides) if listed else sum(len(leaves) // 32 for leaves in found)
    facts = {key: _side(side) for key, side in zip("ab", sides, strict=True)}
    # Both have the same scheme and form, except that only one may state the images' size.
    stated = sides[0].manifest.metadata
    form = replace(stated.form, width=None, height=None)
    if as_json:
        facts_of_form = {key: value for key, value in asdict(form).items() if value is not None}
        same = {"scheme": stated.scheme, "form": facts_of_form}
        say(json.dumps({"shared": count, "compared": same, **facts}, indent=1)[listed:].lstrip())
    else:
        say(f"{count:,} shared data points")
        say(
            f"  compared: digests in the canonical form {shown(form)}, scheme {stated.scheme}; "
            "only equal digests are found, not the same data in another form"
        )
        for side in facts.values():
            say(f"  {count / side['size']:.4%} of the {side['size']:,} in {side['name']}")
    ctx.exit(1 if fail_over is not None and count > fail_over else 0)


def _opened(references: Resolver, place: str) -> Side:
    from alithis.manifest.overlap import Paths, Side

    found = open_reference(references, place)
    manifest, folder = found.manifest, found.folder
    return Side(manifest, Paths.at(folder, manifest.metadata) if folder else None)


def _side(side: Side) -> dict[str, Any]:
    data = side.manifest.metadata
    return {"name": data.name, "size": data.size, "root": data.root.hex()}


def _named(
    found: Iterable[bytes], sides: Sequence[Side]
) -> Iterator[tuple[bytes, list[str], list[str]]]:
    """Yield shared data points as they are found: there may be more than fit into memory."""
    for leaves in found:
        each = [leaves[at : at + 32] for at in range(0, len(leaves), 32)]
        left, right = (side.paths_of(each) for side in sides)
        yield from zip(each, left, right, strict=True)


def _list_lines(found: Iterable[bytes], sides: Sequence[Side]) -> int:
    count = 0
    for leaf, left, right in _named(found, sides):
        names = (", ".join(paths).replace("\n", "\\n") or "-" for paths in (left, right))
        say("  ".join((leaf.hex(), *names)))  # one line each, even if a path contains a line break
        count += 1
    return count


def _list_json(found: Iterable[bytes], sides: Sequence[Side]) -> int:
    """Print the first member of a JSON object; the caller prints the rest."""
    count = 0
    click.echo('{"data_points": [', nl=False)
    for leaf, left, right in _named(found, sides):
        point = json.dumps({"leaf": leaf.hex(), "a": left, "b": right})
        click.echo(("," if count else "") + f"\n {point}", nl=False)
        count += 1
    click.echo("],")
    return count
