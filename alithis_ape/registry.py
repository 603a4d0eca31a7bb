"""Evidence and answers, one command each: `ape alithis registry …`.

What a command is about to send is checked on this machine, then rehearsed by the node: a proof
that does not hold, or a transaction that the contract would refuse, is never sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alithis.chain.mint import Call
from alithis_ape import signed_mints
from alithis_ape.command import CommandError
from alithis_ape.minting import store_option
from alithis_ape.sending import number_in
from alithis_ape.session import Session, session_command

if TYPE_CHECKING:
    from ape.api import ReceiptAPI

    from alithis.chain.records import Link, Record
    from alithis.manifest.disorder import Disorder
    from alithis.manifest.proof import Inclusion
    from alithis.verify.library import Shelf

MAX_URI = 1024
"""Bytes of a text that the contract takes."""
ANSWERS = ("rejected", "accepted", "removed")

_MAX_PROOFS = 64
_TOKEN = click.IntRange(1, (1 << 48) - 1)
_POSITION = click.IntRange(0, 255)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

# -- Evidence ----------------------------------------------------------------------------------

_manifest_option = click.option(
    "--manifest",
    "manifests",
    multiple=True,
    help="The token's manifest: a folder, URL or CID.  [default: the one in the local store]",
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


@session_command("attest")
@click.argument("token", type=_TOKEN)
@click.argument("target", metavar="FILE|HASH|PROOF")
@_manifest_option
@store_option
def attest(
    session: Session,
    token: int,
    target: str,
    manifests: tuple[str, ...],
    store_folder: Path | None,
) -> None:
    """Put on record that FILE is in TOKEN.

    The proof is made and checked here; the contract checks it again, counts it, and keeps your
    address, the leaf and its place in an event.

    \b
    Examples:
      ape alithis registry attest 1 cat.jpg --manifest photos.alithis --account alice
      ape alithis registry attest 1 cat.proof.json --account alice --json
    """
    record, found = _proven(session, token, target, manifests, store_folder)
    says = [
        *_about_leaf(record, found),
        f"  attestation {record.attestations + 1} of the token, with your address, for good",
    ]
    arguments = (token, found.leaf, found.index, found.path)
    receipt = session.send("attest", says, Call("attest", arguments))
    attestations = session.read(lambda: session.reader.record(token).attestations)
    outcome = {"leaf": found.leaf.hex(), "index": found.index, "attestations": attestations}
    session.show("attest", receipt, token=token, **outcome)


@session_command("claim")
@click.argument("token", type=_TOKEN)
@click.argument("target", metavar="FILE|HASH|PROOF")
@_uri_option(required=True)
@_manifest_option
@store_option
def claim(
    session: Session,
    token: int,
    target: str,
    uri: str,
    manifests: tuple[str, ...],
    store_folder: Path | None,
) -> None:
    """File a claim against the use of FILE, which is in TOKEN.

    The contract accepts it from anyone who proves that FILE is included, and shows it as open
    until the token's owner answers. What you claim (consent, licence, personal data) stands at
    the URI.

    \b
    Example:
      ape alithis registry claim 1 cat.jpg --uri https://example.org/claim --account alice
    """
    record, found = _proven(session, token, target, manifests, store_folder)
    says = [
        *_about_leaf(record, found),
        f"  an open claim with your address and the text {uri!r}, for good",
    ]
    arguments = (token, found.leaf, found.index, found.path, uri)
    receipt = session.send("file a claim", says, Call("claim", arguments))
    number = number_in(receipt, session.contract.Claimed, "number")
    outcome = {"number": number, "leaf": found.leaf.hex(), "index": found.index}
    session.show("claim", receipt, token=token, **outcome)


def _proven(
    session: Session, token: int, text: str, manifests: Sequence[str], store: Path | None
) -> tuple[Record, Inclusion]:
    """The proof that a data point is in a token, checked here against the chain's record.

    Raises:
        CommandError: It is not, or that cannot be checked.
    """
    from alithis.manifest.proof import Inclusion
    from alithis.verify.target import Target
    from alithis.verify.tokens import verify_token

    target = Target.parse(text)
    record = session.reader.record(token)
    shelf = _shelf(session, manifests, store)
    result = verify_token(target, session.reader, shelf, record)
    if isinstance(result.proof, Inclusion):
        return record, result.proof
    if result.proof is not None:
        raise CommandError(f"{text} is absent in token {token}: nothing was sent")
    last = result.steps[-1]
    raise CommandError(
        f"{text} is unverifiable in token {token}: nothing was sent ({last.step}: {last.detail})"
    )


def _shelf(session: Session, references: Sequence[str], store: Path | None) -> Shelf:
    """The manifests that are named, the local store, and the gateways."""
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf
    from alithis.verify.reference import Reference, Resolver

    resolver = Resolver(Store(store), connect=lambda: session.reader)
    named = [resolver.open(Reference.parse(text)).manifest for text in references]
    return Shelf(resolver.store, named, resolver.gateways)


def _about_leaf(record: Record, found: Inclusion) -> list[str]:
    return [
        f"  token {record.id}, a {record.kind} published by {record.publisher}",
        f"  leaf {found.leaf.hex()}, at index {found.index} of {record.size}: proved here",
    ]


@session_command("report-disorder")
@click.argument("token", type=_TOKEN)
@click.argument("proofs", nargs=-1, metavar="[PROOF]...", type=_FILE)
@_manifest_option
@store_option
def report_disorder(
    session: Session,
    token: int,
    proofs: tuple[Path, ...],
    manifests: tuple[str, ...],
    store_folder: Path | None,
) -> None:
    """Prove that the leaves of TOKEN do not ascend, which marks it for ever.

    The two leaves come out of proof files that contradict each other, such as one of inclusion
    and one of absence of the same leaf; without any, out of the token's manifest.

    \b
    Examples:
      ape alithis registry report-disorder 1 in.proof.json out.proof.json --account alice
      ape alithis registry report-disorder 1 --manifest photos.alithis --account alice
    """
    record = session.reader.record(token)
    found = (
        _contradiction(record, proofs)
        if proofs
        else _disorder(session, record, manifests, store_folder)
    )
    lower, upper = found.lower, found.upper
    says = [
        f"  token {record.id}, a {record.kind} published by {record.publisher}",
        f"  {lower.leaf.hex()} stands at index {lower.index},",
        f"  {upper.leaf.hex()} after it at {upper.index}: proved here",
        "  marks the token as disordered for ever: its proofs of absence count no more",
    ]
    arguments = (token, lower.index, lower.leaf, lower.path, upper.index, upper.leaf, upper.path)
    receipt = session.send("report disorder", says, Call("reportDisorder", arguments))
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
        raise CommandError(f"{len(paths)} proof files; at most {_MAX_PROOFS} are read")
    held = []
    for path in paths:
        proof = Target.parse(str(path)).proof
        if proof is None:
            raise CommandError(f"{path}: not a proof file")
        try:
            proof.check(record.root, record.size)
        except ProofError as error:
            raise CommandError(f"{path}: does not hold for token {record.id}: {error}") from error
        held.append(proof)
    found = Disorder.between(held)
    if found is None:
        raise CommandError("the proofs do not contradict each other: nothing was sent")
    return found


def _disorder(
    session: Session, record: Record, manifests: Sequence[str], store: Path | None
) -> Disorder:
    from alithis.errors import ProofError
    from alithis.manifest.disorder import Disorder

    shelf = _shelf(session, manifests, store)
    manifest = shelf.open(record.metadata_digest)
    found = Disorder.in_manifest(manifest)
    if found is None:
        raise CommandError(f"the leaves of token {record.id} ascend: nothing was sent")
    try:
        found.check(record.root, record.size)
    except ProofError as error:
        raise CommandError(
            f"the manifest is not what token {record.id} commits to, so it proves nothing: {error}"
        ) from error
    return found


# -- Answers of a token's owner ----------------------------------------------------------------


@session_command("countersign")
@click.argument("token", type=_TOKEN)
@click.argument("position", type=_POSITION, required=False)
def countersign(session: Session, token: int, position: int | None) -> None:
    """Confirm a link of TOKEN to a token that you own.

    POSITION is the link's place, from 0; it may be left out where only one link is to a token of
    yours.

    \b
    Example:
      ape alithis registry countersign 7 --account alice
    """
    position, link = _own_link(session, token, position, countersigned=False)
    says = [f"  confirms: token {token} is {link.relation} your token {link.target}"]
    receipt = session.send("countersign", says, Call("countersign", (token, position)))
    _show_link(session, "countersign", receipt, token, position, link)


@session_command("retract")
@click.argument("token", type=_TOKEN)
@click.argument("position", type=_POSITION, required=False)
def retract(session: Session, token: int, position: int | None) -> None:
    """Take back the confirmation of a link of TOKEN to a token that you own.

    \b
    Example:
      ape alithis registry retract 7 --account alice
    """
    position, link = _own_link(session, token, position, countersigned=True)
    says = [f"  no longer confirms: token {token} is {link.relation} your token {link.target}"]
    call = Call("retractCountersignature", (token, position))
    receipt = session.send("retract a countersignature", says, call)
    _show_link(session, "retract", receipt, token, position, link)


def _own_link(
    session: Session, token: int, position: int | None, *, countersigned: bool
) -> tuple[int, Link]:
    """The link that is meant.

    Raises:
        CommandError: There is none, or there are several.
    """
    links = session.reader.links(token)
    if position is not None:
        if position >= len(links):
            raise CommandError(f"token {token} has {len(links)} links, counted from 0")
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
        raise CommandError(
            f"token {token} has no {which} link to a token of {session.account.address}"
        )
    several = ", ".join(f"{place} ({link.relation} {link.target})" for place, link in owned)
    raise CommandError(f"token {token} has several such links: name a position of {several}")


def _show_link(
    session: Session, action: str, receipt: ReceiptAPI, token: int, position: int, link: Link
) -> None:
    outcome = {"position": position, "relation": link.relation.value, "target": link.target}
    session.show(action, receipt, token=token, **outcome)


@session_command("answer-claim")
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
      ape alithis registry answer-claim 1 3 accepted --uri https://example.org/a --account alice
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
    receipt = session.send("answer a claim", says, Call("answerClaim", arguments))
    left = session.read(lambda: session.reader.record(token).open_claims)
    outcome = {"number": number, "answer": answer, "open_claims": left}
    session.show("answer-claim", receipt, token=token, **outcome)


@session_command("withdraw")
@click.argument("token", type=_TOKEN)
@_uri_option(default="")
def withdraw(session: Session, token: int, uri: str) -> None:
    """Mark TOKEN, which you own, as withdrawn. It stays in the registry, and cannot be unmarked.

    \b
    Example:
      ape alithis registry withdraw 1 --uri https://example.org/why --account alice
    """
    says = [f"  marks token {token} as withdrawn, for good, with the text {uri!r}"]
    receipt = session.send("withdraw", says, Call("withdraw", (token, uri)))
    session.show("withdraw", receipt, token=token)


# -- All of them --------------------------------------------------------------------------------


@click.group()
def cli() -> None:
    """Evidence, answers and signed mints in a registry.

    Each command checks on this machine first, says what its transaction will do, and on a live
    network asks before it is sent.

    \b
    Examples:
      ape alithis registry attest 1 cat.jpg --network filecoin:calibration --account alice
      ape alithis registry countersign 7 --network filecoin:calibration --account alice
      ape alithis registry sign photos.alithis -o mint.json --account alice
      ape alithis registry relay mint.json --account bob
    """


for _each in (
    *(attest, claim, report_disorder),
    *(countersign, retract, answer_claim, withdraw),
    *(signed_mints.sign, signed_mints.relay, signed_mints.revoke_nonce),
):
    cli.add_command(_each)
