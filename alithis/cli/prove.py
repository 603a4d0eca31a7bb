"""``alithis prove``: write a proof file."""

from __future__ import annotations

from pathlib import Path

import click

from alithis.cli.options import (
    ANY,
    CHAIN,
    TOKEN,
    gateway_option,
    key_option,
    read_key,
    say,
    store_option,
)


@click.command()
@click.argument("place", metavar="MANIFEST|URL")
@click.argument("target", metavar="FILE|HASH")
@click.option("-o", "--out", type=ANY, help="The proof file to write  [default: print it].")
@key_option
@click.option("--chain", type=CHAIN, metavar="ID", help="Chain that the proof is to name.")
@click.option("--registry", metavar="ADDRESS", help="Registry that the proof is to name.")
@click.option("--token", type=TOKEN, metavar="ID", help="Token that the proof is to name.")
@store_option
@gateway_option
def prove(
    place: str,
    target: str,
    out: Path | None,
    key_file: Path | None,
    chain: int | None,
    registry: str | None,
    token: int | None,
    store_folder: Path | None,
    gateways: tuple[str, ...],
) -> None:
    """Write a proof that a data point is in a manifest, or absent.

    FILE is brought into the manifest's canonical form; HASH is the SHA-256 of that form. The
    manifest is a folder, or the URL of one or its ipfs://CID[/path], read by HTTP range.

    Of keyed leaves, --key-file opens this one: the proof holds its item key, and tells nothing
    of the others.

    \b
    Examples:
      alithis prove photos.alithis cat.jpg -o cat.proof.json
      alithis prove https://example.org/photos.alithis cat.jpg -o cat.proof.json
      alithis prove ipfs://f01551220… cat.jpg -o cat.proof.json
      alithis prove patients.alithis scan.png --key-file patients.key -o scan.proof.json
      alithis verify cat.jpg --proof cat.proof.json --root … --size …
    """
    from dataclasses import replace

    from alithis.manifest import proof
    from alithis.storage.fallback import Gateways
    from alithis.storage.store import Store
    from alithis.verify.reference import open_manifest
    from alithis.verify.target import Target

    opened = open_manifest(place, Gateways.named(gateways), Store(store_folder))
    asked = Target.parse(target, key=read_key(key_file))
    if asked.proof is not None:
        raise click.UsageError(f"{target} is a proof file already; alithis verify checks it")
    found = opened.prove(asked.leaf(opened.metadata))
    for line in opened.notes:
        say(f"note: {line}", err=True)
    if isinstance(found, proof.Inclusion):
        found = replace(found, opening=asked.opening(opened.metadata))
    subject = proof.Subject(opened.metadata.name, opened.metadata.digest, chain, registry, token)
    data = proof.dump(found, subject)
    proof.load(data)  # what --registry brings in must be readable again
    if out is None:
        click.echo(data, nl=False)
        return
    _write(out, data)
    word = "inclusion" if isinstance(found, proof.Inclusion) else "absence"
    say(f"{out}: proof of {word}, leaf {found.leaf.hex()}")
    if word == "absence" and opened.metadata.scheme == "keyed":
        say("note: that it is this data point's leaf shows the publisher's key alone", err=True)


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    from alithis.base.files import write_atomic
    from alithis.errors import SourceError

    try:
        write_atomic(path, data)
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror}") from error
