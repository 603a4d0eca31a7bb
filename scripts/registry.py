"""`ape run registry …`: evidence, answers and signed mints, one command each.

What a command is about to send is checked on this machine, then rehearsed by the node: a proof
that does not hold, or a transaction that the contract would refuse, is never sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts import _common, _links, _mint, _relay
from scripts._common import ScriptError
from scripts._session import Session

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI, ReceiptAPI

    from alithis.chain.records import Link, Record
    from alithis.manifest.disorder import Disorder
    from alithis.manifest.proof import Inclusion
    from alithis.manifest.reader import Manifest

MAX_URI = 1024
"""Bytes of a text that the contract takes."""
ANSWERS = ("rejected", "accepted", "removed")

_MAX_PROOFS = 64
_TOKEN = click.IntRange(1, (1 << 48) - 1)
_POSITION = click.IntRange(0, 255)
_MAX_UINT64 = (1 << 64) - 1
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)


@click.group()
def cli() -> None:
    """Evidence, answers and signed mints in a registry.

    Each command checks on this machine first, says what its transaction will do, and on a live
    network asks before it is sent.

    \b
    Examples:
      ape run registry attest 1 cat.jpg --network filecoin:calibration --account alice
      ape run registry countersign 7 --network filecoin:calibration --account alice
      ape run registry sign photos.alithis -o mint.json --account alice
      ape run registry relay mint.json --account bob
    """


def _command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command that sends a transaction: it gets a session in place of the shared options."""

    def wrap(function: Callable[..., None]) -> click.Command:
        def callback(
            network: NetworkAPI,
            alias: str | None,
            address: str | None,
            yes: bool,
            as_json: bool,
            **options: Any,
        ) -> None:
            function(Session.open(network, alias, address, yes, as_json), **options)

        callback.__doc__ = function.__doc__
        callback.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        for option in (
            _common.json_option,
            _common.yes_option,
            _common.registry_option,
            _common.account_option,
        ):
            option(callback)
        return cli.command(name, cls=_common.ScriptCommand)(callback)

    return wrap


# -- Evidence ----------------------------------------------------------------------------------

_manifest_option = click.option(
    "--manifest",
    "manifests",
    multiple=True,
    type=_mint.MANIFEST,
    help="The token's manifest.  [default: the one in the local store]",
)


def _check_uri(_: click.Context, __: click.Parameter, uri: str) -> str:
    size = len(uri.encode(errors="surrogateescape"))
    if size > MAX_URI or not uri.isprintable():
        raise click.BadParameter(f"takes at most {MAX_URI} bytes of printable text")
    return uri


_uri_option = partial(
    click.option,
    "--uri",
    callback=_check_uri,
    help=f"Where it is set out: at most {MAX_URI} bytes, public for good.",
)


@_command("attest")
@click.argument("token", type=_TOKEN)
@click.argument("target", metavar="FILE|HASH|PROOF")
@_manifest_option
@_mint.store_option
def attest(
    session: Session,
    token: int,
    target: str,
    manifests: tuple[Path, ...],
    store_folder: Path | None,
) -> None:
    """Put on record that FILE is in TOKEN.

    The proof is made and checked here; the contract checks it again, counts it, and keeps your
    address, the leaf and its place in an event.

    \b
    Examples:
      ape run registry attest 1 cat.jpg --manifest photos.alithis --account alice
      ape run registry attest 1 cat.proof.json --account alice --json
    """
    record, found = _proven(session, token, target, manifests, store_folder)
    says = [
        *_about_leaf(record, found),
        f"  attestation {record.attestations + 1} of the token, with your address, for good",
    ]
    arguments = (token, found.leaf, found.index, found.path)
    receipt = session.send("attest", says, "attest", *arguments)
    attestations = session.read(lambda: session.reader.record(token).attestations)
    outcome = {"leaf": found.leaf.hex(), "index": found.index, "attestations": attestations}
    session.show("attest", receipt, token=token, **outcome)


@_command("claim")
@click.argument("token", type=_TOKEN)
@click.argument("target", metavar="FILE|HASH|PROOF")
@_uri_option(required=True)
@_manifest_option
@_mint.store_option
def claim(
    session: Session,
    token: int,
    target: str,
    uri: str,
    manifests: tuple[Path, ...],
    store_folder: Path | None,
) -> None:
    """File a claim against the use of FILE, which is in TOKEN.

    The contract takes it from whoever proves that FILE is in it, and shows it as open until the
    token's owner answers. What you claim (consent, licence, personal data) stands at the URI.

    \b
    Example:
      ape run registry claim 1 cat.jpg --uri https://example.org/claim --account alice
    """
    record, found = _proven(session, token, target, manifests, store_folder)
    says = [
        *_about_leaf(record, found),
        f"  an open claim with your address and the text {uri!r}, for good",
    ]
    arguments = (token, found.leaf, found.index, found.path, uri)
    receipt = session.send("file a claim", says, "claim", *arguments)
    number = _common.number_in(receipt, session.contract.Claimed, "number")
    outcome = {"number": number, "leaf": found.leaf.hex(), "index": found.index}
    session.show("claim", receipt, token=token, **outcome)


def _proven(
    session: Session, token: int, text: str, manifests: Sequence[Path], store: Path | None
) -> tuple[Record, Inclusion]:
    """The proof that a data point is in a token, checked here against the chain's record.

    Raises:
        ScriptError: It is not, or that cannot be checked.
    """
    from alithis.manifest.proof import Inclusion
    from alithis.storage.fallback import Gateways
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf
    from alithis.verify.target import Target
    from alithis.verify.tokens import verify_token

    target = Target.parse(text)
    record = session.reader.record(token)
    shelf = Shelf(Store(store), manifests, Gateways.usual())
    result = verify_token(target, session.reader, shelf, record)
    if isinstance(result.proof, Inclusion):
        return record, result.proof
    if result.proof is not None:
        raise ScriptError(f"{text} is absent in token {token}: nothing was sent")
    last = result.steps[-1]
    raise ScriptError(
        f"{text} is unverifiable in token {token}: nothing was sent ({last.step}: {last.detail})"
    )


def _about_leaf(record: Record, found: Inclusion) -> list[str]:
    return [
        f"  token {record.id}, a {record.kind} published by {record.publisher}",
        f"  leaf {found.leaf.hex()}, at index {found.index} of {record.size}: proved here",
    ]


@_command("report-disorder")
@click.argument("token", type=_TOKEN)
@click.argument("proofs", nargs=-1, metavar="[PROOF]...", type=_FILE)
@_manifest_option
@_mint.store_option
def report_disorder(
    session: Session,
    token: int,
    proofs: tuple[Path, ...],
    manifests: tuple[Path, ...],
    store_folder: Path | None,
) -> None:
    """Prove that the leaves of TOKEN do not ascend, which marks it for ever.

    The two leaves come out of proof files that contradict each other, such as one of inclusion
    and one of absence of the same leaf; without any, out of the token's manifest.

    \b
    Examples:
      ape run registry report-disorder 1 in.proof.json out.proof.json --account alice
      ape run registry report-disorder 1 --manifest photos.alithis --account alice
    """
    record = session.reader.record(token)
    found = _contradiction(record, proofs) if proofs else _disorder(record, manifests, store_folder)
    lower, upper = found.lower, found.upper
    says = [
        f"  token {record.id}, a {record.kind} published by {record.publisher}",
        f"  {lower.leaf.hex()} stands at index {lower.index},",
        f"  {upper.leaf.hex()} after it at {upper.index}: proved here",
        "  marks the token as disordered for ever: its proofs of absence count no more",
    ]
    arguments = (lower.index, lower.leaf, lower.path, upper.index, upper.leaf, upper.path)
    receipt = session.send("report disorder", says, "reportDisorder", token, *arguments)
    outcome = {
        "lower": {"index": lower.index, "leaf": lower.leaf.hex()},
        "upper": {"index": upper.index, "leaf": upper.leaf.hex()},
    }
    session.show("report-disorder", receipt, token=token, **outcome)


def _contradiction(record: Record, paths: Sequence[Path]) -> Disorder:
    from alithis.errors import ProofError
    from alithis.manifest.disorder import Disorder
    from alithis.verify.target import Target

    if len(paths) > _MAX_PROOFS:
        raise ScriptError(f"{len(paths)} proof files; at most {_MAX_PROOFS} are read")
    held = []
    for path in paths:
        proof = Target.parse(str(path)).proof
        if proof is None:
            raise ScriptError(f"{path}: is no proof file")
        try:
            proof.check(record.root, record.size)
        except ProofError as error:
            raise ScriptError(f"{path}: does not hold for token {record.id}: {error}") from error
        held.append(proof)
    found = Disorder.between(held)
    if found is None:
        raise ScriptError("the proofs do not contradict each other: nothing was sent")
    return found


def _disorder(record: Record, manifests: Sequence[Path], store: Path | None) -> Disorder:
    from alithis.errors import ProofError
    from alithis.manifest.disorder import Disorder
    from alithis.storage.fallback import Gateways
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf

    shelf = Shelf(Store(store), manifests, Gateways.usual())
    manifest = shelf.open(record.metadata_digest)
    found = Disorder.in_manifest(manifest)
    if found is None:
        raise ScriptError(f"the leaves of token {record.id} ascend: nothing was sent")
    try:
        found.check(record.root, record.size)
    except ProofError as error:
        raise ScriptError(
            f"the manifest at hand is not what token {record.id} commits to, and so no evidence: "
            f"{error}"
        ) from error
    return found


# -- Answers of a token's owner ----------------------------------------------------------------


@_command("countersign")
@click.argument("token", type=_TOKEN)
@click.argument("position", type=_POSITION, required=False)
def countersign(session: Session, token: int, position: int | None) -> None:
    """Confirm a link of TOKEN to a token that you own.

    POSITION is the link's place, from 0; it may be left out where only one link is to a token of
    yours.

    \b
    Example:
      ape run registry countersign 7 --account alice
    """
    position, link = _own_link(session, token, position, countersigned=False)
    says = [f"  confirms: token {token} is {link.relation} your token {link.target}"]
    receipt = session.send("countersign", says, "countersign", token, position)
    _show_link(session, "countersign", receipt, token, position, link)


@_command("retract")
@click.argument("token", type=_TOKEN)
@click.argument("position", type=_POSITION, required=False)
def retract(session: Session, token: int, position: int | None) -> None:
    """Take back the confirmation of a link of TOKEN to a token that you own.

    \b
    Example:
      ape run registry retract 7 --account alice
    """
    position, link = _own_link(session, token, position, countersigned=True)
    says = [f"  no longer confirms: token {token} is {link.relation} your token {link.target}"]
    method = "retractCountersignature"
    receipt = session.send("retract a countersignature", says, method, token, position)
    _show_link(session, "retract", receipt, token, position, link)


def _own_link(
    session: Session, token: int, position: int | None, *, countersigned: bool
) -> tuple[int, Link]:
    """The link that is meant.

    Raises:
        ScriptError: There is none, or there are several.
    """
    links = session.reader.links(token)
    if position is not None:
        if position >= len(links):
            raise ScriptError(f"token {token} has {len(links)} links, counted from 0")
        return position, links[position]
    owned = [
        (place, link)
        for place, link in enumerate(links)
        if link.countersigned is countersigned
        and session.reader.owner_of(link.target) == session.account.address
    ]
    if len(owned) == 1:
        return owned[0]
    which = "confirmed" if countersigned else "unconfirmed"
    if not owned:
        raise ScriptError(
            f"token {token} has no {which} link to a token of {session.account.address}"
        )
    several = ", ".join(f"{place} ({link.relation} {link.target})" for place, link in owned)
    raise ScriptError(f"token {token} has several such links: name a position of {several}")


def _show_link(
    session: Session, action: str, receipt: ReceiptAPI, token: int, position: int, link: Link
) -> None:
    outcome = {"position": position, "relation": link.relation.value, "target": link.target}
    session.show(action, receipt, token=token, **outcome)


@_command("answer-claim")
@click.argument("token", type=_TOKEN)
@click.argument("number", type=click.IntRange(1, (1 << 48) - 1))
@click.argument("answer", type=click.Choice(ANSWERS))
@_uri_option(default="")
def answer_claim(session: Session, token: int, number: int, answer: str, uri: str) -> None:
    """Answer claim NUMBER against TOKEN, which you own.

    An answer only ever moves towards the claimant: rejected, accepted, removed. Removed says that
    the token that supersedes this one is without the data point.

    \b
    Example:
      ape run registry answer-claim 1 3 accepted --uri https://example.org/answer --account alice
    """
    from alithis.manifest.terms import ClaimStatus

    given = ClaimStatus(answer)
    filed = session.reader.claim(token, number)
    says = [
        f"  claim {number} against token {token}, by {filed.claimant}",
        f"  about leaf {filed.leaf.hex()}",
        f"  is {filed.status} now, and will be {given}, with the text {uri!r}: no way back",
    ]
    arguments = (token, number, given.number, uri)
    receipt = session.send("answer a claim", says, "answerClaim", *arguments)
    left = session.read(lambda: session.reader.record(token).open_claims)
    outcome = {"number": number, "answer": answer, "open_claims": left}
    session.show("answer-claim", receipt, token=token, **outcome)


@_command("withdraw")
@click.argument("token", type=_TOKEN)
@_uri_option(default="")
def withdraw(session: Session, token: int, uri: str) -> None:
    """Mark TOKEN, which you own, as withdrawn. It stays in the registry, and cannot be unmarked.

    \b
    Example:
      ape run registry withdraw 1 --uri https://example.org/why --account alice
    """
    says = [f"  marks token {token} as withdrawn, for good, with the text {uri!r}"]
    receipt = session.send("withdraw", says, "withdraw", token, uri)
    session.show("withdraw", receipt, token=token)


# -- Mints that are signed here and sent by others ---------------------------------------------


@cli.command("sign", cls=_common.ScriptCommand)
@click.argument("manifest_folder", metavar="MANIFEST", type=_mint.MANIFEST)
@click.option("-o", "--out", type=_OUT, required=True, help="The file to write.")
@_links.link_option
@click.option("--publisher", help="In whose name.  [default: the account that signs]")
@click.option("--unsigned", is_flag=True, help="Leave the signature to --publisher's wallet.")
@click.option(
    "--days", type=click.IntRange(1, 36500), default=30, show_default=True, help="Valid for."
)
@click.option(
    "--chain",
    type=click.IntRange(1, _MAX_UINT64),
    help="Sign offline, for the chain with this id.",
)
@click.option("--nonce", type=click.IntRange(0, _MAX_UINT64), help="Sign offline, with this nonce.")
@_common.account_option
@_common.registry_option
@_common.yes_option
@_common.json_option
def sign(
    network: NetworkAPI,
    manifest_folder: Path,
    out: Path,
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
    """Write the mint of MANIFEST as EIP-712 typed data, signed, for somebody else to send.

    Nothing is sent, and no gas is needed. With --chain, --nonce and --registry nothing is read
    from a chain either: links then come from --link alone. With --unsigned a wallet signs the
    file's typedData (eth_signTypedData_v4), and relay takes its --signature.

    \b
    Examples:
      ape run registry sign photos.alithis -o mint.json --network filecoin:calibration
      ape run registry sign photos.alithis -o mint.json --chain 314 --nonce 0 --registry 0x…
      ape run registry sign photos.alithis -o mint.json --publisher 0x… --unsigned
    """
    if unsigned and publisher is None:
        raise ScriptError("--unsigned takes --publisher: in whose name?")
    is_online = chain is None and nonce is None
    elsewhere = None if is_online else _offline(chain, nonce, address)
    account = None if unsigned else _common.signer(alias, network, chain)
    name = _common.checksummed(publisher) if publisher else str(account.address)
    place = elsewhere or _online(network, address, name)
    manifest = _mint.open_sound(manifest_folder, None)
    if place.reader is None:
        given = _links.parse(links, None)
        _check_inputs(manifest, given)
    else:
        _mint.check_again(place.reader, manifest, name, yes=yes)
        given = _links.of_model(place.reader, manifest, links)
    mint = _relay.Mint(
        kind=manifest.metadata.kind,
        publisher=name,
        commitment=_mint.commitment(manifest),
        links=tuple(_links.numbered(given)),
        nonce=place.nonce,
        deadline=int(time.time()) + days * 86_400,
        chain=place.chain,
        registry=place.registry,
    )
    signed = account.sign_message(mint.signable()) if account else None
    signature = signed.encode_rsv() if signed else None
    if place.reader is not None:
        _rehearse(mint, signature, account)
    _write(out, _relay.dump(mint, signature))
    _show_signed(mint, out, manifest.metadata.name, signed=signature is not None, as_json=as_json)


def _call(mint: _relay.Mint, signature: bytes) -> tuple[Any, ...]:
    """The contract's method that takes a signed mint, and its arguments."""
    method = "mintDatasetFor" if mint.kind == "dataset" else "mintModelFor"
    return method, mint.publisher, mint.commitment, list(mint.links), mint.deadline, signature


def _own_call(mint: _relay.Mint) -> tuple[Any, ...]:
    """The same for the publisher itself, which needs no signature."""
    method = "mintDataset" if mint.kind == "dataset" else "mintModel"
    return method, mint.commitment, list(mint.links)


def _rehearse(mint: _relay.Mint, signature: bytes | None, account: AccountAPI | None) -> None:
    """Finds out now, and not when somebody pays for it, that the contract would refuse a mint."""
    sender = str(account.address) if account else mint.publisher
    method, *arguments = _call(mint, signature) if signature else _own_call(mint)
    send = getattr(_common.container().at(mint.registry), method)
    _common.rehearse(_common.unsent(send, *arguments, sender=sender), sender)


def _online(network: NetworkAPI, address: str | None, publisher: str) -> _relay.Place:
    reader = _mint.read_registry(_common.find_registry(address, network))
    return _relay.Place(reader.address, reader.chain_id, reader.nonce(publisher), reader)


def _offline(chain: int | None, nonce: int | None, address: str | None) -> _relay.Place:
    if chain is None or nonce is None or address is None:
        raise ScriptError("to sign offline give all of --chain, --nonce and --registry")
    return _relay.Place(_common.checksummed(address), chain, nonce)


def _check_inputs(manifest: Manifest, links: Sequence[_links.Link]) -> None:
    """Without a chain nothing can be looked up: the user must name a token for each input."""
    from alithis.manifest.transcript import stated_inputs

    left = [relation for _, relation in links]
    for stated in stated_inputs(manifest.metadata):
        if stated.relation not in left:
            raise ScriptError(
                f"which token is {stated.name}? Give --link {stated.relation}=TOKEN, "
                "or sign where the registry can be read"
            )
        left.remove(stated.relation)


def _write(out: Path, data: bytes) -> None:
    from alithis.base.files import write_atomic

    try:
        write_atomic(out, data)
    except OSError as error:
        raise ScriptError(f"{out}: cannot be written: {error.strerror}") from error


def _show_signed(mint: _relay.Mint, out: Path, name: str, *, signed: bool, as_json: bool) -> None:
    about = {
        "action": "sign",
        "file": str(out),
        "signed": signed,
        "kind": mint.kind,
        "name": name,
        "publisher": mint.publisher,
        "registry": mint.registry,
        "chain": mint.chain,
        "nonce": mint.nonce,
        "deadline": mint.deadline,
        "links": [list(link) for link in mint.links],
    }
    if as_json:
        click.echo(json.dumps(about, indent=1))
        return
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(mint.deadline))
    _common.say(f"{out}: the mint of the {mint.kind} {name}, {'signed' if signed else 'unsigned'}")
    click.echo(f"  publisher {mint.publisher}, nonce {mint.nonce}")
    click.echo(f"  registry  {mint.registry}, chain {mint.chain}")
    click.echo(f"  until     {until}")
    for token, relation in _links.worded(mint.links):
        click.echo(f"  link      {relation} token {token}")


@_command("relay")
@click.argument("mint_file", metavar="MINT", type=_FILE)
@click.option("--signature", help="A wallet's signature of the file's typedData, 0x….")
def relay(session: Session, mint_file: Path, signature: str | None) -> None:
    """Send the mint that somebody signed: you pay, the token and its authorship are theirs.

    \b
    Examples:
      ape run registry relay mint.json --account bob
      ape run registry relay mint.json --signature 0x… --account bob
    """
    from alithis.ipfs.cid import Cid

    mint, signed = _relay.load(mint_file)
    if signature is not None:
        signed = _relay.parse_signature(signature)
    if signed is None:
        raise ScriptError(f"{mint_file}: is not signed: --signature takes the wallet's")
    _check_mint(session, mint, signed)
    says = [
        f"  mints a {mint.kind} token for its publisher {mint.publisher}, who will own it",
        f"  root {mint.commitment[0].hex()}, size {mint.commitment[1]:,}",
        *(f"  link {relation} token {token}" for token, relation in _links.worded(mint.links)),
    ]
    receipt = session.send(f"relay a {mint.kind}'s mint", says, *_call(mint, signed))
    id = _common.number_in(receipt, session.contract.Minted, "id")
    outcome = {"token": id, "publisher": mint.publisher, "nonce": mint.nonce}
    uri = "ipfs://" + Cid.raw(mint.commitment[3]).base16
    session.show("relay", receipt, **outcome, uri=uri)


def _check_mint(session: Session, mint: _relay.Mint, signature: bytes) -> None:
    """Checks here what the contract would refuse, to say better why.

    Raises:
        ScriptError: It is for another registry, used up, expired, or signed by somebody else.
    """
    reader = session.reader
    if (mint.chain, mint.registry) != (reader.chain_id, reader.address):
        raise ScriptError(
            f"signed for registry {mint.registry} on chain {mint.chain}, "
            f"not for {reader.address} on {reader.chain_id}"
        )
    nonce = reader.nonce(mint.publisher)
    if mint.nonce != nonce:
        when = "was used up" if mint.nonce < nonce else "is not due yet"
        raise ScriptError(f"nonce {mint.nonce} of {mint.publisher} {when}: the next is {nonce}")
    if mint.deadline < session.account.provider.get_block("latest").timestamp:
        raise ScriptError("the signature has expired: have it signed again")
    is_contract = bool(session.account.provider.get_code(mint.publisher))
    if not is_contract and _relay.signed_by(mint, signature) != mint.publisher:
        raise ScriptError(f"that is no signature by {mint.publisher}")


@_command("revoke-nonce")
def revoke_nonce(session: Session) -> None:
    """Use up your next nonce, so that a mint you signed with it can no longer be sent.

    \b
    Example:
      ape run registry revoke-nonce --account alice
    """
    nonce = session.reader.nonce(session.account.address)
    says = [f"  voids every mint that {session.account.address} signed with nonce {nonce}"]
    receipt = session.send("revoke a nonce", says, "revokeNonce")
    session.show("revoke-nonce", receipt, nonce=nonce)
