"""``alithis store``: manifests in and out of the local store, and on to hosts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import (
    ANY,
    REFERENCE,
    Failure,
    json_option,
    reference_options,
    refuse_standard_output,
    say,
    say_notes,
    store_option,
)

if TYPE_CHECKING:
    from alithis.ipfs.car import LocalFile
    from alithis.ipfs.cid import Cid
    from alithis.storage.availability import Availability, HostResult
    from alithis.storage.hosts.host import Host
    from alithis.storage.store import Store, StoredManifest
    from alithis.storage.upload import UploadResult
    from alithis.verify.reference import Reference, Resolver


@click.group()
def store() -> None:
    """Manifests in and out of the local store, and on to hosts.

    \b
    Examples:
      alithis store put photos.alithis
      alithis store put photos.alithis --to lighthouse --to kubo
      alithis store ls
      alithis store get ipfs://f01551220… -o photos.alithis
      alithis store export photos.alithis -o photos.car
      alithis store check photos.alithis --at lighthouse
    """


@store.command("put")
@click.argument("place", metavar="TOKEN|DIR|CID")
@click.option(
    "--to",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Put it there too: lighthouse, pinata, kubo, kubo=URL or s3://BUCKET/PREFIX; "
    "may be repeated.",
)
@reference_options()
@json_option
def store_put(place: str, hosts: tuple[str, ...], references: Resolver, as_json: bool) -> None:
    """Copy a manifest's files into the store, each under its CID, and on to hosts.

    A TOKEN or CID names a manifest that is in the store already. What a host has is not sent
    again; what it says it has must have the CID that it has here.
    Keys are read from LIGHTHOUSE_API_KEY and PINATA_JWT, or from the files that
    LIGHTHOUSE_API_KEY_FILE and PINATA_JWT_FILE name. Exit status 2 if a host has not all of it.

    \b
    Examples:
      alithis store put photos.alithis
      alithis store put photos.alithis --to lighthouse --to kubo --to s3://mirror/alithis
    """
    from alithis.storage.hosts import open_hosts

    backends = open_hosts(hosts)  # a missing key is said before any work
    reference = _storable(place)
    if reference.kind == "folder":
        cid = references.store.put_manifest(reference.folder())
    else:
        cid = references.cid(reference)
    placed = _publish(_parts(references.store, cid, reference), backends)
    if as_json:
        facts = {"cid": str(cid), "uri": "ipfs://" + cid.base16}
        say(json.dumps({**facts, "hosts": [asdict(each) for each in placed]}, indent=1))
    else:
        say(f"{reference}: stored as {cid}")
        for each in placed:
            say(_line(each))
    failed = [each for each in placed if each.error]
    if failed:
        raise Failure("; ".join(str(each.error) for each in failed))


def _publish(parts: list[LocalFile], backends: list[Host]) -> list[UploadResult]:
    from alithis.cli.terminal import shown
    from alithis.storage.upload import publish

    if not backends:
        return []
    with shown() as progress:
        return publish(parts, backends, progress)


def _parts(opened: Store, cid: Cid, reference: Reference) -> list[LocalFile]:
    """List what is to be put; what a folder withholds is not, though the store may have it."""
    from alithis.storage.store import local_files

    parts = opened.local_files(cid)
    if reference.kind != "folder":
        return parts
    shown = {part.cid for part in local_files(reference.folder())}
    return [part for part in parts if part.cid in shown]


def _storable(place: str) -> Reference:
    """Read a reference to what is on this machine: a folder, or a manifest in the store."""
    from alithis.verify.reference import Reference

    reference = Reference.parse(place)
    if reference.kind in ("url", "bucket"):
        raise click.UsageError(
            f"{reference}: takes a folder, a token or a CID; "
            "alithis store get URL -o DIR copies it into a folder"
        )
    return reference


def _line(placed: UploadResult) -> str:
    if placed.error:
        return f"  {placed.host}: not all of it: {len(placed.sent) + len(placed.present)} files"
    there = f"{len(placed.present)} were there" if placed.present else ""
    sent = f"{len(placed.sent)} sent" if placed.sent else ""
    return f"  {placed.host}: all of it ({', '.join(filter(None, (sent, there)))})"


def _open_store(folder: Path | None) -> Store:
    from alithis.storage.store import Store

    return Store(folder)


@store.command("get")
@click.argument("place", metavar="TOKEN|URL|CID")
@click.option("-o", "--out", type=ANY, metavar="DIR", required=True, help="The folder to write.")
@reference_options()
@json_option
def store_get(place: str, out: Path, references: Resolver, as_json: bool) -> None:
    """Copy a manifest out of the store, or from elsewhere; every file is checked.

    A CID is that of its metadata.json (a token's URI), ipfs://CID/path of it or its folder, or
    that file's SHA-256. What the store lacks comes from gateways, into the store first, each block
    checked; interrupted work is resumed. An http, https or s3 URL is copied from there. A TOKEN
    takes --rpc and --registry.

    \b
    Examples:
      alithis store get ipfs://f01551220… -o photos.alithis
      alithis store get ipfs://bafy…/photos.alithis -o photos.alithis --gateway https://ipfs.io
      alithis store get 7 -o photos.alithis --rpc URL --registry 0x…
      alithis store get https://example.org/photos.alithis -o photos.alithis
    """
    from alithis.cli.terminal import shown
    from alithis.verify.reference import Reference

    refuse_standard_output(out, "a folder")
    reference = Reference.parse(place)
    if reference.kind == "folder":
        raise click.UsageError(f"{reference}: takes a token, a URL or a CID, not a folder")
    with shown() as progress:
        found = references.copy(reference, out, progress)
    say_notes(found.notes)
    if as_json:
        facts = {"manifest": str(out), "withheld": found.withheld, "fetched": found.fetched}
        say(json.dumps(facts, indent=1))
        return
    came = f", {len(found.fetched)} files of it from gateways" if found.fetched else ""
    lacks = f"; not available: {', '.join(found.withheld)}" if found.withheld else ""
    say(f"{out}: written{came}{lacks}")


@store.command("export")
@click.argument("place", metavar="TOKEN|DIR|CID")
@click.option("-o", "--out", type=ANY, metavar="FILE", required=True, help="The CAR file to write.")
@reference_options()
@json_option
def store_export(place: str, out: Path, references: Resolver, as_json: bool) -> None:
    """Write a manifest, or a file in the store, as a CAR file (CARv1), which IPFS tools read.

    Its roots are metadata.json, and each file that it names, by their CIDs.

    \b
    Examples:
      alithis store export photos.alithis -o photos.car
      alithis store export ipfs://f01551220… -o photos.car
    """
    from alithis.ipfs import car
    from alithis.storage.store import local_files

    refuse_standard_output(out, "a CAR file")
    reference = _storable(place)
    if reference.kind == "folder":
        parts = local_files(reference.folder())
    else:
        parts = references.store.local_files(references.cid(reference))
    size = car.write(parts, out)
    if as_json:
        roots = {part.name: str(part.cid) for part in parts}
        say(json.dumps({"car": str(out), "bytes": size, "roots": roots}, indent=1))
    else:
        say(f"{out}: {len(parts)} files in {size:,} bytes, root {parts[0].cid}")


@store.command("import")
@click.argument("archive", metavar="FILE.car", type=click.Path(path_type=Path))
@store_option
@json_option
def store_import(archive: Path, store_folder: Path | None, as_json: bool) -> None:
    """Store what the roots of a CAR file lead to; every block is checked against its CID.

    A root that is a metadata.json, or a directory with one in it, is stored as a manifest, any
    other as a file. Files that were cut in another way have another CID in the store.

    \b
    Example:
      alithis store import photos.car
    """
    found = _open_store(store_folder).import_car(archive)
    if as_json:
        facts = {
            "manifests": [str(cid) for cid in found.manifests],
            "files": {str(root): str(cid) for root, cid in found.files.items()},
        }
        say(json.dumps(facts, indent=1))
        return
    for cid in found.manifests:
        say(f"{archive}: manifest stored as {cid}")
    for root, cid in found.files.items():
        say(f"{archive}: file stored as {cid}" + (f", for {root}" if root != cid else ""))


@store.command("cid")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--is", "expected", metavar="CID", help="Tell whether it is this file's.")
@json_option
def store_cid(file: Path, expected: str | None, as_json: bool) -> None:
    """Print a file's CID (profile unixfs-v1-2025), or tell whether another is its own too.

    A file has a CID by each way of cutting it; the usual ones are recognised. Exit status 1 if
    the CID is by none of them: it is another file's, or by a way that is not known.

    \b
    Examples:
      alithis store cid photos.alithis/leaves
      alithis store cid cat.jpg --is Qm…
    """
    from alithis.ipfs.cid import Cid, of_file, recognise

    if expected is None:
        cid = of_file(file)
        say(json.dumps({"file": str(file), "cid": str(cid)}, indent=1) if as_json else str(cid))
        return
    profile = recognise(file, Cid.parse(expected))
    if as_json:
        name = profile.name if profile else None
        facts = {"file": str(file), "cid": expected, "match": bool(profile), "profile": name}
        say(json.dumps(facts, indent=1))
    elif profile:
        say(f"{file}: has this CID, by the profile {profile.name}")
    else:
        say(f"{file}: has not this CID by any profile that is known")
    if profile is None:
        click.get_current_context().exit(1)


@store.command("check")
@click.argument("place", metavar=REFERENCE)
@click.option(
    "--at",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="A host that must have all of it: lighthouse, pinata, kubo, kubo=URL or "
    "s3://BUCKET/PREFIX; may be repeated.",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="Ranges of each file that are read.",
)
@click.option("--withheld", is_flag=True, help="Do not ask for items.parquet: it is withheld.")
@reference_options()
@json_option
@click.pass_context
def store_check(
    ctx: click.Context,
    place: str,
    hosts: tuple[str, ...],
    samples: int,
    withheld: bool,
    references: Resolver,
    as_json: bool,
) -> None:
    """Check whether a manifest's files are available, from which hosts, and how fast.

    Each gateway, and each host named by --at, is asked for random ranges of every file, which
    are compared with the copy in the folder or the store, or else with the file's CID, its blocks
    or the root. Of hosts that give no content their word is told, and of Lighthouse its storage
    deals.

    Exit status: 0 if every file is to be had from some host, and from each --at; 1 if one is
    missing; 2 if that could not be told.

    \b
    Examples:
      alithis store check photos.alithis --at lighthouse
      alithis store check ipfs://f01551220… --gateway https://ipfs.io --json
      alithis store check 7 --rpc URL --registry 0x…
    """
    from alithis.storage.availability import FileSource, GatewayFiles, HostFiles, check
    from alithis.storage.hosts import open_hosts
    from alithis.verify.reference import Reference

    backends = open_hosts(hosts)
    asked: list[FileSource] = [GatewayFiles(each) for each in references.gateways.gateways]
    asked += [HostFiles(each) for each in backends]
    if not asked:
        raise click.UsageError("nobody to ask: name a --gateway, or a host with --at")
    data, local, kept_back = _known(references, Reference.parse(place))
    if withheld:
        kept_back = _items_of(data)
    health = check(
        data,
        asked,
        local=local,
        withheld=kept_back,
        required=[each.name for each in backends],
        samples=samples,
    )
    _show_health(health, as_json=as_json)
    ctx.exit(health.status)


def _known(
    references: Resolver, reference: Reference
) -> tuple[bytes, dict[str, Path], tuple[str, ...]]:
    """Find a metadata.json, which of its files are here, and which a folder keeps back."""
    from alithis.errors import NotStoredError
    from alithis.manifest import metadata
    from alithis.storage.store import local_files

    opened = references.store
    try:
        if reference.kind == "folder":
            folder = reference.folder()
            here = {part.name: part.path for part in local_files(folder)}
            data = (folder / metadata.FILE).read_bytes()
            return data, here, tuple(name for name in _items_of(data) if name not in here)
        if reference.kind in ("url", "bucket"):
            return references.open(reference).manifest.data, {}, ()
        cid = references.cid(reference)
        here = {part.name: part.path for part in opened.local_files(cid)} if opened.has(cid) else {}
        if metadata.FILE in here:
            data = opened.read_bytes(cid, metadata.MAX_BYTES)
            return data, here, tuple(name for name in _items_of(data) if name not in here)
        return references.gateways.metadata(cid, [])[0], {}, ()
    except NotStoredError as error:
        raise Failure(f"metadata.json is missing: {error}", 1) from error


def _items_of(data: bytes) -> tuple[str, ...]:
    from alithis.manifest import metadata

    return tuple(entry.name for entry in metadata.load(data).items_files)


def _show_health(health: Availability, *, as_json: bool) -> None:
    if as_json:
        files = [{**asdict(file), "state": file.state} for file in health.files]
        facts = {**asdict(health), "files": files, "problems": health.problems}
        say(json.dumps(facts, indent=1))
        return
    say(f"{health.name}: {health.cid}")
    for file in health.files:
        say(f"  {file.state:8} {file.name} ({file.size:,} bytes)")
        for seen in file.hosts:
            say(f"    {seen.state:8} {seen.host}{_seen(seen)}")
    for name in health.withheld:
        say(f"  withheld {name}: not asked for")
    for problem in health.problems:
        say(f"alithis: {problem}", err=True)


def _seen(seen: HostResult) -> str:
    parts = []
    if seen.ranges:
        rate = seen.bytes / max(seen.seconds, 1e-6)
        ranges = f"{seen.ranges} range{'s' * (seen.ranges > 1)}"
        parts.append(f"{ranges} in {seen.seconds * 1000:,.0f} ms, {rate:,.0f} bytes/s")
    if seen.checked:
        parts.append(f"by {seen.checked}")
    parts += [
        f"deal {deal.id} with {deal.provider}: {deal.status}, to epoch {deal.end}"
        for deal in seen.deals
    ]
    parts += [seen.error.removeprefix(f"{seen.host} ")] if seen.error else []
    return ": " + "; ".join(parts) if parts else ""


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
