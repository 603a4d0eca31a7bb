"""Puts a manifest's files on one or more hosts, and says done only of what they know by its CID.

Each host is asked first: what it has is not sent again, so a run that broke off goes on where it
was. metadata.json goes last, so that a host which has it has all. Hosts do not wait for each
other, and where one fails the others go on.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from alithis.base.progress import Progress
from alithis.errors import AlithisError, IntegrityError, StorageError
from alithis.ipfs.car import Part
from alithis.storage.hosts.host import Backend

_AT_ONCE = 4  # files on their way to one host


@dataclass(slots=True)
class Placed:
    """What came of putting files on a host.

    Attributes:
        host: what it is called.
        public: whether what is there can be read by anybody.
        present: names of the files that were there before.
        sent: names of those that were sent, and are known there by their CIDs.
        error: why the rest is not there; None where all is.
    """

    host: str
    public: bool
    present: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    error: str | None = None


def publish(
    parts: Sequence[Part], backends: Sequence[Backend], progress: Progress | None = None
) -> list[Placed]:
    """Put files on every host.

    Args:
        parts: the files; the first of them goes last.
        backends: the hosts.
        progress: told how many bytes are sent.

    Returns:
        What came of it, host by host; errors of a host stand there, and are not raised.
    """
    meter = _Meter(progress or Progress())
    meter.progress.phase("put", sum(part.size for part in parts) * len(backends), unit="bytes")
    with ThreadPoolExecutor(max(len(backends), 1), "alithis-put") as threads:
        try:
            waiting = [threads.submit(_put_all, parts, backend, meter) for backend in backends]
            return [each.result() for each in waiting]
        except BaseException:
            for backend in backends:
                backend.stop()
            raise


def missing(parts: Sequence[Part], backend: Backend) -> list[str]:
    """Name the files that a host does not say it has.

    Raises:
        StorageError: it cannot be asked.
    """
    return [part.name for part in parts if not backend.has(part)]


class _Meter:
    """Counts for many threads."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self.progress.advance(count)


def _put_all(parts: Sequence[Part], backend: Backend, meter: _Meter) -> Placed:
    placed = Placed(backend.name, backend.public)
    errors: list[str] = []

    def put(part: Part) -> None:
        try:
            (placed.sent if _put(part, backend, meter) else placed.present).append(part.name)
        except AlithisError as error:
            errors.append(_named(backend, part, error))

    last, *others = parts
    with ThreadPoolExecutor(_AT_ONCE, "alithis-put") as threads:
        list(threads.map(put, others))
    if not errors:
        put(last)
    placed.error = errors[0] if errors else None
    placed.sent.sort()
    placed.present.sort()
    return placed


def _put(part: Part, backend: Backend, meter: _Meter) -> bool:
    """Put a file where it is not yet; tell whether it was sent.

    Raises:
        IntegrityError: the host knows it by another CID.
        SourceError: it cannot be read.
        StorageError: the host does not take it.
    """
    if backend.has(part):
        meter(part.size)
        return False
    found = backend.put(part, meter)
    if found != part.cid:
        raise IntegrityError("CID", expected=part.cid, found=found)
    return True


def _named(backend: Backend, part: Part, error: AlithisError) -> str:
    """Say of an error which host and file it is about, once."""
    text = str(error)
    if isinstance(error, StorageError) and text.startswith(backend.name):
        return f"{text} ({part.name})"
    return f"{backend.name}: {part.name}: {text}"
