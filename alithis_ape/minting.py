"""`ape alithis mint-dataset` and `ape alithis mint-model`: mint a manifest's token."""

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
    help="The local store's folder.  [default: in your data directory]",
)
_at_option = click.option(
    "--at",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="A host where others can read the manifest, which is checked: lighthouse, pinata or "
    "kubo=URL; may be repeated.  [required on a live network]",
)
_unpublished_option = click.option(
    "--unpublished", is_flag=True, help="Mint on a live network without a public copy."
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def mint_options(function: _Function) -> _Function:
    """Add the options of the minting commands, which are the keywords of `run`."""
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
    """Publish a dataset: mint a token that commits to MANIFEST.

    MANIFEST is a folder, a URL, a CID, or a token of the registry. It is first audited and copied
    into the local store. On a live network, a public host must already have it (alithis store put
    MANIFEST --to HOST). On a local chain without a registry, one is deployed.

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
    """Publish a model: mint a token that commits to MANIFEST and links to its training data.

    MANIFEST is a folder, a URL, a CID, or a token of the registry. The tokens of the inputs in its
    metadata are looked up and linked; --link adds more links. On a live network, a public host
    must already have the manifest.

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
    """Mint a manifest's token, as the options of a minting command say.

    Raises:
        CommandError: The manifest, the account or the registry cannot be used.
        MintError: A link is not valid, or the balance is too low.
    """
    from alithis.storage.store import Store
    from alithis.verify.reference import Resolver

    def connect() -> Registry:
        return read_registry(find_registry(address, network))

    resolver = Resolver(Store(store_folder), connect=connect)
    with audited_local(reference, kind, resolver) as (folder, manifest):
        if hosts or not (network.is_dev or unpublished):
            check_published(folder, hosts)
        account = signer(alias, network)
        contract = find_registry(address, network, account)
        registry = read_registry(contract)
        found = links_module.links_of(registry, manifest, links, resolver)
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
def audited_local(
    text: str, kind: str | None, resolver: Resolver
) -> Iterator[tuple[Path, Manifest]]:
    """Open the manifest that a reference names, in a local folder, and audit it.

    A manifest that is elsewhere is copied into a temporary folder.

    Args:
        text: The reference.
        kind: The kind that it must have: ``dataset``, ``model``, or None for either.
        resolver: Opens it.

    Raises:
        AlithisError: There is no such manifest.
        CommandError: The audit fails, or it has the other kind.
    """
    from alithis.verify.reference import Reference

    reference = Reference.parse(text)
    with resolver.local(reference) as folder:
        # Others may withhold items.parquet; your own folder should have it.
        withheld = reference.kind != "folder"
        yield folder, open_sound(folder, kind, name=str(reference), withheld=withheld)


def open_sound(
    folder: Path, kind: str | None, *, name: str | None = None, withheld: bool = False
) -> Manifest:
    """Open a manifest and audit it, so that no gas is spent on a broken one.

    Args:
        folder: The manifest's folder.
        kind: The kind that it must have: ``dataset``, ``model``, or None for either.
        name: Its name in error messages; by default the folder.
        withheld: Whether items.parquet may be missing.

    Raises:
        CommandError: The audit fails, or it has the other kind.
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
        raise CommandError(f"{name} is a {found}. Use 'ape alithis mint-{found}'")
    return manifest


def check_published(folder: Path, hosts: Sequence[str]) -> None:
    """Check that a public host has every file of a manifest.

    Raises:
        CommandError: No public host has every file.
        StorageError: A host is not known, or its API key is missing.
    """
    from alithis.errors import StorageError
    from alithis.storage.hosts import open_hosts
    from alithis.storage.store import local_files
    from alithis.storage.upload import missing

    remedy = "`alithis store put MANIFEST --to lighthouse` uploads it; --unpublished skips this"
    if not hosts:
        raise CommandError(f"no public host of the manifest is named. Give --at HOST ({remedy})")
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
    """Ask before a publisher mints the same data points again.

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
    said = f"{data.name} is already token {record.id}, by the same publisher{same}"
    if yes:
        say(f"{said}; minting it again", err=True)
    elif not sys.stdin.isatty():
        raise CommandError(f"{said}. --yes mints it again")
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
    """Mint a manifest's token, and wait for it.

    Args:
        contract: The registry.
        manifest: The manifest that the token commits to.
        links: The older tokens that it was made from.
        account: The publisher, who pays.
        yes: Send without asking on a live network.

    Raises:
        ApeException: The transaction fails; the contract's error has the reason.
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
    """Return the kind of a manifest's token."""
    return Kind(manifest.metadata.kind)


def commitment(manifest: Manifest) -> Commitment:
    """Return what a manifest's token commits to."""
    data = manifest.metadata
    return Commitment(data.root, data.size, Scheme(data.scheme), data.digest)


def _announce(manifest: Manifest, contract: ContractInstance, links: Sequence[Link]) -> None:
    """Print what the mint will write to the chain."""
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
    """Return the result as --json prints it."""
    return {
        "registry": contract.address,
        "token": minted.token,
        "transaction": minted.transaction,
        "gas": minted.gas,
        "uri": minted.uri,
    }
