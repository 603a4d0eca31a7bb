"""Uploads a manifest's files to one or more hosts, and compares the CIDs that they return.

Each host is first asked which files it has. Those are not sent again, so an interrupted upload is
resumed. metadata.json is sent last: if a host has it, the upload was complete. Hosts do not wait
for each other, and if one fails the others continue.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from alithis.base.progress import Progress
from alithis.errors import AlithisError, IntegrityError, StorageError
from alithis.ipfs.car import LocalFile
from alithis.storage.hosts.host import Host

_AT_ONCE = 4  # files that are sent to one host at a time


@dataclass(slots=True)
class UploadResult:
    """The result of an upload to one host.

    Attributes:
        host: its name.
        public: whether anybody can read its files.
        present: names of the files that it already had.
        sent: names of the files that were sent, and for which it returned the expected CID.
        error: why files are missing; None if all are there.
    """

    host: str
    public: bool
    present: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    error: str | None = None


def publish(
    files: Sequence[LocalFile], hosts: Sequence[Host], progress: Progress | None = None
) -> list[UploadResult]:
    """Upload files to every host.

    Args:
        files: the files; the first one is sent last.
        hosts: the hosts.
        progress: reports how many bytes were sent.

    Returns:
        A result for each host; a host's error is in its result, and is not raised.
    """
    meter = _Meter(progress or Progress())
    meter.progress.phase("put", sum(local.size for local in files) * len(hosts), unit="bytes")
    with ThreadPoolExecutor(max(len(hosts), 1), "alithis-put") as threads:
        try:
            waiting = [threads.submit(_put_all, files, host, meter) for host in hosts]
            return [each.result() for each in waiting]
        except BaseException:
            for host in hosts:
                host.stop()
            raise


def missing(files: Sequence[LocalFile], host: Host) -> list[str]:
    """Return the names of the files that a host states it does not have.

    Raises:
        StorageError: it cannot be asked.
    """
    return [local.name for local in files if not host.has(local)]


class _Meter:
    """Counts the bytes of several threads."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self.progress.advance(count)


def _put_all(files: Sequence[LocalFile], host: Host, meter: _Meter) -> UploadResult:
    result = UploadResult(host.name, host.public)
    errors: list[str] = []

    def put(local: LocalFile) -> None:
        try:
            (result.sent if _put(local, host, meter) else result.present).append(local.name)
        except AlithisError as error:
            errors.append(_named(host, local, error))

    last, *others = files
    with ThreadPoolExecutor(_AT_ONCE, "alithis-put") as threads:
        list(threads.map(put, others))
    if not errors:
        put(last)
    result.error = errors[0] if errors else None
    result.sent.sort()
    result.present.sort()
    return result


def _put(local: LocalFile, host: Host, meter: _Meter) -> bool:
    """Upload a file unless the host has it; return whether it was sent.

    Raises:
        IntegrityError: the host returned another CID.
        SourceError: the file cannot be read.
        StorageError: the host does not accept the file.
    """
    if host.has(local):
        meter(local.size)
        return False
    found = host.put(local, meter)
    if found != local.cid:
        raise IntegrityError("CID", expected=local.cid, found=found)
    return True


def _named(host: Host, local: LocalFile, error: AlithisError) -> str:
    """Name host and file in an error; errors of the host already name it."""
    text = str(error)
    if isinstance(error, StorageError) and text.startswith(host.name):
        return f"{text} ({local.name})"
    return f"{host.name}: {local.name}: {text}"
