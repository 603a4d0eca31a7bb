"""``alithis export``: a manifest in the words of other standards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import ANY, CHAIN, say, store_option

if TYPE_CHECKING:
    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from alithis.verify.library import Shelf

FORMATS = ("croissant", "cyclonedx", "in-toto", "model-signing", "proofs")
_OF_REPORTS = ("cyclonedx", "in-toto")
_OF_MODELS = (*_OF_REPORTS, "model-signing")


@click.command()
@click.argument("place", metavar="TOKEN|MANIFEST|URL")
@click.option("--to", "form", type=click.Choice(FORMATS), required=True, help="Which standard.")
@click.option("-o", "--out", type=ANY, help="The file to write  [default: print it].")
@click.option(
    "--check", is_flag=True, help="Check what is written with the standard's own library."
)
@click.option(
    "--key",
    type=ANY,
    metavar="PEM",
    help="With model-signing: sign it with this elliptic-curve private key.",
)
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar="DIR|URL",
    help="A manifest at hand of what the model was made from; repeatable.",
)
@click.option(
    "--gateway",
    "gateways",
    multiple=True,
    metavar="URL",
    help="An IPFS gateway to read manifests from  [default: as with `alithis verify`]; for "
    "croissant, to name the files by.",
)
@click.option("--rpc", metavar="URL", help="The chain, for publishers, grades and marks.")
@click.option("--registry", metavar="ADDRESS", help="The registry on the chain.")
@click.option("--chain", type=CHAIN, metavar="ID", help="Chain id that the endpoint must serve.")
@store_option
def export(
    place: str,
    form: str,
    out: Path | None,
    check: bool,
    key: Path | None,
    places: tuple[str, ...],
    gateways: tuple[str, ...],
    rpc: str | None,
    registry: str | None,
    chain: int | None,
    store_folder: Path | None,
) -> None:
    """Write a manifest down in the words of another standard.

    A model may be named by its TOKEN with cyclonedx and in-toto; its manifest is then looked for
    as those of its datasets are.

    \b
    croissant      a dataset's Croissant document; --gateway makes its files loadable
    cyclonedx      a model's bill of materials (CycloneDX 1.6), with model card and datasets
    in-toto        a model's SLSA provenance, its datasets as resolved dependencies
    model-signing  what OpenSSF model-signing signs; with --key, the signature
    proofs         a proof of each data point, a line each

    What a model was made from is described as far as its manifests are at hand, as with
    `alithis report`; with --rpc and --registry also by the chain.

    \b
    Examples:
      alithis export digits.alithis --to cyclonedx -o digits.cdx.json --check
      alithis export 7 --to in-toto --rpc URL --registry 0x… -o digits.intoto.json
      alithis export digits.alithis --to model-signing --key signing.pem -o model.sig
      alithis export photos.alithis --to croissant --gateway https://ipfs.io -o croissant.json
      alithis export photos.alithis --to proofs -o photos.proofs.jsonl
    """
    from alithis.base.text import is_url
    from alithis.chain.registry import Registry
    from alithis.chain.rpc import HttpTransport

    if key and form != "model-signing":
        raise click.UsageError("--key goes with --to model-signing")
    if check and form not in ("croissant", "cyclonedx"):
        raise click.UsageError("--check goes with --to croissant and --to cyclonedx")
    if bool(rpc) != bool(registry):
        raise click.UsageError("--rpc and --registry go together")
    if form == "croissant" and gateways and not is_url(gateways[0]):
        raise click.UsageError(f"--gateway {gateways[0]}: takes an http or https URL")
    if form in _OF_REPORTS:
        shelf = _shelf(places, gateways, store_folder)
        reader = Registry(HttpTransport(rpc), registry, chain) if rpc and registry else None
        _put(out, [_json(_reported(_subject(place, form), shelf, reader, form, check))])
        return
    manifest = _opened(place, form)
    if form == "croissant":
        _put(out, [_json(_croissant(manifest, gateways, check))])
    elif form == "proofs":
        _put(out, _proofs(manifest))
    else:
        _put(out, [_signing(manifest, key)])


def _subject(place: str, form: str) -> int | Manifest:
    if place.isdecimal() and len(place) < 16 and not Path(place).exists():
        return int(place)
    return _opened(place, form)


def _opened(place: str, form: str) -> Manifest:
    from alithis.storage.http_manifest import open_manifest

    manifest = open_manifest(place)
    _check_kind(manifest, form)
    return manifest


def _check_kind(manifest: Manifest, form: str) -> None:
    kind, wanted = manifest.metadata.kind, "model" if form in _OF_MODELS else "dataset"
    if form != "proofs" and kind != wanted:
        raise click.UsageError(
            f"{manifest.metadata.name} is a {kind}; --to {form} is for a {wanted}"
        )


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"  # ASCII: a terminal may read it


def _shelf(places: Iterable[str], gateways: tuple[str, ...], store_folder: Path | None) -> Shelf:
    from alithis.storage.fallback import Gateways
    from alithis.storage.http_manifest import open_manifest
    from alithis.storage.store import Store
    from alithis.verify.library import Shelf

    return Shelf(
        Store(store_folder),
        [open_manifest(place) for place in places],
        Gateways.named(gateways) if gateways else Gateways.usual(),
    )


def _reported(
    subject: int | Manifest, shelf: Shelf, reader: Registry | None, form: str, check: bool
) -> dict[str, Any]:
    from alithis.errors import StorageError
    from alithis.reports import cyclonedx, in_toto
    from alithis.reports.gather import report

    found = report(subject, shelf, reader)
    if found.unlisted and not isinstance(found.unlisted, StorageError):  # damaged or forged
        raise found.unlisted
    if form == "in-toto":
        return in_toto.statement(found)
    if found.unlisted:
        say(f"alithis: the files of {found.model.name} are not in it: {found.unlisted}", err=True)
    document = cyclonedx.bill(found)
    if check:
        cyclonedx.check(document)
    return document


def _signing(manifest: Manifest, key: Path | None) -> bytes:
    from alithis.reports import model_signing

    stated = model_signing.statement(manifest)
    return _json(stated) if key is None else model_signing.signed(stated, key)


def _croissant(manifest: Manifest, gateways: tuple[str, ...], check: bool) -> dict[str, Any]:
    from alithis.errors import FormatError
    from alithis.manifest import croissant

    if check and (wrong := croissant.judged(manifest.metadata)):
        raise FormatError(f"{manifest.metadata.name}: {wrong[0]}")
    return croissant.through(manifest.metadata, gateways[0] if gateways else None)


def _proofs(manifest: Manifest) -> Iterator[bytes]:
    """Yield proof files, a line each, in the order of the leaves."""
    from alithis.manifest import proof

    stated = manifest.metadata
    subject = proof.Subject(stated.name, stated.digest)
    for index in range(stated.size):
        found = manifest.at(index)
        found.check(stated.root, stated.size)
        value = json.loads(proof.dump(found, subject))
        yield json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _put(out: Path | None, parts: Iterable[bytes]) -> None:
    """Print the parts, or write them to a file that appears whole or not at all."""
    from alithis.base.files import atomic_file, write_errors

    if out is None:
        for part in parts:
            click.echo(part, nl=False)
        return
    with write_errors(out), atomic_file(out) as file:
        for part in parts:
            file.write(part)
    say(f"{out}: written")
