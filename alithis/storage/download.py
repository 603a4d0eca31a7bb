"""Downloads manifests from gateways into the local store, and from any source into a folder.

If a gateway supports blocks, a file is downloaded as a stream of blocks (CAR), or block by block.
Each block is checked when it arrives. If the download is interrupted, the next run or the next
gateway continues after the blocks that have arrived. If a gateway does not support blocks, the file
is downloaded by range, and can only be checked when it is complete. In both cases a file gets its
name in the store only after its CID was checked.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from alithis.base.files import write_errors
from alithis.base.progress import Progress
from alithis.errors import AlithisError, IntegrityError, NotStoredError, StorageError
from alithis.ipfs import unixfs
from alithis.ipfs.car import Sections
from alithis.ipfs.cid import CHUNK_SIZE, MAX_LINKS, RAW, Cid, Dag, FileDigests, Hasher
from alithis.manifest import metadata
from alithis.manifest.folder import atomic_folder, check_target
from alithis.manifest.metadata import FileEntry
from alithis.manifest.reader import Manifest
from alithis.storage.fallback import FallbackGateways
from alithis.storage.gateway import Gateway
from alithis.storage.sources import add_notes, first_answer
from alithis.storage.store import Store, check_entry

_PIECE = 4 * CHUNK_SIZE


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of fetching a manifest.

    Attributes:
        cid: the manifest's CID in the store.
        files: names of the files that were fetched.
        withheld: the files of items that no gateway returned, each with the error.
        notes: errors of gateways, if another gateway had the file.
    """

    cid: Cid
    files: tuple[str, ...]
    withheld: Mapping[str, str]
    notes: tuple[str, ...]


def fetch(
    cid: Cid, store: Store, gateways: FallbackGateways, progress: Progress | None = None
) -> FetchResult:
    """Fetch a manifest into the store; files that are stored and undamaged are not fetched again.

    Args:
        cid: CID of its metadata.json, or of a directory that contains it.
        store: the store to fetch into.
        gateways: the gateways to fetch from.
        progress: reports how many bytes have arrived.

    Raises:
        NotStoredError: no gateway has the manifest, or a file that must not be withheld.
        StorageError: no gateway gives a usable answer, or the store cannot be written.
        FormatError: it is not a well-formed manifest.
        IntegrityError: a file has the CID in metadata.json, but not the SHA-256 or size.
    """
    notes = list[str]()
    data = _metadata(cid, store, gateways, notes)
    described = Manifest(data, lambda entry: store.open(Cid.parse(entry.cid))).metadata
    missing = [entry for entry in described.files if not _is_whole(entry, store)]
    total = sum(entry.size for entry in missing)
    _check_room(total, store.root)
    progress = progress or Progress()
    progress.phase("get", total, unit="bytes")
    files, withheld = list[str](), dict[str, str]()
    for entry in missing:
        try:
            found = _FileDownload(entry, gateways, progress, notes).into(store)
        except (StorageError, IntegrityError) as error:
            # Only a file of items may be missing. An OSError comes from the local disk: it must
            # not be reported as if the gateways did not have the file.
            if not metadata.is_items(entry.name) or isinstance(error.__cause__, OSError):
                raise
            withheld[entry.name] = str(error)
        else:
            check_entry(entry, found)
            files.append(entry.name)
    return FetchResult(store.put_metadata(data), tuple(files), withheld, tuple(notes))


def _metadata(cid: Cid, store: Store, gateways: FallbackGateways, notes: list[str]) -> bytes:
    try:
        return store.read_bytes(cid, metadata.MAX_BYTES)
    except (NotStoredError, IntegrityError):
        return gateways.metadata(cid, notes)[0]


def _is_whole(entry: FileEntry, store: Store) -> bool:
    """Return whether a file is in the store, and undamaged."""
    cid, dag = Cid.parse(entry.cid), Dag()
    try:
        with store.open(cid) as file:
            for block in file.blocks():
                dag.update(block)
    except NotStoredError:
        return False
    return dag.finish() == cid


def copy(manifest: Manifest, target: Path, progress: Progress | None = None) -> tuple[str, ...]:
    """Copy a manifest from any source into a new folder, atomically.

    Args:
        manifest: the manifest.
        target: the folder to create; it must not exist.
        progress: reports how many bytes have arrived.

    Returns:
        The names of withheld files: files of items that are not available.

    Raises:
        SourceError: the target exists, or cannot be written.
        NotStoredError: a file that must not be withheld is missing.
        IntegrityError: a file does not match metadata.json.
        StorageError: a file cannot be read.
    """
    check_target(target.absolute(), replace=False)
    total = sum(entry.size for entry in manifest.metadata.files)
    _check_room(total, target.absolute())
    progress = progress or Progress()
    progress.phase("get", total, unit="bytes")
    withheld = list[str]()
    with write_errors(target), atomic_folder(target.absolute(), replace=False) as folder:
        (folder / metadata.FILE).write_bytes(manifest.data)
        for entry in manifest.metadata.files:
            try:
                _copy_file(manifest, entry, folder / entry.name, progress)
            except NotStoredError:
                if not metadata.is_items(entry.name):
                    raise
                (folder / entry.name).unlink(missing_ok=True)
                withheld.append(entry.name)
    return tuple(withheld)


def _copy_file(manifest: Manifest, entry: FileEntry, path: Path, progress: Progress) -> None:
    reader, hasher = manifest.reader(entry.name), Hasher()
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as file:
        for offset in range(0, entry.size, _PIECE):
            piece = reader.read(offset, min(_PIECE, entry.size - offset))
            hasher.update(piece)
            file.write(piece)
            progress.advance(len(piece))
    check_entry(entry, hasher.finish())


def _check_room(needed: int, place: Path) -> None:
    folder = next(each for each in (place, *place.absolute().parents) if each.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{place}: {needed:,} bytes are needed, but only {free:,} are free. Free some space"
        )


class _FileDownload:
    """The download of one file."""

    def __init__(
        self, entry: FileEntry, gateways: FallbackGateways, progress: Progress, notes: list[str]
    ) -> None:
        self._entry, self._gateways, self._progress = entry, gateways, progress
        self._cid, self._notes = Cid.parse(entry.cid), notes
        self._reported = 0

    def into(self, store: Store) -> FileDigests:
        return store.receive(self._cid, self._fill)

    def _fill(self, file: BinaryIO) -> None:
        if self._cid.codec == RAW:
            file.write(self._gateways.block(self._cid, self._notes))
            file.truncate()
            self._report(self._entry.size)
        else:
            gateways = self._gateways.gateways
            first_answer(gateways, lambda gateway: self._take(gateway, file), self._notes)

    def _take(self, gateway: Gateway, file: BinaryIO) -> None:
        try:
            self._by_block(gateway, file)
        except StorageError:
            if gateway.gives_blocks:
                raise
            self._by_range(gateway, file)

    def _by_block(self, gateway: Gateway, file: BinaryIO) -> None:
        # The most blocks that a tree of our profile can have for a file of this size: the chunks,
        # and the nodes above them. A gateway cannot send an endless tree.
        chunks = -(-self._entry.size // CHUNK_SIZE)
        most = chunks + 2 * -(-chunks // MAX_LINKS) + 1
        offset = 0
        with _Blocks(gateway, self._cid, file, self._notes) as blocks:
            for chunk in unixfs.content(self._cid, blocks.get, self._entry.size, most):
                file.seek(offset)
                file.write(chunk)
                offset += len(chunk)
                self._report(offset)
        file.truncate(offset)

    def _by_range(self, gateway: Gateway, file: BinaryIO) -> None:
        """Continue an earlier download; if the result has another CID, start again once.

        Ranges cannot be checked one by one, so the part that an earlier run left may be wrong.
        """
        begin = min(file.seek(0, 2), self._entry.size)
        for start in dict.fromkeys((begin, 0)):
            file.truncate(start)
            for offset in range(start, self._entry.size, _PIECE):
                length = min(_PIECE, self._entry.size - offset)
                piece = gateway.read(self._entry, offset, length)
                file.seek(offset)
                file.write(piece)
                self._report(offset + length)
            found = _cid_of(file)
            if found == self._cid:
                return
        file.truncate(0)
        what = f"{gateway}: CID of {self._entry.name}"
        raise IntegrityError(what, expected=self._cid, found=found)

    def _report(self, done: int) -> None:
        self._progress.advance(done - self._reported)
        self._reported = done


def _cid_of(file: BinaryIO) -> Cid:
    dag = Dag()
    file.seek(0)
    while block := file.read(CHUNK_SIZE):
        dag.update(block)
    return dag.finish()


class _Blocks:
    """The blocks of a file: from the partial file, else from a CAR stream, else one by one."""

    def __init__(self, gateway: Gateway, cid: Cid, file: BinaryIO, notes: list[str]) -> None:
        self._gateway, self._cid, self._file, self._notes = gateway, cid, file, notes
        self._offset = 0
        self._stack = ExitStack()
        self._sections: Sections | None = None
        self._next: unixfs.Block | None = None

    def __enter__(self) -> _Blocks:
        start = self._file.seek(0, 2) // CHUNK_SIZE * CHUNK_SIZE
        try:
            self._sections = self._stack.enter_context(self._gateway.car(self._cid, start))
            self._advance()
        except NotStoredError:
            raise
        except AlithisError:
            self._sections = None  # no CAR: ask for each block instead
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, cid: Cid) -> bytes:
        """Return the next block of the file, checked."""
        if cid.codec != RAW:
            return self._received(cid)
        self._file.seek(self._offset)
        block = self._file.read(CHUNK_SIZE)
        if hashlib.sha256(block).digest() != cid.digest:
            block = self._received(cid)
        self._offset += len(block)
        return block

    def _received(self, cid: Cid) -> bytes:
        if self._next is None or self._next[0] != cid:
            return self._gateway.block(cid)
        block = self._next[1]
        self._advance()
        return block

    def _advance(self) -> None:
        """Read the stream's next block; after an error the stream is not used any more."""
        self._next = None
        if self._sections is not None:
            try:
                self._next = next(iter(self._sections), None)
            except AlithisError as error:
                self._sections = None
                add_notes(self._notes, str(error))
