"""The steps of the lineage examples: mint, countersign, lineage, report, exports, verification.

`ape run digits` and `ape run speeches` make the manifests, and then run these steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis_ape import links as links_module
from alithis_ape import minting
from alithis_ape.command import CommandError
from alithis_ape.contract import container, read_registry

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI
    from ape.contracts import ContractInstance

    from alithis.chain.records import Link
    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from alithis.reports.report import Overlap, Report
    from alithis.verify.library import Shelf


@dataclass(frozen=True)
class Member:
    """A dataset or model of the example.

    Attributes:
        folder: Its manifest.
        publisher: The number of the test account that mints it.
        links: Links besides the inputs in its metadata, as pairs of a relation and the target's
            position among the members.
    """

    folder: Path
    publisher: int = 0
    links: Sequence[tuple[str, int]] = field(default=())


@dataclass(frozen=True)
class Minted:
    """The minted members.

    Attributes:
        contract: The registry.
        registry: The library's reader for it.
        tokens: The members' tokens, in the members' order.
        shelf: The members' manifests.
    """

    contract: ContractInstance
    registry: Registry
    tokens: Sequence[int]
    shelf: Shelf


def title(text: str) -> None:
    """Print the title of a step."""
    click.secho(f"\n{text}", bold=True)


def say(text: str) -> None:
    """Print a line of a step."""
    click.echo(f"  {text}")


@contextmanager
def local(network: NetworkAPI) -> Iterator[None]:
    """Run an example without Ape's log.

    Raises:
        CommandError: The network is live.
    """
    from ape.logging import LogLevel, logger

    if not network.is_dev:
        raise CommandError(f"the example runs only on local chains, not on {network.choice}")
    with logger.at_level(LogLevel.WARNING):
        yield


def run(
    members: Sequence[Member], folder: Path, *, frozen: Sequence[str], example: Path, what: str
) -> None:
    """Run all steps, from minting to verification.

    Args:
        members: The artifacts; the last two are a model and its fine-tune.
        folder: Where output is written.
        frozen: Paths in the manifest of what the fine-tune must share with its parent.
        example: A file that is a data point of the parent's training data.
        what: What the file is, such as "image".
    """
    from alithis.manifest.reader import Manifest

    base, tuned = (member.folder for member in members[-2:])
    title("Mint")
    minted = mint(members, folder / "store")
    title("Countersign")
    countersign(minted)
    title("Lineage")
    lineage(minted, minted.tokens[-1:], folder)
    title("What the fine-tune shares with its parent")
    shared(base, tuned, frozen)
    title("Report")
    found = report(minted, minted.tokens[-1], folder)
    title("Exports")
    export(found, Manifest.open(tuned), folder)
    title(f"Follow one {what}")
    trace(minted, example, folder)


def mint(members: Sequence[Member], store_folder: Path) -> Minted:
    """Store the members, deploy a registry, and mint them there."""
    from ape import accounts

    from alithis.chain.records import Link
    from alithis.manifest.terms import Relation
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf

    store = Store(store_folder)
    contract = accounts.test_accounts[0].deploy(container())
    registry = read_registry(contract)
    tokens: list[int] = []
    for member in members:
        manifest = minting.open_sound(member.folder, None)
        store.put_manifest(member.folder)
        given = [Link(tokens[at], Relation(relation)) for relation, at in member.links]
        links = list(dict.fromkeys([*_inputs(registry, manifest, given), *given]))
        account = accounts.test_accounts[member.publisher]
        tokens.append(minting.mint(contract, manifest, links, account).token)
        made = ", ".join(f"{link.relation} token {link.target}" for link in links) or "no links"
        say(f"token {tokens[-1]}: {manifest.metadata.kind} {manifest.metadata.name}, {made}")
        for warning in links_module.warnings(registry, links, store):
            say(f"warning: {warning}")
    return Minted(contract, registry, tokens, Shelf(store))


def _inputs(registry: Registry, manifest: Manifest, given: Sequence[Link]) -> list[Link]:
    is_model = manifest.metadata.kind == "model"
    return links_module.input_links(registry, manifest, given) if is_model else []


def countersign(minted: Minted) -> None:
    """Confirm each link as the owner of its target."""
    for token in minted.tokens:
        for position, link in enumerate(minted.registry.links(token)):
            owner = _account(minted.registry.owner_of(link.target))
            minted.contract.countersign(token, position, sender=owner)
            say(f"{link.relation} token {link.target}, of token {token}: by {owner.address}")


def _account(address: str) -> AccountAPI:
    from ape import accounts

    return next(each for each in accounts.test_accounts if each.address == address)


def lineage(minted: Minted, tokens: Sequence[int], folder: Path) -> None:
    """Show what tokens came from and what came from them, as text and as a picture."""
    from alithis.chain.index import Index
    from alithis.lineage.drawing import Drawing
    from alithis.lineage.svg import svg
    from alithis.lineage.text import tree

    with Index.in_folder(folder / "index", minted.registry) as index:
        index.sync()
        found = index.lineage(tokens)
    drawing = Drawing.of(found, minted.shelf)
    click.echo(tree(drawing))
    _write(folder / "lineage.svg", svg(drawing))


def shared(base: Path, tuned: Path, frozen: Sequence[str]) -> None:
    """List what a fine-tune shares with its parent, as `alithis overlap --list` does.

    Raises:
        CommandError: It does not share exactly what was frozen.
    """
    from alithis.manifest import overlap
    from alithis.manifest.reader import Manifest

    parent, child = Manifest.open(base), Manifest.open(tuned)
    found = b"".join(overlap.shared(parent, child))
    leaves = [found[at : at + 32] for at in range(0, len(found), 32)]
    side = overlap.Side(child, overlap.Paths.at(tuned, child.metadata))
    names = sorted(name for paths in side.paths_of(leaves) for name in paths)
    if names != sorted(frozen):
        raise CommandError(f"expected to share {sorted(frozen)}, found {names}")
    for name in names:
        say(name)


def report(minted: Minted, model: int, folder: Path) -> Report:
    """Write a model's report, and the draft of its training summary."""
    from alithis.reports import eu_summary, model_report
    from alithis.reports.gather import report as gather

    found = gather(model, minted.shelf, minted.registry)
    _write(folder / "report.html", model_report.write(found, "html"))
    _write(folder / "report.md", model_report.write(found, "markdown"))
    _write(folder / "training-summary.html", eu_summary.write(found, "html"))
    for overlap in found.overlaps:
        say(f"{overlap.first.name} shares {_count(overlap)} data points with {overlap.second.name}")
    for overlap in found.parents:
        say(f"{overlap.second.name} shares {_count(overlap)} files and tensors with its parent")
    for text in found.disagreements:
        say(f"disagreement: {text}")
    return found


def export(found: Report, manifest: Manifest, folder: Path) -> None:
    """Write a model in the formats of other standards, and validate the bill of materials."""
    from alithis.errors import MissingExtraError
    from alithis.reports import cyclonedx, in_toto, model_signing

    bill = cyclonedx.bill(found)
    _write(folder / "bill.cdx.json", _json(bill))
    try:
        cyclonedx.check(bill)
        say("the bill of materials is valid CycloneDX")
    except MissingExtraError as error:
        say(f"the bill of materials was not checked: {error}")
    _write(folder / "provenance.intoto.json", _json(in_toto.statement(found)))
    _write(folder / "model-signing.json", _json(model_signing.statement(manifest)))


def trace(minted: Minted, example: Path, folder: Path) -> dict[int, str]:
    """Verify a training example, and follow it to every model that was made from it.

    Returns:
        Each such model's token, with the grade of its strongest path.
    """
    from alithis.chain.index import Index
    from alithis.chain.queries import DERIVES
    from alithis.lineage.drawing import Drawing
    from alithis.verify import tokens as tokens_module
    from alithis.verify import verdict
    from alithis.verify.target import Target

    target = Target.parse(str(example))
    included = []
    for result in tokens_module.verify_tokens(target, minted.registry, minted.shelf):
        if result.verdict == verdict.INCLUDED and result.token is not None:
            click.echo(verdict.as_text(result))
            included.append(result.token)
    if not included:
        raise CommandError(f"{example}: is in none of the datasets")
    with Index.in_folder(folder / "index", minted.registry) as index:
        index.sync()
        found = index.lineage(included, DERIVES, up=False)
    drawing = Drawing.of(found, minted.shelf)
    models = {
        id: grade for id, grade in drawing.evidence().items() if found.nodes[id].kind == "model"
    }
    for id, grade in models.items():
        say(f"{example.name} -> {drawing.names.get(id)} (token {id}): strongest path is {grade}")
    return models


def _count(overlap: Overlap) -> str:
    return "an unknown number of" if overlap.shared is None else str(overlap.shared)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    from alithis.base.files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    say(f"{path}")
