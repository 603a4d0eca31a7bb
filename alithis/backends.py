"""Where manifests are put so that others can read them: IPFS nodes, pinning services, buckets.

A backend says whether it has a file, and takes one and tells the CID that it knows it by; whether
that is the right one is `publish`'s to say. Hosts cut files into chunks as they like, so a file
goes as it is only where that cannot matter, and else as a CAR, whose blocks are ours.

Keys come from the environment, or from a file that it names. They are sent to their own host
alone, no redirect is followed, and nothing of them, of a URL beside its host or of what a host
answers stands in an error.

Sources: Kubo's RPC reference, the API references of Lighthouse and Pinata, fsspec.
"""

from __future__ import annotations

import ipaddress
import os
import random
import re
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import urlencode, urlsplit

from alithis import cid as cids
from alithis.car import Car, Part
from alithis.cid import CHUNK_SIZE, MAX_LINKS, Cid, Dag
from alithis.errors import (
    AlithisError,
    ChangedError,
    FormatError,
    MissingExtraError,
    NotStoredError,
    StorageError,
)
from alithis.exchange import Answer, Client, Content, meaning, retry_after
from alithis.manifest import Reader
from alithis.strict_json import parse

KUBO = "ALITHIS_KUBO"
"""Names the RPC address of the Kubo node that ``kubo`` means, where it is not the usual one."""

Report = Callable[[int], None]
"""Takes how many more bytes of a file are sent; fewer than none, where it begins again."""

_KUBO_URL = "http://127.0.0.1:5001"
_MAX_ANSWER = 1 << 16
_ONE_BLOCK = 1 << 18  # bytes that every host takes for one chunk
_ONE_NODE = 174 * CHUNK_SIZE  # bytes over which, in chunks of ours, every host lays one node
_PASSING = frozenset((408, 429, 500, 502, 503, 504))


class Backend(Protocol):
    """Somewhere to put files."""

    name: str
    """What it is called: ``kubo 127.0.0.1:5001``."""
    public: bool
    """Whether what is there can be read by anybody, by its CID."""

    def has(self, part: Part) -> bool:
        """Tell whether a file is there, as far as the host says.

        Raises:
            StorageError: it cannot be asked.
        """

    def put(self, part: Part, report: Report) -> Cid:
        """Send a file, and return the CID that it has there.

        Raises:
            SourceError: the file cannot be read, or changed while it was.
            StorageError: the host does not take it.
        """

    def stop(self) -> None:
        """Give up what other threads have under way; it ends in a StorageError."""


def open_backends(names: Iterable[str]) -> list[Backend]:
    """Open backends by name; one named twice is opened once.

    Args:
        names: ``lighthouse``, ``pinata``, ``kubo``, ``kubo=URL`` or ``s3://BUCKET/PREFIX``.

    Raises:
        StorageError: a name is none of these, a URL is none, or a key is missing.
        MissingExtraError: the library for a bucket is not installed.
    """
    return [_open(name) for name in dict.fromkeys(names)]


def _open(name: str) -> Backend:
    if name == "lighthouse":
        return Lighthouse(read_secret("LIGHTHOUSE_API_KEY"))
    if name == "pinata":
        return Pinata(read_secret("PINATA_JWT"))
    if name == "kubo":
        return Kubo(os.environ.get(KUBO) or _KUBO_URL)
    if name.startswith("kubo="):
        return Kubo(name.removeprefix("kubo="))
    if name.startswith("s3://"):
        return Bucket(name)
    raise StorageError(
        f"{name.partition('=')[0]!r}: no host that is known: "
        "lighthouse, pinata, kubo, kubo=URL or s3://BUCKET/PREFIX"
    )


def read_secret(variable: str) -> str:
    """Read a key from the environment, or from the file that ``<variable>_FILE`` names.

    Raises:
        StorageError: there is none, or it is not one line of printable ASCII.
    """
    value, path = os.environ.get(variable), os.environ.get(f"{variable}_FILE")
    if not value and not path:
        raise StorageError(
            f"no key: set {variable}, or {variable}_FILE to the name of a file that holds it"
        )
    if not value:
        try:
            with Path(str(path)).open(encoding="utf-8", errors="replace") as file:
                value = file.read(1 << 13)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(f"{variable}_FILE: {path}: cannot be read: {reason}") from error
    value = value.strip()
    if not re.fullmatch(r"[!-~]{1,4096}", value):
        raise StorageError(f"{variable}: not a key: one word of printable ASCII is")
    return value


# -- HTTP ----------------------------------------------------------------------------------------


class _Form:
    """A form with a file in it (RFC 7578), as a stream that can be sent again."""

    def __init__(
        self,
        part: Part,
        file: Content,
        report: Report,
        stopped: threading.Event,
        fields: Mapping[str, str],
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        # A slash in the name would make Kubo add a folder.
        name = re.sub(r"[^\w.-]", "-", part.name)
        head.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head, self._tail = "".join(head).encode(), f"\r\n--{boundary}--\r\n".encode()
        self._part, self._file = part, file
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
            # A CAR is a little longer than the file.
            more = min(len(piece), self._part.size - self._reported)
            self._reported += more
            self._report(more)
        yield self._tail


class _Plain:
    """A file as it is."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __len__(self) -> int:
        return self._part.size

    def __iter__(self) -> Iterator[bytes]:
        """Give the file; a length that is not as announced would leave the host waiting."""
        count = 0
        for block in cids.blocks(self._part.path):
            count += len(block)
            if count > self._part.size:
                break
            yield block
        if count != self._part.size:
            raise ChangedError(f"{self._part.path}: has not the {self._part.size} bytes it had")


class _Archived:
    """A file as a CAR."""

    def __init__(self, part: Part) -> None:
        self._car = Car([part])

    def __len__(self) -> int:
        return self._car.length

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._car)


class _Empty:
    """Nothing: what an RPC is posted that has all it needs in its URL."""

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


class _Http(ABC):
    """A host that is asked over HTTP, again where what is wrong may pass."""

    ATTEMPTS: ClassVar[int] = 5
    FIRST_WAIT: ClassVar[float] = 1.0
    """Seconds before the second attempt; twice as long before each that follows."""
    LONGEST_WAIT: ClassVar[float] = 60.0
    """Seconds that a host may ask to wait (Retry-After)."""
    TIMEOUT: ClassVar[float] = 120.0
    """Seconds for an answer, and for each piece of a file to be taken."""
    PASSING: ClassVar[frozenset[int]] = _PASSING
    SECRET: ClassVar[str] = ""
    """The variable that holds the key."""

    name: str
    public = True

    def __init__(self, called: str, key: str | None = None) -> None:
        self._client = Client(called, StorageError, self.TIMEOUT)
        self._key = key
        self._stopped = threading.Event()

    @abstractmethod
    def put(self, part: Part, report: Report) -> Cid:
        """Send a file: see `Backend.put`."""

    def stop(self) -> None:
        """Give up: see `Backend.stop`."""
        self._stopped.set()

    def _send(
        self, url: str, part: Part, file: Content, report: Report, **fields: str
    ) -> Mapping[str, Any]:
        """Post a form with a file, and return the object in the last line that is answered."""
        form = _Form(part, file, report, self._stopped, fields)
        answer = self._ask(url, form, {"Content-Type": form.content_type})
        if answer.status != 200:
            raise self._refused(url, answer.status)
        return self._object(url, answer)

    def _object(self, url: str, answer: Answer) -> Mapping[str, Any]:
        lines = answer.body.splitlines()
        try:
            if lines and not answer.cut:
                return parse(lines[-1], "answer")
        except FormatError:
            pass
        raise self._client.no_use(url, "answers something else than its documented JSON")

    def _cid(self, url: str, found: Any) -> Cid:
        """Read the CID that a host says it has stored."""
        try:
            return Cid.parse(found)
        except (FormatError, TypeError, AttributeError):
            raise self._client.no_use(url, "answers no CID of a file") from None

    def _ask(
        self, url: str, content: Content | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Exchange, up to `ATTEMPTS` times while there is no answer, or a passing one."""
        headers = dict(headers or {})
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        for attempt in range(1, self.ATTEMPTS + 1):
            wait = self.FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1)  # noqa: S311
            try:
                answer = self._client.ask(url, content=content, headers=headers, limit=_MAX_ANSWER)
            except StorageError as error:
                failed: AlithisError = error
            else:
                if answer.status not in self.PASSING:
                    return answer
                failed = self._refused(url, answer.status)
                wait = max(wait, self._asked_to_wait(url, answer))
            if attempt == self.ATTEMPTS or self._stopped.wait(wait):
                break
        raise failed

    def _asked_to_wait(self, url: str, answer: Answer) -> float:
        """Return the seconds that a host asks to wait.

        Raises:
            StorageError: more than a command may last.
        """
        seconds = retry_after(answer)
        if seconds > self.LONGEST_WAIT:
            what = f"answers HTTP {answer.status}, and asks to wait {seconds:,.0f} s: try then"
            raise self._client.no_use(url, what)
        return seconds

    def _refused(self, url: str, status: int) -> AlithisError:
        said = {
            401: f"refuses the key (HTTP 401): is {self.SECRET} right?",
            402: "asks for payment (HTTP 402)",
            403: f"refuses the key (HTTP 403): may {self.SECRET} do this?",
            413: "takes no file of this size (HTTP 413)",
        }
        known = said.get(status) if self._key or status in (402, 413) else None
        return self._client.no_use(url, known or meaning(status))


class Kubo(_Http):
    """A Kubo node, or another with its RPC; what is put is pinned there."""

    PASSING = _PASSING - {500}  # with that it answers whatever it cannot do

    def __init__(self, url: str) -> None:
        """Name the node; nothing is sent yet.

        Args:
            url: of its RPC, ``http://127.0.0.1:5001``; a user and password in it are kept secret.

        Raises:
            StorageError: the URL is no such URL.
        """
        super().__init__("kubo")
        host = self._client.host(url)
        self._url = url.rstrip("/")
        self.name = f"kubo {host}"
        self.public = not _is_private(urlsplit(url).hostname or "")

    def has(self, part: Part) -> bool:
        """Tell whether the file is pinned, whole."""
        url = self._rpc("pin/ls", arg=str(part.cid), type="recursive")
        answer = self._ask(url, _Empty())
        if answer.status in (401, 403):
            raise self._refused(url, answer.status)
        if answer.status != 200:
            return False
        keys = self._object(url, answer).get("Keys")
        return isinstance(keys, dict) and str(part.cid) in keys

    def put(self, part: Part, report: Report) -> Cid:
        """Add a file, or import its blocks; either pins it."""
        if part.size > _ONE_NODE:
            return self._import(part, report)
        url = self._rpc(
            "add",
            **{"cid-version": "1", "raw-leaves": "true", "hash": "sha2-256"},
            **{"chunker": f"size-{CHUNK_SIZE}", "max-file-links": str(MAX_LINKS)},
            **{"pin": "true", "progress": "false"},
        )
        return self._cid(url, self._send(url, part, _Plain(part), report).get("Hash"))

    def open(self, part: Part) -> Reader:
        """Open a file that is there, to be read by range."""
        return _KuboFile(self, part)

    def read(self, cid: Cid, offset: int, length: int) -> bytes:
        """Read a range of a file.

        Raises:
            StorageError: the node does not give it.
        """
        url = self._rpc("cat", arg=str(cid), offset=str(offset), length=str(length))
        answer = self._client.ask(url, content=_Empty(), limit=length)
        if answer.status != 200:
            raise self._refused(url, answer.status)
        if answer.cut or len(answer.body) != length:
            raise self._client.no_use(url, f"answers not the {length} bytes it was asked for")
        return answer.body

    def _import(self, part: Part, report: Report) -> Cid:
        url = self._rpc("dag/import", **{"pin-roots": "true"})
        root = self._send(url, part, _Archived(part), report).get("Root")
        if not isinstance(root, dict) or root.get("PinErrorMsg"):
            raise self._client.no_use(url, "has not pinned what it imported")
        link = root.get("Cid")
        return self._cid(url, link.get("/") if isinstance(link, dict) else None)

    def _rpc(self, command: str, **options: str) -> str:
        return f"{self._url}/api/v0/{command}?{urlencode(options)}"


class _KuboFile:
    """A reader of a file on a node."""

    def __init__(self, node: Kubo, part: Part) -> None:
        self._node, self._cid, self.size = node, part.cid, part.size

    def read(self, offset: int, length: int) -> bytes:
        return self._node.read(self._cid, offset, length)


@dataclass(frozen=True, slots=True)
class Deal:
    """A storage deal on Filecoin, as a host tells of it.

    Attributes:
        id: on the chain; None before it is there.
        provider: the storage provider.
        status: its state, in the host's words.
        end: epoch at which it ends; None where that is not told.
    """

    id: int | None
    provider: str
    status: str
    end: int | None


class Lighthouse(_Http):
    """Lighthouse: pins on IPFS, and stores on Filecoin."""

    UPLOADS: ClassVar[str] = "https://upload.lighthouse.storage"
    API: ClassVar[str] = "https://api.lighthouse.storage"
    SECRET = "LIGHTHOUSE_API_KEY"  # noqa: S105
    name = "lighthouse"

    def __init__(self, key: str) -> None:
        """Take the API key; nothing is sent yet."""
        super().__init__("lighthouse", key)

    def has(self, part: Part) -> bool:
        """Tell whether it knows the file, from whomever."""
        url = f"{self.API}/api/lighthouse/file_info?{urlencode({'cid': str(part.cid)})}"
        answer = self._ask(url)
        if answer.status in (401, 403):
            raise self._refused(url, answer.status)
        if answer.status != 200 or answer.body.strip() in (b"", b"null"):
            return False
        return self._object(url, answer).get("cid") == str(part.cid)

    def put(self, part: Part, report: Report) -> Cid:
        """Add a file of one block; import the blocks of a larger one."""
        if part.size <= _ONE_BLOCK:
            url = f"{self.UPLOADS}/api/v0/add?cid-version=1"
            return self._stored(url, self._send(url, part, _Plain(part), report))
        url = f"{self.UPLOADS}/api/v0/dag/import"
        return self._stored(url, self._send(url, part, _Archived(part), report))

    def deals(self, cid: Cid) -> tuple[Deal, ...]:
        """Return what it tells of the storage deals that a file is in; none yet is no error.

        Raises:
            StorageError: it cannot be asked, or answers something else.
        """
        url = f"{self.API}/api/lighthouse/deal_status?{urlencode({'cid': str(cid)})}"
        answer = self._ask(url)
        if answer.status == 404:
            return ()
        if answer.status != 200:
            raise self._refused(url, answer.status)
        # A list, or an object with the list in it: the parser takes objects.
        body = answer.body if answer.body.lstrip()[:1] == b"{" else b'{"data":%b}' % answer.body
        try:
            return tuple(map(_deal, parse(body * (not answer.cut), "answer").get("data") or ()))
        except (FormatError, TypeError, AttributeError):
            what = "answers something else than its documented JSON"
            raise self._client.no_use(url, what) from None

    def _stored(self, url: str, answer: Mapping[str, Any]) -> Cid:
        """Read the CID, which stands under ``Hash``, or as Kubo's import gives it."""
        inner = answer.get("data")
        found = inner if isinstance(inner, dict) else answer
        root = found.get("Root")
        if isinstance(root, dict) and isinstance(root.get("Cid"), dict):
            return self._cid(url, root["Cid"].get("/"))
        return self._cid(url, found.get("Hash"))


def _deal(stated: Mapping[str, Any]) -> Deal:
    """Read a deal; what is no number or text counts as not told."""

    def number(*keys: str) -> int | None:
        return next((value for key in keys if isinstance(value := stated.get(key), int)), None)

    def text(*keys: str) -> str:
        values = (stated.get(key) for key in keys)
        return next((value[:100] for value in values if isinstance(value, str)), "not told")

    return Deal(
        number("chainDealID", "dealId"),
        text("miner", "storageProvider"),
        text("dealStatus"),
        number("endEpoch"),
    )


class Pinata(_Http):
    """Pinata: pins on IPFS."""

    UPLOADS: ClassVar[str] = "https://uploads.pinata.cloud"
    API: ClassVar[str] = "https://api.pinata.cloud"
    SECRET = "PINATA_JWT"  # noqa: S105
    name = "pinata"

    def __init__(self, key: str) -> None:
        """Take the JWT; nothing is sent yet."""
        super().__init__("pinata", key)

    def has(self, part: Part) -> bool:
        """Tell whether the file is among the account's."""
        url = f"{self.API}/v3/files/public?{urlencode({'cid': str(part.cid), 'limit': '1'})}"
        answer = self._ask(url)
        if answer.status != 200:
            raise self._refused(url, answer.status)
        data = self._object(url, answer).get("data")
        files = data.get("files") if isinstance(data, dict) else None
        return any(
            isinstance(file, dict) and file.get("cid") == str(part.cid) for file in files or ()
        )

    def put(self, part: Part, report: Report) -> Cid:
        """Upload a file of one block as it is, and a larger one as a CAR."""
        url = f"{self.UPLOADS}/v3/files"
        if part.size <= _ONE_BLOCK:
            answer = self._send(url, part, _Plain(part), report, network="public")
        else:
            file = _Archived(part)
            answer = self._send(url, part, file, report, network="public", car="true")
        data = answer.get("data")
        return self._cid(url, data.get("cid") if isinstance(data, dict) else None)


def _is_private(host: str) -> bool:
    """Tell whether a host is this machine, or in a network that others do not reach."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal", ".lan"))


# -- Buckets -------------------------------------------------------------------------------------


class Bucket:
    """An S3 bucket, or one like it, as a mirror: ``PREFIX/ipfs/CID``, as on a gateway.

    Whether others may read it is up to the bucket's owner.
    """

    public = False

    def __init__(self, url: str) -> None:
        """Name the bucket; credentials and endpoint are fsspec's to find.

        Args:
            url: ``s3://BUCKET/PREFIX``.

        Raises:
            MissingExtraError: s3fs is not installed.
            StorageError: the URL is no such URL.
        """
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[\w=][\w.=-]*)*/?", url, re.ASCII):
            raise StorageError("the bucket's URL is not s3://BUCKET/PREFIX")
        self.name = url.rstrip("/")
        self._stopped = threading.Event()
        with self._errors("opened"):
            import fsspec

            try:
                self._system, self._folder = fsspec.core.url_to_fs(self.name)
            except ImportError as error:
                raise MissingExtraError("s3fs", "s3") from error

    def has(self, part: Part) -> bool:
        """Tell whether an object of the file's name and size is there."""
        with self._errors("read"):
            try:
                return bool(self._info(part)["size"] == part.size)
            except FileNotFoundError:
                return False

    def put(self, part: Part, report: Report) -> Cid:
        """Upload a file, and read it back: a bucket knows no CIDs."""
        from fsspec.callbacks import Callback

        class Watched(Callback):  # type: ignore[misc]
            def relative_update(_, inc: int = 1) -> None:  # noqa: N805
                self._go_on()
                report(inc)

        self._go_on()
        with self._errors("written"):
            self._system.put_file(str(part.path), self._place(part), callback=Watched())
        dag = Dag()
        for block in self._blocks(part):
            dag.update(block)
        return dag.finish()

    def open(self, part: Part) -> Reader:
        """Open a file that is there, to be read by range.

        Raises:
            NotStoredError: it is not there.
            StorageError: the bucket cannot be read.
        """
        with self._errors("read"):
            try:
                return _Object(self, self._place(part), int(self._info(part)["size"]))
            except FileNotFoundError as error:
                raise NotStoredError(f"{part.cid} is not in {self.name}") from error

    def read(self, place: str, offset: int, length: int) -> bytes:
        """Read a range of an object.

        Raises:
            StorageError: the bucket does not give it.
        """
        with self._errors("read"):
            data: bytes = self._system.cat_file(place, start=offset, end=offset + length)
        if len(data) != length:
            raise StorageError(f"{self.name} answers not the {length} bytes it was asked for")
        return data

    def stop(self) -> None:
        """Give up: see `Backend.stop`."""
        self._stopped.set()

    def _blocks(self, part: Part) -> Iterator[bytes]:
        file, step = self.open(part), 8 << 20
        for offset in range(0, file.size, step):
            self._go_on()
            yield file.read(offset, min(step, file.size - offset))

    def _place(self, part: Part) -> str:
        return f"{self._folder}/ipfs/{part.cid}"

    def _info(self, part: Part) -> Mapping[str, Any]:
        self._system.invalidate_cache()
        info: Mapping[str, Any] = self._system.info(self._place(part))
        return info

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise StorageError("stopped")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Name the bucket in the errors: the libraries raise nearly anything, and say too much."""
        try:
            yield
        except AlithisError:
            raise
        except Exception as error:
            raise StorageError(f"{self.name}: cannot be {what} ({type(error).__name__})") from error


class _Object:
    """A reader of an object in a bucket."""

    def __init__(self, bucket: Bucket, place: str, size: int) -> None:
        self._bucket, self._place, self.size = bucket, place, size

    def read(self, offset: int, length: int) -> bytes:
        return self._bucket.read(self._place, offset, length)
