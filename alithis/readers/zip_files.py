"""Zip files: every byte must belong to one member, or the zip is refused.

A zip is read from its end: the directory there lists the members and their offsets. So zips can be
joined, prefixed and overlaid, and readers silently see a part of what is inside: of two joined
zips only the members of the last one. A manifest of such a file would lack data points.
"""

from __future__ import annotations

import struct
import zipfile
from itertools import pairwise
from typing import Any, BinaryIO

from alithis.errors import SourceError

_LOCAL, _END = b"PK\3\4", b"PK\5\6"
_LOCAL_SIZE, _END_SIZE = 30, 22  # bytes of the fixed part of a local header, and of the end record
_MAX_COMMENT = (1 << 16) - 1
_MAX_EXTRA = (1 << 16) - 1
_DESCRIPTOR = 24  # bytes at most of the data descriptor that follows a member that was streamed
_HAS_DESCRIPTOR = 1 << 3
_MARKERS = (b"PK00", b"PK\7\x08")  # of an archive that was meant to be split, but was not

_REPACK = "Unpack everything, and pack it again as one zip"


def is_zip(file: BinaryIO, head: bytes) -> bool:
    """Tell whether a file is a zip, perhaps behind other bytes.

    Args:
        file: the file; its position is changed.
        head: its first bytes.
    """
    return head.startswith(b"PK") or _tail(file)[1].rfind(_END) >= 0


def ends(file: Any, archive: zipfile.ZipFile) -> dict[int, int]:
    """Check that the members follow one another, from the first byte to the last.

    Returns:
        For the offset of each member, the offset where the next member or the directory begins.

    Raises:
        SourceError: something stands before, between or after the members, or two overlap.
    """
    _check_tail(file)
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in infos), archive.start_dir]
    _check_head(file, starts[0])
    for info, (start, end) in zip(infos, pairwise(starts), strict=True):
        # The length of the local header's extra field is only known when the member is read, and
        # is checked then (`opened`).
        least = start + _LOCAL_SIZE + info.compress_size
        if end < least:
            raise _overlap(info)
        if end > least + len(info.orig_filename.encode()) + _MAX_EXTRA + _slack(info):
            raise _gap(end)
    return dict(pairwise(starts))


def opened(file: BinaryIO, info: zipfile.ZipInfo, end: int) -> zipfile.ZipExtFile:
    """Open a member.

    Args:
        file: the zip; its position is changed.
        info: the member, as the directory describes it.
        end: the offset where the next member or the directory begins.

    Raises:
        SourceError: the member is not there, or does not end there.
    """
    file.seek(info.header_offset)
    head = file.read(_LOCAL_SIZE)
    if len(head) < _LOCAL_SIZE or head[:4] != _LOCAL:
        raise SourceError(
            "damaged: it is not at the offset in the zip's directory. Download it again"
        )
    name, extra = struct.unpack("<HH", head[26:])
    file.seek(name + extra, 1)
    rest = end - info.header_offset - _LOCAL_SIZE - name - extra - info.compress_size
    if rest < 0:
        raise _overlap(info)
    if rest > _slack(info):
        raise _gap(end)
    return zipfile.ZipExtFile(file, "r", info)


def _slack(info: zipfile.ZipInfo) -> int:
    return _DESCRIPTOR if info.flag_bits & _HAS_DESCRIPTOR else 0


def _overlap(info: zipfile.ZipInfo) -> SourceError:
    return SourceError(
        f"the member {info.filename} overlaps with another one, so one of them is not what was "
        f"packed. {_REPACK}"
    )


def _gap(end: int) -> SourceError:
    return SourceError(
        f"the bytes before {end} belong to no member in the zip's directory: damaged, or "
        f"members would be lost. {_REPACK}"
    )


def _check_head(file: Any, first: int) -> None:
    """Check that the first member is at the beginning of the file."""
    file.seek(0)
    head = file.read(4)
    if first == 0 or (first == len(head) and head in _MARKERS):
        return
    if head == _LOCAL:
        raise SourceError(
            "two zips in one file, or members that the zip's directory does not list: members "
            f"would be lost. {_REPACK}"
        )
    raise SourceError(
        f"{first} bytes stand before the zip, as in a self-extracting archive. {_REPACK}"
    )


def _check_tail(file: Any) -> None:
    """Check that the end record, with its comment, is the end of the file."""
    start, tail = _tail(file)
    at = tail.rfind(_END)
    length = struct.unpack_from("<H", tail, at + _END_SIZE - 2)[0]
    rest = len(tail) - at - _END_SIZE - length
    if rest > 0:
        raise SourceError(
            f"{rest} bytes follow the end of the zip, at {start + len(tail) - rest}; if they are "
            f"another archive, its members would be lost. {_REPACK}"
        )
    if rest < 0:
        raise SourceError("cut short in the zip's comment. Download it again")


def _tail(file: Any) -> tuple[int, bytes]:
    """Return the end of a file, as far as `zipfile` searches for the end record; its offset too."""
    size = file.seek(0, 2)
    start = max(0, size - _END_SIZE - _MAX_COMMENT)
    file.seek(start)
    return start, file.read(size - start)
