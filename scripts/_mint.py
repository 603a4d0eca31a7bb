"""What minting a dataset and minting a model share."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.display import printable
from scripts._common import (
    ScriptError,
    approve,
    find_registry,
    say,
    signer,
    submit,
    transport,
    unsent,
)

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI
    from ape.contracts import ContractInstance

    from alithis.inputs import Input
    from alithis.manifest import Manifest
    from alithis.registry import Record, Registry

MANIFEST = click.Path(exists=True, file_okay=False, path_type=Path)

Link = tuple[int, str]
"""A token's id, and the relation to it (``trained_on``, …)."""

link_option = click.option(
    "--link",
    "links",
    multiple=True,
    metavar="RELATION=TOKEN",
    help="An older token it was made from, such as trained_on=1; may be repeated.",
)
store_option = click.option(
    "--store",
    "store_folder",
    type=click.Path(path_type=Path),
    envvar="ALITHIS_STORE",
    show_envvar=True,
    help="The local store's folder.  [default: under the user's data directory]",
)


at_option = click.option(
    "--at",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Where others can read the manifest, which is asked for it: lighthouse, pinata, kubo=URL; "
    "may be repeated.  [needed on a live network]",
)
unpublished_option = click.option(
    "--unpublished", is_flag=True, help="Mint on a live network though nobody else has it."
)


@dataclass(frozen=True)
class Minted:
    """A token that was minted."""

    token: int
    transaction: str
    gas: int
    uri: str


def parse_links(texts: Sequence[str]) -> list[Link]:
    """Reads --link options.

    Raises:
        ScriptError: One is not RELATION=TOKEN.
    """
    from alithis.registry import Relation

    links = []
    for text in texts:
        match = re.fullmatch(r"([a-z_]+)=([0-9]{1,14})", text)
        if not match or match[1] not in {relation.value for relation in Relation}:
            relations = ", ".join(relation.value for relation in Relation)
            raise ScriptError(
                f"--link {text}: takes RELATION=TOKEN, the relation one of {relations}"
            )
        links.append((int(match[2]), match[1]))
    return links


def read_registry(contract: ContractInstance) -> Registry:
    """The library's view of a registry, through Ape's provider.

    Raises:
        RegistryError: There is no registry at the address.
    """
    from alithis.registry import Registry

    return Registry(transport(), contract.address)


def run(
    network: NetworkAPI,
    folder: Path,
    kind: str,
    links: list[Link],
    *,
    alias: str | None,
    address: str | None,
    store_folder: Path | None,
    hosts: Sequence[str],
    unpublished: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """What the commands mint_dataset and mint_model do; their options are its arguments.

    Raises:
        ScriptError: The manifest, the account, the registry or the balance is not fit for it.
    """
    from alithis.storage import Store

    manifest = open_sound(folder, kind)
    if hosts or not (network.is_dev or unpublished):
        check_published(folder, hosts)
    account = signer(alias, network)
    contract = find_registry(address, network, account)
    registry = read_registry(contract)
    links = list(dict.fromkeys([*input_links(registry, manifest, links), *links]))
    check_again(registry, manifest, account.address, yes=yes)
    Store(store_folder).put_manifest(folder)
    if not as_json:
        announce(manifest, contract, links)
    minted = mint(contract, manifest, links, account, yes=yes)
    if as_json:
        click.echo(json.dumps(as_object(minted, contract), indent=1))
        return
    click.echo(f"token {minted.token}")
    click.echo(f"  transaction {minted.transaction}")
    click.echo(f"  gas         {minted.gas:,}")
    click.echo(f"  URI         {minted.uri}")


def open_sound(folder: Path, kind: str | None) -> Manifest:
    """Opens a manifest that an audit finds sound: a broken one costs no gas.

    Args:
        folder: The manifest.
        kind: What it must be: ``dataset``, ``model``, or None for either.

    Raises:
        ScriptError: The audit fails, or it is of the other kind.
    """
    from alithis.audit import audit
    from alithis.manifest import Manifest

    for step in audit(folder):
        if not step.ok:
            raise ScriptError(f"{folder} is broken and was not minted: {step.step}: {step.detail}")
    manifest = Manifest.open(folder)
    if kind not in (None, manifest.metadata.kind):
        raise ScriptError(
            f"{folder} is a {manifest.metadata.kind}: use mint_{manifest.metadata.kind}"
        )
    return manifest


def check_published(folder: Path, hosts: Sequence[str]) -> None:
    """Asks the hosts for a manifest: one that others can read must have all of it.

    Raises:
        ScriptError: None has, or none of them is one that others can read.
        StorageError: A host is not known, or its key is missing.
    """
    from alithis.backends import open_backends
    from alithis.errors import StorageError
    from alithis.publish import missing
    from alithis.storage import parts_of

    remedy = f"`alithis store put {folder} --to lighthouse` puts it there; --unpublished mints it"
    if not hosts:
        raise ScriptError(f"{folder} would be on this machine alone: name a host --at … ({remedy})")
    said = []
    for host in open_backends(hosts):
        if not host.public:
            said.append(f"{host.name} is not one that others can read")
            continue
        try:
            lacking = missing(parts_of(folder), host)
        except StorageError as error:
            said.append(str(error))
            continue
        if not lacking:
            return
        said.append(f"{host.name} has not {', '.join(lacking)}")
    raise ScriptError(f"{'; '.join(said)} ({remedy})")


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
    from alithis.inputs import stated_inputs

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


def check_again(registry: Registry, manifest: Manifest, publisher: str, *, yes: bool) -> None:
    """Asks before the same publisher mints the same data points a second time.

    Raises:
        ScriptError: It was minted before, and nobody can be asked.
        click.Abort: The user thinks better of it.
    """
    data = manifest.metadata
    for record in registry.tokens():
        minted = (record.publisher, record.kind, record.root, record.size)
        if minted != (publisher, data.kind, data.root, data.size):
            continue
        same = "" if record.metadata_digest == data.digest else ", with other metadata"
        said = f"{data.name} is token {record.id} already, by the same publisher{same}"
        if yes:
            say(f"{said}; minting it again", err=True)
        elif not sys.stdin.isatty():
            raise ScriptError(f"{said}: --yes mints it again")
        else:
            click.confirm(printable(f"{said}. Mint it again?"), abort=True, err=True)
        return


def mint(
    contract: ContractInstance,
    manifest: Manifest,
    links: Sequence[Link],
    account: AccountAPI,
    *,
    yes: bool = False,
) -> Minted:
    """Mints a manifest's token and waits for it.

    Args:
        contract: The registry.
        manifest: What the token commits to.
        links: The older tokens it was made from.
        account: Its publisher, who pays.
        yes: Whether not to ask on a live network.

    Raises:
        ApeException: The transaction fails; the contract's error says why.
    """
    from alithis.cid import Cid

    data = manifest.metadata
    send = contract.mintDataset if data.kind == "dataset" else contract.mintModel
    arguments = commitment(manifest), numbered(links)
    transaction = unsent(send, *arguments, sender=account)
    approve(transaction, account, f"mint {data.name}", yes=yes)
    receipt = submit(transaction, account)
    (minted,) = receipt.events.filter(contract.Minted)
    return Minted(
        token=minted.id,
        transaction=receipt.txn_hash,
        gas=receipt.gas_used,
        uri="ipfs://" + Cid.raw(data.digest).base16,
    )


def numbered(links: Iterable[Link]) -> list[tuple[int, int]]:
    """Links as the contract takes them."""
    from alithis.registry import Relation

    return [(token, Relation(name).number) for token, name in links]


def worded(links: Sequence[tuple[int, int]]) -> list[Link]:
    """Links as the contract takes them, in words.

    Raises:
        ScriptError: There is no such relation.
    """
    from alithis.registry import Relation

    relations = list(Relation)
    if any(number >= len(relations) for _, number in links):
        raise ScriptError("a link has a relation that the registry does not know")
    return [(token, relations[number].value) for token, number in links]


def commitment(manifest: Manifest) -> tuple[bytes, int, int, bytes]:
    """What a token holds of a manifest: root, size, scheme's number, metadata digest."""
    from alithis.registry import Scheme

    data = manifest.metadata
    return data.root, data.size, Scheme(data.scheme).number, data.digest


def announce(manifest: Manifest, contract: ContractInstance, links: Sequence[Link]) -> None:
    """Says what a transaction is about to do."""
    from ape import networks

    data = manifest.metadata
    say(f"mint the {data.kind} {data.name} on {networks.provider.network_choice}")
    click.echo(f"  registry  {contract.address}")
    click.echo(f"  root      {data.root.hex()}")
    click.echo(f"  size      {data.size:,} leaves, {data.items:,} data points")
    click.echo(f"  metadata  {data.digest.hex()}")
    for token, relation in links:
        click.echo(f"  link      {relation} token {token}")


def as_object(minted: Minted, contract: ContractInstance) -> dict[str, Any]:
    """What --json prints."""
    return {
        "registry": contract.address,
        "token": minted.token,
        "transaction": minted.transaction,
        "gas": minted.gas,
        "uri": minted.uri,
    }
