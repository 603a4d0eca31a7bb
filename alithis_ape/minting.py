"""Minting a manifest's token: `ape alithis mint-dataset` and `ape alithis mint-model`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from alithis.base.text import printable
from alithis.chain.mint import Commitment, mint_call, minted_before
from alithis.manifest.terms import Kind, Scheme
from alithis_ape import command
from alithis_ape import links as links_module
from alithis_ape.accounts import signer
from alithis_ape.command import CommandError, ConnectedCommand, say
from alithis_ape.contract import find_registry, read_registry
from alithis_ape.sending import approve, number_in, submit, unsent

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI
    from ape.contracts import ContractInstance

    from alithis.chain.records import Link
    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from alithis.verify.reference import Resolver

store_option = click.option(
    "--store",
    "store_folder",
    type=click.Path(path_type=Path),
    envvar="ALITHIS_STORE",
    show_envvar=True,
    help="The local store's folder.  [default: under the user's data directory]",
)
_at_option = click.option(
    "--at",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Where others can read the manifest, which is asked for it: lighthouse, pinata, kubo=URL; "
    "may be repeated.  [needed on a live network]",
)
_unpublished_option = click.option(
    "--unpublished", is_flag=True, help="Mint on a live network though nobody else has it."
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def mint_options(function: _Function) -> _Function:
    """The options of the commands that mint: the keywords of `run`."""
    for option in (
        command.json_option,
        command.yes_option,
        _unpublished_option,
        _at_option,
        store_option,
        command.registry_option,
        command.account_option,
        links_module.link_option,
    ):
        function = option(function)
    return function


@click.command("mint-dataset", cls=ConnectedCommand)
@click.argument("manifest", metavar="MANIFEST")
@mint_options
def mint_dataset(network: NetworkAPI, manifest: str, **options: Any) -> None:
    """Mint a dataset token for MANIFEST.

    MANIFEST is a folder, a URL, a CID, or a token of the registry. It is audited and copied into
    the local store first. On a live network a host that others can read must have it (alithis
    store put MANIFEST --to HOST). A local chain without a registry gets one.

    \b
    Examples:
      ape alithis mint-dataset photos.alithis --network filecoin
      ape alithis mint-dataset photos.alithis --at lighthouse --network filecoin:calibration
      ape alithis mint-dataset photos-v2.alithis --link supersedes=1 --network filecoin:calibration
    """
    run(network, manifest, "dataset", **options)


@click.command("mint-model", cls=ConnectedCommand)
@click.argument("manifest", metavar="MANIFEST")
@mint_options
def mint_model(network: NetworkAPI, manifest: str, **options: Any) -> None:
    """Mint a model token for MANIFEST.

    MANIFEST is a folder, a URL, a CID, or a token of the registry. What its metadata names as
    inputs is looked up in the registry by metadata digest and linked;
    --link adds to that. On a live network a host that others can read must have the manifest.

    \b
    Examples:
      ape alithis mint-model digits.alithis --at lighthouse --network filecoin:calibration
      ape alithis mint-model digits.alithis --link fine_tuned_from=7 --network filecoin:local:node
    """
    run(network, manifest, "model", **options)


@dataclass(frozen=True)
class Minted:
    """A token that was minted."""

    token: int
    transaction: str
    gas: int
    uri: str


def run(
    network: NetworkAPI,
    reference: str,
    kind: str,
    *,
    links: Sequence[str],
    alias: str | None,
    address: str | None,
    store_folder: Path | None,
    hosts: Sequence[str],
    unpublished: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """What the commands that mint do; their options are its arguments.

    Raises:
        CommandError: The manifest, the account or the registry cannot be used.
        MintError: A link or the balance is at fault.
    """
    from alithis.storage.store import Store
    from alithis.verify.reference import Resolver

    def connect() -> Registry:
        return read_registry(find_registry(address, network))

    resolver = Resolver(Store(store_folder), connect=connect)
    with local_sound(reference, kind, resolver) as (folder, manifest):
        if hosts or not (network.is_dev or unpublished):
            check_published(folder, hosts)
        account = signer(alias, network)
        contract = find_registry(address, network, account)
        registry = read_registry(contract)
        found = links_module.of_model(registry, manifest, links, resolver)
        check_again(registry, manifest, account.address, yes=yes)
        resolver.store.put_manifest(folder)
        for warning in links_module.warnings(registry, found, resolver.store):
            say(f"warning: {warning}", err=True)
        if not as_json:
            _announce(manifest, contract, found)
        minted = mint(contract, manifest, found, account, yes=yes)
        if as_json:
            click.echo(json.dumps(_as_object(minted, contract), indent=1))
            return
        click.echo(f"token {minted.token}")
        click.echo(f"  transaction {minted.transaction}")
        click.echo(f"  gas         {minted.gas:,}")
        click.echo(f"  URI         {minted.uri}")


@contextmanager
def local_sound(text: str, kind: str | None, resolver: Resolver) -> Iterator[tuple[Path, Manifest]]:
    """Opens the manifest that a reference names, in a folder, if an audit finds it sound.

    What is elsewhere is copied into a temporary folder.

    Args:
        text: The reference.
        kind: What it must be: ``dataset``, ``model``, or None for either.
        resolver: Opens it.

    Raises:
        AlithisError: There is no such manifest.
        CommandError: The audit fails, or it is of the other kind.
    """
    from alithis.verify.reference import Reference

    reference = Reference.parse(text)
    with resolver.local(reference) as folder:
        # A publisher may keep files of items back; a folder of one's own should have them.
        withheld = reference.kind != "folder"
        yield folder, open_sound(folder, kind, name=str(reference), withheld=withheld)


def open_sound(
    folder: Path, kind: str | None, *, name: str | None = None, withheld: bool = False
) -> Manifest:
    """Opens a manifest that an audit finds sound: a broken one costs no gas.

    Args:
        folder: The manifest.
        kind: What it must be: ``dataset``, ``model``, or None for either.
        name: What errors call it; by default the folder.
        withheld: Whether files of items may be missing.

    Raises:
        CommandError: The audit fails, or it is of the other kind.
    """
    from alithis.manifest.audit import audit
    from alithis.manifest.reader import Manifest

    name = name or str(folder)
    for step in audit(folder, withheld=withheld):
        if not step.ok:
            raise CommandError(f"{name} is broken and was not minted: {step.step}: {step.detail}")
    manifest = Manifest.open(folder)
    if kind not in (None, manifest.metadata.kind):
        found = manifest.metadata.kind
        raise CommandError(f"{name} is a {found}: use 'ape alithis mint-{found}'")
    return manifest


def check_published(folder: Path, hosts: Sequence[str]) -> None:
    """Asks the hosts for a manifest: a public one must have all of it.

    Raises:
        CommandError: No public one has it all.
        StorageError: A host is not known, or its key is missing.
    """
    from alithis.errors import StorageError
    from alithis.storage.hosts import open_hosts
    from alithis.storage.store import local_files
    from alithis.storage.upload import missing

    remedy = "`alithis store put MANIFEST --to lighthouse` uploads it; --unpublished does without"
    if not hosts:
        raise CommandError(f"no host is named where others can read it: give --at HOST ({remedy})")
    said = []
    for host in open_hosts(hosts):
        if not host.public:
            said.append(f"{host.name} is not public")
            continue
        try:
            lacking = missing(local_files(folder), host)
        except StorageError as error:
            said.append(str(error))
            continue
        if not lacking:
            return
        said.append(f"{host.name} does not have {', '.join(lacking)}")
    raise CommandError(f"{'; '.join(said)} ({remedy})")


def check_again(registry: Registry, manifest: Manifest, publisher: str, *, yes: bool) -> None:
    """Asks before the same publisher mints the same data points a second time.

    Raises:
        CommandError: It was minted before, and there is no terminal to ask on.
        click.Abort: The user declines.
    """
    data = manifest.metadata
    records = registry.tokens()
    record = minted_before(records, publisher, kind(manifest), commitment(manifest))
    if record is None:
        return
    same = "" if record.metadata_digest == data.digest else ", with other metadata"
    said = f"{data.name} is token {record.id} already, by the same publisher{same}"
    if yes:
        say(f"{said}; minting it again", err=True)
    elif not sys.stdin.isatty():
        raise CommandError(f"{said}: --yes mints it again")
    else:
        click.confirm(printable(f"{said}. Mint it again?"), abort=True, err=True)


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
    call = mint_call(kind(manifest), commitment(manifest), links)
    transaction = unsent(contract, call, account)
    approve(transaction, account, f"mint {data.name}", yes=yes)
    receipt = submit(transaction, account)
    return Minted(
        token=number_in(receipt, contract.Minted, "id"),
        transaction=receipt.txn_hash,
        gas=receipt.gas_used,
        uri="ipfs://" + Cid.raw(data.digest).base16,
    )


def kind(manifest: Manifest) -> Kind:
    """What a token of a manifest stands for."""
    return Kind(manifest.metadata.kind)


def commitment(manifest: Manifest) -> Commitment:
    """What a token commits to of a manifest."""
    data = manifest.metadata
    return Commitment(data.root, data.size, Scheme(data.scheme), data.digest)


def _announce(manifest: Manifest, contract: ContractInstance, links: Sequence[Link]) -> None:
    """Says what a transaction is about to do."""
    from ape import networks

    data = manifest.metadata
    say(f"mint the {data.kind} {data.name} on {networks.provider.network_choice}")
    click.echo(f"  registry  {contract.address}")
    click.echo(f"  root      {data.root.hex()}")
    click.echo(f"  size      {data.size:,} leaves, {data.items:,} data points")
    click.echo(f"  metadata  {data.digest.hex()}")
    for link in links:
        click.echo(f"  link      {link.relation} token {link.target}")


def _as_object(minted: Minted, contract: ContractInstance) -> dict[str, Any]:
    """What --json prints."""
    return {
        "registry": contract.address,
        "token": minted.token,
        "transaction": minted.transaction,
        "gas": minted.gas,
        "uri": minted.uri,
    }
