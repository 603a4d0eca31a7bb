"""``alithis export``: write a manifest in the format of another standard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import (
    ANY,
    REFERENCE,
    check_output,
    force_option,
    open_reference,
    reference_options,
    say,
    was_typed,
    write_output,
)
from alithis.cli.report import subject_of

if TYPE_CHECKING:
    from alithis.chain.registry import Registry
    from alithis.manifest.reader import Manifest
    from alithis.verify.library import Shelf
    from alithis.verify.reference import Resolver

FORMATS = ("croissant", "cyclonedx", "in-toto", "model-signing", "proofs")
_OF_REPORTS = ("cyclonedx", "in-toto")
_OF_MODELS = (*_OF_REPORTS, "model-signing")


@click.command()
@click.argument("place", metavar=REFERENCE)
@click.option(
    "--to", "form", type=click.Choice(FORMATS), required=True, help="The format to write."
)
@click.option("-o", "--out", type=ANY, help="The file to write  [default: print it].")
@force_option
@click.option("--check", is_flag=True, help="Check the output with the standard's own library.")
@click.option(
    "--key",
    type=ANY,
    metavar="PEM",
    help="For model-signing: sign with this elliptic-curve private key.",
)
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar=REFERENCE,
    help="The manifest of a dataset or model that this model was made from; may be repeated.",
)
@reference_options()
def export(
    place: str,
    form: str,
    out: Path | None,
    force: bool,
    check: bool,
    key: Path | None,
    places: tuple[str, ...],
    references: Resolver,
) -> None:
    """Write a manifest in the format of another standard.

    \b
    croissant      a dataset's Croissant document; with --gateway, its files link there
    cyclonedx      a model's bill of materials (CycloneDX 1.6), with model card and datasets
    in-toto        a model's SLSA provenance, with its datasets as resolved dependencies
    model-signing  the payload that OpenSSF model-signing signs, or with --key the signature
    proofs         a proof of every data point, one per line

    Datasets and parent models are described as far as their manifests are available, as in
    `alithis report`. With --rpc and --registry, publishers, grades and known problems come from
    the chain.

    \b
    Examples:
      alithis export digits.alithis --to cyclonedx -o digits.cdx.json --check
      alithis export 7 --to in-toto --rpc URL --registry 0x… -o digits.intoto.json
      alithis export digits.alithis --to model-signing --key signing.pem -o model.sig
      alithis export photos.alithis --to croissant --gateway https://ipfs.io -o croissant.json
      alithis export photos.alithis --to proofs -o photos.proofs.jsonl
    """
    from alithis.base.text import is_url
    from alithis.storage.fallback import NONE

    if key and form != "model-signing":
        raise click.UsageError("--key can only be used with --to model-signing")
    if check and form not in ("croissant", "cyclonedx"):
        raise click.UsageError("--check can only be used with --to croissant or --to cyclonedx")
    given = click.get_current_context().params["gateways"] if was_typed("gateways") else ()
    linked = given[0] if form == "croissant" and given and given != (NONE,) else None
    if linked and not is_url(linked):
        raise click.UsageError(f"--gateway {linked}: is not an http or https URL")
    kind = "PROOF" if form == "proofs" else form.upper().replace("-", "_")
    check_output(out, kind, (place, key, *places), force=force)
    if form in _OF_REPORTS:
        subject = subject_of(references, place)
        if not isinstance(subject, int):
            _check_kind(subject, form)
        shelf = _shelf(references, places)
        _put(out, [_json(_reported(subject, shelf, references.registry, form, check))])
        return
    manifest = open_reference(references, place).manifest
    _check_kind(manifest, form)
    if form == "croissant":
        _put(out, [_json(_croissant(manifest, linked, check))])
    elif form == "proofs":
        _put(out, _proofs(manifest))
    else:
        _put(out, [_signing(manifest, key)])


def _check_kind(manifest: Manifest, form: str) -> None:
    kind, wanted = manifest.metadata.kind, "model" if form in _OF_MODELS else "dataset"
    if form != "proofs" and kind != wanted:
        raise click.UsageError(
            f"{manifest.metadata.name} is a {kind}; --to {form} needs a {wanted}"
        )


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"  # ASCII, for any terminal


def _shelf(references: Resolver, places: Iterable[str]) -> Shelf:
    from alithis.verify.library import Shelf

    opened = [open_reference(references, place).manifest for place in places]
    return Shelf(references.store, opened, references.gateways)


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
        say(f"alithis: the files of {found.model.name} are not listed: {found.unlisted}", err=True)
    document = cyclonedx.bill(found)
    if check:
        cyclonedx.check(document)
    return document


def _signing(manifest: Manifest, key: Path | None) -> bytes:
    from alithis.reports import model_signing

    stated = model_signing.statement(manifest)
    return _json(stated) if key is None else model_signing.signed(stated, key)


def _croissant(manifest: Manifest, gateway: str | None, check: bool) -> dict[str, Any]:
    from alithis.errors import FormatError
    from alithis.manifest import croissant

    if check and (wrong := croissant.judged(manifest.metadata)):
        raise FormatError(f"{manifest.metadata.name}: {wrong[0]}")
    return croissant.through(manifest.metadata, gateway)


def _proofs(manifest: Manifest) -> Iterator[bytes]:
    """Yield proof files, one per line, in the order of the leaves."""
    from alithis.manifest import proof

    stated = manifest.metadata
    subject = proof.Subject(stated.name, stated.digest)
    for index in range(stated.size):
        found = manifest.at(index)
        found.check(stated.root, stated.size)
        value = json.loads(proof.dump(found, subject))
        yield json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _put(out: Path | None, parts: Iterable[bytes]) -> None:
    if write_output(out, parts):
        say(f"{out}: written")
