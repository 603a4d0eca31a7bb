"""The folder of a manifest on the disk: written atomically, by one run at a time.

`alithis.manifest.builder` and `alithis.storage.store` write manifests through it. While a run
writes the folder NAME, these exist beside it:

``.NAME.lock``
    the lock of the run. The kernel releases it when the run ends, even if it is killed;
``.NAME.<16 hex digits>.partial``
    the new manifest. If a run is killed, the next run removes this folder;
``.NAME.work``
    data points that are already hashed, so that an interrupted run can be resumed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from alithis.base.files import lock_file, sync_folder, unwritable, write_errors
from alithis.errors import SourceError
from alithis.manifest import metadata


def check_target(out: Path, *, replace: bool) -> None:
    """Check that a manifest can be written to a path, before any work is done for it.

    Raises:
        SourceError: something else is there, it may not be replaced, or is not writable.
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
        raise SourceError(f"{out}: is a symbolic link; give the path of the folder itself")
    # Replacing deletes the folder, so it may contain only files that a manifest has.
    if metadata.FILE not in names or not all(map(_is_ours, names)):
        raise SourceError(f"{out}: exists and is not a manifest; choose another path")
    if not replace:
        raise SourceError(
            f"{out}: already exists; replace it with --force (in Python: replace=True)"
        )
    _check_parent(out)


def _is_ours(name: str) -> bool:
    return name in (metadata.FILE, metadata.LEAVES, "tiles") or metadata.is_items(name)


def _check_parent(out: Path) -> None:
    parent = next((parent for parent in out.absolute().parents if os.path.lexists(parent)), out)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise SourceError(f"{out}: cannot be written: {parent} is not a writable folder")


@contextmanager
def atomic_folder(out: Path, *, replace: bool) -> Iterator[Path]:
    """Create a folder that is renamed to ``out`` at the end, or removed after an error.

    Args:
        out: the folder to write; an absolute path.
        replace: whether an existing manifest may be replaced.

    Yields:
        The folder to write into.

    Raises:
        SourceError: another run is writing ``out``, or the existing folder may not be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked(out) as locked:
        if locked:
            _sweep(out)
        partial = out.with_name(f".{out.name}.{secrets.token_hex(8)}.partial")
        new = partial / "new"
        new.mkdir(parents=True)
        try:
            yield new
            for folder in (new / "tiles", new):
                if folder.is_dir():
                    sync_folder(folder)
            check_target(out, replace=replace)
            _swap(new, out, partial / "old")
            sync_folder(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, out: Path, old: Path) -> None:
    # No portable call exchanges two folders, so ``out`` is missing between the two renames. If the
    # run is killed there, the next run restores the old folder (`_sweep`).
    with suppress(FileNotFoundError):
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        with suppress(FileNotFoundError):
            old.rename(out)
        raise


def _sweep(out: Path) -> None:
    """Remove what killed runs left. The caller holds the lock, so no other run is alive."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{16}}\.partial")
    for partial in [entry for entry in out.parent.iterdir() if ours.fullmatch(entry.name)]:
        if partial.is_symlink():  # not made by us: removing its target could delete any folder
            continue
        if not os.path.lexists(out):
            with suppress(OSError):
                (partial / "old").rename(out)
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def work_folder(out: Path) -> Iterator[tuple[Path, bool]]:
    """Create or reuse the folder beside ``out`` that keeps the work of an interrupted run.

    Other runs are locked out until the end; then the folder is removed if it is empty. On a file
    system without locks, the work of a running process cannot be told from the work of a killed
    one: each run has a temporary folder there, and nothing is kept.

    Args:
        out: the folder that the manifest is written to; an absolute path.

    Yields:
        The folder, and whether its contents are kept for the next run.

    Raises:
        SourceError: another run is writing ``out``, or the folder cannot be written.
    """
    work = out.with_name(f".{out.name}.work")
    with ExitStack() as stack:
        with write_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            locked = stack.enter_context(_locked(out))
            if not locked:
                own = tempfile.TemporaryDirectory(prefix=f"{work.name}.", dir=out.parent)
                work = Path(stack.enter_context(own))
            work.mkdir(exist_ok=True)
            if work.is_symlink():  # not made by us: writing would follow it to any folder
                raise NotADirectoryError(errno.ENOTDIR, f"{work} is a symbolic link")
        try:
            yield work, locked
        finally:
            with suppress(OSError):  # not empty: the next run resumes from it
                work.rmdir()


@contextmanager
def _locked(out: Path) -> Iterator[bool]:
    """Hold the lock of a target folder; yields False on a file system without locks."""
    with ExitStack() as stack:
        try:
            held = stack.enter_context(lock_file(out.with_name(f".{out.name}.lock")))
        except BlockingIOError as error:
            raise SourceError(
                f"{out}: another run is writing it; wait until it ends, or choose another path"
            ) from error
        yield held
