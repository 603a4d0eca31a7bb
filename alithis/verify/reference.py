"""Resolves a reference (a token, a folder, a URL, a CID) to the manifest that it names.

Only this module parses references, so every command and script accepts all of these kinds:

========================================  =====================================================
``7``                                     token 7 of the registry (``./7`` is a folder)
``photos.alithis``                        a folder, or the metadata.json in it
``https://example.org/photos.alithis``    a folder on a web server, or its metadata.json
``s3://bucket/photos.alithis``            a folder in a bucket, or its metadata.json (also
                                          ``gs://`` and other schemes of fsspec)
``ipfs://CID``, ``ipfs://CID/path``       metadata.json on IPFS, or a directory with it; also
                                          without ``ipfs://``, or its SHA-256 in hexadecimal
========================================  =====================================================

A token's manifest is compared with the token's record on the chain. For any other kind of reference
no chain is asked, so nothing is known except what the manifest itself states.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from alithis.base.progress import Progress
from alithis.base.remote_files import shown_url
from alithis.chain.records import Record
from alithis.chain.registry import Registry
from alithis.errors import FormatError, IntegrityError, NotStoredError, RegistryError, SourceError
from alithis.ipfs.cid import RAW, Cid
from alithis.manifest import metadata
from alithis.manifest.folder import check_target
from alithis.manifest.metadata import Metadata
from alithis.manifest.reader import Manifest
from alithis.storage import download
from alithis.storage.bucket_manifest import BucketFolder
from alithis.storage.fallback import FallbackGateways
from alithis.storage.http_manifest import RemoteFolder
from alithis.storage.sources import add_notes
from alithis.storage.store import Store
from alithis.verify.tokens import marks

Kind = Literal["token", "folder", "url", "bucket", "cid"]
_MAX_TOKEN = 1 << 48


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to a manifest.

    Attributes:
        kind: the kind of reference.
        address: the token's number, the folder's path, the URL, or ``ipfs://CID[/path]``. A URL may
            contain secrets: show ``str(reference)`` instead.
    """

    kind: Kind
    address: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a reference; a bare CID or digest is a folder if a file or folder has that name.

        Raises:
            FormatError: it is not a reference.
        """
        if not text:
            raise FormatError("the reference is empty: give a token, a folder, a URL or ipfs://CID")
        if re.fullmatch("[0-9]+", text):
            return cls("token", str(_token(text)))
        scheme, separator, rest = text.partition("://")
        if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            return _bare_cid(text) or _folder(text)
        scheme = scheme.lower()
        if scheme == "file":
            return _folder(rest)
        if scheme == "ipfs":
            return cls("cid", f"ipfs://{_checked_cid(rest)}")
        kind: Kind = "url" if scheme in ("http", "https") else "bucket"
        return cls(kind, f"{scheme}://{rest}")

    def __str__(self) -> str:
        """Return the reference without passwords and signatures."""
        return shown_url(self.address) if self.kind in ("url", "bucket") else self.address

    def folder(self) -> Path:
        """Return the folder; only for references of the kind ``folder``.

        Raises:
            SourceError: there is no such folder.
        """
        path = Path(self.address)
        if path.is_dir():
            return path
        if os.path.lexists(path):
            raise SourceError(f"{path}: is a file; give a manifest's folder")
        raise SourceError(
            f"{path}: there is no such folder; give a manifest's folder, URL, CID or token"
        )


def _token(text: str) -> int:
    number = int(text[:20])
    if not 1 <= number < _MAX_TOKEN:
        raise FormatError(f"{text[:20]}: is not a token: tokens are numbered from 1 to 2^48 - 1")
    return number


def _folder(text: str) -> Reference:
    path = Path(text)
    return Reference("folder", str(path.parent if path.name == metadata.FILE else path))


def _bare_cid(text: str) -> Reference | None:
    digest = re.fullmatch("(?:0x)?([0-9a-fA-F]{64})", text)
    if os.path.lexists(text):
        return None
    if digest:
        return Reference("cid", f"ipfs://f01551220{digest[1].lower()}")
    try:
        return Reference("cid", f"ipfs://{_checked_cid(text)}")
    except FormatError:
        return None


def _checked_cid(text: str) -> str:
    Cid.parse(text.partition("/")[0])
    return text


@dataclass(frozen=True, slots=True)
class Artifact:
    """The artifact that a reference names.

    Attributes:
        manifest: its manifest.
        record: its record on the chain; None if the reference is not a token.
        folder: the local folder with its files; None if they are elsewhere.
    """

    manifest: Manifest
    record: Record | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of copying a manifest into a folder.

    Attributes:
        withheld: names of the files of items that are not available.
        fetched: names of the files that were fetched from gateways into the store.
        notes: problems of gateways.
    """

    withheld: tuple[str, ...]
    fetched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Resolver:
    """Opens the manifests that references name.

    A chain or gateway is contacted only if a reference needs it: a folder needs no chain, a URL no
    gateway.
    """

    def __init__(
        self,
        store: Store | None = None,
        gateways: FallbackGateways | None = None,
        connect: Callable[[], Registry] | None = None,
    ) -> None:
        """Choose where CIDs and tokens are looked up.

        Args:
            store: the local store, which is asked first for a CID; by default the user's store.
            gateways: the gateways, which are asked after the store; by default the user's gateways.
            connect: connects to the registry; without it, tokens are refused.
        """
        self.store = store or Store()
        self._gateways, self._connect = gateways, connect

    @cached_property
    def gateways(self) -> FallbackGateways:
        """The gateways; choosing the default ones tries to connect to a local node."""
        return self._gateways or FallbackGateways.from_environment()

    @cached_property
    def registry(self) -> Registry | None:
        """The registry; None if there is no `connect`.

        Raises:
            RegistryError: there is no registry at the address, or the node gives no usable answer.
        """
        return self._connect() if self._connect else None

    def open(self, reference: Reference) -> Artifact:
        """Open the manifest that a reference names; only metadata.json is read.

        Raises:
            RegistryError: the reference is a token and there is no registry, or no such token.
            IntegrityError: the manifest states another tree than the token commits to.
            FormatError: there is no manifest, or it is not well-formed.
            StorageError: the server, the bucket or the gateways give no usable answer.
            MissingExtraError: the library for such URLs is not installed.
        """
        match reference.kind:
            case "folder":
                folder = reference.folder()
                return Artifact(Manifest.open(folder), folder=folder)
            case "url":
                return Artifact(RemoteFolder(reference.address).open())
            case "bucket":
                return Artifact(BucketFolder(reference.address).open())
            case "token":
                return self._open_token(self.record(reference))
        notes = list[str]()
        manifest = self.gateways.open(self.cid(reference, notes), self.store)
        add_notes(manifest.notes, *notes)
        return Artifact(manifest)

    def record(self, reference: Reference) -> Record:
        """Return a token's record on the chain.

        Raises:
            RegistryError: there is no registry, or no such token.
        """
        if self.registry is None:
            raise RegistryError(
                f"{reference} is a token: give --rpc and --registry; "
                f"for a folder of that name write ./{reference}"
            )
        return self.registry.record(int(reference.address))

    def _open_token(self, record: Record) -> Artifact:
        try:
            manifest = self.gateways.open(Cid.raw(record.metadata_digest), self.store)
        except NotStoredError as error:
            raise NotStoredError(
                f"token {record.id}: its manifest was not found: {error}; "
                "give a gateway that has it, or add it with `alithis store put`"
            ) from error
        _check_commitment(record, manifest.metadata)
        add_notes(manifest.notes, *(f"token {record.id}: {mark}" for mark in marks(record)))
        return Artifact(manifest, record)

    def cid(self, reference: Reference, notes: list[str] | None = None) -> Cid:
        """Return the CID of the metadata.json that a reference names, or of a directory with it.

        Args:
            reference: the reference.
            notes: problems of gateways that were asked for a directory of the path are added here.

        Raises:
            AlithisError: see `open`.
        """
        if reference.kind != "cid":
            return Cid.raw(self.digest(reference))
        root, _, path = reference.address.removeprefix("ipfs://").partition("/")
        if not path:
            return Cid.parse(root)
        return self.gateways.resolve(reference.address, [] if notes is None else notes)

    def digest(self, reference: Reference) -> bytes:
        """Return the SHA-256 of the metadata.json that a reference names, 32 bytes.

        Raises:
            AlithisError: see `open`.
        """
        if reference.kind == "token":
            return self.record(reference).metadata_digest
        if reference.kind == "cid" and (cid := self.cid(reference)).codec == RAW:
            return cid.digest
        return self.open(reference).manifest.metadata.digest

    def copy(self, reference: Reference, target: Path, progress: Progress | None = None) -> Copied:
        """Copy a manifest into a new folder; every file is checked against metadata.json.

        For a CID or a token, files that the store lacks are first fetched into the store: only
        there can an interrupted download be resumed.

        Raises:
            AlithisError: see `open`; or a file is not available, or does not match metadata.json.
        """
        if reference.kind in ("folder", "url", "bucket"):
            return Copied(download.copy(self.open(reference).manifest, target, progress))
        if reference.kind == "token":
            self._open_token(self.record(reference))
        notes = list[str]()
        cid = self.cid(reference, notes)
        try:
            return Copied(self.store.get_manifest(cid, target))
        except (NotStoredError, IntegrityError):
            if not self.gateways.gateways:
                raise
        check_target(target.absolute(), replace=False)  # fail before a long download
        found = download.fetch(cid, self.store, self.gateways, progress)
        add_notes(notes, *found.notes, *found.withheld.values())
        withheld = self.store.get_manifest(found.cid, target)
        return Copied(withheld, found.files, tuple(notes))

    @contextmanager
    def local(self, reference: Reference, progress: Progress | None = None) -> Iterator[Path]:
        """Yield a local folder with the manifest; if necessary, a temporary copy.

        Raises:
            AlithisError: see `copy`.
        """
        if reference.kind == "folder":
            yield reference.folder()
            return
        with tempfile.TemporaryDirectory(prefix="alithis-") as scratch:
            target = Path(scratch) / "manifest"
            self.copy(reference, target, progress)
            yield target


def open_manifest(
    reference: str,
    *,
    store: Store | None = None,
    gateways: FallbackGateways | None = None,
    registry: Registry | None = None,
) -> Manifest:
    """Open the manifest that a reference names.

    Args:
        reference: a token's number, a folder, a URL or ``ipfs://CID``.
        store: the local store, which is asked first for a CID; by default the user's store.
        gateways: the gateways, which are asked after the store; by default the user's gateways.
        registry: the registry, for a token.

    Raises:
        AlithisError: see `Resolver.open`.
    """
    connect = None if registry is None else lambda: registry
    return Resolver(store, gateways, connect).open(Reference.parse(reference)).manifest


def _check_commitment(record: Record, stated: Metadata) -> None:
    """Check that metadata states what the token commits to; an equal SHA-256 does not imply it."""
    for what, committed, found in (
        ("kind", record.kind.value, stated.kind),
        ("scheme", record.scheme.value, stated.scheme),
        ("root", record.root, stated.root),
        ("size", record.size, stated.size),
    ):
        if committed != found:
            raise IntegrityError(
                f"token {record.id}: {what} in metadata.json", expected=committed, found=found
            )
