"""What a token is linked to: as --link says, and as a model's metadata names its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from alithis.errors import AlithisError
from scripts._common import ScriptError

if TYPE_CHECKING:
    from alithis.chain.records import Record
    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from alithis.manifest.transcript import Input
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf

Link = tuple[int, str]
"""A token's id, and the relation to it (``trained_on``, …)."""

link_option = click.option(
    "--link",
    "links",
    multiple=True,
    metavar="RELATION=TOKEN|MANIFEST",
    help="An older token it was made from, such as trained_on=1, or its manifest, a folder or "
    "URL, which is looked up in the registry; may be repeated.",
)


def of_model(registry: Registry, manifest: Manifest, texts: Sequence[str]) -> list[Link]:
    """The links of a token: those of its metadata's inputs, and those that are given.

    Raises:
        ScriptError: A link cannot be read, or no token, or several, are what it means.
    """
    given = parse(texts, registry)
    return list(dict.fromkeys([*input_links(registry, manifest, given), *given]))


def parse(texts: Sequence[str], registry: Registry | None) -> list[Link]:
    """Reads --link options.

    Args:
        texts: RELATION=TOKEN, or RELATION=MANIFEST.
        registry: Where manifests are looked up; None where there is none at hand.

    Raises:
        ScriptError: One is neither; or no token, or several, have the manifest.
    """
    from alithis.manifest.terms import Relation

    links = []
    for text in texts:
        relation, _, target = text.partition("=")
        if not target or relation not in {known.value for known in Relation}:
            relations = ", ".join(known.value for known in Relation)
            raise ScriptError(
                f"--link {text}: takes RELATION=TOKEN or RELATION=MANIFEST, the relation one of "
                f"{relations}"
            )
        links.append((_numbered(text, target) or _token(text, target, registry), relation))
    return links


def _numbered(text: str, target: str) -> int | None:
    """A token by its number, if it is one: a folder of such a name is given as ./1."""
    if not re.fullmatch("[0-9]+", target):
        return None
    if not 1 <= int(target[:20]) < 1 << 48:
        raise ScriptError(f"--link {text}: tokens are numbered from 1, in at most 48 bits")
    return int(target)


def _token(text: str, place: str, registry: Registry | None) -> int:
    """The token of a manifest: the same root and the same metadata."""
    from alithis.verify.reference import open_manifest

    if registry is None:
        raise ScriptError(f"--link {text}: name the token; offline no manifest can be looked up")
    try:
        data = open_manifest(place, registry=registry).metadata
    except AlithisError as error:
        raise ScriptError(
            f"--link {text}: takes RELATION=TOKEN or RELATION=MANIFEST: {error}"
        ) from error
    found = [
        record
        for record in registry.tokens()
        if (record.metadata_digest, record.root) == (data.digest, data.root)
    ]
    if not found:
        raise ScriptError(
            f"--link {text}: no token of registry {registry.address} commits to {data.name}; "
            "mint that first"
        )
    if len(found) > 1:
        several = ", ".join(f"{record.id} by {record.publisher}" for record in found)
        raise ScriptError(f"--link {text}: several tokens commit to {data.name}: {several}")
    return found[0].id


def input_links(registry: Registry, manifest: Manifest, chosen: Sequence[Link] = ()) -> list[Link]:
    """The tokens of what a model's metadata names as its inputs: for each its publisher's oldest.

    Args:
        registry: Where they are looked up, by metadata digest.
        manifest: The model's.
        chosen: Links the user gave: one of them to a token of an input decides for that input.

    Raises:
        ScriptError: An input has no token in the registry, or several publishers minted it, or
            the metadata states its inputs wrongly.
    """
    from alithis.manifest.transcript import stated_inputs

    tokens: dict[bytes, list[Record]] = {}
    for record in registry.tokens():
        if not record.withdrawn and not record.disordered:
            tokens.setdefault(record.metadata_digest, []).append(record)
    links = []
    for given in stated_inputs(manifest.metadata):
        records = tokens.get(given.metadata, [])
        if not {(record.id, given.relation) for record in records} & set(chosen):
            links.append((_only(records, given, registry), given.relation))
    return links


def _only(records: Sequence[Record], given: Input, registry: Registry) -> int:
    """The token of an input, unless it may be a copier's: anybody can mint what is public."""
    if not records:
        raise ScriptError(
            f"{given.relation} {given.name}: no token of registry {registry.address} has the "
            f"metadata {given.metadata.hex()}; mint that first"
        )
    if len({record.publisher for record in records}) > 1:
        several = ", ".join(f"{record.id} by {record.publisher}" for record in records)
        raise ScriptError(
            f"{given.name} was minted by several publishers (token {several}): "
            f"choose with --link {given.relation}=TOKEN"
        )
    return records[0].id


def warnings(registry: Registry, links: Sequence[Link], store: Store) -> Iterator[str]:
    """What speaks against links: marks of their targets, and test data that was trained on.

    The latter is found where the store has both manifests; where it has not, that is said.
    """
    from alithis.verify.library import Shelf

    records = {record.id: record for record in registry.records({token for token, _ in links})}
    for token, relation in links:
        record = records[token]
        marks = {
            "was withdrawn": record.withdrawn,
            "was proved not to be in order": record.disordered,
            f"is superseded by token {record.superseded_by}": record.superseded_by,
            f"has {record.open_claims} open claims": record.open_claims,
        }
        yield from (
            f"{relation} {token}: the token {said}" for said, holds in marks.items() if holds
        )
    shelf = Shelf(store)
    for trained in _related(links, "trained_on"):
        for tested in _related(links, "tested_on", "validated_on"):
            yield from _shared(shelf, records[trained], records[tested])


def _related(links: Iterable[Link], *relations: str) -> list[int]:
    return [token for token, relation in links if relation in relations]


def _shared(shelf: Shelf, trained: Record, tested: Record) -> Iterator[str]:
    from alithis.manifest.overlap import shared

    try:
        left, right = (shelf.open(each.metadata_digest) for each in (trained, tested))
        count = sum(len(leaves) // 32 for leaves in shared(left, right))
    except AlithisError as error:  # one is not at hand, or the two cannot be compared
        yield (
            f"whether token {tested.id}, which is no training data, shares any with token "
            f"{trained.id} was not checked: {error}"
        )
        return
    if count:
        yield (
            f"{right.metadata.name} (token {tested.id}) shares {count:,} data points with "
            f"{left.metadata.name} (token {trained.id}), which the model was trained on"
        )


def numbered(links: Iterable[Link]) -> list[tuple[int, int]]:
    """Links as the contract takes them."""
    from alithis.manifest.terms import Relation

    return [(token, Relation(name).number) for token, name in links]


def worded(links: Sequence[tuple[int, int]]) -> list[Link]:
    """Links as the contract takes them, in words.

    Raises:
        ScriptError: There is no such relation.
    """
    from alithis.manifest.terms import Relation

    relations = list(Relation)
    if any(number >= len(relations) for _, number in links):
        raise ScriptError("a link has a relation that the registry does not know")
    return [(token, relations[number].value) for token, number in links]
