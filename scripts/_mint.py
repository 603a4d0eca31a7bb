"""What minting a dataset and minting a model share."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.base.text import printable
from scripts import _links
from scripts._common import (
    ScriptError,
    approve,
    find_registry,
    number_in,
    say,
    signer,
    submit,
    transport,
    unsent,
)

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI
    from ape.contracts import ContractInstance

    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from scripts._links import Link

MANIFEST = click.Path(exists=True, file_okay=False, path_type=Path)

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


def read_registry(contract: ContractInstance) -> Registry:
    """The library's view of a registry, through Ape's provider.

    Raises:
        RegistryError: There is no registry at the address.
    """
    from alithis.chain.registry import Registry

    return Registry(transport(), contract.address)


def run(
    network: NetworkAPI,
    folder: Path,
    kind: str,
    links: Sequence[str],
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
    from alithis.storage.store import Store

    manifest = open_sound(folder, kind)
    if hosts or not (network.is_dev or unpublished):
        check_published(folder, hosts)
    account = signer(alias, network)
    contract = find_registry(address, network, account)
    registry = read_registry(contract)
    tokens = _links.of_model(registry, manifest, links)
    check_again(registry, manifest, account.address, yes=yes)
    store = Store(store_folder)
    store.put_manifest(folder)
    for warning in _links.warnings(registry, tokens, store):
        say(f"warning: {warning}", err=True)
    if not as_json:
        announce(manifest, contract, tokens)
    minted = mint(contract, manifest, tokens, account, yes=yes)
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
    from alithis.manifest.audit import audit
    from alithis.manifest.reader import Manifest

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
    from alithis.errors import StorageError
    from alithis.storage.hosts import open_backends
    from alithis.storage.store import parts_of
    from alithis.storage.upload import missing

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
    from alithis.ipfs.cid import Cid

    data = manifest.metadata
    send = contract.mintDataset if data.kind == "dataset" else contract.mintModel
    arguments = commitment(manifest), _links.numbered(links)
    transaction = unsent(send, *arguments, sender=account)
    approve(transaction, account, f"mint {data.name}", yes=yes)
    receipt = submit(transaction, account)
    return Minted(
        token=number_in(receipt, contract.Minted, "id"),
        transaction=receipt.txn_hash,
        gas=receipt.gas_used,
        uri="ipfs://" + Cid.raw(data.digest).base16,
    )


def commitment(manifest: Manifest) -> tuple[bytes, int, int, bytes]:
    """What a token holds of a manifest: root, size, scheme's number, metadata digest."""
    from alithis.manifest.terms import Scheme

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
