"""The registry's events in a local database, and what they say of where artifacts came from.

Every event becomes a row of its own, with its block: nothing is ever updated, so that blocks
which a reorganisation took back are taken back here by deleting their rows. What a token's state
is (superseded, countersigned, …) the queries read off the rows.

Public nodes serve the events of recent blocks only. Where the ones since the last time are too
old, the tokens' present state is read instead, and put down as if it had come about in one block;
what came before it (attestations, the texts of claims) the index then lacks.

Blocks come in windows, one transaction each: an interrupted run goes on behind the last whole
one. The hash of each window's last block tells whether the chain still has it.

Sources: the events of `contracts/IAlithis.sol`; SQLite's documentation on recursive queries.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from alithis.chain.records import Event, Record
from alithis.chain.registry import Registry
from alithis.errors import (
    ChainError,
    FormatError,
    NoTokenError,
    RegistryError,
    RpcError,
    StorageError,
)
from alithis.manifest.terms import ClaimStatus, Kind, Relation, Scheme

VERSION = 1
WINDOW = 2_000
"""Blocks in a transaction, and in one query of a node's events at most."""
CONFIRMED = 900
"""Blocks behind the chain's last that can no longer be taken back: Filecoin's finality."""
MAX_TOKENS = 10_000
"""Tokens in a lineage at most."""
MAX_CLAIMS = 100_000
"""Claims that are read one by one at most, where their events are not to be had."""
MAX_WORDS = 8
"""Words of a search that are looked for; the ones after them are not."""
_PATIENCE = 30.0  # seconds that one process waits for another's transaction
_OPERATIONS = 10_000  # of SQLite, between two looks at the clock

DERIVES = (
    Relation.DERIVED_FROM,
    Relation.TRAINED_ON,
    Relation.FINE_TUNED_FROM,
    Relation.DISTILLED_FROM,
)
"""Relations by which an artifact was made out of an older one, as the contract counts them."""

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
# Under the digest of what they are out of, so that they stay true whatever the chain takes back.
_TEXTS = """
CREATE TABLE IF NOT EXISTS texts (
    metadata BLOB PRIMARY KEY, name TEXT NOT NULL, description TEXT, license TEXT, form TEXT,
    words TEXT NOT NULL) WITHOUT ROWID
"""
_TABLES = (
    "tokens", "links", "transfers", "countersignatures", "superseded", "withdrawn", "disordered",
    "attestations", "claims", "answers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index has come.

    Attributes:
        block: the last block it knows.
        head: the chain's last block; None where it was not asked.
        tokens: how many tokens it knows.
        undone: blocks that were taken back, because the chain had taken them back.
    """

    block: int
    head: int | None
    tokens: int
    undone: int = 0

    @property
    def complete(self) -> bool:
        """Whether it knows all that the chain had when it was asked."""
        return self.head is not None and self.block >= self.head


@dataclass(frozen=True, slots=True)
class Node:
    """A token in a lineage.

    Attributes:
        id: the token.
        kind: dataset or model.
        scheme: how its leaves are made.
        size: number of leaves.
        root: tree hash over the leaves, 32 bytes.
        metadata: SHA-256 of its metadata.json, 32 bytes.
        publisher: address of who minted it.
        owner: address of who owns it.
        superseded_by: the token that replaces it, or None.
        withdrawn: whether it was withdrawn.
        disordered: whether its leaves were proved not to ascend.
        open_claims: how many claims against it are unanswered.
    """

    id: int
    kind: Kind
    scheme: Scheme
    size: int
    root: bytes
    metadata: bytes
    publisher: str
    owner: str
    superseded_by: int | None
    withdrawn: bool
    disordered: bool
    open_claims: int

    @property
    def marks(self) -> tuple[str, ...]:
        """What the chain says against it, in words."""
        marks = {
            "withdrawn": self.withdrawn,
            "disordered": self.disordered,
            f"superseded by {self.superseded_by}": self.superseded_by,
            f"open claims: {self.open_claims}": self.open_claims,
        }
        return tuple(words for words, holds in marks.items() if holds)


@dataclass(frozen=True, slots=True)
class Text:
    """What the publisher says of an artifact, as lists show it.

    Attributes:
        name: its name.
        description: what it is.
        license: under what licence it is.
        form: the canonical form of its data points.
    """

    name: str
    description: str | None
    license: str | None
    form: str | None

    @property
    def words(self) -> str:
        """What a search looks through."""
        return " ".join(filter(None, (self.name, self.description, self.license))).casefold()


@dataclass(frozen=True, slots=True)
class Entry:
    """A token in a list.

    Attributes:
        record: what the chain holds of it; attestations are those since the index began.
        owner: address of who owns it.
        text: what its publisher says, where its metadata was at hand.
    """

    record: Record
    owner: str
    text: Text | None


@dataclass(frozen=True, slots=True)
class Search:
    """What tokens a list is to have.

    Attributes:
        words: all of which a token has in its text, its publisher's or owner's address, its kind
            or, with #, its number.
        kind: dataset or model.
        scheme: how leaves are made.
        account: address of its publisher or owner.
        current: whether to leave out what is withdrawn, superseded or disordered.
        claimed: whether to leave out what has no unanswered claim.
        before: only tokens with smaller ids.
    """

    words: tuple[str, ...] = ()
    kind: Kind | None = None
    scheme: Scheme | None = None
    account: str | None = None
    current: bool = False
    claimed: bool = False
    before: int | None = None

    def conditions(self) -> list[tuple[str, list[Any]]]:
        """Return it in SQL over `_ENTRIES`, each condition with its values."""
        words = [word.casefold() for word in self.words[:MAX_WORDS]]
        account = (self.account or "").lower()
        given: list[tuple[Any, str, list[Any]]] = [
            *((word, "instr(haystack, ?)", [word]) for word in words),
            (self.kind, "kind = ?", [self.kind]),
            (self.scheme, "scheme = ?", [self.scheme]),
            (account, "(lower(publisher) = ? OR lower(owner) = ?)", [account, account]),
            (self.current, "by IS NULL AND NOT withdrawn AND NOT disordered", []),
            (self.claimed, "open", []),
            (self.before, "id < ?", [self.before]),
        ]
        return [(condition, values) for asked, condition, values in given if asked]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim, with what was said, where its event was to be had.

    Attributes:
        number: the claim's, among those of the token, from 1.
        leaf: the data point's leaf, 32 bytes.
        claimant: address of who filed it.
        time: when, in seconds since 1970.
        uri: where it is set out.
        status: how it was answered.
        answer: where the answer is set out.
    """

    number: int
    leaf: bytes
    claimant: str
    time: int
    uri: str | None
    status: ClaimStatus
    answer: str | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A link in a lineage.

    Attributes:
        token: the newer token, which has the link.
        target: the older one.
        relation: how the newer came from the older.
        countersigned: whether the target's owner confirmed it.
    """

    token: int
    target: int
    relation: Relation
    countersigned: bool


@dataclass(frozen=True, slots=True)
class Lineage:
    """What tokens came from, or what came from them, or both.

    Attributes:
        roots: where it begins.
        nodes: the tokens, by their ids, the roots among them.
        edges: the links between them, by token and position.
        truncated: whether there are more than was asked for.
    """

    roots: tuple[int, ...]
    nodes: Mapping[int, Node]
    edges: Sequence[Edge]
    truncated: bool = False


class Index:
    """A registry's events in a SQLite file; a context manager, or `close` it."""

    def __init__(self, path: Path, registry: Registry) -> None:
        """Open the index of a registry, or begin one.

        Args:
            path: the file.
            registry: the registry; its chain and address must be the index's.

        Raises:
            ChainError: the index is of another registry or chain.
            FormatError: the file is no index, or of another release.
            StorageError: it cannot be opened.
        """
        self._path = path
        self._registry = registry
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Whoever has several threads lends it to one at a time.
            self._database = sqlite3.connect(
                path, isolation_level=None, timeout=_PATIENCE, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._begin()
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error

    @classmethod
    def beneath(cls, folder: Path, registry: Registry) -> Self:
        """Open the index of a registry in a folder, named for its chain and address."""
        return cls(folder / f"{registry.chain_id}-{registry.address.lower()}.sqlite", registry)

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _begin(self) -> None:
        registry = self._registry
        with self._transaction():
            if not self._database.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _SCHEMA.split(";\n"):
                    self._database.execute(statement)
                about = (VERSION, registry.chain_id, registry.address, registry.deployment_block())
                self._database.execute("INSERT INTO about VALUES (?, ?, ?, ?)", about)
            self._database.execute(_TEXTS)
        self._check()

    def _check(self) -> None:
        (version,) = self._one("SELECT version FROM about")
        if version != VERSION:
            raise FormatError(f"{self._path}: an index of format {version}; delete it")
        _, chain, address, self._first = self._one("SELECT * FROM about")
        if (chain, address) != (self._registry.chain_id, self._registry.address):
            raise ChainError(
                f"{self._path}: indexes registry {address} on chain {chain}, not "
                f"{self._registry.address} on {self._registry.chain_id}"
            )

    # -- Reading the chain -----------------------------------------------------------------------

    def sync(
        self, *, windows: int | None = None, report: Callable[[Progress], None] = lambda _: None
    ) -> Progress:
        """Read the events since the last time, after taking back what the chain took back.

        Args:
            windows: how many windows of `WINDOW` blocks to read at most; by default all.
            report: is told how far it has come after each window.

        Raises:
            RegistryError: the node gives no usable answer, none for so old blocks, or events
                that cannot be a registry's.
            StorageError: the file cannot be written.
        """
        with self._translated():
            head = self._registry.last_block()
            undone = self._take_back(head)
            progress = self._progress(head, undone)
            while not progress.complete and windows != 0:
                self._advance(progress.block + 1, head)
                windows = None if windows is None else windows - 1
                progress = self._progress(head, undone)
                report(progress)
            return progress

    def _progress(self, head: int | None, undone: int) -> Progress:
        (tokens,) = self._one("SELECT count(*) FROM tokens")
        return Progress(self._last(), head, tokens, undone)

    def _last(self) -> int:
        (last,) = self._one("SELECT max(last) FROM windows")
        return self._first - 1 if last is None else int(last)

    def _take_back(self, head: int) -> int:
        """Delete the windows that the chain no longer has; return how many blocks they were."""
        before = self._last()
        windows = "SELECT last, hash FROM windows ORDER BY last DESC"
        for last, stored in self._database.execute(windows).fetchall():
            if self._stands(last, stored, head):
                break
            with self._transaction():
                self._database.execute("DELETE FROM windows WHERE last = ?", [last])
                for table in _TABLES:
                    kept = self._last()
                    self._database.execute(f"DELETE FROM {table} WHERE block > ?", [kept])  # noqa: S608
        return before - self._last()

    def _stands(self, block: int, stored: bytes, head: int) -> bool:
        """Tell whether the chain still has a block."""
        try:
            return self._registry.block_hash(block) == stored
        except RpcError:  # too old for the node
            if head - block < CONFIRMED:
                raise
            return True

    def _advance(self, first: int, head: int) -> None:
        """Read a window, or all at once where its events are too old for the node."""
        try:
            self._read(first, min(first + WINDOW - 1, head))
        except RpcError:
            if head - first < CONFIRMED:
                raise
            self._read_state(head)

    def _read_state(self, block: int) -> None:
        """Read what all tokens are after a block, in place of how they came to be so."""
        state = self._registry.pinned(block)
        before = self._registry.block_hash(block)
        with self._transaction():
            for table in ("windows", *_TABLES):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608
            unread = MAX_CLAIMS
            for record in state.tokens():
                self._put(_token_rows(record, block))
                unread -= record.claims
                if unread < 0:
                    raise RegistryError(f"more than {MAX_CLAIMS} claims are too many to read")
                if record.claims:
                    self._put(_claim_rows(state, record.id, block))
            for id, owner in state.owners(range(1, self._count() + 1)):
                self._put([("transfers", (id, block, 0, owner))])
            for id, links in state.all_links():
                for position, link in enumerate(links):
                    self._put([("links", (id, position, link.target, link.relation, block))])
                    if link.countersigned:
                        signed = (id, position, block, 0, 1, None)
                        self._put([("countersignatures", signed)])
            if before is None or self._registry.block_hash(block) != before:
                raise RegistryError(f"block {block} changed while it was read: run it again")
            self._database.execute("INSERT INTO windows VALUES (?, ?)", [block, before])

    def _put(self, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        for table, row in rows:
            places = ", ".join("?" * len(row))
            self._database.execute(f"INSERT INTO {table} VALUES ({places})", row)  # noqa: S608

    def _read(self, first: int, last: int) -> None:
        """Read a window, if the chain is the same before and after."""
        before = self._registry.block_hash(last)
        events = list(self._registry.events(from_block=first, to_block=last))
        after = self._registry.block_hash(last)
        if before is None or before != after:
            raise RegistryError(f"block {last} changed while it was read: run it again")
        if any(event.block == last and event.block_hash != after for event in events):
            raise RegistryError(f"block {last} has two hashes: run it again, or ask another node")
        with self._transaction():
            if self._last() != first - 1:  # another process was faster
                return
            for event in events:
                self._insert(event)
            if self._one("SELECT count(*) <> ifnull(max(id), 0) FROM tokens")[0]:
                raise RegistryError(f"{_UNFIT}: a token is missing before block {last}")
            self._database.execute("INSERT INTO windows VALUES (?, ?)", [last, after])
            # Between windows that are final, blocks cannot be taken back one by one.
            self._database.execute(
                "DELETE FROM windows WHERE last < ? AND last < "
                "(SELECT max(last) FROM windows WHERE last <= ?)",
                [last - CONFIRMED, last - CONFIRMED],
            )

    def _insert(self, event: Event) -> None:
        if event.name in _ROWS:
            statement, row = _ROWS[event.name]
            self._database.execute(statement, row(event, event.args))

    # -- What publishers say -----------------------------------------------------------------------

    def untold(self, after: bytes = b"", limit: int = 1000) -> list[bytes]:
        """Return digests of metadata whose text is not known yet, ascending.

        Args:
            after: only digests greater than this one.
            limit: how many at most.

        Raises:
            StorageError, FormatError: the file cannot be read.
        """
        query = (
            "SELECT DISTINCT metadata FROM tokens WHERE metadata > ? AND NOT EXISTS "
            "(SELECT 1 FROM texts WHERE texts.metadata = tokens.metadata) ORDER BY metadata LIMIT ?"
        )
        with self._translated():
            return [digest for (digest,) in self._database.execute(query, [after, limit])]

    def tell(self, texts: Mapping[bytes, Text]) -> None:
        """Keep what publishers say, for lists and searches.

        Args:
            texts: by the SHA-256 of the metadata.json that says it.

        Raises:
            StorageError: the file cannot be written.
        """
        rows = [
            (digest, text.name, text.description, text.license, text.form, text.words)
            for digest, text in texts.items()
        ]
        with self._translated(), self._transaction():
            self._database.executemany(
                "INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?, ?, ?)", rows
            )

    # -- Answers -----------------------------------------------------------------------------------

    @contextmanager
    def hurried(self, seconds: float) -> Iterator[Self]:
        """Bound the time that queries take while the block lasts; use one thread only.

        Raises:
            StorageError: they took longer, or the file cannot be read.
            FormatError: the file is damaged.
        """
        end = time.monotonic() + seconds
        self._database.set_progress_handler(lambda: time.monotonic() > end, _OPERATIONS)
        try:
            with self._translated():
                yield self
        finally:
            self._database.set_progress_handler(None, 0)

    def progress(self) -> Progress:
        """Return how far the index has come, without asking the chain."""
        return self._progress(None, 0)

    def find(self, search: Search, limit: int) -> list[Entry]:
        """Return tokens, the newest first.

        Args:
            search: which ones.
            limit: how many at most.
        """
        conditions = [("1", []), *search.conditions()]
        where = " AND ".join(condition for condition, _ in conditions)
        values = [value for _, each in conditions for value in each]
        # The conditions are texts of this module; what is asked for is bound.
        query = f"SELECT * FROM ({_ENTRIES}) WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608
        rows = self._database.execute(query, [*values, limit])
        return [_entry(*row) for row in rows]

    def entry(self, token: int) -> Entry:
        """Return a token.

        Raises:
            NoTokenError: the index knows no such token.
        """
        for entry in self.find(Search(before=token + 1), 1):
            if entry.record.id == token:
                return entry
        raise self._unknown(token)

    def names(self, tokens: Iterable[int]) -> dict[int, str]:
        """Return the names of tokens, by their ids, where they are known."""
        query = (
            "SELECT tokens.id, name FROM chosen CROSS JOIN tokens ON tokens.id = chosen.id "
            "JOIN texts ON texts.metadata = tokens.metadata"
        )
        with self._chosen(list(tokens)):
            return dict(self._database.execute(query).fetchall())

    def claims(self, token: int, limit: int) -> list[Claimed]:
        """Return claims against a token, the first ones, in their order."""
        rows = self._database.execute(_CLAIMS, [token, limit])
        return [
            Claimed(number, leaf, claimant, time, uri, ClaimStatus(status or "open"), answer)
            for number, leaf, claimant, time, uri, status, answer in rows
        ]

    def node(self, token: int) -> Node:
        """Return a token.

        Raises:
            NoTokenError: the index knows no such token.
        """
        for node in self._nodes([token]):
            return node
        raise self._unknown(token)

    def _unknown(self, token: int) -> NoTokenError:
        known = self._count()
        return NoTokenError(f"the index knows no token {token}: it knows {known} of them")

    def tokens_of(self, metadata: bytes) -> list[int]:
        """Return the tokens that commit to the metadata.json with a SHA-256."""
        rows = self._database.execute(
            "SELECT id FROM tokens WHERE metadata = ? ORDER BY id", [metadata]
        )
        return [id for (id,) in rows]

    def claimed_leaf(self, token: int, number: int) -> bytes:
        """Return the leaf that a claim against a token is about, which is proved to be in it.

        Raises:
            NoTokenError: the index knows no such claim.
        """
        rows = self._database.execute(
            "SELECT leaf FROM claims WHERE token = ? AND number = ?", [token, number]
        )
        for (leaf,) in rows:
            return bytes(leaf)
        raise NoTokenError(f"the index knows no claim {number} against token {token}")

    def lineage(
        self,
        tokens: Sequence[int],
        relations: Iterable[Relation] = Relation,
        *,
        up: bool = True,
        down: bool = True,
        depth: int | None = None,
        limit: int = MAX_TOKENS,
    ) -> Lineage:
        """Return what tokens came from, and what came from them, however indirectly.

        Args:
            tokens: where to begin.
            relations: which links to follow.
            up: whether to follow links to older tokens.
            down: whether to follow links from newer tokens.
            depth: how many links away at most.
            limit: how many tokens at most.

        Raises:
            NoTokenError: the index knows no such token.
        """
        for token in tokens:
            self.node(token)
        names = sorted(set(relations))
        ways = [_UP] * up + [_DOWN] * down
        reached = dict.fromkeys(
            id for way in ways for id in self._reach(tokens, way, names, depth, limit + 1)
        )
        ids = list(reached)[:limit]
        nodes = {node.id: node for node in self._nodes(ids)}
        edges = [
            edge for edge in self._edges(ids) if edge.target in nodes and edge.relation in names
        ]
        return Lineage(tuple(tokens), nodes, edges, truncated=len(reached) > limit)

    def _reach(
        self,
        tokens: Sequence[int],
        way: str,
        relations: Sequence[str],
        depth: int | None,
        limit: int,
    ) -> list[int]:
        """Follow links one step after the other, breadth first."""
        seen = dict.fromkeys(tokens)
        frontier = list(seen)
        query = way.format(", ".join("?" * len(relations)))
        while frontier and depth != 0 and len(seen) < limit:
            with self._chosen(frontier):
                found = self._database.execute(query, relations).fetchall()
            frontier = [id for (id,) in found if id not in seen]
            seen |= dict.fromkeys(frontier)
            depth = None if depth is None else depth - 1
        return list(seen)[:limit]

    def _nodes(self, ids: Sequence[int]) -> list[Node]:
        with self._chosen(ids):
            rows = self._database.execute(_NODES).fetchall()
        return [
            Node(
                *(id, Kind(kind), Scheme(scheme), size, root, metadata, publisher, owner),
                *(superseded_by, bool(withdrawn), bool(disordered), claims),
            )
            for id, kind, scheme, size, root, metadata, publisher, owner, *marks in rows
            for superseded_by, withdrawn, disordered, claims in (marks,)
        ]

    def _edges(self, ids: Sequence[int]) -> list[Edge]:
        with self._chosen(ids):
            rows = self._database.execute(_EDGES).fetchall()
        return [
            Edge(token, target, _RELATIONS[relation], bool(countersigned))
            for token, target, relation, countersigned in rows
        ]

    @contextmanager
    def _chosen(self, ids: Sequence[int]) -> Iterator[None]:
        """Put ids into the temporary table ``chosen``."""
        self._database.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (id INTEGER PRIMARY KEY)")
        self._database.execute("BEGIN")  # or each id would be a transaction of its own
        self._database.executemany("INSERT INTO chosen VALUES (?)", [(id,) for id in ids])
        self._database.execute("COMMIT")
        try:
            yield
        finally:
            self._database.execute("DELETE FROM chosen")

    def _count(self) -> int:
        return int(self._one("SELECT count(*) FROM tokens")[0])

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(query).fetchone()
        return row

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, OverflowError) as error:
            raise RegistryError(f"{_UNFIT} ({error})") from error
        except sqlite3.DatabaseError as error:
            raise _unusable(self._path, error) from error


def _token_rows(record: Record, block: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Write a token's record down as its events would be."""
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


def _claim_rows(
    registry: Registry, token: int, block: int
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for claim in registry.claims(token):
        row = (token, claim.number, claim.leaf, claim.claimant, claim.time, None, block)
        yield "claims", row
        if claim.status is not ClaimStatus.OPEN:
            yield "answers", (token, claim.number, block, 0, claim.status, None)


def _entry(
    id: int,
    kind: str,
    scheme: str,
    size: int,
    root: bytes,
    digest: bytes,
    publisher: str,
    time: int,
    by: int | None,
    withdrawn: int,
    disordered: int,
    attestations: int,
    claims: int,
    unanswered: int,
    owner: str,
    name: str | None,
    *text: str | None,
) -> Entry:
    """Read a row of `_ENTRIES`."""
    record = Record(
        id,
        Kind(kind),
        Scheme(scheme),
        size,
        root,
        digest,
        publisher,
        time,
        by,
        bool(withdrawn),
        bool(disordered),
        attestations,
        claims,
        unanswered,
    )
    return Entry(record, owner, None if name is None else Text(name, *text[:3]))


def _unusable(path: Path, error: sqlite3.DatabaseError) -> StorageError | FormatError:
    if isinstance(error, sqlite3.OperationalError):  # locked, full, read-only
        return StorageError(f"{path}: {error}")
    return FormatError(f"{path}: is no index, or damaged ({error}): delete it, and it is read anew")


_UNFIT = "the node's events do not fit together: ask another node"
_NODES = """
SELECT tokens.id, kind, scheme, size, root, metadata, publisher,
    (SELECT owner FROM transfers WHERE token = tokens.id ORDER BY block DESC, log DESC LIMIT 1),
    (SELECT by FROM superseded WHERE token = tokens.id),
    EXISTS (SELECT 1 FROM withdrawn WHERE token = tokens.id),
    EXISTS (SELECT 1 FROM disordered WHERE token = tokens.id),
    (SELECT count(*) FROM claims WHERE token = tokens.id AND NOT EXISTS (
        SELECT 1 FROM answers WHERE token = claims.token AND number = claims.number))
FROM chosen CROSS JOIN tokens ON tokens.id = chosen.id ORDER BY tokens.id
"""
_ENTRIES = """
SELECT id, kind, scheme, size, root, tokens.metadata AS digest, publisher, time,
    (SELECT by FROM superseded WHERE token = id) AS by,
    EXISTS (SELECT 1 FROM withdrawn WHERE token = id) AS withdrawn,
    EXISTS (SELECT 1 FROM disordered WHERE token = id) AS disordered,
    (SELECT count(*) FROM attestations WHERE token = id) AS attested,
    (SELECT count(*) FROM claims WHERE token = id) AS claimed,
    (SELECT count(*) FROM claims WHERE token = id AND NOT EXISTS (
        SELECT 1 FROM answers WHERE token = claims.token AND number = claims.number)) AS open,
    (SELECT owner FROM transfers WHERE token = id ORDER BY block DESC, log DESC LIMIT 1) AS owner,
    name, description, license, form,
    ifnull(words, '') || ' ' || lower(publisher) || ' ' || kind || ' #' || id || ' ' AS haystack
FROM tokens LEFT JOIN texts ON texts.metadata = tokens.metadata
"""
_CLAIMS = """
SELECT number, leaf, claimant, time, uri, answered.answer, answered.said FROM claims LEFT JOIN (
    SELECT token AS of, number AS which, answer, uri AS said,
        row_number() OVER (PARTITION BY number ORDER BY block DESC, log DESC) AS latest
    FROM answers WHERE token = ?1
) AS answered ON latest = 1 AND which = number
WHERE token = ?1 ORDER BY number LIMIT ?2
"""
_UP = """
SELECT DISTINCT target FROM chosen CROSS JOIN links ON links.token = chosen.id
WHERE relation IN ({}) ORDER BY target
"""
_DOWN = """
SELECT DISTINCT token FROM chosen CROSS JOIN links ON links.target = chosen.id
WHERE relation IN ({}) ORDER BY token
"""
_EDGES = """
SELECT links.token, target, relation,
    (SELECT given FROM countersignatures WHERE token = links.token
        AND position = links.position ORDER BY block DESC, log DESC LIMIT 1)
FROM chosen CROSS JOIN links ON links.token = chosen.id
WHERE target IN (SELECT id FROM chosen) ORDER BY links.token, links.position
"""

_RELATIONS = {relation.value: relation for relation in Relation}
_Args = Mapping[str, Any]
_ROWS: dict[str, tuple[str, Callable[[Event, _Args], tuple[Any, ...]]]] = {
    "Minted": (
        "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        lambda event, args: (
            *(args["id"], args["kind"], args["scheme"], args["size"], args["root"]),
            *(args["metadataDigest"], args["publisher"], args["time"], event.block),
        ),
    ),
    "Linked": (
        "INSERT INTO links VALUES (?, ?, ?, ?, ?)",
        lambda event, args: (
            *(args["id"], args["position"], args["target"], args["relation"], event.block),
        ),
    ),
    "Transfer": (
        "INSERT INTO transfers VALUES (?, ?, ?, ?)",
        lambda event, args: (args["tokenId"], event.block, event.index, args["to"]),
    ),
    "Countersigned": (
        "INSERT INTO countersignatures VALUES (?, ?, ?, ?, 1, ?)",
        lambda event, args: (
            *(args["id"], args["position"], event.block, event.index, args["owner"]),
        ),
    ),
    "CountersignatureRetracted": (
        "INSERT INTO countersignatures VALUES (?, ?, ?, ?, 0, ?)",
        lambda event, args: (
            *(args["id"], args["position"], event.block, event.index, args["owner"]),
        ),
    ),
    "Superseded": (
        "INSERT INTO superseded VALUES (?, ?, ?)",
        lambda event, args: (args["id"], args["by"], event.block),
    ),
    "Withdrawn": (
        "INSERT INTO withdrawn VALUES (?, ?, ?)",
        lambda event, args: (args["id"], args["uri"], event.block),
    ),
    "Disordered": (
        "INSERT INTO disordered VALUES (?, ?)",
        lambda event, args: (args["id"], event.block),
    ),
    "Attested": (
        "INSERT INTO attestations VALUES (?, ?, ?, ?, ?)",
        lambda event, args: (
            *(args["id"], event.block, event.index, args["leaf"], args["attester"]),
        ),
    ),
    "Claimed": (
        "INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)",
        lambda event, args: (
            *(args["id"], args["number"], args["leaf"], args["claimant"], args["time"]),
            *(args["uri"], event.block),
        ),
    ),
    "ClaimAnswered": (
        "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
        lambda event, args: (
            *(args["id"], args["number"], event.block, event.index, args["answer"], args["uri"]),
        ),
    ),
}
"""What becomes of each event; approvals and nonces say nothing of where artifacts came from."""
