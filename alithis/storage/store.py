"""The local store: a folder of files, each named by its CID.

::

    <store>/files/6g/bafkrei…6g7u    the content of a file, which never changes
    <store>/manifests/bafkrei…       an empty file for each complete manifest: metadata.json's CID
    <store>/incoming/…               content that is being written

Content is hashed while it is written, flushed to the disk, and only then renamed to its path. So
a file named by a CID is complete, even if several processes write at once or are killed. Reading
needs no write permission. The folders in ``files`` are named after the last but two and the last
but one character of the CID: the first characters are the same in all CIDs, and the last one has
only eight values.
"""

from __future__ import annotations

import os
import secrets
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import platformdirs

from alithis.base.files import flush, lock_file, read_at, sync_folder
from alithis.errors import (
    AlithisError,
    FormatError,
    IntegrityError,
    NotStoredError,
    SourceError,
    StorageError,
    VersionError,
)
from alithis.ipfs import car, unixfs
from alithis.ipfs.car import LocalFile
from alithis.ipfs.cid import RAW, Cid, FileDigests, Hasher, blocks, describe, of_bytes
from alithis.manifest import metadata
from alithis.manifest.folder import atomic_folder
from alithis.manifest.metadata import FileEntry, Metadata
from alithis.manifest.reader import FileReader, Manifest, RangeReader

ENVIRONMENT = "ALITHIS_STORE"
"""The environment variable with the store's folder."""

_BLOCK = 1 << 20
_STALE = 24 * 3600  # seconds without a write after which an incoming file is taken for abandoned


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest in the store.

    Attributes:
        cid: CID of its metadata.json.
        name: the artifact's name, as its publisher states it.
        kind: ``dataset`` or ``model``.
        size: number of distinct data points.
        bytes: total size of its files in the store.
        withheld: names of the files that metadata.json describes and the store does not have.
    """

    cid: Cid
    name: str
    kind: str
    size: int
    bytes: int
    withheld: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """The manifests in the store.

    Attributes:
        manifests: those that can be read, in the order of their CIDs.
        problems: a line for each that cannot be read.
    """

    manifests: tuple[StoredManifest, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was stored from a CAR file.

    Attributes:
        manifests: the CIDs of their metadata.json.
        files: other files: the CID in the archive, and the CID with our profile in the store.
    """

    manifests: tuple[Cid, ...]
    files: Mapping[Cid, Cid]


class StoredFile:
    """Reads a stored file by range; a context manager, closed with its last reference at latest.

    Ranges are not checked, because only the whole content can be compared with a CID. Callers check
    ranges with Merkle proofs.

    Attributes:
        size: the file's size in bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> StoredFile:
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Read a range.

        Args:
            offset: first byte.
            length: number of bytes; the range must lie within the file.

        Raises:
            StorageError: the range is outside the file, the reader is closed, or the disk fails.
        """
        if self._file.closed:
            raise StorageError(f"{self._path}: the reader is closed")
        if offset < 0 or length < 0 or offset + length > self.size:
            raise StorageError(
                f"{self._path}: {length} bytes at {offset} are outside its {self.size} bytes"
            )
        return b"".join(self._pieces(offset, offset + length))

    def blocks(self) -> Iterator[bytes]:
        """Yield the whole file in blocks of at most 1 MiB.

        Raises:
            StorageError: the disk fails.
        """
        return self._pieces(0, self.size)

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            length = min(end - start, _BLOCK)
            try:
                piece = read_at(self._file.fileno(), start, length, self._path)
            except SourceError as error:
                raise StorageError(str(error)) from error
            if not piece:
                raise StorageError(f"{self._path}: was truncated while it was read. Try again")
            start += len(piece)
            yield piece


class Store:
    """A local content-addressed store."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        """Choose the store; its folder is created when something is put into it.

        Args:
            root: its folder; by default the value of ``ALITHIS_STORE``, or else ``store`` in the
                user's data directory.
        """
        self.root = Path(root or os.environ.get(ENVIRONMENT) or _default_root()).expanduser()
        self._files = self.root / "files"
        self._manifests = self.root / "manifests"
        self._incoming = self.root / "incoming"

    def put_file(self, path: str | os.PathLike[str], *, expected: Cid | None = None) -> Cid:
        """Store a file's content.

        Args:
            path: a regular file.
            expected: the CID that the file must have.

        Returns:
            Its CID.

        Raises:
            SourceError: the file cannot be read, or changed while it was read.
            IntegrityError: its CID is not the expected one; nothing was stored.
            StorageError: the store cannot be written.
        """
        return self._put(blocks(path), os.fspath(path), expected).cid

    def put_bytes(self, data: bytes) -> Cid:
        """Store a buffer, and return its CID.

        Raises:
            StorageError: the store cannot be written.
        """
        return self.put_chunks([data])

    def put_chunks(self, chunks: Iterable[bytes], *, expected: Cid | None = None) -> Cid:
        """Store content that arrives in pieces.

        Raises:
            IntegrityError: its CID is not the expected one; nothing was stored.
            StorageError: the store cannot be written.
        """
        return self._put(chunks, str(expected or "content"), expected).cid

    def receive(self, cid: Cid, fill: Callable[[BinaryIO], None]) -> FileDigests:
        """Store content that may need several runs to download.

        The partial file of an interrupted run is kept for a day. Only one run at a time writes it.

        Args:
            cid: the content's CID.
            fill: writes the content into a file; the file may already contain a part of it, or
                wrong bytes.

        Returns:
            The content's digests.

        Raises:
            IntegrityError: the written content has another CID; nothing was stored.
            StorageError: the store cannot be written.
            AlithisError: an error of `fill`.
        """
        with _storage_errors(f"cannot store {cid} in {self.root}"):
            _make_directory(self._incoming)
            self._sweep()
            path, had = self._incoming / f"{cid}.part", self.has(cid)
            # On a file system without locks (some network file systems) two runs could write into
            # the same file. The result would have another CID, and would not be stored.
            with lock_file(self._incoming / f"{cid}.lock", wait=True):
                if self.has(cid) and not had:  # another run has just stored it
                    return describe(self._path_of(cid))
                with open(path, "r+b", opener=_open_or_create) as file:
                    fill(file)
                    return self._settled(cid, path, file)

    def put_metadata(self, data: bytes) -> Cid:
        """Store a metadata.json whose files are in the store, and list the manifest.

        Raises:
            FormatError: it is not well-formed.
            NotStoredError: a file that must not be withheld is not in the store.
            StorageError: the store cannot be written.
        """
        self._withheld(metadata.load(data))
        cid = self.put_bytes(data)
        self._list(cid)
        return cid

    def has(self, cid: Cid) -> bool:
        """Return whether the content is in the store.

        Raises:
            StorageError: the store cannot be read.
        """
        with _storage_errors(f"cannot read the store {self.root}"):
            return self._path_of(cid).is_file()

    def path(self, cid: Cid) -> Path:
        """Return the path of content; the content is not checked.

        Raises:
            NotStoredError: it is not in the store.
            StorageError: the store cannot be read.
        """
        if not self.has(cid):
            raise NotStoredError(f"{cid} is not in the store {self.root}")
        return self._path_of(cid)

    def open(self, cid: Cid) -> StoredFile:
        """Open content for reading by range.

        Raises:
            NotStoredError: it is not in the store.
            StorageError: the store cannot be read.
        """
        with _storage_errors(f"cannot read the store {self.root}"):
            try:
                return StoredFile(self._path_of(cid))
            except FileNotFoundError as error:
                raise NotStoredError(f"{cid} is not in the store {self.root}") from error

    def read_bytes(self, cid: Cid, limit: int) -> bytes:
        """Read all of some content, and check it against its CID.

        Args:
            cid: the content's CID.
            limit: maximum size in bytes.

        Raises:
            NotStoredError: it is not in the store.
            IntegrityError: the stored bytes have another CID.
            StorageError: it is larger than the limit, or the store cannot be read.
        """
        with self.open(cid) as file:
            if file.size > limit:
                raise StorageError(f"{cid}: has {file.size} bytes; at most {limit} are allowed")
            data = file.read(0, file.size)
        _require(cid, of_bytes(data), self._damaged(cid))
        return data

    def get_file(self, cid: Cid, target: str | os.PathLike[str]) -> FileDigests:
        """Copy content out of the store and check it; an existing file is replaced.

        Raises:
            NotStoredError: it is not in the store.
            IntegrityError: the stored bytes have another CID; nothing was written.
            StorageError: the store cannot be read, or the target cannot be written.
        """
        target = Path(target)
        with (
            self.open(cid) as source,
            _storage_errors(f"cannot write {target}"),
            _incoming_file(target.parent, 0o666) as (temporary, file),
        ):
            digests = _copy(source.blocks(), file)
            _require(cid, digests.cid, self._damaged(cid))
            _settle(temporary, file, target)
        return digests

    def _damaged(self, cid: Cid) -> str:
        path = self._path_of(cid)
        return f"{path} in the store is damaged; remove the file, and add or fetch it again"

    def cids(self) -> Iterator[Cid]:
        """Yield the CIDs in the store, in the order of its folders.

        Raises:
            StorageError: the store cannot be read.
        """
        for shard in self._names(self._files):
            for cid in _cids(self._names(self._files / shard)):
                if _shard(cid) == shard:
                    yield cid

    def put_manifest(self, directory: str | os.PathLike[str]) -> Cid:
        """Store a manifest: first the files that metadata.json describes, then metadata.json.

        A missing items.parquet counts as withheld.

        Args:
            directory: the manifest's folder.

        Returns:
            The CID of its metadata.json; the SHA-256 in it is the metadata digest on the chain.

        Raises:
            FormatError: metadata.json is not well-formed.
            SourceError: a file is missing, or cannot be read.
            IntegrityError: a file does not match metadata.json.
            StorageError: the store cannot be written.
        """
        folder = Path(directory)
        data, described = _described(folder)

        def chunks(entry: FileEntry) -> Iterable[bytes] | None:
            path = folder / entry.name
            if metadata.is_items(entry.name) and not os.path.lexists(path):
                return None
            return blocks(path)

        return self._put_described(data, described, chunks, str(folder))

    def _put_described(
        self,
        data: bytes,
        described: Metadata,
        chunks: Callable[[FileEntry], Iterable[bytes] | None],
        where: str,
    ) -> Cid:
        """Store the files, then metadata.json, and then list the manifest.

        In this order: whenever the process is killed, a listed manifest is complete.
        """
        for entry in described.files:
            content = chunks(entry)
            if content is not None:
                name = f"{where}/{entry.name}"
                check_entry(entry, self._put(content, name, Cid.parse(entry.cid)))
        return self.put_metadata(data)

    def import_car(self, path: str | os.PathLike[str]) -> Imported:
        """Store the manifests and files of a CAR file's roots.

        A root is a manifest if it is a metadata.json, or a directory that contains one. Blocks that
        do not belong to a root are not stored.

        Raises:
            SourceError: the file cannot be read.
            FormatError: it is not a CARv1 of files, or a block or file is missing.
            IntegrityError: a block or file has another digest.
            StorageError: the store cannot be written.
        """
        with car.Archive(path) as archive:
            manifests, files = list[Cid](), dict[Cid, Cid]()
            covered = set[Cid]()
            for root in archive.roots:
                listed = unixfs.children(root, archive.block(root)).get(metadata.FILE, root)
                described = _metadata_in(archive, listed)
                if described is not None:
                    manifests.append(self._import_manifest(archive, listed, described))
                    covered |= {Cid.parse(entry.cid) for entry in described.files}
                elif root not in covered:
                    files[root] = self._put(archive.content(root), str(root), None).cid
        return Imported(tuple(manifests), files)

    def _import_manifest(self, archive: car.Archive, cid: Cid, described: Metadata) -> Cid:
        def chunks(entry: FileEntry) -> Iterable[bytes] | None:
            found = Cid.parse(entry.cid)
            if metadata.is_items(entry.name) and found not in archive:
                return None
            return archive.content(found)

        return self._put_described(archive.block(cid), described, chunks, str(cid))

    def local_files(self, cid: Cid) -> list[LocalFile]:
        """List the files of a manifest, metadata.json first; for any other CID, only its file.

        Raises:
            NotStoredError: the manifest or one of its files is not in the store.
            FormatError: metadata.json is not well-formed.
            StorageError: the store cannot be read.
        """
        with self.open(cid) as file:
            first = LocalFile(metadata.FILE, cid, self._path_of(cid), file.size)
        if not self._is_listed(cid):
            return [replace(first, name=str(cid))]
        entries = [entry for entry in self._metadata(cid).files if self._holds(entry)]
        return [first, *(self._local_file(entry) for entry in entries)]

    def _local_file(self, entry: FileEntry) -> LocalFile:
        cid = Cid.parse(entry.cid)
        return LocalFile(entry.name, cid, self._path_of(cid), entry.size)

    def _is_listed(self, cid: Cid) -> bool:
        with _storage_errors(f"cannot read the store {self.root}"):
            return (self._manifests / str(cid)).is_file()

    def get_manifest(
        self, manifest: Cid | bytes, target: str | os.PathLike[str]
    ) -> tuple[str, ...]:
        """Copy a manifest out of the store atomically, and check every file.

        Args:
            manifest: the CID of its metadata.json, or that file's SHA-256, 32 bytes.
            target: the directory to create; it must not exist.

        Returns:
            The names of withheld files: metadata.json describes them, but the store does not have
            them. Only items.parquet can be withheld.

        Raises:
            NotStoredError: the manifest or one of its files is not in the store.
            FormatError: metadata.json is not well-formed.
            IntegrityError: a file does not match metadata.json.
            StorageError: the target exists or cannot be written, or the store cannot be read.
        """
        target = Path(target)
        if os.path.lexists(target):
            raise StorageError(f"{target}: already exists. Name a new directory")
        cid = manifest if isinstance(manifest, Cid) else Cid.raw(manifest)
        described = self._metadata(cid)
        with (
            _storage_errors(f"cannot write {target}"),
            atomic_folder(target, replace=False) as folder,
        ):
            self.get_file(cid, folder / metadata.FILE)
            for entry in described.files:
                if self._holds(entry):
                    self._get_entry(entry, folder)
        return self._withheld(described)

    def manifests(self) -> Listing:
        """List the manifests in the store.

        Raises:
            StorageError: the store cannot be read.
        """
        manifests, problems = [], []
        for cid in _cids(self._names(self._manifests)):
            try:
                manifests.append(self._describe(cid))
            except AlithisError as error:
                problems.append(f"{cid}: {error}")
        return Listing(tuple(manifests), tuple(problems))

    def _put(self, chunks: Iterable[bytes], name: str, expected: Cid | None) -> FileDigests:
        with _storage_errors(f"cannot store {name} in {self.root}"):
            _make_directory(self._incoming)
            self._sweep()
            with _incoming_file(self._incoming, 0o444) as (temporary, file):
                digests = _copy(chunks, file)
                if expected is not None:
                    _require(expected, digests.cid, name)
                place = self._path_of(digests.cid)
                _make_directory(place.parent)
                # An existing copy is replaced: the disk may have damaged it.
                _settle(temporary, file, place)
        return digests

    def _settled(self, cid: Cid, path: Path, file: BinaryIO) -> FileDigests:
        """Rename a received file to its path, if its content matches the CID."""
        file.seek(0)
        hasher = Hasher()
        while block := file.read(_BLOCK):
            hasher.update(block)
        digests = hasher.finish()
        if digests.cid != cid:
            file.close()
            path.unlink()
            _require(cid, digests.cid, "received content")
        place = self._path_of(cid)
        _make_directory(place.parent)
        path.chmod(0o444)
        _settle(path, file, place)
        return digests

    def _list(self, cid: Cid) -> None:
        with _storage_errors(f"cannot list {cid} in {self.root}"):
            _make_directory(self._manifests)
            (self._manifests / str(cid)).touch()
            sync_folder(self._manifests)

    def _describe(self, cid: Cid) -> StoredManifest:
        described = self._metadata(cid)
        withheld = self._withheld(described)
        total = sum(entry.size for entry in described.files if entry.name not in withheld)
        with self.open(cid) as file:
            total += file.size
        return StoredManifest(cid, described.name, described.kind, described.size, total, withheld)

    def _metadata(self, cid: Cid) -> Metadata:
        return metadata.load(self.read_bytes(cid, metadata.MAX_BYTES))

    def _get_entry(self, entry: FileEntry, folder: Path) -> None:
        # `metadata.load` accepts only a few fixed names, so the path cannot leave the folder.
        path = folder / entry.name
        path.parent.mkdir(exist_ok=True)
        check_entry(entry, self.get_file(Cid.parse(entry.cid), path))

    def _withheld(self, described: Metadata) -> tuple[str, ...]:
        return tuple(entry.name for entry in described.files if not self._holds(entry))

    def _holds(self, entry: FileEntry) -> bool:
        """Return whether the store has a file; only a file of items may be missing.

        Raises:
            NotStoredError: another file is missing.
        """
        cid = Cid.parse(entry.cid)
        if self.has(cid):
            return True
        if metadata.is_items(entry.name):
            return False
        raise NotStoredError(f"{entry.name} ({cid}) is not in the store {self.root}")

    def _path_of(self, cid: Cid) -> Path:
        return self._files / _shard(cid) / str(cid)

    def _names(self, folder: Path) -> list[str]:
        with _storage_errors(f"cannot read the store {self.root}"):
            try:
                return sorted(path.name for path in folder.iterdir())
            except FileNotFoundError:
                return []
            except NotADirectoryError:
                if not self.root.is_dir():
                    raise
                return []

    def _sweep(self) -> None:
        """Remove the files of processes that were killed."""
        for path in self._incoming.iterdir():
            if path.suffix == ".lock" and path.with_suffix(".part").exists():
                continue  # a run that takes more than a day may hold this lock
            with suppress(FileNotFoundError):  # another process removed or renamed it
                if path.stat().st_mtime < time.time() - _STALE:
                    path.unlink()


def local_files(directory: str | os.PathLike[str]) -> list[LocalFile]:
    """List the files of a manifest in a folder, metadata.json first; withheld files are left out.

    Raises:
        FormatError: metadata.json is not well-formed.
        SourceError: metadata.json cannot be read.
    """
    folder = Path(directory)
    data, described = _described(folder)
    first = LocalFile(metadata.FILE, of_bytes(data), folder / metadata.FILE, len(data))
    return [
        first,
        *(
            LocalFile(entry.name, Cid.parse(entry.cid), folder / entry.name, entry.size)
            for entry in described.files
            if not metadata.is_items(entry.name) or os.path.lexists(folder / entry.name)
        ),
    ]


def _described(folder: Path) -> tuple[bytes, Metadata]:
    """Read a folder's metadata.json, and check that it is consistent."""
    data = _read_source(folder / metadata.FILE, metadata.MAX_BYTES)
    return data, Manifest(data, lambda entry: FileReader(folder / entry.name)).metadata


def _metadata_in(archive: car.Archive, cid: Cid) -> Metadata | None:
    """Parse a block as metadata.json; None if it is something else."""
    if cid.codec != RAW:
        return None

    def unread(entry: FileEntry) -> RangeReader:
        raise NotStoredError(f"{entry.name} is in the archive")

    block = archive.block(cid)
    try:
        return Manifest(block, unread).metadata
    except VersionError:
        raise
    except FormatError:
        return None


def _default_root() -> Path:
    return platformdirs.user_data_path("alithis") / "store"


def _shard(cid: Cid) -> str:
    return str(cid)[-3:-1]


def _cids(names: Iterable[str]) -> Iterator[Cid]:
    """Yield the CIDs among file names; other files are ignored."""
    for name in names:
        with suppress(FormatError):
            cid = Cid.parse(name)
            if str(cid) == name:
                yield cid


def _copy(chunks: Iterable[bytes], file: BinaryIO) -> FileDigests:
    hasher = Hasher()
    for chunk in chunks:
        hasher.update(chunk)
        file.write(chunk)
    return hasher.finish()


def _require(expected: Cid, found: Cid, what: str) -> None:
    if found != expected:
        raise IntegrityError(f"{what}: CID", expected=expected, found=found)


def check_entry(entry: FileEntry, found: FileDigests) -> None:
    """Check the SHA-256 and size that metadata.json states for a file; the CID does not cover them.

    Raises:
        IntegrityError: one of them differs.
    """
    if found.sha256 != entry.sha256:
        raise IntegrityError(
            f"{metadata.FILE}: SHA-256 of {entry.name}", expected=entry.sha256, found=found.sha256
        )
    if found.size != entry.size:
        raise IntegrityError(
            f"{metadata.FILE}: size of {entry.name}", expected=entry.size, found=found.size
        )


def _read_source(path: Path, limit: int) -> bytes:
    data = b""
    for block in blocks(path):
        data += block
        if len(data) > limit:
            raise SourceError(f"{path}: has more than {limit} bytes")
    return data


@contextmanager
def _storage_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{doing}: {error.strerror or error}") from error


@contextmanager
def _incoming_file(folder: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a new file with a random name; at the end it is removed, unless it was renamed."""
    path = folder / f".{secrets.token_hex(16)}.part"
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


def _open_or_create(path: str, flags: int) -> int:
    """Open a file without truncating it, and without following a symbolic link."""
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)


def _settle(temporary: Path, file: BinaryIO, place: Path) -> None:
    """Flush and close a file, and rename it to its path durably.

    Flushing comes first: after a power failure, a renamed file could otherwise be empty.
    """
    flush(file)
    file.close()  # Windows does not rename open files
    temporary.replace(place)
    sync_folder(place.parent)


def _make_directory(path: Path) -> None:
    """Create a directory durably, so that it survives a power failure."""
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)
