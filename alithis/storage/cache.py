"""A cache of fetched content, in a folder of bounded size.

The cache is not trusted. An entry is checked when it is used, like an answer from a gateway; it
also begins with its own SHA-256, so that a damaged entry counts as missing and is fetched again. If
the folder cannot be written, nothing is cached. Files are written under another name and then
renamed, so many processes may share the cache. Only its owner can read the folder, because its
content reveals which artifacts were looked up.
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
"""The environment variable with the cache's folder; ``none`` turns the cache off."""

NONE = "none"
LIMIT = 64 << 20
"""Maximum size of the cache on the disk, in bytes."""
MAX_ENTRY = 2 << 20
"""Maximum size of an entry, in bytes."""

_KEPT = 0.75  # fraction of the limit that is left after entries were removed


class Cache:
    """Keeps entries, and removes those that were used longest ago."""

    def __init__(self, folder: Path | None, limit: int = LIMIT) -> None:
        """Choose the folder, which is created with the first entry.

        Args:
            folder: the folder; with None, nothing is cached.
            limit: maximum size on the disk, in bytes. Each process measures the folder after it
                has written a sixteenth of the limit, so the cache may be larger for a short time.
        """
        self._folder, self._limit = folder, limit
        self._written = limit  # bytes since the folder was last measured

    @classmethod
    def from_environment(cls) -> Self:
        """Return the cache in the folder ``ALITHIS_CACHE``, or else in the user's cache folder."""
        named = os.environ.get(ENVIRONMENT)
        if named == NONE:
            return cls(None)
        if named:
            return cls(Path(named).expanduser())
        import platformdirs

        return cls(platformdirs.user_cache_path("alithis") / "content")

    def get(self, key: str) -> bytes | None:
        """Return an entry; None if it does not exist or is damaged."""
        if self._folder is None:
            return None
        path = self._path(key)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_ENTRY + 33)
            os.utime(path)
        except OSError:
            return None
        digest, content = data[:32], data[32:]
        return content if hashlib.sha256(content).digest() == digest else None

    def put(self, key: str, content: bytes) -> None:
        """Store an entry, if that is possible."""
        if self._folder is None or len(content) > MAX_ENTRY:
            return
        with suppress(OSError):
            self._write(self._path(key), hashlib.sha256(content).digest() + content)
            self._written += len(content)
            if self._written > self._limit // 16:
                self._written = 0
                self._shrink()

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return Path(self._folder or "") / name[:2] / name

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        partial = path.with_name(f"{secrets.token_hex(16)}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _shrink(self) -> None:
        """Remove the entries that were used longest ago, until the cache is small enough."""
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
        """Yield the time of last use, the bytes on the disk and the path of each file."""
        for path in Path(self._folder or "").glob("[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):
                status = path.stat()
                yield status.st_mtime_ns, status.st_blocks * 512, path
