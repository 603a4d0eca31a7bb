"""``alithis prove``: write a proof that a data point is in a manifest, or absent."""

from __future__ import annotations

from pathlib import Path

import click

from alithis.cli.options import (
    ANY,
    REFERENCE,
    TOKEN,
    chain_options,
    check_output,
    force_option,
    gateway_option,
    key_option,
    read_key,
    resolver,
    say,
    say_notes,
    store_option,
    was_typed,
    write_output,
)


@click.command()
@click.argument("place", metavar=REFERENCE)
@click.argument("target", metavar="FILE|HASH")
@click.option(
    "-o", "--out", type=ANY, metavar="FILE", help="The proof file to write  [default: print it]."
)
@force_option
@key_option
@chain_options()
@click.option(
    "--token",
    type=TOKEN,
    metavar="ID",
    help="The token that the proof names.",
)
@store_option
@gateway_option
def prove(
    place: str,
    target: str,
    out: Path | None,
    force: bool,
    key_file: Path | None,
    rpc: str | None,
    registry: str | None,
    chain: int | None,
    token: int | None,
    store_folder: Path | None,
    gateways: tuple[str, ...],
) -> None:
    """Write a proof that a data point is in a manifest, or that it is absent.

    FILE is converted to the manifest's canonical form; HASH is the SHA-256 of that form. Of a
    manifest at a URL or on IPFS, only the needed parts are read. A token requires --rpc and
    --registry, and the proof names it. A proof from any other manifest names the --token,
    --registry and --chain that you give. With --rpc and --registry, the token must commit to that
    manifest; without them this is not checked.

    No proof of absence is written if leaves that were read are out of order, or if the token was
    proved to be out of order.

    With --key-file, the proof contains the item key of this data point, so that others can check
    its keyed leaf. It reveals nothing about other leaves.

    \b
    Examples:
      alithis prove photos.alithis cat.jpg -o cat.proof.json
      alithis prove https://example.org/photos.alithis cat.jpg -o cat.proof.json
      alithis prove ipfs://f01551220… cat.jpg -o cat.proof.json
      alithis prove 7 cat.jpg --rpc URL --registry 0x… -o cat.proof.json
      alithis prove patients.alithis scan.png --key-file patients.key -o scan.proof.json
      alithis verify cat.jpg --proof cat.proof.json --root … --size …
    """
    from dataclasses import replace

    from alithis.errors import ProofError
    from alithis.manifest import proof
    from alithis.verify.reference import Reference
    from alithis.verify.target import Target
    from alithis.verify.tokens import subject_of

    check_output(out, "PROOF", (place, target, key_file), force=force)
    references = resolver(rpc, registry, chain, store_folder, gateways)
    artifact = references.open(Reference.parse(place))
    opened = artifact.manifest
    asked = Target.parse(target, key=read_key(key_file))
    if asked.proof is not None:
        raise click.UsageError(f"{target} is already a proof file. `alithis verify` checks it")
    record = artifact.record
    if token is not None and record and record.id != token:
        raise click.UsageError(f"--token {token}: the proof is from token {record.id}")
    if token is not None and not record and references.registry:
        record = references.registry.record(token)
        if record.metadata_digest != opened.metadata.digest:
            raise click.UsageError(
                f"--token {token}: commits to metadata {record.metadata_digest.hex()}, but the "
                f"metadata of {place} is {opened.metadata.digest.hex()}"
            )
    found = opened.prove(asked.leaf(opened.metadata))
    if record and record.disordered and isinstance(found, proof.Exclusion):
        raise ProofError(
            f"not found, but token {record.id} was proved to be out of order, so absence cannot be "
            "proved"
        )
    say_notes(opened.notes)
    if isinstance(found, proof.Inclusion):
        found = replace(found, opening=asked.opening(opened.metadata))
    if record and references.registry:
        subject = subject_of(references.registry, record)
    else:
        named = registry if was_typed("registry") else None
        subject = proof.Subject(None, opened.metadata.digest, chain, named, token)
    data = proof.dump(found, replace(subject, name=opened.metadata.name))
    proof.load(data)  # refuses a --registry or --chain that a proof file cannot contain
    if not write_output(out, [data]):
        return
    word = "inclusion" if isinstance(found, proof.Inclusion) else "absence"
    say(f"{out}: proof of {word}, leaf {found.leaf.hex()}")
    if word == "absence" and opened.metadata.scheme == "keyed":
        say(
            "note: only the publisher's key can show whose leaf this is",
            err=True,
        )
