"""``alithis store``: manifests in and out of the local store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.frame import ANY, MANIFEST, json_option, say, store_option

if TYPE_CHECKING:
    from alithis.storage import Store, StoredManifest


@click.group()
def store() -> None:
    """Manifests in and out of the local store.

    \b
    Examples:
      alithis store put photos.alithis
      alithis store ls
      alithis store get ipfs://f01551220… -o photos.alithis
    """


@store.command("put")
@click.argument("manifest_folder", metavar="MANIFEST", type=MANIFEST)
@store_option
@json_option
def store_put(manifest_folder: Path, store_folder: Path | None, as_json: bool) -> None:
    """Copy a manifest's files into the store, each under its CID.

    \b
    Example:
      alithis store put photos.alithis
    """
    opened = _open_store(store_folder)
    cid = opened.put_manifest(manifest_folder)
    if as_json:
        say(json.dumps({"cid": str(cid), "uri": "ipfs://" + cid.base16}, indent=1))
    else:
        say(f"{manifest_folder}: stored as {cid}")


def _open_store(folder: Path | None) -> Store:
    from alithis.storage import Store

    return Store(folder)


@store.command("get")
@click.argument("reference", metavar="CID|DIGEST")
@click.option("-o", "--out", type=ANY, required=True, help="The directory to write.")
@store_option
@json_option
def store_get(reference: str, out: Path, store_folder: Path | None, as_json: bool) -> None:
    """Copy a manifest out of the store; every file is checked against its digests.

    The reference is the CID of its metadata.json (a token's URI) or that file's SHA-256.

    \b
    Example:
      alithis store get ipfs://f01551220… -o photos.alithis
    """
    from alithis.cid import Cid

    digest = reference.removeprefix("0x")
    cid = Cid.parse(f"f01551220{digest.lower()}" if len(digest) == 64 else reference)
    withheld = _open_store(store_folder).get_manifest(cid, out)
    if as_json:
        say(json.dumps({"manifest": str(out), "withheld": withheld}, indent=1))
        return
    say(f"{out}: written" + (f"; not in the store: {', '.join(withheld)}" * bool(withheld)))


@store.command("ls")
@store_option
@json_option
def store_ls(store_folder: Path | None, as_json: bool) -> None:
    """List the manifests in the store.

    \b
    Example:
      alithis store ls
    """
    listing = _open_store(store_folder).manifests()
    if as_json:
        manifests = [_stored(manifest) for manifest in listing.manifests]
        say(json.dumps({"manifests": manifests, "problems": listing.problems}, indent=1))
        return
    for manifest in listing.manifests:
        say(
            f"{manifest.cid}  {manifest.kind:7}  {manifest.size:>12,} leaves"
            f"  {manifest.bytes:>14,} bytes  {manifest.name}"
        )
    for problem in listing.problems:
        say(f"alithis: {problem}", err=True)
    if not listing.manifests:
        say("no manifests; alithis store put MANIFEST adds one", err=True)


def _stored(manifest: StoredManifest) -> dict[str, Any]:
    return {
        "cid": str(manifest.cid),
        "name": manifest.name,
        "kind": manifest.kind,
        "size": manifest.size,
        "bytes": manifest.bytes,
        "withheld": manifest.withheld,
    }
