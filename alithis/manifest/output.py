"""Checks where a command writes a file (``-o``), before it does any work.

A mistyped ``-o`` must not destroy anything. So a file that the command reads, and a file of a
manifest, are never replaced; other existing files are replaced only if they are of the same kind
(an earlier proof file, an earlier report, …), or with ``--force``.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from alithis.base.files import read_at, regular_file, unwritable
from alithis.errors import SourceError
from alithis.manifest import metadata

_HEAD = 1 << 16  # bytes that show of which kind a file is

Place = str | os.PathLike[str]


class Output(Enum):
    """A kind of file that commands write: its name, and what its first 64 KiB match."""

    PROOF = "a proof file", rb'\s*\{\s*"alithis":\s*"proof"'
    REPORT = (
        "a report",
        rb"# (Model report: |Training content of )"
        rb"|<!doctype html>.*<title>(Model report: |Training content of )"
        rb'|\{\s*"alithis": "report"|\{\s*"title": "Training content of ',
    )
    CROISSANT = "a Croissant document of Alithis", rb'\s*\{.*"urn:alithis:manifest"'
    CYCLONEDX = "a bill of materials by Alithis", rb'\{.*"CycloneDX".*"name": "alithis"'
    IN_TOTO = "an in-toto statement", rb'\{\s*"_type": "https://in-toto\.io/Statement/v1"'
    MODEL_SIGNING = (
        "a statement or signature of model-signing",
        rb'\s*\{(\s*"_type": "https://in-toto\.io/Statement/v1"'
        rb"|.*application/vnd\.dev\.sigstore\.bundle)",
    )
    MINT = "a signed mint", rb'\s*\{\s*"alithis":\s*"mint"'
    CAR = "a CAR file", rb".{1,4}\xa2\x65roots"

    @property
    def title(self) -> str:
        """The kind's name in errors, with its article."""
        return str(self.value[0])

    def matches(self, head: bytes) -> bool:
        """Tell whether a file that begins with these bytes is of this kind."""
        return re.match(self.value[1], head, re.DOTALL) is not None


def check_output(
    out: Place, kind: Output, reads: Iterable[Place] = (), *, replace: bool = False
) -> None:
    """Check that a file may be written to a path.

    Args:
        out: the path. A device or a pipe, such as ``/dev/stdout``, may always be written.
        kind: the kind of file that is written.
        reads: what the command reads; paths that do not exist, such as URLs, are skipped.
        replace: whether an existing file of any other kind may be replaced.

    Raises:
        SourceError: it may not be written; the message says why and what to do.
    """
    path = Path(out)
    try:
        if folder := _manifest_around(path) or _manifest_around(Path(os.path.realpath(path))):
            raise SourceError(
                f"{path}: would change the manifest {folder} (the folder has a {metadata.FILE}); "
                "choose another folder"
            )
        status = path.stat()
    except FileNotFoundError:  # a missing folder is reported when the file is written
        return
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    if any(_is_same(path, read) for read in reads):
        raise SourceError(
            f"{path}: is read by this command, so it cannot be the output; choose another name"
        )
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path}: is a folder; give the name of a file to write")
    if replace or not stat.S_ISREG(status.st_mode) or not status.st_size:
        return
    with regular_file(path) as (handle, _):
        head = read_at(handle, 0, _HEAD, path)
    if not kind.matches(head):
        raise SourceError(
            f"{path}: exists and is not {kind.title}; choose another name, or replace it with "
            "--force (in Python: replace=True)"
        )


def _manifest_around(path: Path) -> Path | None:
    """Return the manifest's folder that a path is in; tiles are in a folder of their own."""
    parent = path.parent
    folders = (parent, parent.parent) if parent.name == "tiles" else (parent,)
    return next((each for each in folders if os.path.lexists(each / metadata.FILE)), None)


def _is_same(path: Path, read: Place) -> bool:
    try:
        return path.samefile(read)
    except (OSError, ValueError):
        return False
