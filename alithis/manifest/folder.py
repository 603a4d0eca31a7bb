"""The folder that a manifest appears in: whole or not at all, and one run at a time.

What is on its way lies beside it: ``.NAME.work``, which a run holds locked and which outlives a
run that was broken off, and ``.NAME.<16 hex digits>.partial``, which does not.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alithis.base.files import sync, unwritable
from alithis.errors import SourceError
from alithis.manifest import metadata


def check_target(out: Path, *, replace: bool) -> None:
    """Check that a manifest may be written to a place, before any work is done for it.

    Raises:
        SourceError: it may not.
    """
    try:
        mode = out.lstat().st_mode
        names = {entry.name for entry in out.iterdir()} if stat.S_ISDIR(mode) else set()
    except FileNotFoundError:
        _check_parent(out)
        return
    except (OSError, ValueError) as error:
        raise unwritable(out, error) from error
    if stat.S_ISLNK(mode):
        raise SourceError(f"{out}: is a symbolic link; name the folder itself")
    if metadata.FILE not in names or not all(map(_is_ours, names)):
        raise SourceError(f"{out}: exists and is no manifest; choose another place")
    if not replace:
        raise SourceError(f"{out}: exists; --force replaces it (in Python: replace=True)")
    _check_parent(out)


def _is_ours(name: str) -> bool:
    return name in (metadata.FILE, metadata.LEAVES, "tiles") or metadata.is_items(name)


def _check_parent(out: Path) -> None:
    parent = next((parent for parent in out.absolute().parents if os.path.lexists(parent)), out)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise SourceError(f"{out}: cannot be written: {parent} is no folder one can write to")


@contextmanager
def atomic_folder(out: Path, *, replace: bool) -> Iterator[Path]:
    """Give a directory to write into that becomes ``out`` at the end, or vanishes.

    What a killed run left beside ``out`` is swept: a run that lives holds a lock on its own.

    Args:
        out: where the directory is to appear; an absolute path.
        replace: whether a manifest that stands there may be replaced.

    Yields:
        The directory to write into.

    Raises:
        SourceError: something stands at ``out`` that may not be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    with _partial(out) as place:
        new = place / "new"
        new.mkdir()
        yield new
        for directory in (new / "tiles", new):
            if directory.is_dir():
                sync(directory)
        check_target(out, replace=replace)
        _put(new, out, place / "old")
        sync(out.parent)


def _put(new: Path, out: Path, old: Path) -> None:
    with suppress(FileNotFoundError):
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        with suppress(FileNotFoundError):
            old.rename(out)
        raise


@contextmanager
def _partial(out: Path) -> Iterator[Path]:
    """Give a locked folder beside ``out``, for as long as the work lasts."""
    place = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    place.mkdir()
    handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks: nothing is swept there either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Only locked it gets the name that a sweep looks for.
        place = place.rename(f"{place}.partial")
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def _sweep(out: Path) -> None:
    """Remove what killed runs left; put back what one was about to replace."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{16}}\.partial")
    for place in [entry for entry in out.parent.iterdir() if ours.fullmatch(entry.name)]:
        with suppress(OSError), _locked(place):
            if not os.path.lexists(out):
                with suppress(FileNotFoundError):
                    (place / "old").rename(out)
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        OSError: somebody else does, or there are no locks here.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def work_folder(out: Path) -> Iterator[tuple[Path, bool]]:
    """Give the locked folder beside ``out`` in which work on it is kept; it goes if left empty.

    A file system without locks cannot tell a leftover from a run that lives: there each run has
    a folder of its own, and keeps nothing.

    Args:
        out: where the manifest is to appear; an absolute path.

    Yields:
        The folder, and whether what is left in it lasts.

    Raises:
        SourceError: another run holds it, or it cannot be written.
    """
    place = out.with_name(f".{out.name}.work")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquired(place, out)
    except OSError as error:
        raise unwritable(out, error) from error
    if handle is None:
        with tempfile.TemporaryDirectory(prefix=f"{place.name}.", dir=out.parent) as own:
            yield Path(own), False
        return
    try:
        yield place, True
    finally:
        with suppress(OSError):  # not empty: the next run goes on from there
            place.rmdir()
        os.close(handle)


def _acquired(place: Path, out: Path) -> int | None:
    """Lock a folder, which is made; return its descriptor, or None where there are no locks."""
    while True:
        place.mkdir(exist_ok=True)
        try:
            handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # its holder has just removed it
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(place, handle):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise SourceError(
                f"{out}: another run is writing it; wait for its end, or choose another place"
            ) from error
        except OSError:
            os.close(handle)
            with suppress(OSError):
                place.rmdir()
            return None
        os.close(handle)  # its holder removed it before we had the lock


def _is_at(place: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(place.lstat(), os.fstat(handle))
    return False
