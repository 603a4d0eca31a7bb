"""`ape alithis registry sign | relay`: one account signs a mint, another sends it and pays."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alithis.chain import mint
from alithis.chain.values import checksum_address
from alithis_ape import command, minting
from alithis_ape import links as links_module
from alithis_ape.accounts import signer
from alithis_ape.command import CommandError
from alithis_ape.contract import container, find_registry, read_registry
from alithis_ape.sending import message, number_in, unsent
from alithis_ape.session import Session, session_command
from alithis_ape.transport import transport

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI
    from eth_account.messages import SignableMessage

    from alithis.chain.records import Link
    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from alithis.verify.reference import Resolver

_MAX_UINT64 = (1 << 64) - 1
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Destination:
    """The registry that a signature is valid for.

    Attributes:
        registry: The registry's address.
        chain: The chain's id.
        nonce: The publisher's next nonce there.
        reader: The registry's reader; None when offline.
    """

    registry: str
    chain: int
    nonce: int
    reader: Registry | None = None

    def connect(self) -> Registry:
        """Return the registry, to look up a token that is named as the manifest.

        Raises:
            CommandError: No registry is read when offline.
        """
        if self.reader is None:
            raise CommandError("offline, a token cannot be looked up. Name the manifest's folder")
        return self.reader


@click.command("sign", cls=command.ConnectedCommand)
@click.argument("manifest", metavar="MANIFEST")
@click.option("-o", "--out", type=_OUT, required=True, help="The file to write.")
@click.option("--force", is_flag=True, help="Replace an existing file of another kind.")
@links_module.link_option
@click.option("--publisher", help="The publisher's address.  [default: the account that signs]")
@click.option("--unsigned", is_flag=True, help="Leave the signature to --publisher's wallet.")
@click.option(
    "--days",
    type=click.IntRange(1, 36500),
    default=30,
    show_default=True,
    help="Days that the mint is valid.",
)
@click.option(
    "--chain",
    type=click.IntRange(1, _MAX_UINT64),
    help="Sign offline, for the chain with this id.",
)
@click.option("--nonce", type=click.IntRange(0, _MAX_UINT64), help="Sign offline, with this nonce.")
@command.account_option
@command.registry_option
@command.yes_option
@command.json_option
def sign(
    network: NetworkAPI,
    manifest: str,
    out: Path,
    force: bool,
    links: tuple[str, ...],
    publisher: str | None,
    unsigned: bool,
    days: int,
    chain: int | None,
    nonce: int | None,
    alias: str | None,
    address: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Sign the mint of MANIFEST, and write it to a file that another account can send.

    MANIFEST is a folder, a URL, a CID, or a token of the registry. Nothing is sent, and you need
    no gas: `relay` sends the file, and its account pays. The file contains EIP-712 typed data.

    With --chain, --nonce and --registry you sign offline, and links come only from --link. With
    --unsigned, a wallet signs the file's typedData (eth_signTypedData_v4), and its signature is
    given to `relay --signature`.

    \b
    Examples:
      ape alithis registry sign photos.alithis -o mint.json --network filecoin:calibration
      ape alithis registry sign photos.alithis -o mint.json --chain 314 --nonce 0 --registry 0x…
      ape alithis registry sign photos.alithis -o mint.json --publisher 0x… --unsigned
    """
    from alithis.manifest.output import Output, check_output
    from alithis.verify.reference import Resolver

    check_output(out, Output.MINT, (manifest,), replace=force)
    is_online = chain is None and nonce is None
    offline = None if is_online else _offline(chain, nonce, address)
    account = None if unsigned else signer(alias, network, chain)
    if publisher is not None:
        name = checksum_address(publisher)
    elif account is not None:
        name = str(account.address)
    else:
        raise CommandError("--unsigned needs --publisher, the address of the token's publisher")
    destination = offline or _online(network, address, name)
    resolver = Resolver(connect=destination.connect)
    with minting.audited_local(manifest, None, resolver) as (_, opened):
        stated = opened.metadata
        if destination.reader is not None:
            minting.check_again(destination.reader, opened, name, yes=yes)
        given = _links(destination, opened, links, resolver)
        request = mint.MintRequest(
            kind=minting.kind(opened),
            publisher=name,
            commitment=minting.commitment(opened),
            links=tuple(given),
            nonce=destination.nonce,
            deadline=int(time.time()) + days * 86_400,
            chain=destination.chain,
            registry=destination.registry,
        )
    signed = account.sign_message(signable(request)) if account else None
    signature = signed.encode_rsv() if signed else None
    if destination.reader is not None:
        _rehearse(request, signature, account)
    _write(out, mint.dump(request, signature))
    _show(request, out, stated.name, signed=signature is not None, as_json=as_json)


def _online(network: NetworkAPI, address: str | None, publisher: str) -> Destination:
    reader = read_registry(find_registry(address, network))
    return Destination(reader.address, reader.chain_id, reader.nonce(publisher), reader)


def _offline(chain: int | None, nonce: int | None, address: str | None) -> Destination:
    if chain is None or nonce is None or address is None:
        raise CommandError("to sign offline, give all of --chain, --nonce and --registry")
    return Destination(checksum_address(address), chain, nonce)


def _links(
    destination: Destination, manifest: Manifest, texts: Sequence[str], resolver: Resolver
) -> list[Link]:
    """Return the mint's links; offline, the user must name a token for each input."""
    from alithis.manifest.transcript import stated_inputs

    if destination.reader is not None:
        return links_module.links_of(destination.reader, manifest, texts, resolver)
    given = links_module.parse(texts, None, resolver)
    mint.check_inputs(stated_inputs(manifest.metadata), given)
    return given


def signable(request: mint.MintRequest) -> SignableMessage:
    """Return the message that an Ape account signs."""
    from eth_account.messages import encode_typed_data

    return encode_typed_data(full_message=request.typed_data())


def _rehearse(
    request: mint.MintRequest, signature: bytes | None, account: AccountAPI | None
) -> None:
    """Check now whether the contract would refuse the mint, before another account pays for it."""
    sender = str(account.address) if account else request.publisher
    call = request.relay_call(signature) if signature else request.own_call()
    transaction = unsent(container().at(request.registry), call, sender)
    mint.rehearse(transport(), message(transaction, sender))


def _write(out: Path, data: bytes) -> None:
    from alithis.base.files import write_atomic

    try:
        write_atomic(out, data)
    except OSError as error:
        raise CommandError(f"{out}: cannot be written: {error.strerror}") from error


def _show(request: mint.MintRequest, out: Path, name: str, *, signed: bool, as_json: bool) -> None:
    about = {
        "action": "sign",
        "file": str(out),
        "signed": signed,
        "kind": request.kind,
        "name": name,
        "publisher": request.publisher,
        "registry": request.registry,
        "chain": request.chain,
        "nonce": request.nonce,
        "deadline": request.deadline,
        "links": [[link.target, link.relation.number] for link in request.links],
    }
    if as_json:
        click.echo(json.dumps(about, indent=1))
        return
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(request.deadline))
    state = "signed" if signed else "unsigned"
    command.say(f"{out}: the mint of the {request.kind} {name}, {state}")
    click.echo(f"  publisher {request.publisher}, nonce {request.nonce}")
    click.echo(f"  registry  {request.registry}, chain {request.chain}")
    click.echo(f"  until     {until}")
    for link in request.links:
        click.echo(f"  link      {link.relation} token {link.target}")


@session_command("relay")
@click.argument("mint_file", metavar="MINT", type=_FILE)
@click.option("--signature", help="A wallet's signature of the file's typedData, 0x….")
def relay(session: Session, mint_file: Path, signature: str | None) -> None:
    """Send a mint that another account signed: you pay, they are publisher and owner.

    \b
    Examples:
      ape alithis registry relay mint.json --account bob
      ape alithis registry relay mint.json --signature 0x… --account bob
    """
    from alithis.ipfs.cid import Cid

    request, signed = mint.load(_read(mint_file), str(mint_file))
    if signature is not None:
        signed = mint.parse_signature(signature)
    if signed is None:
        raise CommandError(
            f"{mint_file}: is not signed. Give the wallet's signature with --signature"
        )
    _check(session, request, signed)
    committed = request.commitment
    says = [
        f"  mints a {request.kind} token for its publisher {request.publisher}, who will own it",
        f"  root {committed.root.hex()}, size {committed.size:,}",
        *(f"  link {link.relation} token {link.target}" for link in request.links),
    ]
    receipt = session.send(f"relay a {request.kind}'s mint", says, request.relay_call(signed))
    id = number_in(receipt, session.contract.Minted, "id")
    outcome = {"token": id, "publisher": request.publisher, "nonce": request.nonce}
    uri = "ipfs://" + Cid.raw(committed.metadata_digest).base16
    session.show("relay", receipt, **outcome, uri=uri)


def _read(path: Path) -> bytes:
    """Read a file up to one byte beyond the limit, so that a longer file is refused."""
    try:
        with path.open("rb") as file:
            return file.read(mint.MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from error


def _check(session: Session, request: mint.MintRequest, signature: bytes) -> None:
    """Check what the contract would refuse, for a clear error before anything is sent.

    Raises:
        MintError: The mint is for another registry, was already sent or revoked, or has expired.
        CommandError: The publisher did not sign it.
    """
    provider = session.account.provider
    request.check(session.reader, provider.get_block("latest").timestamp)
    # Only a contract can judge its own signature (ERC-1271); the rehearsal asks it.
    is_contract = bool(provider.get_code(request.publisher))
    if not is_contract and _signed_by(request, signature) != request.publisher:
        raise CommandError(
            f"the signature is not by the publisher {request.publisher}: another account signed, "
            "or the request was changed after signing. Ask the publisher for a new one"
        )


def _signed_by(request: mint.MintRequest, signature: bytes) -> str | None:
    """Return the address of the key that made a signature; None if it is not valid."""
    from eth_account import Account
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        return str(Account.recover_message(signable(request), signature=signature))
    except (BadSignature, ValidationError, ValueError):
        return None


@session_command("revoke-nonce")
def revoke_nonce(session: Session) -> None:
    """Use up your next nonce, so that mints you signed with it can no longer be sent.

    \b
    Example:
      ape alithis registry revoke-nonce --account alice
    """
    nonce = session.reader.nonce(session.account.address)
    says = [f"  voids every mint that {session.account.address} signed with nonce {nonce}"]
    receipt = session.send("revoke a nonce", says, mint.Call("revokeNonce", ()))
    session.show("revoke-nonce", receipt, nonce=nonce)
