"""``alithis store``: manifests in and out of the local store, and on to hosts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import (
    ANY,
    Failure,
    chain_options,
    gateway_option,
    json_option,
    say,
    store_option,
)

if TYPE_CHECKING:
    from alithis.ipfs.car import Part
    from alithis.ipfs.cid import Cid
    from alithis.storage.availability import Health, Seen
    from alithis.storage.download import Fetched
    from alithis.storage.fallback import Gateways
    from alithis.storage.hosts.host import Backend
    from alithis.storage.store import Store, StoredManifest
    from alithis.storage.upload import Placed


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
@click.argument("reference", metavar="MANIFEST|CID")
@click.option(
    "--to",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Put it there too: lighthouse, pinata, kubo, kubo=URL or s3://BUCKET/PREFIX; "
    "may be repeated.",
)
@store_option
@json_option
def store_put(
    reference: str, hosts: tuple[str, ...], store_folder: Path | None, as_json: bool
) -> None:
    """Copy a manifest's files into the store, each under its CID, and on to hosts.

    What a host has is not sent again; what it says it has must have the CID that it has here.
    Keys are read from LIGHTHOUSE_API_KEY and PINATA_JWT, or from the files that
    LIGHTHOUSE_API_KEY_FILE and PINATA_JWT_FILE name. Exit status 2 if a host has not all of it.

    \b
    Examples:
      alithis store put photos.alithis
      alithis store put photos.alithis --to lighthouse --to kubo --to s3://mirror/alithis
    """
    from alithis.storage.hosts import open_backends

    backends = open_backends(hosts)  # a missing key is said before any work
    opened = _open_store(store_folder)
    cid = _put_here(opened, reference)
    placed = _publish(_parts(opened, cid, Path(reference)), backends)
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


def _publish(parts: list[Part], backends: list[Backend]) -> list[Placed]:
    from alithis.cli.terminal import shown
    from alithis.storage.upload import publish

    if not backends:
        return []
    with shown() as progress:
        return publish(parts, backends, progress)


def _parts(opened: Store, cid: Cid, folder: Path) -> list[Part]:
    """List what is to be put; what a folder withholds is not, though the store may have it."""
    from alithis.storage.store import parts_of

    parts = opened.parts(cid)
    if not folder.is_dir():
        return parts
    shown = {part.cid for part in parts_of(folder)}
    return [part for part in parts if part.cid in shown]


def _put_here(opened: Store, reference: str) -> Cid:
    """Store a folder's manifest, or name one that is stored."""
    from alithis.errors import FormatError

    path = Path(reference)
    if path.is_dir():
        return opened.put_manifest(path)
    try:
        return _parse_reference(reference)
    except FormatError as error:
        raise click.UsageError(f"{reference}: no folder, and no CID") from error


def _parse_reference(reference: str) -> Cid:
    """Read a CID, or the SHA-256 of a metadata.json."""
    from alithis.ipfs.cid import Cid

    digest = reference.removeprefix("0x")
    return Cid.parse(f"f01551220{digest.lower()}" if len(digest) == 64 else reference)


def _line(placed: Placed) -> str:
    if placed.error:
        return f"  {placed.host}: not all of it: {len(placed.sent) + len(placed.present)} files"
    there = f"{len(placed.present)} were there" if placed.present else ""
    sent = f"{len(placed.sent)} sent" if placed.sent else ""
    return f"  {placed.host}: all of it ({', '.join(filter(None, (sent, there)))})"


def _open_store(folder: Path | None) -> Store:
    from alithis.storage.store import Store

    return Store(folder)


@store.command("get")
@click.argument("reference", metavar="CID|DIGEST")
@click.option("-o", "--out", type=ANY, required=True, help="The directory to write.")
@store_option
@gateway_option
@json_option
def store_get(
    reference: str,
    out: Path,
    store_folder: Path | None,
    gateways: tuple[str, ...],
    as_json: bool,
) -> None:
    """Copy a manifest out of the store; every file is checked against its digests.

    The reference is the CID of its metadata.json (a token's URI), ipfs://CID/path of it or its
    directory, or that file's SHA-256. What the store has not comes from gateways, into the store
    first, each block checked; a run that broke off is gone on with.

    \b
    Examples:
      alithis store get ipfs://f01551220… -o photos.alithis
      alithis store get ipfs://bafy…/photos.alithis -o photos.alithis --gateway https://ipfs.io
    """
    from alithis.storage.fallback import Gateways

    opened, gates = _open_store(store_folder), Gateways.named(gateways)
    withheld, files = _get(opened, gates, reference, out)
    if as_json:
        say(json.dumps({"manifest": str(out), "withheld": withheld, "fetched": files}, indent=1))
        return
    came = f", {len(files)} files of it from gateways" if files else ""
    say(f"{out}: written{came}" + f"; not in the store: {', '.join(withheld)}" * bool(withheld))


def _get(
    opened: Store, gates: Gateways, reference: str, out: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write a manifest; return what is withheld of it, and which files were fetched for it."""
    from alithis.errors import IntegrityError, NotStoredError
    from alithis.manifest.folder import check_target

    notes = list[str]()
    cid = gates.resolve(reference, notes) if "/" in reference else _parse_reference(reference)
    try:
        return opened.get_manifest(cid, out), ()
    except (NotStoredError, IntegrityError):
        if not gates.each:
            raise
    check_target(out.absolute(), replace=False)  # before much has come
    found = _fetch(cid, opened, gates)
    for line in (*notes, *found.notes, *found.withheld.values()):
        say(f"note: {line}", err=True)
    return opened.get_manifest(found.cid, out), found.files


def _fetch(cid: Cid, opened: Store, gates: Gateways) -> Fetched:
    from alithis.cli.terminal import shown
    from alithis.storage.download import fetch

    with shown() as progress:
        return fetch(cid, opened, gates, progress)


@store.command("export")
@click.argument("reference", metavar="MANIFEST|CID")
@click.option("-o", "--out", type=ANY, required=True, help="The CAR file to write.")
@store_option
@json_option
def store_export(reference: str, out: Path, store_folder: Path | None, as_json: bool) -> None:
    """Write a manifest, or a file in the store, as a CAR file (CARv1), which IPFS tools read.

    Its roots are metadata.json, and each file that it names, by their CIDs.

    \b
    Examples:
      alithis store export photos.alithis -o photos.car
      alithis store export ipfs://f01551220… -o photos.car
    """
    from alithis.ipfs import car
    from alithis.storage.store import parts_of

    opened, path = _open_store(store_folder), Path(reference)
    parts = parts_of(path) if path.is_dir() else opened.parts(_put_here(opened, reference))
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
@click.argument("reference", metavar="TOKEN|MANIFEST|CID")
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
@chain_options()
@store_option
@gateway_option
@json_option
@click.pass_context
def store_check(
    ctx: click.Context,
    reference: str,
    hosts: tuple[str, ...],
    samples: int,
    withheld: bool,
    rpc: str | None,
    registry: str | None,
    chain: int | None,
    store_folder: Path | None,
    gateways: tuple[str, ...],
    as_json: bool,
) -> None:
    """Tell whether a manifest's files are still to be had, from which hosts, and how fast.

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
    from alithis.storage.availability import BackendHost, GatewayHost, Host, check
    from alithis.storage.fallback import Gateways
    from alithis.storage.hosts import open_backends

    gates, backends = Gateways.named(gateways), open_backends(hosts)
    asked: list[Host] = [GatewayHost(each) for each in gates.each]
    asked += [BackendHost(each) for each in backends]
    if not asked:
        raise click.UsageError("nobody to ask: name a --gateway, or a host with --at")
    opened = _open_store(store_folder)
    data, at_hand, kept_back = _known(reference, opened, gates, rpc, registry, chain)
    if withheld:
        kept_back = _items_of(data)
    health = check(
        data,
        asked,
        at_hand=at_hand,
        withheld=kept_back,
        required=[each.name for each in backends],
        samples=samples,
    )
    _show_health(health, as_json=as_json)
    ctx.exit(health.status)


def _known(
    reference: str,
    opened: Store,
    gates: Gateways,
    rpc: str | None,
    registry: str | None,
    chain: int | None,
) -> tuple[bytes, dict[str, Path], tuple[str, ...]]:
    """Find a metadata.json, which of its files are here, and which a folder keeps back."""
    from alithis.errors import NotStoredError
    from alithis.manifest import metadata
    from alithis.storage.store import parts_of

    folder = Path(reference)
    try:
        if folder.is_dir():
            here = {part.name: part.path for part in parts_of(folder)}
            data = (folder / metadata.FILE).read_bytes()
            return data, here, tuple(name for name in _items_of(data) if name not in here)
        notes = list[str]()
        if reference.isdecimal() and len(reference) < 16:
            cid = _of_token(int(reference), rpc, registry, chain)
        else:
            cid = gates.resolve(reference, notes) if "/" in reference else _named(reference)
        here = {part.name: part.path for part in opened.parts(cid)} if opened.has(cid) else {}
        if metadata.FILE in here:
            data = opened.read_bytes(cid, metadata.MAX_BYTES)
            return data, here, tuple(name for name in _items_of(data) if name not in here)
        return gates.metadata(cid, notes)[0], {}, ()
    except NotStoredError as error:
        raise Failure(f"metadata.json is missing: {error}", 1) from error


def _of_token(token: int, rpc: str | None, registry: str | None, chain: int | None) -> Cid:
    from alithis.chain.registry import Registry
    from alithis.chain.rpc import HttpTransport
    from alithis.ipfs.cid import Cid

    if not rpc or not registry:
        raise click.UsageError("a token takes --rpc and --registry")
    return Cid.raw(Registry(HttpTransport(rpc), registry, chain).record(token).metadata_digest)


def _named(reference: str) -> Cid:
    from alithis.errors import FormatError

    try:
        return _parse_reference(reference)
    except FormatError as error:
        raise click.UsageError(f"{reference}: no folder, no token and no CID") from error


def _items_of(data: bytes) -> tuple[str, ...]:
    from alithis.manifest import metadata

    return tuple(entry.name for entry in metadata.load(data).items_files)


def _show_health(health: Health, *, as_json: bool) -> None:
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


def _seen(seen: Seen) -> str:
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
