"""`ape alithis registry …`: evidence about tokens, and their owners' answers.

Each transaction is checked on this machine and then rehearsed by the node, so that an invalid
proof, or a transaction that the contract would refuse, costs no gas.
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
"""The contract's limit for a text, in bytes."""
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
        raise click.BadParameter(f"is not printable text of at most {MAX_URI} bytes")
    return uri


_uri_option = partial(
    click.option,
    "--uri",
    callback=_check_uri,
    help=f"The address of the explanation: at most {MAX_URI} bytes, published permanently.",
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
    """Record on the chain that FILE is in TOKEN.

    The proof is made and checked on this machine. The contract checks it again, counts it, and
    records your address, the leaf and its position in an event.

    \b
    Examples:
      ape alithis registry attest 1 cat.jpg --manifest photos.alithis --account alice
      ape alithis registry attest 1 cat.proof.json --account alice --json
    """
    record, found = _proven(session, token, target, manifests, store_folder)
    says = [
        *_about_leaf(record, found),
        f"  attestation {record.attestations + 1} of the token, with your address, permanently",
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

    The contract accepts a claim from anyone who proves that FILE is included, and shows it as open
    until the token's owner answers. Explain your claim (consent, licence, personal data) at the
    URI.

    \b
    Example:
      ape alithis registry claim 1 cat.jpg --uri https://example.org/claim --account alice
    """
    record, found = _proven(session, token, target, manifests, store_folder)
    says = [
        *_about_leaf(record, found),
        f"  an open claim with your address and the text {uri!r}, permanently",
    ]
    arguments = (token, found.leaf, found.index, found.path, uri)
    receipt = session.send("file a claim", says, Call("claim", arguments))
    number = number_in(receipt, session.contract.Claimed, "number")
    outcome = {"number": number, "leaf": found.leaf.hex(), "index": found.index}
    session.show("claim", receipt, token=token, **outcome)


def _proven(
    session: Session, token: int, text: str, manifests: Sequence[str], store: Path | None
) -> tuple[Record, Inclusion]:
    """Return a proof that a data point is in a token, checked against the chain's record.

    Raises:
        CommandError: The data point is absent, or that cannot be checked.
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
        raise CommandError(f"{text} is absent from token {token}. Nothing was sent")
    last = result.steps[-1]
    raise CommandError(
        f"{text} could not be checked against token {token} ({last.step}: {last.detail}). Nothing "
        "was sent"
    )


def _shelf(session: Session, references: Sequence[str], store: Path | None) -> Shelf:
    """Return the named manifests, the local store, and the gateways."""
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf
    from alithis.verify.reference import Reference, Resolver

    resolver = Resolver(Store(store), connect=lambda: session.reader)
    named = [resolver.open(Reference.parse(text)).manifest for text in references]
    return Shelf(resolver.store, named, resolver.gateways)


def _about_leaf(record: Record, found: Inclusion) -> list[str]:
    return [
        f"  token {record.id}, a {record.kind} published by {record.publisher}",
        f"  leaf {found.leaf.hex()}, at index {found.index} of {record.size}: proof checked",
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
    """Prove that the leaves of TOKEN are not sorted, which marks it permanently.

    The two leaves come from proof files that contradict each other, such as a proof of inclusion
    and a proof of absence of the same leaf. Without proof files, they come from the token's
    manifest.

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
        f"  leaf {lower.leaf.hex()} is at index {lower.index},",
        f"  leaf {upper.leaf.hex()} is after it at {upper.index}: proofs checked",
        "  marks the token as disordered permanently: its proofs of absence are no longer valid",
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
        raise CommandError(f"{len(paths)} proof files are too many. Give at most {_MAX_PROOFS}")
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
        raise CommandError("the proofs do not contradict each other. Nothing was sent")
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
        raise CommandError(f"the leaves of token {record.id} are sorted. Nothing was sent")
    try:
        found.check(record.root, record.size)
    except ProofError as error:
        raise CommandError(
            f"the manifest is not the one that token {record.id} commits to, so it proves nothing: "
            f"{error}"
        ) from error
    return found


# -- Answers of a token's owner ----------------------------------------------------------------


@session_command("countersign")
@click.argument("token", type=_TOKEN)
@click.argument("position", type=_POSITION, required=False)
def countersign(session: Session, token: int, position: int | None) -> None:
    """Confirm a link of TOKEN to a token that you own.

    POSITION is the link's number, counted from 0. You can leave it out if only one link leads to a
    token that you own.

    \b
    Example:
      ape alithis registry countersign 7 --account alice
    """
    position, link = _own_link(session, token, position, countersigned=False)
    says = [f"  confirms the link: token {token}, {link.relation}, your token {link.target}"]
    receipt = session.send("countersign", says, Call("countersign", (token, position)))
    _show_link(session, "countersign", receipt, token, position, link)


@session_command("retract")
@click.argument("token", type=_TOKEN)
@click.argument("position", type=_POSITION, required=False)
def retract(session: Session, token: int, position: int | None) -> None:
    """Withdraw your confirmation of a link of TOKEN to a token that you own.

    \b
    Example:
      ape alithis registry retract 7 --account alice
    """
    position, link = _own_link(session, token, position, countersigned=True)
    says = [
        f"  no longer confirms the link: token {token}, {link.relation}, your token {link.target}"
    ]
    call = Call("retractCountersignature", (token, position))
    receipt = session.send("retract a countersignature", says, call)
    _show_link(session, "retract", receipt, token, position, link)


def _own_link(
    session: Session, token: int, position: int | None, *, countersigned: bool
) -> tuple[int, Link]:
    """Return the position and link that the user means.

    Raises:
        CommandError: No link matches, or several do.
    """
    links = session.reader.links(token)
    if position is not None:
        if position >= len(links):
            raise CommandError(
                f"token {token} has no link {position}. It has {len(links)}, counted from 0"
            )
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
    raise CommandError(f"token {token} has several such links. Give the position of one: {several}")


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

    An answer can only be changed in the claimant's favour: from rejected to accepted to removed.
    Removed states that a newer token, which supersedes this one, does not contain the data point.

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
        f"  is {filed.status} now, and will be {given}, with the text {uri!r}, permanently",
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
    """Mark TOKEN, which you own, as withdrawn. It stays in the registry. This cannot be undone.

    \b
    Example:
      ape alithis registry withdraw 1 --uri https://example.org/why --account alice
    """
    says = [f"  marks token {token} as withdrawn, permanently, with the text {uri!r}"]
    receipt = session.send("withdraw", says, Call("withdraw", (token, uri)))
    session.show("withdraw", receipt, token=token)


# -- The group ----------------------------------------------------------------------------------


@click.group()
def cli() -> None:
    """Send evidence about tokens, answer claims, and sign or relay mints.

    Each command first checks everything on this machine, shows what its transaction will do, and
    on a live network asks before sending.

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
