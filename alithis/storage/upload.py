"""Uploads a manifest's files to one or more hosts, and checks that they know each by its CID.

Each host is asked first: what it has is not sent again, so an interrupted run is resumed.
metadata.json goes last: a host that has it has all files. Hosts do not wait for each other, and if
one fails the others continue.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from alithis.base.progress import Progress
from alithis.errors import AlithisError, IntegrityError, StorageError
from alithis.ipfs.car import Part
from alithis.storage.hosts.host import Host

_AT_ONCE = 4  # files that are sent to one host at a time


@dataclass(slots=True)
class UploadResult:
    """The result of an upload to one host.

    Attributes:
        host: its name.
        public: whether anybody can read what is there.
        present: names of the files that it had already.
        sent: names of the files that were sent, and that it now knows by their CIDs.
        error: why the rest is not there; None if all is.
    """

    host: str
    public: bool
    present: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    error: str | None = None


def publish(
    parts: Sequence[Part], hosts: Sequence[Host], progress: Progress | None = None
) -> list[UploadResult]:
    """Upload files to every host.

    Args:
        parts: the files; the first of them is sent last.
        hosts: the hosts.
        progress: reports how many bytes were sent.

    Returns:
        A result for each host; a host's error is in its result, and is not raised.
    """
    meter = _Meter(progress or Progress())
    meter.progress.phase("put", sum(part.size for part in parts) * len(hosts), unit="bytes")
    with ThreadPoolExecutor(max(len(hosts), 1), "alithis-put") as threads:
        try:
            waiting = [threads.submit(_put_all, parts, host, meter) for host in hosts]
            return [each.result() for each in waiting]
        except BaseException:
            for host in hosts:
                host.stop()
            raise


def missing(parts: Sequence[Part], host: Host) -> list[str]:
    """Return the names of the files that a host does not have, by its own word.

    Raises:
        StorageError: it cannot be asked.
    """
    return [part.name for part in parts if not host.has(part)]


class _Meter:
    """Counts the bytes of several threads."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self.progress.advance(count)


def _put_all(parts: Sequence[Part], host: Host, meter: _Meter) -> UploadResult:
    result = UploadResult(host.name, host.public)
    errors: list[str] = []

    def put(part: Part) -> None:
        try:
            (result.sent if _put(part, host, meter) else result.present).append(part.name)
        except AlithisError as error:
            errors.append(_named(host, part, error))

    last, *others = parts
    with ThreadPoolExecutor(_AT_ONCE, "alithis-put") as threads:
        list(threads.map(put, others))
    if not errors:
        put(last)
    result.error = errors[0] if errors else None
    result.sent.sort()
    result.present.sort()
    return result


def _put(part: Part, host: Host, meter: _Meter) -> bool:
    """Upload a file unless the host has it; return whether it was sent.

    Raises:
        IntegrityError: the host has it under another CID.
        SourceError: it cannot be read.
        StorageError: the host does not accept it.
    """
    if host.has(part):
        meter(part.size)
        return False
    found = host.put(part, meter)
    if found != part.cid:
        raise IntegrityError("CID", expected=part.cid, found=found)
    return True


def _named(host: Host, part: Part, error: AlithisError) -> str:
    """Add host and file to an error, each once."""
    text = str(error)
    if isinstance(error, StorageError) and text.startswith(host.name):
        return f"{text} ({part.name})"
    return f"{host.name}: {part.name}: {text}"
