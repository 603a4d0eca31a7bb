"""Content by its CID from IPFS gateways, none of which is believed.

Blocks, and with them metadata.json, are checked against their CIDs; what is read by range out of
`leaves` and `tiles/` counts only once it leads to the root. A gateway that gives nothing, or
something else, is named, and the next one is asked; one that asks to be left alone is asked last.
Before the gateways come the local store and a cache, which are believed no more.

Only gateways that the reader chose are asked, for content and nothing else: no URL out of a
manifest or a chain is ever fetched, and a redirect may lead to a gateway's own subdomains alone.

Sources: the IPFS specifications of path, subdomain and trustless gateways; RFC 9110, section 14.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Generic, Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urlencode, urlsplit, urlunsplit

from alithis import merkle, metadata, ranges, unixfs
from alithis.cache import Cache
from alithis.car import Sections
from alithis.cid import DAG_PB, RAW, Cid
from alithis.digest import SIZE, of_bytes
from alithis.errors import (
    AlithisError,
    FormatError,
    IntegrityError,
    NotStoredError,
    ProofError,
    StorageError,
)
from alithis.exchange import Answer, retry_after
from alithis.manifest import Manifest, Reader
from alithis.metadata import FileEntry
from alithis.proof import Exclusion, Inclusion, Proof
from alithis.ranges import MAX_REDIRECTS, REDIRECTS, RemoteFile, Server
from alithis.storage import Store

ENVIRONMENT = "ALITHIS_GATEWAYS"
"""Names the gateways, parted by spaces."""
NONE = "none"
"""The name that stands for no gateway."""
LOCAL = "http://127.0.0.1:8080"
"""A Kubo node's own gateway; one of the default ones where somebody listens there."""
PUBLIC = ("https://ipfs.io", "https://dweb.link")
"""The other default ones."""
MAX_GATEWAYS = 8

TIMEOUT = 30.0
"""Seconds for an answer: a public gateway may have to look for content itself."""
IMPATIENT = 5.0
"""Seconds for one that twice in a row gave none."""
LONGEST_WAIT = 10.0
"""Seconds that are waited for a gateway that asks for it, where no other serves."""

_RAW_TYPE, _CAR_TYPE = "application/vnd.ipld.raw", "application/vnd.ipld.car"
_NO_FORMAT = (400, 406, 415, 501)  # of a gateway that knows no ?format=
_NO_FILES = 406  # of one that knows nothing else
_NOT_FOUND = (412, 504)  # what Kubo answers where no peer has a block
_METADATA_BLOCKS = 64  # a metadata.json is one; cut by another profile it has a few
_MAX_PATH = 16  # names after a CID
_MAX_KNOWN = 256
_MAX_BLOCKS = 8  # 16 MiB
_MAX_NOTES = 32
_LISTENS = 0.2  # seconds

T = TypeVar("T")
P = TypeVar("P", bound=Proof)


class Source(Protocol):
    """Somewhere that ranges of a manifest's files are read from."""

    @property
    def resting(self) -> float:
        """Seconds for which it asks to be left alone."""

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        """Return a range of a file.

        Raises:
            AlithisError: it has it not, or gives something else.
        """


S = TypeVar("S", bound=Source)


class Gateway(Server):
    """An IPFS gateway.

    Attributes:
        gives_blocks: whether it gives blocks other than a file's content, as far as is known.
        gives_files: whether it gives files, as far as is known: trustless gateways do not.
    """

    called: ClassVar[str] = "gateway"
    versioned: ClassVar[bool] = False  # what a CID names does not change

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Name the gateway; nothing is sent yet.

        Args:
            url: what stands before ``/ipfs/CID``; a query, with a token in it, goes with each.
            timeout: seconds for an answer.

        Raises:
            StorageError: the URL is no ``http://`` or ``https://`` URL.
        """
        super().__init__(url, timeout=timeout)
        parts = urlsplit(url)
        path = parts.path.rstrip("/").removesuffix("/ipfs")
        self._parts = parts._replace(path=path, fragment="")
        self._patience, self._silences = timeout, 0
        self._busy_until = 0.0
        self.gives_blocks = self.gives_files = True
        self._blocks: dict[Cid, bytes] = {}
        self._files: dict[str, RemoteFile] = {}

    def __str__(self) -> str:
        """Name the host."""
        return f"gateway {self.host}"

    @property
    def resting(self) -> float:
        """Seconds for which it asks to be left alone."""
        return max(0.0, self._busy_until - time.monotonic())

    def url(self, cid: Cid, **query: str) -> str:
        """Return the URL of what a CID names."""
        path = f"{self._parts.path}/ipfs/{cid}"
        queries = filter(None, (self._parts.query, urlencode(query, safe=":*")))
        return urlunsplit(self._parts._replace(path=path, query="&".join(queries)))

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, limit: int, only: int
    ) -> tuple[str, Answer]:
        """Ask for a file: see `Server.get`. One that was silent twice gets less time then."""
        begun = time.monotonic()
        try:
            found, answer = super().get(url, headers=headers, limit=limit, only=only)
        except StorageError:
            self._silences += time.monotonic() - begun >= self._client.timeout
            if self._silences > 1:
                self._client.timeout = min(IMPATIENT, self._patience)
            raise
        self._silences, self._client.timeout = 0, self._patience
        self._note_wait(answer)
        return found, answer

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        """Read a range of a file; of a gateway that gives no files, out of the blocks around it.

        Raises:
            StorageError: the gateway does not give just that.
            IntegrityError: its file has another size.
            FormatError: what it names is no file.
        """
        if self.gives_files:
            try:
                return self._read_file(entry, offset, length)
            except StorageError:
                if self.gives_files:
                    raise
        return unixfs.read(Cid.parse(entry.cid), self._block, offset, length)

    def _read_file(self, entry: FileEntry, offset: int, length: int) -> bytes:
        if entry.cid not in self._files:
            if len(self._files) == _MAX_KNOWN:
                self._files.clear()
            self._files[entry.cid] = RemoteFile(self, entry, self.url(Cid.parse(entry.cid)))
        return self._files[entry.cid].read(offset, length)

    def _block(self, cid: Cid) -> bytes:
        """Return a block; the last ones are at hand."""
        if cid not in self._blocks:
            if len(self._blocks) == _MAX_BLOCKS:
                self._blocks.clear()
            self._blocks[cid] = self.block(cid)
        return self._blocks[cid]

    def block(self, cid: Cid, limit: int = unixfs.MAX_BLOCK) -> bytes:
        """Return a block, which has been checked against its CID.

        Raises:
            StorageError: the gateway does not give it, or not in so few bytes.
            IntegrityError: it gives another.
        """
        answer = self._ask_block(cid, limit, format="raw")
        if answer.status in _NO_FORMAT and cid.codec == RAW:  # which is its file's content
            answer = self._ask_block(cid, limit)
        if answer.status != 200 or answer.cut or not _is_block(cid, answer.body):
            raise self._no_block(cid, limit, answer)
        return answer.body

    @contextmanager
    def car(self, cid: Cid, start: int) -> Iterator[Sections]:
        """Ask for all blocks of a file as one stream, and give them, each checked.

        Args:
            cid: the file's.
            start: first byte that is wanted of it; a gateway may send what is before it too.

        Raises:
            AlithisError: from here or from the reading: the gateway gives no such stream.
        """
        query = {"format": "car", "dag-scope": "entity"}
        if start:
            query["entity-bytes"] = f"{start}:*"
        url, accept = self.url(cid, **query), f"{_CAR_TYPE};version=1;order=dfs;dups=y"
        for _ in range(MAX_REDIRECTS + 1):
            self.requests += 1
            with self._client.stream(url, headers={"Accept": accept}) as (answer, body):
                if answer.status not in REDIRECTS:
                    self._check_car(answer, cid)
                    sections = Sections(body, f"gateway {self.host}")
                    try:
                        yield sections
                    finally:
                        self.received += sections.at
                    return
            url = self.redirected(url, answer.headers.get("Location", ""))
        raise self.too_many_redirects()

    def refused(self, status: int, name: str) -> StorageError:
        """Return the error that says what a status means that brings no content."""
        if status in _NOT_FOUND:
            return NotStoredError(f"gateway {self.host} does not find {name} (HTTP {status})")
        if status == 429:
            return self.no_use("answers HTTP 429, too many requests")
        self.gives_files &= status != _NO_FILES
        return super().refused(status, name)

    def check_redirect(self, asked: SplitResult, target: SplitResult) -> None:
        """Check that a redirect stays with the gateway: subdomain gateways redirect.

        Raises:
            StorageError: it leads elsewhere.
        """
        own, host = self._parts.hostname or "", target.hostname or ""
        if host != own and not host.endswith(f".{own}"):
            raise self.no_use("redirects to another host")
        upgraded = asked.scheme == "http" and target.scheme == "https" and target.netloc == host
        if not upgraded and _port(target) != _port(asked):
            raise self.no_use("redirects to another port")

    def _ask_block(self, cid: Cid, limit: int, **query: str) -> Answer:
        headers = {"Accept": _RAW_TYPE} if query else {}
        return self.get(self.url(cid, **query), headers=headers, limit=limit, only=200)[1]

    def _no_block(self, cid: Cid, limit: int, answer: Answer) -> AlithisError:
        """Say of an answer why it is not the block."""
        file = answer.status == 200 and not _is_type(answer, _RAW_TYPE)
        if cid.codec == DAG_PB and (file or answer.status in _NO_FORMAT):
            self.gives_blocks = False
            return self.no_use("gives no blocks, by which a file could be checked")
        if answer.status != 200:
            return self.refused(answer.status, str(cid))
        if answer.cut:
            return self.no_use(f"answers more than the {limit:,} bytes that {cid} may have")
        if answer.body.lstrip()[:1] == b"<":
            return self.no_use(f"answers a web page, not {cid}")
        what = f"gateway {self.host}: {cid}: SHA-256"
        return IntegrityError(what, expected=cid.digest, found=of_bytes(answer.body))

    def _check_car(self, answer: Answer, cid: Cid) -> None:
        self._note_wait(answer)
        if answer.status != 200:
            raise self.refused(answer.status, str(cid))
        if not _is_type(answer, _CAR_TYPE):
            raise self.no_use("gives no CAR")

    def _note_wait(self, answer: Answer) -> None:
        if answer.status in (429, 503):
            wait = retry_after(answer) or (1.0 if answer.status == 429 else 0.0)
            self._busy_until = time.monotonic() + wait


def _port(parts: SplitResult) -> int | None:
    """Return the port that a URL leads to; None where it is none."""
    try:
        return parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        return None


def _is_type(answer: Answer, wanted: str) -> bool:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() == wanted


class Gateways:
    """Gateways that are asked in turn, and a cache of what they gave.

    Attributes:
        each: the gateways, the first to be asked first.
        cache: what was fetched before.
    """

    def __init__(self, each: Sequence[Gateway], cache: Cache | None = None) -> None:
        """Choose them; nothing is sent yet."""
        self.each = tuple(each)
        self.cache = cache or Cache(None)

    @classmethod
    def named(cls, urls: Sequence[str]) -> Gateways:
        """Choose gateways by their URLs, with the usual cache.

        Args:
            urls: of gateways; ``none`` alone stands for no gateway, and none given for the
                default ones.

        Raises:
            StorageError: one is no URL, or there are too many.
        """
        chosen = dict.fromkeys(urls or _defaults())
        if NONE in chosen:
            if len(chosen) > 1:
                raise StorageError(f"gateways: {NONE!r} stands alone")
            chosen = {}
        if len(chosen) > MAX_GATEWAYS:
            raise StorageError(f"{len(chosen)} gateways; at most {MAX_GATEWAYS} are asked")
        return cls([Gateway(url) for url in chosen], Cache.usual())

    @classmethod
    def usual(cls) -> Gateways:
        """Choose those that ``ALITHIS_GATEWAYS`` names, or else the default ones.

        Raises:
            StorageError: as `named` does.
        """
        return cls.named(os.environ.get(ENVIRONMENT, "").split())

    def block(self, cid: Cid, notes: list[str], limit: int = unixfs.MAX_BLOCK) -> bytes:
        """Return a block, which has been checked against its CID.

        Args:
            cid: the block's.
            notes: takes what there is to say of gateways that were of no use.
            limit: bytes it may have.

        Raises:
            NotStoredError: no gateway has it.
            StorageError: none gives it.
        """
        return self._block(cid, notes, limit)[0]

    def _block(self, cid: Cid, notes: list[str], limit: int) -> tuple[bytes, Gateway | None]:
        key = f"block {cid.digest.hex()}"
        kept = self.cache.get(key)
        if kept is not None and len(kept) <= limit and _is_block(cid, kept):
            return kept, None
        source, block = first(self.each, lambda gateway: gateway.block(cid, limit), notes)
        self.cache.put(key, block)
        return block, source

    def resolve(self, reference: str, notes: list[str]) -> Cid:
        """Return the CID that a reference leads to; each directory on the way is checked.

        Args:
            reference: ``ipfs://CID`` or ``ipfs://CID/path``, also without the scheme.
            notes: as `block` takes.

        Raises:
            FormatError: it is no such reference, or leads nowhere.
            StorageError: no gateway gives a directory on the way.
        """
        root, *names = reference.removeprefix("ipfs://").split("/")
        cid = Cid.parse(root)
        for name in _path(names, reference):
            found = unixfs.children(cid, self.block(cid, notes))
            if name not in found:
                raise FormatError(f"{reference}: {name!r} is not in {cid}")
            cid = found[name]
        return cid

    def metadata(self, cid: Cid, notes: list[str]) -> tuple[bytes, str | None]:
        """Return a metadata.json.

        Args:
            cid: its own, or of a directory that it is in.
            notes: as `block` takes.

        Returns:
            Its bytes, and which gateway gave them, unless the cache did.

        Raises:
            FormatError: the CID is of something else.
            StorageError: no gateway gives it.
        """
        limit = metadata.MAX_BYTES
        block, source = self._block(cid, notes, limit)
        known = {cid: block}

        def get(each: Cid) -> bytes:
            return known.get(each) or self.block(each, notes, limit)

        cid = unixfs.children(cid, block).get(metadata.FILE, cid)
        pieces = unixfs.content(cid, get, limit, _METADATA_BLOCKS)
        return b"".join(pieces), f"gateway {source.host}" if source else None

    def open(self, cid: Cid, store: Store) -> Manifest:
        """Open a manifest; of its other files nothing is read yet.

        Args:
            cid: of its metadata.json, or of a directory that it is in.
            store: where its files may be too.

        Raises:
            NotStoredError: no gateway, and not the store, has it.
            FormatError: it is not a well-formed one.
            StorageError: none gives it.
        """
        notes = list[str]()
        try:
            return ServedManifest(store.read_bytes(cid, metadata.MAX_BYTES), store, self, notes)
        except NotStoredError as error:
            missing = error
        except IntegrityError as error:
            missing = NotStoredError(str(error))
            notes.append(str(error))
        try:
            data, origin = self.metadata(cid, notes)
        except StorageError as error:
            if not self.each:
                raise missing from error
            raise type(error)(f"{missing}; {error}") from error
        manifest = ServedManifest(data, store, self, notes)
        manifest.origin = origin
        return manifest


def _defaults() -> tuple[str, ...]:
    parts = urlsplit(LOCAL)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), _LISTENS):
            return (LOCAL, *PUBLIC)
    except OSError:
        return PUBLIC


def _path(names: list[str], reference: str) -> list[str]:
    """Read the names after a CID."""
    if names and not names[-1]:
        names = names[:-1]
    found = [unquote(name) for name in names]
    if len(found) > _MAX_PATH or any(
        re.fullmatch(r"\.{0,2}|(?s:.*[/\0].*)", each) for each in found
    ):
        raise FormatError(f"{reference}: no path into a directory")
    return found


def _is_block(cid: Cid, block: bytes) -> bool:
    try:
        unixfs.check(cid, block)
    except IntegrityError:
        return False
    return True


def first(sources: Sequence[S], question: Callable[[S], T], notes: list[str]) -> tuple[S, T]:
    """Ask in turn, until somebody answers.

    Who asks to be left alone is asked after the others, once that time is over, if it is short.

    Args:
        sources: whom to ask.
        question: asks one of them.
        notes: takes what the others were of no use for, where somebody answers.

    Returns:
        Who answered, and the answer.

    Raises:
        NotStoredError: none has it.
        StorageError: nobody gives a usable answer.
    """
    inquiry = _Inquiry(question, notes)
    found = inquiry.ask(sources) or inquiry.ask_again()
    if found is None:
        raise inquiry.failure()
    return found


class _Inquiry(Generic[S, T]):
    """A question on its way: who was of no use, and who is to be asked again."""

    def __init__(self, question: Callable[[S], T], notes: list[str]) -> None:
        self._question, self._notes = question, notes
        self._errors: list[AlithisError] = []
        self._later: list[S] = []

    def ask(self, sources: Iterable[S]) -> tuple[S, T] | None:
        for source in sources:
            if not source.resting:
                try:
                    answer = self._question(source)
                except AlithisError as error:
                    self._errors.append(error)
                else:
                    self._note()
                    return source, answer
            if source.resting:
                self._later.append(source)
        return None

    def _note(self) -> None:
        """Name those that were of no use; that one has it not is no fault."""
        faults = (error for error in self._errors if not isinstance(error, NotStoredError))
        note(self._notes, *map(str, faults))

    def ask_again(self) -> tuple[S, T] | None:
        later, self._later = self._later, []
        return self.ask(self._rested(later))

    def _rested(self, sources: Iterable[S]) -> Iterator[S]:
        for source in sorted(sources, key=lambda each: each.resting):
            if source.resting <= LONGEST_WAIT:
                time.sleep(source.resting)
                yield source
            else:
                said = f"{source} asks to be left alone for {source.resting:,.0f} s"
                self._errors.append(StorageError(said))

    def failure(self) -> AlithisError:
        errors = self._errors
        if len(errors) == 1:
            return errors[0]
        said = "; ".join(filter(None, dict.fromkeys(map(str, errors))))
        absent = errors and all(isinstance(error, NotStoredError) for error in errors)
        return (NotStoredError if absent else StorageError)(said or "no gateway is chosen")


def note(notes: list[str], *lines: str) -> None:
    """Add lines that are not there yet, as long as there is room."""
    notes += [line for line in dict.fromkeys(lines) if line and line not in notes]
    del notes[_MAX_NOTES:]


class _Stored:
    """Files in the local store."""

    resting = 0.0

    def __init__(self, store: Store) -> None:
        self._store = store

    def __str__(self) -> str:
        return f"the store {self._store.root}"

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        with self._store.open(Cid.parse(entry.cid)) as file:
            if file.size != entry.size:
                what = f"bytes in {entry.name} in the store {self._store.root}"
                raise IntegrityError(what, expected=entry.size, found=file.size)
            return file.read(offset, length)


class _Kept:
    """Ranges in the cache."""

    resting = 0.0

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def __str__(self) -> str:
        return "the cache"

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        data = self._cache.get(_range_key(entry, offset))
        if data is None or len(data) != length:
            raise NotStoredError  # there is nothing to say of it
        return data


def _range_key(entry: FileEntry, offset: int) -> str:
    return f"range {entry.cid} {offset}"


class ServedManifest(Manifest):
    """A manifest whose files several hosts have, none of which is believed.

    A look-up that does not lead to the root is made again, beginning with another host.
    """

    def __init__(self, data: bytes, store: Store, gateways: Gateways, notes: list[str]) -> None:
        """Open it.

        Args:
            data: the bytes of metadata.json, checked.
            store: the local store, which is asked first.
            gateways: are asked after it, and their cache.
            notes: what there is to say of gateways already.

        Raises:
            FormatError: the metadata is not well-formed, or its frontier is not of its root.
        """
        self._local: list[Source] = [_Stored(store), _Kept(gateways.cache)]
        self._gateways = gateways
        self._begin_with = 0
        self._useless = dict[tuple[Source, str], str]()
        self._data = data
        super().__init__(data, lambda entry: self._reading(self._all()).open(entry))
        self.notes = notes

    def prove(self, leaf: bytes) -> Proof:
        """Prove that a leaf is included, or that it is absent: see `Manifest.prove`."""
        if len(leaf) != SIZE:
            raise ProofError(f"a leaf has {SIZE} bytes, not {len(leaf)}")
        return self._look_up(lambda manifest: manifest.prove(leaf))

    def at(self, index: int) -> Inclusion:
        """Prove which leaf stands at an index; other than with `Manifest.at`, the proof holds."""

        def look_up(manifest: Manifest) -> Inclusion:
            found = manifest.at(index)
            found.check(self.metadata.root, self.metadata.size)
            return found

        return self._look_up(look_up)

    def _look_up(self, question: Callable[[Manifest], P]) -> P:
        lies = list[str]()
        for reading in self._readings():
            try:
                found = question(Manifest(self._data, reading.open))
            except (IntegrityError, ProofError) as error:
                if not reading.used:
                    raise
                lies.append(f"{' or '.join(map(str, reading.used))} gave: {error}")
            except StorageError as error:
                if not lies:
                    raise
                lies.append(str(error))
                break
            else:
                note(self.notes, *lies)
                reading.keep(found, self.metadata.size, self._gateways.cache)
                return found
        raise StorageError("; ".join(dict.fromkeys(lies)))

    def _readings(self) -> Iterator[_Reading]:
        """Give each order of the sources that may help: the local ones first, then without them."""
        count = len(self._gateways.each)
        for local in (True, False):
            used = set[Source]()
            for turn in range(count if count else int(local)):
                begin = (self._begin_with + turn) % count if count else 0
                reading = self._reading(self._all(begin, local=local))
                yield reading
                used.update(reading.used)
                if local and not reading.gateways:
                    break  # the local ones alone are wrong
            else:
                if not used.intersection(self._local):
                    return

    def _all(self, begin: int = 0, *, local: bool = True) -> list[Source]:
        each = self._gateways.each
        return [*(self._local if local else ()), *each[begin:], *each[:begin]]

    def _reading(self, sources: list[Source]) -> _Reading:
        return _Reading(sources, self._useless, self.notes)


class _Reading:
    """Reads for one look-up, and remembers from whom."""

    def __init__(
        self, sources: list[Source], useless: dict[tuple[Source, str], str], notes: list[str]
    ) -> None:
        self._sources, self._useless, self._notes = sources, useless, notes
        self.used: dict[Source, None] = {}
        self._pieces: dict[tuple[str, int], tuple[FileEntry, bytes]] = {}

    @property
    def gateways(self) -> list[Gateway]:
        return [each for each in self.used if isinstance(each, Gateway)]

    def open(self, entry: FileEntry) -> Reader:
        return _Piecewise(self, entry)

    def read(self, entry: FileEntry, offset: int, length: int) -> bytes:
        keys = [(each, entry.name) for each in self._sources]
        asked = [key[0] for key in keys if key not in self._useless]
        known = [self._useless[key] for key in keys if key in self._useless]

        def question(source: Source) -> bytes:
            try:
                return source.read(entry, offset, length)
            except AlithisError as error:
                if isinstance(source, Gateway) and not source.resting:
                    self._useless[source, entry.name] = str(error)
                raise

        try:
            source, data = first(asked, question, self._notes)
        except AlithisError as error:
            if not known:
                raise
            said = dict.fromkeys(filter(None, [str(error), *known]))
            raise StorageError("; ".join(said)) from error
        self.used[source] = None
        if isinstance(source, Gateway):
            self._pieces[entry.name, offset] = entry, data
        return data

    def keep(self, found: Proof, size: int, cache: Cache) -> None:
        """Put into the cache what the proof was made of."""
        for place in _places(found, size) & self._pieces.keys():
            entry, data = self._pieces[place]
            cache.put(_range_key(entry, place[1]), data)


class _Piecewise:
    """A file whose ranges may come from several hosts."""

    def __init__(self, reading: _Reading, entry: FileEntry) -> None:
        self._reading, self._entry, self.size = reading, entry, entry.size

    def read(self, offset: int, length: int) -> bytes:
        return self._reading.read(self._entry, offset, length)


def _places(found: Proof, size: int) -> set[tuple[str, int]]:
    """Return the files and offsets of the runs of hashes that a proof may be made of."""
    proofs = (found.left, found.right) if isinstance(found, Exclusion) else (found,)
    places = set[tuple[str, int]]()
    for index in [each.index for each in proofs if each]:
        level = 0
        while size >> level * merkle.TILE_HEIGHT:
            name = f"tiles/{level}" if level else metadata.LEAVES
            run = index >> (level + 1) * merkle.TILE_HEIGHT
            places.add((name, run * merkle.TILE * SIZE))
            level += 1
    return places


def is_reference(place: str) -> bool:
    """Tell whether a place is meant as content on IPFS."""
    return place.startswith("ipfs://")


def open_manifest(place: str, gateways: Gateways, store: Store) -> Manifest:
    """Open a manifest in a folder, at a URL, or by its CID.

    Args:
        place: the folder; the ``http://`` or ``https://`` URL of it or its metadata.json; or
            ``ipfs://CID[/path]`` of its metadata.json or a directory with it.
        gateways: where to look for a CID.
        store: where to look for it first.

    Raises:
        FormatError: there is none, or not a well-formed one.
        StorageError: the server or the gateways give no usable answer.
    """
    if not is_reference(place):
        return ranges.open_manifest(place)
    notes = list[str]()
    manifest = gateways.open(gateways.resolve(place, notes), store)
    note(manifest.notes, *notes)
    return manifest
