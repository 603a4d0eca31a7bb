"""A host that files are uploaded to, and a base class for hosts with an HTTP API."""

from __future__ import annotations

import os
import re
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from alithis.base.files import read_at, regular_file
from alithis.base.http import (
    UPLOADS,
    Client,
    RequestBody,
    Response,
    RetryPolicy,
    describe_status,
)
from alithis.base.untrusted_json import parse
from alithis.errors import (
    AlithisError,
    ChangedError,
    FormatError,
    SourceError,
    StorageError,
)
from alithis.ipfs import cid as cids
from alithis.ipfs.car import Car, LocalFile
from alithis.ipfs.cid import CHUNK_SIZE, Cid

ReportBytes = Callable[[int], None]
"""Called with the number of bytes that were sent; negative when a file is sent again."""
_MAX_ANSWER = 1 << 16
# A file up to this size is one chunk at every host, so all hosts give it the same CID.
MAX_RAW = 1 << 18
# Kubo accepts our chunk size, but a node may put fewer links into a node (174 is a common default).
# A file with at most 174 chunks has one node in any case, and so the same CID.
MAX_RAW_KUBO = 174 * CHUNK_SIZE


class Host(Protocol):
    """A host that files are uploaded to."""

    name: str
    """Its name in reports: ``kubo 127.0.0.1:5001``."""
    public: bool
    """Whether anybody can read its files by their CIDs."""

    def has(self, local: LocalFile) -> bool:
        """Return whether the host states that it has a file.

        Raises:
            StorageError: the host cannot be asked.
        """

    def put(self, local: LocalFile, report: ReportBytes) -> Cid:
        """Send a file, and return the CID that it has there.

        Raises:
            SourceError: the file cannot be read, or changed while it was read.
            StorageError: the host does not accept it.
        """

    def stop(self) -> None:
        """Abort the uploads of other threads with a StorageError."""


def read_secret(variable: str) -> str:
    """Read a key from the environment, or from the file that ``<variable>_FILE`` names.

    Raises:
        StorageError: there is no key, or it is not one line of printable ASCII.
    """
    value, path = os.environ.get(variable), os.environ.get(f"{variable}_FILE")
    if not value and not path:
        raise StorageError(
            f"no key: set {variable}, or {variable}_FILE to the name of a file with the key in it"
        )
    if not value:
        try:
            with regular_file(str(path)) as (handle, _):
                value = read_at(handle, 0, 1 << 13, str(path)).decode(errors="replace")
        except SourceError as error:
            raise StorageError(f"{variable}_FILE: {error}") from error
    value = value.strip()
    if not re.fullmatch(r"[!-~]{1,4096}", value):
        raise StorageError(f"{variable}: is not a key: a key is one word of printable ASCII")
    return value


class _Form:
    """A multipart form with a file (RFC 7578), as a stream that can be sent again for a retry."""

    def __init__(
        self,
        local: LocalFile,
        file: RequestBody,
        report: ReportBytes,
        stopped: threading.Event,
        fields: Mapping[str, str],
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        # If the name contained a slash, Kubo would add a folder.
        name = re.sub(r"[^\w.-]", "-", local.name)
        head.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head, self._tail = "".join(head).encode(), f"\r\n--{boundary}--\r\n".encode()
        self._local, self._file = local, file
        self._report, self._stopped = report, stopped
        self._reported = 0

    def __len__(self) -> int:
        return len(self._head) + len(self._file) + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        self._report(-self._reported)
        self._reported = 0
        yield self._head
        for piece in self._file:
            if self._stopped.is_set():
                raise StorageError("stopped")
            yield piece
            # A CAR is a little longer than the file, but progress is counted in bytes of the file.
            more = min(len(piece), self._local.size - self._reported)
            self._reported += more
            self._report(more)
        yield self._tail


class RawFile:
    """A file's unchanged content as a request body."""

    def __init__(self, local: LocalFile) -> None:
        """Choose the file."""
        self._local = local

    def __len__(self) -> int:
        """Return the file's bytes."""
        return self._local.size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the file.

        Its size was announced, so a file that changed is an error: with fewer bytes the host would
        wait for the rest.
        """
        count = 0
        for block in cids.blocks(self._local.path):
            count += len(block)
            if count > self._local.size:
                break
            yield block
        if count != self._local.size:
            raise ChangedError(
                f"{self._local.path}: no longer has {self._local.size} bytes: "
                "try again when it is not being modified"
            )


class CarFile:
    """A file as a CAR with our blocks, as a request body."""

    def __init__(self, local: LocalFile) -> None:
        """Choose the file."""
        self._car = Car([local])

    def __len__(self) -> int:
        """Return the CAR's bytes."""
        return self._car.length

    def __iter__(self) -> Iterator[bytes]:
        """Yield the CAR."""
        return iter(self._car)


class EmptyBody:
    """An empty request body, for an RPC with its parameters in the URL."""

    def __len__(self) -> int:
        """Return 0."""
        return 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield nothing."""
        return iter(())


class HttpHost(ABC):
    """A host with an HTTP API."""

    TIMEOUT: ClassVar[float] = 120.0
    """Seconds to wait for an answer, and for the host to accept each piece of a file."""
    RETRIES: ClassVar[RetryPolicy] = UPLOADS
    SECRET: ClassVar[str] = ""
    """The environment variable with the key."""

    name: str
    public = True

    def __init__(self, called: str, key: str | None = None) -> None:
        """Choose the host; nothing is sent yet."""
        self._client = Client(called, StorageError, self.TIMEOUT, self.RETRIES)
        self._key = key

    @abstractmethod
    def put(self, local: LocalFile, report: ReportBytes) -> Cid:
        """Send a file: see `Host.put`."""

    def stop(self) -> None:
        """Abort uploads: see `Host.stop`."""
        self._client.stopped.set()

    def _send(
        self, url: str, local: LocalFile, file: RequestBody, report: ReportBytes, **fields: str
    ) -> Mapping[str, Any]:
        """Post a form with a file, and return the JSON object in the last line of the answer."""
        form = _Form(local, file, report, self._client.stopped, fields)
        answer = self._ask(url, form, {"Content-Type": form.content_type})
        if answer.status != 200:
            raise self._refused(url, answer.status)
        return self._object(url, answer)

    def _object(self, url: str, answer: Response) -> Mapping[str, Any]:
        lines = answer.body.splitlines()
        try:
            if lines and not answer.cut:
                return parse(lines[-1], "answer")
        except FormatError:
            pass
        raise self._client.failure(url, "does not answer with its documented JSON")

    def _cid(self, url: str, found: Any) -> Cid:
        """Parse the CID in a host's answer."""
        try:
            return Cid.parse(found)
        except (FormatError, TypeError, AttributeError):
            raise self._client.failure(url, "does not answer with the CID of a file") from None

    def _ask(
        self, url: str, content: RequestBody | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request with the key.

        Raises:
            StorageError: there is no answer; or the last one has a temporary status, which does not
                show whether the host has the file.
        """
        headers = dict(headers or {})
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        answer = self._client.ask(url, content=content, headers=headers, limit=_MAX_ANSWER)
        if answer.status in self.RETRIES.statuses:
            raise self._refused(url, answer.status)
        return answer

    def _refused(self, url: str, status: int) -> AlithisError:
        texts = {
            401: f"refuses the key (HTTP 401): check {self.SECRET}",
            402: "asks for payment (HTTP 402)",
            403: f"refuses the key (HTTP 403): check what {self.SECRET} is allowed to do",
            413: "does not accept a file of this size (HTTP 413)",
        }
        known = texts.get(status) if self._key or status in (402, 413) else None
        return self._client.failure(url, known or describe_status(status))
