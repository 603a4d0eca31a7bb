"""What was fetched and checked before, in a folder of bounded size.

Nothing rests on it: each entry has its own SHA-256 before it, so what a disk has changed counts as
not there; who takes an entry checks it again as if a stranger had sent it; and where the folder
cannot be written, nothing is kept. Files appear whole, by renaming, so many processes may share it.
The folder is its owner's alone, as it tells what was asked about.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

ENVIRONMENT = "ALITHIS_CACHE"
"""Names the cache's folder, where it is not the usual one; ``none`` keeps nothing."""

NONE = "none"
LIMIT = 64 << 20
"""Bytes on the disk that the cache may take."""
MAX_ENTRY = 2 << 20
"""Bytes in an entry at most."""

_KEPT = 0.75  # of the limit, what is left once it was passed


class Cache:
    """Keeps what is used, and forgets what was used longest ago."""

    def __init__(self, folder: Path | None, limit: int = LIMIT) -> None:
        """Name the folder, which is made when there is something to keep.

        Args:
            folder: where; None keeps nothing.
            limit: bytes on the disk that it may take. Several processes that write at once may
                each pass it by a sixteenth before they notice.
        """
        self._folder, self._limit = folder, limit
        self._unseen = limit  # bytes written since the folder was last looked through

    @classmethod
    def usual(cls) -> Self:
        """Return the cache that ``ALITHIS_CACHE`` names, or the one in the user's cache folder."""
        named = os.environ.get(ENVIRONMENT)
        if named == NONE:
            return cls(None)
        if named:
            return cls(Path(named).expanduser())
        import platformdirs

        return cls(platformdirs.user_cache_path("alithis") / "content")

    def get(self, key: str) -> bytes | None:
        """Return what was kept under a name; None if there is nothing, or nothing whole."""
        if self._folder is None:
            return None
        place = self._place(key)
        try:
            with place.open("rb") as file:
                data = file.read(MAX_ENTRY + 33)
            os.utime(place)
        except OSError:
            return None
        digest, content = data[:32], data[32:]
        return content if hashlib.sha256(content).digest() == digest else None

    def put(self, key: str, content: bytes) -> None:
        """Keep something under a name, if that is possible."""
        if self._folder is None or len(content) > MAX_ENTRY:
            return
        with suppress(OSError):
            self._write(self._place(key), hashlib.sha256(content).digest() + content)
            self._unseen += len(content)
            if self._unseen > self._limit // 16:
                self._unseen = 0
                self._shrink()

    def _place(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return Path(self._folder or "") / name[:2] / name

    def _write(self, place: Path, data: bytes) -> None:
        place.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        partial = place.with_name(f"{secrets.token_hex(16)}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)

    def _shrink(self) -> None:
        """Remove what was used longest ago, until there is room again."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        if total <= self._limit:
            return
        for _, size, path in entries:
            with suppress(OSError):
                path.unlink()
            total -= size
            if total <= self._limit * _KEPT:
                return

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Yield when each file was last used, what it takes on the disk, and where it is."""
        for path in Path(self._folder or "").glob("[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):
                status = path.stat()
                yield status.st_mtime_ns, status.st_blocks * 512, path
