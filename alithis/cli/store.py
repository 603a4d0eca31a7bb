"""``alithis store``: keep manifests in a local store, and publish them on hosts."""

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
    check_output,
    force_option,
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
    """Keep manifests in a local store, and publish them on IPFS hosts or S3.

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
    help="A host to upload it to: lighthouse, pinata, kubo, kubo=URL or s3://BUCKET/PREFIX; "
    "may be repeated.",
)
@reference_options()
@json_option
def store_put(place: str, hosts: tuple[str, ...], references: Resolver, as_json: bool) -> None:
    """Copy a manifest into the local store, and upload it to hosts.

    Each file is stored under its CID. A TOKEN or CID names a manifest that is already in the
    store. Files that a host already has are not sent again; the host must report the same CID as
    this store. API keys are read from LIGHTHOUSE_API_KEY and PINATA_JWT, or from the files that
    LIGHTHOUSE_API_KEY_FILE and PINATA_JWT_FILE name.

    Exit status: 0 if every host has all files, 2 otherwise.

    \b
    Examples:
      alithis store put photos.alithis
      alithis store put photos.alithis --to lighthouse --to kubo --to s3://mirror/alithis
    """
    from alithis.storage.hosts import open_hosts

    backends = open_hosts(hosts)  # reports a missing key before any work
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
    """List the files to upload. Files that a folder withholds stay private, even if stored."""
    from alithis.storage.store import local_files

    parts = opened.local_files(cid)
    if reference.kind != "folder":
        return parts
    shown = {part.cid for part in local_files(reference.folder())}
    return [part for part in parts if part.cid in shown]


def _storable(place: str) -> Reference:
    """Read a reference to a folder, or to a manifest in the store."""
    from alithis.verify.reference import Reference

    reference = Reference.parse(place)
    if reference.kind in ("url", "bucket"):
        raise click.UsageError(
            f"{reference}: is a URL; this command takes a folder, a token or a CID. "
            "`alithis store get URL -o DIR` copies it into a folder"
        )
    return reference


def _line(placed: UploadResult) -> str:
    if placed.error:
        return f"  {placed.host}: incomplete: it has {len(placed.sent) + len(placed.present)} files"
    there = f"{len(placed.present)} already there" if placed.present else ""
    sent = f"{len(placed.sent)} sent" if placed.sent else ""
    return f"  {placed.host}: complete ({', '.join(filter(None, (sent, there)))})"


def _open_store(folder: Path | None) -> Store:
    from alithis.storage.store import Store

    return Store(folder)


@store.command("get")
@click.argument("place", metavar="TOKEN|URL|CID")
@click.option("-o", "--out", type=ANY, metavar="DIR", required=True, help="The folder to write.")
@reference_options()
@json_option
def store_get(place: str, out: Path, references: Resolver, as_json: bool) -> None:
    """Copy a manifest from the store, IPFS or a URL into a folder, and check every file.

    A CID is the CID of metadata.json (a token's URI), ipfs://CID/path of that file or its folder,
    or the SHA-256 of that file. Files that the store does not have are downloaded from gateways
    into the store; every block is checked, and an interrupted download is resumed. An http, https
    or s3 URL is copied directly. A TOKEN requires --rpc and --registry.

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
        raise click.UsageError(f"{reference}: is a folder; takes a token, a URL or a CID")
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
@force_option
@reference_options()
@json_option
def store_export(place: str, out: Path, force: bool, references: Resolver, as_json: bool) -> None:
    """Write a manifest, or a file in the store, as a CAR file for other IPFS tools.

    The format is CARv1. The roots are metadata.json and each file that it names.

    \b
    Examples:
      alithis store export photos.alithis -o photos.car
      alithis store export ipfs://f01551220… -o photos.car
    """
    from alithis.ipfs import car
    from alithis.storage.store import local_files

    refuse_standard_output(out, "a CAR file")
    reference = _storable(place)
    check_output(out, "CAR", (place,), force=force)
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
    """Copy the contents of a CAR file into the store, and check every block.

    A root that is a metadata.json, or a directory that contains one, is stored as a manifest. Any
    other root is stored as a file. A file gets another CID in the store if the CAR file cut it
    into blocks differently.

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
@click.option("--is", "expected", metavar="CID", help="Check whether this CID belongs to the file.")
@json_option
def store_cid(file: Path, expected: str | None, as_json: bool) -> None:
    """Print a file's CID, or check whether a given CID belongs to it.

    The printed CID follows the profile unixfs-v1-2025. A file has other CIDs if it is cut into
    blocks differently; --is recognises the usual profiles.

    Exit status: 0 if the CID is printed or belongs to the file, 1 if it matches by no known
    profile (it belongs to another file, or follows an unknown profile).

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
        say(f"{file}: does not have this CID by any known profile")
    if profile is None:
        click.get_current_context().exit(1)


@store.command("check")
@click.argument("place", metavar=REFERENCE)
@click.option(
    "--at",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="A host that must have every file: lighthouse, pinata, kubo, kubo=URL or "
    "s3://BUCKET/PREFIX; may be repeated.",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="Random ranges to read of each file.",
)
@click.option("--withheld", is_flag=True, help="Do not ask for items.parquet, which is withheld.")
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

    Each gateway and each --at host is asked for random ranges of every file. These are compared
    with the copy in the folder or the store, or else with the file's CID, its blocks or the root.
    For hosts that serve no content the host's own answer is shown, and for Lighthouse its storage
    deals.

    Exit status: 0 if every file is available from some host and from each --at host, 1 if a file
    is missing, 2 if that could not be checked.

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
        raise click.UsageError("there is no host to ask. Name one with --gateway or --at")
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
    """Return a metadata.json, the local paths of its files, and the files that are withheld."""
    from alithis.errors import NotStoredError
    from alithis.manifest import metadata
    from alithis.manifest.reader import FileReader
    from alithis.storage.store import local_files

    opened = references.store
    try:
        if reference.kind == "folder":
            folder = reference.folder()
            here = {part.name: part.path for part in local_files(folder)}
            data = FileReader(folder / metadata.FILE).read(0, metadata.MAX_BYTES + 1)
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
        say("the store has no manifests. `alithis store put MANIFEST` adds one", err=True)


def _stored(manifest: StoredManifest) -> dict[str, Any]:
    return {
        "cid": str(manifest.cid),
        "name": manifest.name,
        "kind": manifest.kind,
        "size": manifest.size,
        "bytes": manifest.bytes,
        "withheld": manifest.withheld,
    }
