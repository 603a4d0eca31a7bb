"""The index of a registry: its events, kept in a local database.

Each event becomes a row with the number of its block. Rows are never updated. So when a
reorganisation removes blocks from the chain, it is enough to delete the rows of these blocks: an
updated row could not be set back to its earlier value. The queries are in `alithis.chain.queries`.

There are two ways to read the chain. A sync by events costs only as much as is new, but public
nodes serve only the events of recent blocks. If the events since the last sync are too old for the
node, the current state of all tokens is read instead, a hundred tokens per request, and stored as
if all of it had happened in one block. The index then lacks what only events contain: attestations
and the texts of claims. Reading the state at every sync would cost a request per hundred tokens of
the whole registry.

Blocks are read in windows, and each window is stored in one transaction, so an interrupted sync is
resumed after the last complete window. The hash of a window's last block is stored with it: as a
block's hash covers all earlier blocks, a window with the same hash is unchanged up to there.

Source: the events of `contracts/IAlithis.sol`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from alithis.chain.queries import CONTRADICTORY, ArtifactText, IndexStatus, Queries
from alithis.chain.records import Event, Record
from alithis.chain.registry import Registry
from alithis.errors import ChainError, FormatError, RegistryError, RpcError
from alithis.manifest.terms import ClaimStatus

VERSION = 1
WINDOW = 2_000
"""Maximum number of blocks in a transaction, and in one request for events."""
CONFIRMED = 900
"""A block this far behind the chain's last one cannot be reorganised: Filecoin's finality."""
MAX_CLAIMS = 100_000
"""Maximum number of claims that are read one by one if the node does not serve their events."""

_SCHEMA = """
CREATE TABLE about (version INTEGER, chain INTEGER, registry TEXT, first INTEGER);
CREATE TABLE windows (last INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY, kind TEXT, scheme TEXT, size INTEGER, root BLOB, metadata BLOB,
    publisher TEXT, time INTEGER, block INTEGER NOT NULL);
CREATE INDEX tokens_by_metadata ON tokens (metadata);
CREATE TABLE links (
    token INTEGER {tokens}, position INTEGER, target INTEGER {tokens} CHECK (target < token),
    relation TEXT, block INTEGER NOT NULL, PRIMARY KEY (token, position)) WITHOUT ROWID;
CREATE INDEX links_by_target ON links (target, relation, token);
CREATE TABLE transfers (
    token INTEGER {tokens}, block INTEGER, log INTEGER, owner TEXT,
    PRIMARY KEY (token, block, log)) WITHOUT ROWID;
CREATE TABLE countersignatures (
    token INTEGER {tokens}, position INTEGER, block INTEGER, log INTEGER, given INTEGER, owner TEXT,
    PRIMARY KEY (token, position, block, log)) WITHOUT ROWID;
CREATE TABLE superseded (
    token INTEGER PRIMARY KEY {tokens}, by INTEGER {tokens}, block INTEGER NOT NULL);
CREATE TABLE withdrawn (token INTEGER PRIMARY KEY {tokens}, uri TEXT, block INTEGER NOT NULL);
CREATE TABLE disordered (token INTEGER PRIMARY KEY {tokens}, block INTEGER NOT NULL);
CREATE TABLE attestations (
    token INTEGER {tokens}, block INTEGER, log INTEGER, leaf BLOB, attester TEXT,
    PRIMARY KEY (token, block, log)) WITHOUT ROWID;
CREATE TABLE claims (
    token INTEGER {tokens}, number INTEGER, leaf BLOB, claimant TEXT, time INTEGER, uri TEXT,
    block INTEGER NOT NULL, PRIMARY KEY (token, number)) WITHOUT ROWID;
CREATE TABLE answers (
    token INTEGER {tokens}, number INTEGER, block INTEGER, log INTEGER, answer TEXT, uri TEXT,
    PRIMARY KEY (token, number, block, log)) WITHOUT ROWID
""".replace("{tokens}", "REFERENCES tokens DEFERRABLE INITIALLY DEFERRED")
# The key is the digest of the metadata.json that a text comes from, so a reorganisation cannot make
# a text wrong.
_TEXTS = """
CREATE TABLE IF NOT EXISTS texts (
    metadata BLOB PRIMARY KEY, name TEXT NOT NULL, description TEXT, license TEXT, form TEXT,
    words TEXT NOT NULL) WITHOUT ROWID
"""
_TABLES = (
    "tokens", "links", "transfers", "countersignatures", "superseded", "withdrawn", "disordered",
    "attestations", "claims", "answers",
)  # fmt: skip


_Rows = Iterator[tuple[str, tuple[Any, ...]]]


class Index(Queries):
    """A registry's events in a SQLite file; a context manager, or `close` it."""

    def __init__(self, path: Path, registry: Registry) -> None:
        """Open the index of a registry; create it if there is none.

        Args:
            path: the file.
            registry: the registry; it must be the one that was indexed.

        Raises:
            ChainError: the index belongs to another registry or chain.
            FormatError: the file is not an index, or has the format of another release.
            StorageError: it cannot be opened.
        """
        super().__init__(path)
        self._registry = registry
        with self._translated_errors():
            self._create_tables()
        self._check_registry()

    @classmethod
    def in_folder(cls, folder: Path, registry: Registry) -> Self:
        """Open the index of a registry in a folder, named after its chain and address."""
        return cls(folder / f"{registry.chain_id}-{registry.address.lower()}.sqlite", registry)

    def _create_tables(self) -> None:
        registry = self._registry
        with self._transaction():
            if not self._database.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _SCHEMA.split(";\n"):
                    self._database.execute(statement)
                about = (VERSION, registry.chain_id, registry.address, registry.deployment_block())
                self._database.execute("INSERT INTO about VALUES (?, ?, ?, ?)", about)
            self._database.execute(_TEXTS)

    def _check_registry(self) -> None:
        with self._translated_errors():
            version, chain, address, self._first = self._one("SELECT * FROM about")
        if version != VERSION:
            raise FormatError(
                f"{self._path}: the index has format {version}, this release needs {VERSION}. "
                "Delete the file; the next run builds it again"
            )
        if (chain, address) != (self._registry.chain_id, self._registry.address):
            raise ChainError(
                f"{self._path}: is the index of registry {address} on chain {chain}, not of "
                f"{self._registry.address} on {self._registry.chain_id}. Name another file"
            )

    def status(self) -> IndexStatus:
        """Return up to which block the index has read, without asking the chain."""
        return self._status(None, 0)

    def sync(
        self, *, windows: int | None = None, report: Callable[[IndexStatus], None] = lambda _: None
    ) -> IndexStatus:
        """Delete the blocks that the chain no longer has, and read the events since the last sync.

        Args:
            windows: maximum number of windows of `WINDOW` blocks to read; by default all.
            report: called after each window.

        Raises:
            RegistryError: the node gives no usable answer, does not serve such old blocks, or
                returns events that a registry cannot emit.
            StorageError: the file cannot be written.
        """
        with self._translated_errors():
            head = self._registry.last_block()
            undone = self._undo_reorganised(head)
            status = self._status(head, undone)
            while not status.complete and windows != 0:
                self._read_next(status.block + 1, head)
                windows = None if windows is None else windows - 1
                status = self._status(head, undone)
                report(status)
            return status

    def _status(self, head: int | None, undone: int) -> IndexStatus:
        return IndexStatus(self._last_block(), head, self._count(), undone)

    def _last_block(self) -> int:
        (last,) = self._one("SELECT max(last) FROM windows")
        return self._first - 1 if last is None else int(last)

    def _undo_reorganised(self, head: int) -> int:
        """Delete the windows that the chain no longer has; return the number of their blocks.

        Going backwards from the last window, the first one that is still on the chain ends the
        search: its hash covers all blocks before it.
        """
        before = self._last_block()
        windows = "SELECT last, hash FROM windows ORDER BY last DESC"
        for last, stored in self._database.execute(windows).fetchall():
            if self._is_on_chain(last, stored, head):
                break
            with self._transaction():
                self._database.execute("DELETE FROM windows WHERE last = ?", [last])
                kept = self._last_block()
                for table in _TABLES:
                    self._database.execute(f"DELETE FROM {table} WHERE block > ?", [kept])  # noqa: S608
        return before - self._last_block()

    def _is_on_chain(self, block: int, stored: bytes, head: int) -> bool:
        try:
            return self._registry.block_hash(block) == stored
        except RpcError:  # the node no longer serves the block; a final block cannot have changed
            if head - block < CONFIRMED:
                raise
            return True

    def _read_next(self, first: int, head: int) -> None:
        """Read a window; if its events are too old for the node, read the state of all tokens.

        A recent block that the node refuses is an error: its events may arrive later, and the state
        would lose them.
        """
        try:
            self._read_window(first, min(first + WINDOW - 1, head))
        except RpcError:
            if head - first < CONFIRMED:
                raise
            self._read_state(head)

    def _read_window(self, first: int, last: int) -> None:
        """Read a window.

        The hash of its last block is read before and after the events: if they differ, the chain
        was reorganised meanwhile, and the events may belong to either version.
        """
        before = self._registry.block_hash(last)
        events = list(self._registry.events(from_block=first, to_block=last))
        after = self._registry.block_hash(last)
        if before is None or before != after:
            raise RegistryError(f"block {last} changed while it was read: try again")
        if any(event.block == last and event.block_hash != after for event in events):
            raise RegistryError(
                f"the node returned two hashes of block {last}: try again, or use another endpoint"
            )
        with self._transaction():
            if self._last_block() != first - 1:  # another process has stored this window meanwhile
                return
            self._insert(row for event in events for row in _event_rows(event))
            if self._one("SELECT count(*) <> ifnull(max(id), 0) FROM tokens")[0]:
                raise RegistryError(f"{CONTRADICTORY} (a token is missing before block {last})")
            self._database.execute("INSERT INTO windows VALUES (?, ?)", [last, after])
            # Each window that can still be reorganised needs its own row. Of the final windows,
            # the last one is enough: it marks how far the index has read.
            self._database.execute(
                "DELETE FROM windows WHERE last < ? AND last < "
                "(SELECT max(last) FROM windows WHERE last <= ?)",
                [last - CONFIRMED, last - CONFIRMED],
            )

    def _read_state(self, block: int) -> None:
        """Replace all events by the state of all tokens as of a block."""
        state = self._registry.pinned(block)
        before = self._registry.block_hash(block)
        with self._transaction():
            for table in ("windows", *_TABLES):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608
            self._insert(_state_rows(state, block))
            if before is None or self._registry.block_hash(block) != before:
                raise RegistryError(f"block {block} changed while it was read: try again")
            self._database.execute("INSERT INTO windows VALUES (?, ?)", [block, before])

    def _insert(self, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        for table, row in rows:
            values = ", ".join("?" * len(row))
            self._database.execute(f"INSERT INTO {table} VALUES ({values})", row)  # noqa: S608

    def without_text(self, after: bytes = b"", limit: int = 1000) -> list[bytes]:
        """Return the SHA-256 of metadata for which `store_texts` stored no text yet, ascending.

        Args:
            after: only digests greater than this one.
            limit: maximum number.

        Raises:
            StorageError, FormatError: the file cannot be read.
        """
        query = (
            "SELECT DISTINCT metadata FROM tokens WHERE metadata > ? AND NOT EXISTS "
            "(SELECT 1 FROM texts WHERE texts.metadata = tokens.metadata) ORDER BY metadata LIMIT ?"
        )
        with self._translated_errors():
            return [digest for (digest,) in self._database.execute(query, [after, limit])]

    def store_texts(self, texts: Mapping[bytes, ArtifactText]) -> None:
        """Store texts from metadata, for lists and searches.

        Args:
            texts: the texts, by the SHA-256 of their metadata.json.

        Raises:
            StorageError: the file cannot be written.
        """
        rows = [
            (digest, text.name, text.description, text.license, text.form, text.words)
            for digest, text in texts.items()
        ]
        with self._translated_errors(), self._transaction():
            self._database.executemany(
                "INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?, ?, ?)", rows
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _state_rows(state: Registry, block: int) -> _Rows:
    """Yield the rows for the state of all tokens, as if all events had been in one block."""
    count = unread = 0
    for record in state.tokens():
        count += 1
        yield from _record_rows(record, block)
        unread += record.claims
        if unread > MAX_CLAIMS:
            raise RegistryError(
                f"the registry has more than {MAX_CLAIMS:,} claims, too many to read one by one: "
                "use an RPC endpoint that serves all events"
            )
        if record.claims:
            yield from _claim_rows(state, record.id, block)
    for id, owner in state.owners(range(1, count + 1)):
        yield "transfers", (id, block, 0, owner)
    for id, links in state.all_links():
        for position, link in enumerate(links):
            yield "links", (id, position, link.target, link.relation, block)
            if link.countersigned:
                yield "countersignatures", (id, position, block, 0, 1, None)


def _record_rows(record: Record, block: int) -> _Rows:
    yield (
        "tokens",
        (
            *(record.id, record.kind, record.scheme, record.size, record.root),
            *(record.metadata_digest, record.publisher, record.time, block),
        ),
    )
    if record.superseded_by is not None:
        yield "superseded", (record.id, record.superseded_by, block)
    if record.withdrawn:
        yield "withdrawn", (record.id, None, block)
    if record.disordered:
        yield "disordered", (record.id, block)


def _claim_rows(registry: Registry, token: int, block: int) -> _Rows:
    for claim in registry.claims(token):
        row = (token, claim.number, claim.leaf, claim.claimant, claim.time, None, block)
        yield "claims", row
        if claim.status is not ClaimStatus.OPEN:
            yield "answers", (token, claim.number, block, 0, claim.status, None)


def _event_rows(event: Event) -> _Rows:
    """Yield an event's row; approvals and nonces have none, as no query needs them."""
    args, at = event.args, (event.block, event.index)
    match event.name:
        case "Minted":
            yield (
                "tokens",
                (
                    *_values(args, "id kind scheme size root metadataDigest publisher time"),
                    event.block,
                ),
            )
        case "Linked":
            yield "links", (*_values(args, "id position target relation"), event.block)
        case "Transfer":
            yield "transfers", (args["tokenId"], *at, args["to"])
        case "Countersigned" | "CountersignatureRetracted":
            given = event.name == "Countersigned"
            row = (args["id"], args["position"], *at, int(given), args["owner"])
            yield "countersignatures", row
        case "Superseded":
            yield "superseded", (args["id"], args["by"], event.block)
        case "Withdrawn":
            yield "withdrawn", (args["id"], args["uri"], event.block)
        case "Disordered":
            yield "disordered", (args["id"], event.block)
        case "Attested":
            yield "attestations", (args["id"], *at, args["leaf"], args["attester"])
        case "Claimed":
            yield "claims", (*_values(args, "id number leaf claimant time uri"), event.block)
        case "ClaimAnswered":
            yield "answers", (args["id"], args["number"], *at, args["answer"], args["uri"])


def _values(args: Mapping[str, Any], names: str) -> Iterator[Any]:
    return (args[name] for name in names.split())
