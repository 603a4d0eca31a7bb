"""A token's links: those of --link, and those to the inputs that a model's metadata states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from alithis.chain import mint
from alithis.chain.records import Link
from alithis.errors import AlithisError
from alithis.manifest.terms import Relation
from alithis_ape.command import CommandError

if TYPE_CHECKING:
    from alithis.chain.records import Record
    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf
    from alithis.verify.reference import Resolver

link_option = click.option(
    "--link",
    "links",
    multiple=True,
    metavar="RELATION=TOKEN|DIR|URL|CID",
    help="A token that this one was made from, such as trained_on=1, or a manifest whose token is "
    "looked up in the registry; may be repeated.",
)


def links_of(
    registry: Registry, manifest: Manifest, texts: Sequence[str], resolver: Resolver
) -> list[Link]:
    """Return a token's links: to the inputs in its metadata, and those of --link.

    Raises:
        CommandError: A link cannot be read, or does not mean exactly one token.
        MintError: An input has no token, or tokens of several publishers.
    """
    given = parse(texts, registry, resolver)
    return list(dict.fromkeys([*input_links(registry, manifest, given), *given]))


def input_links(registry: Registry, manifest: Manifest, chosen: Sequence[Link] = ()) -> list[Link]:
    """Return a model's links to the tokens of its stated inputs; a dataset states none.

    Raises:
        MintError: An input has no token, or tokens of several publishers.
    """
    from alithis.manifest.transcript import stated_inputs

    return mint.input_links(registry, stated_inputs(manifest.metadata), chosen)


def parse(texts: Sequence[str], registry: Registry | None, resolver: Resolver) -> list[Link]:
    """Parse --link options.

    Args:
        texts: RELATION=TOKEN, or RELATION=MANIFEST.
        registry: Where the tokens of manifests are looked up; None when offline.
        resolver: Opens the manifests.

    Raises:
        CommandError: A link cannot be read, or does not mean exactly one token.
    """
    links = []
    for text in texts:
        relation, _, target = text.partition("=")
        if not target or relation not in {known.value for known in Relation}:
            relations = ", ".join(known.value for known in Relation)
            raise CommandError(
                "--link: write RELATION=TOKEN or RELATION=MANIFEST, where RELATION is one of "
                f"{relations}"
            )
        token = _target(relation, target, registry, resolver)
        links.append(Link(token, Relation(relation)))
    return links


def _target(relation: str, text: str, registry: Registry | None, resolver: Resolver) -> int:
    """Return the token that a reference means; for a manifest, the one that commits to it."""
    from alithis.verify.reference import Reference

    option = f"--link {relation}"
    try:
        reference = Reference.parse(text)
        if reference.kind == "token":
            return int(reference.address)
        option = f"--link {relation}={reference}"
        if registry is None:
            raise CommandError(
                f"{option}: offline, a manifest's token cannot be looked up. Name the token"
            )
        data = resolver.open(reference).manifest.metadata
        return mint.find_token(registry, data.root, data.digest, data.name)
    except AlithisError as error:
        raise CommandError(f"{option}: {error}") from error


def warnings(registry: Registry, links: Sequence[Link], store: Store) -> Iterator[str]:
    """Yield known problems of links: marks of their targets, and test data that was trained on.

    The latter is checked if the store has both manifests. If not, the warning says so.
    """
    from alithis.verify.library import Shelf

    targets = {link.target for link in links}
    records = {record.id: record for record in registry.records(targets)}
    yield from mint.target_warnings(links, records)
    shelf = Shelf(store)
    for trained in _related(links, "trained_on"):
        for tested in _related(links, "tested_on", "validated_on"):
            yield from _shared(shelf, records[trained], records[tested])


def _related(links: Sequence[Link], *relations: str) -> list[int]:
    return [link.target for link in links if link.relation in relations]


def _shared(shelf: Shelf, trained: Record, tested: Record) -> Iterator[str]:
    from alithis.manifest.overlap import shared

    try:
        left, right = (shelf.open(each.metadata_digest) for each in (trained, tested))
        count = sum(len(leaves) // 32 for leaves in shared(left, right))
    except AlithisError as error:  # one is not available, or the two cannot be compared
        yield (
            f"not checked: whether token {tested.id} (test or validation data) shares data points "
            f"with token {trained.id} (training data): {error}"
        )
        return
    if count:
        yield (
            f"{right.metadata.name} (token {tested.id}) shares {count:,} data points with "
            f"{left.metadata.name} (token {trained.id}), which the model was trained on"
        )
