"""Queries of a registry's index: lineage, searches, claims, names.

All answers come from the local database that `alithis.chain.index` fills from the registry's
events; the chain is not asked. The database stores events and no derived state, so each query
derives a token's state (owner, countersigned, …) from the events, usually from the latest one.

Source: SQLite's documentation.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from alithis.chain.records import Record
from alithis.errors import FormatError, NoTokenError, RegistryError, StorageError
from alithis.manifest.terms import ClaimStatus, Kind, Relation, Scheme

MAX_TOKENS = 10_000
"""Maximum number of tokens in a lineage."""
MAX_WORDS = 8
"""Maximum number of words in a search; further words are ignored."""
DERIVES = (
    Relation.DERIVED_FROM,
    Relation.TRAINED_ON,
    Relation.FINE_TUNED_FROM,
    Relation.DISTILLED_FROM,
)
"""The relations that the contract counts as derivation from an older artifact."""
CONTRADICTORY = "the node's events contradict each other: use another RPC endpoint"
_LOCK_TIMEOUT = 30.0  # seconds that a process waits for another process's transaction
_OPERATIONS = 10_000  # SQLite operations between two checks of the time limit


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How far an index has read the chain.

    Attributes:
        block: the last block that was read.
        head: the chain's last block; None if the chain was not asked.
        tokens: number of tokens in the index.
        undone: number of blocks that were deleted because of a reorganisation.
    """

    block: int
    head: int | None
    tokens: int
    undone: int = 0

    @property
    def complete(self) -> bool:
        """Whether the index has read the chain up to its last block."""
        return self.head is not None and self.block >= self.head


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A token in a lineage.

    Attributes:
        id: the token.
        kind: dataset or model.
        scheme: how its leaves are made.
        size: number of leaves.
        root: tree hash over the leaves, 32 bytes.
        metadata: SHA-256 of its metadata.json, 32 bytes.
        publisher: address of its publisher, who minted it.
        owner: address of its owner.
        superseded_by: the token that replaces it, or None.
        withdrawn: whether it was withdrawn.
        disordered: whether its leaves were proved not to be in ascending order.
        open_claims: number of unanswered claims against it.
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
        """Its known problems in words, as the chain records them."""
        marks = {
            "withdrawn": self.withdrawn,
            "disordered": self.disordered,
            f"superseded by {self.superseded_by}": self.superseded_by,
            f"open claims: {self.open_claims}": self.open_claims,
        }
        return tuple(words for words, holds in marks.items() if holds)


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """A link in a lineage.

    Attributes:
        token: the newer token, which has the link.
        target: the older one.
        relation: how the newer artifact was made from the older one.
        countersigned: whether the target's owner confirmed it.
    """

    token: int
    target: int
    relation: Relation
    countersigned: bool


@dataclass(frozen=True, slots=True)
class Lineage:
    """Tokens and the links between them, above or below some tokens, or both.

    Attributes:
        roots: the tokens at which the search began.
        nodes: the tokens by their ids, including the roots.
        edges: the links between them, by token and position.
        truncated: whether there are more tokens than the limit.
    """

    roots: tuple[int, ...]
    nodes: Mapping[int, LineageNode]
    edges: Sequence[LineageEdge]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactText:
    """The part of an artifact's metadata.json that lists and searches need.

    Attributes:
        name: its name.
        description: its description.
        license: its licence.
        form: the canonical form of its data points.
    """

    name: str
    description: str | None
    license: str | None
    form: str | None

    @property
    def words(self) -> str:
        """The text that a search looks through."""
        return " ".join(filter(None, (self.name, self.description, self.license))).casefold()


@dataclass(frozen=True, slots=True)
class ListedToken:
    """A token in a list.

    Attributes:
        record: its record; attestations count only those whose events the index has read.
        owner: address of its owner.
        text: text from its metadata.json; None if the index does not have it yet.
    """

    record: Record
    owner: str
    text: ArtifactText | None


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """Which tokens a list contains.

    Attributes:
        words: words that must all occur in a token's text, its publisher's address, its kind or,
            after #, its number.
        kind: dataset or model.
        scheme: how leaves are made.
        account: address of its publisher or owner.
        current: whether to leave out withdrawn, superseded and disordered tokens.
        claimed: whether to leave out tokens without an unanswered claim.
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
        """Return SQL conditions on the columns of `_LISTED`, each with its values."""
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
class ClaimDetails:
    """A claim with its statements, if the index has their events.

    Attributes:
        number: the claim's number among the token's claims, from 1.
        leaf: the data point's leaf, 32 bytes.
        claimant: address of who filed it.
        time: when it was filed, in seconds since 1970.
        uri: URI of the claimant's reasons.
        status: how it was answered.
        answer: URI of the answer's explanation.
    """

    number: int
    leaf: bytes
    claimant: str
    time: int
    uri: str | None
    status: ClaimStatus
    answer: str | None


class Queries:
    """Answers from the SQLite file of an index; a context manager, or `close` it."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            FormatError: the file is not an SQLite database.
            StorageError: it cannot be opened.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
        with self._translated_errors():
            # A server uses the connection from several threads, but from one at a time.
            self._database = sqlite3.connect(
                path, isolation_level=None, timeout=_LOCK_TIMEOUT, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA foreign_keys = ON")

    def __enter__(self) -> Self:
        """Return the queries."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Limit the time of the queries in a ``with`` block; use one thread only.

        Raises:
            StorageError: they took too long, or the file cannot be read.
            FormatError: the file is damaged.
        """
        end = time.monotonic() + seconds
        self._database.set_progress_handler(lambda: time.monotonic() > end, _OPERATIONS)
        try:
            with self._translated_errors():
                yield
        finally:
            self._database.set_progress_handler(None, 0)

    def find_tokens(self, wanted: TokenFilter, limit: int) -> list[ListedToken]:
        """Return tokens, the newest first.

        Args:
            wanted: which tokens.
            limit: maximum number.
        """
        conditions = [("1", []), *wanted.conditions()]
        where = " AND ".join(condition for condition, _ in conditions)
        values = [value for _, each in conditions for value in each]
        # The conditions are constants of this module; the user's values are bound parameters.
        query = f"SELECT * FROM ({_LISTED}) WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608
        return [_listed(row) for row in self._database.execute(query, [*values, limit])]

    def listed(self, token: int) -> ListedToken:
        """Return one token with its record and text.

        Raises:
            NoTokenError: the index has no such token.
        """
        for found in self.find_tokens(TokenFilter(before=token + 1), 1):
            if found.record.id == token:
                return found
        raise self._unknown(token)

    def names(self, tokens: Iterable[int]) -> dict[int, str]:
        """Return the names of tokens by their ids; tokens without a text are left out."""
        query = (
            "SELECT tokens.id, name FROM chosen CROSS JOIN tokens ON tokens.id = chosen.id "
            "JOIN texts ON texts.metadata = tokens.metadata"
        )
        with self._chosen(list(tokens)):
            return dict(self._database.execute(query).fetchall())

    def claims(self, token: int, limit: int) -> list[ClaimDetails]:
        """Return the first claims against a token, in order."""
        rows = self._database.execute(_CLAIMS, [token, limit])
        return [
            ClaimDetails(number, leaf, claimant, time, uri, ClaimStatus(status or "open"), answer)
            for number, leaf, claimant, time, uri, status, answer in rows
        ]

    def claimed_leaf(self, token: int, number: int) -> bytes:
        """Return the leaf of a claim; the contract has checked that the token contains it.

        Raises:
            NoTokenError: the index has no such claim.
        """
        rows = self._database.execute(
            "SELECT leaf FROM claims WHERE token = ? AND number = ?", [token, number]
        )
        for (leaf,) in rows:
            return bytes(leaf)
        raise NoTokenError(f"the index has no claim {number} against token {token}")

    def node(self, token: int) -> LineageNode:
        """Return one token as a node of a lineage.

        Raises:
            NoTokenError: the index has no such token.
        """
        for node in self._nodes([token]):
            return node
        raise self._unknown(token)

    def tokens_with(self, metadata: bytes) -> list[int]:
        """Return the tokens whose metadata.json has a SHA-256."""
        rows = self._database.execute(
            "SELECT id FROM tokens WHERE metadata = ? ORDER BY id", [metadata]
        )
        return [id for (id,) in rows]

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
        """Return the tokens that some tokens came from or that came from them, also indirectly.

        Args:
            tokens: the tokens to begin at.
            relations: which links to follow.
            up: whether to follow links to older tokens.
            down: whether to follow links from newer tokens.
            depth: maximum number of links from the first tokens.
            limit: maximum number of tokens.

        Raises:
            NoTokenError: the index has no such token.
        """
        for token in tokens:
            self.node(token)
        names = sorted(set(relations))
        directions = [_UP] * up + [_DOWN] * down
        reached = dict.fromkeys(
            id
            for direction in directions
            for id in self._reach(tokens, direction, names, depth, limit + 1)
        )
        ids = list(reached)[:limit]
        nodes = {node.id: node for node in self._nodes(ids)}
        edges = [edge for edge in self._edges(ids) if edge.relation in names]
        return Lineage(tuple(tokens), nodes, edges, truncated=len(reached) > limit)

    def _reach(
        self,
        tokens: Sequence[int],
        direction: str,
        relations: Sequence[str],
        depth: int | None,
        limit: int,
    ) -> list[int]:
        """Follow links step by step, breadth first.

        A recursive query would be shorter. But with a limit on the depth, SQLite would keep one row
        for each token and depth, and so follow the same links again for each depth.
        """
        seen = dict.fromkeys(tokens)
        frontier = list(seen)
        query = direction.format(", ".join("?" * len(relations)))
        while frontier and depth != 0 and len(seen) < limit:
            with self._chosen(frontier):
                found = self._database.execute(query, relations).fetchall()
            frontier = [id for (id,) in found if id not in seen]
            seen |= dict.fromkeys(frontier)
            depth = None if depth is None else depth - 1
        return list(seen)[:limit]

    def _nodes(self, ids: Sequence[int]) -> list[LineageNode]:
        with self._chosen(ids):
            rows = self._database.execute(_NODES).fetchall()
        return [
            LineageNode(
                *(id, Kind(kind), Scheme(scheme), size, root, metadata, publisher, owner),
                *(superseded_by, bool(withdrawn), bool(disordered), claims),
            )
            for id, kind, scheme, size, root, metadata, publisher, owner, *marks in rows
            for superseded_by, withdrawn, disordered, claims in (marks,)
        ]

    def _edges(self, ids: Sequence[int]) -> list[LineageEdge]:
        """Return the links between tokens."""
        with self._chosen(ids):
            rows = self._database.execute(_EDGES).fetchall()
        return [
            LineageEdge(token, target, Relation(relation), bool(countersigned))
            for token, target, relation, countersigned in rows
        ]

    @contextmanager
    def _chosen(self, ids: Sequence[int]) -> Iterator[None]:
        """Put ids into the temporary table ``chosen``.

        A list of ids in the statement could be longer than SQLite's limit for bound values.
        """
        self._database.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (id INTEGER PRIMARY KEY)")
        self._database.execute("BEGIN")  # otherwise each id would be its own transaction
        self._database.executemany("INSERT INTO chosen VALUES (?)", [(id,) for id in ids])
        self._database.execute("COMMIT")
        try:
            yield
        finally:
            self._database.execute("DELETE FROM chosen")

    def _unknown(self, token: int) -> NoTokenError:
        return NoTokenError(f"the index has no token {token}; it has {self._count()} tokens")

    def _count(self) -> int:
        return int(self._one("SELECT count(*) FROM tokens")[0])

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(query).fetchone()
        return row

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        path = self._path
        try:
            yield
        except (sqlite3.IntegrityError, OverflowError) as error:
            raise RegistryError(f"{CONTRADICTORY} ({error})") from error
        except sqlite3.OperationalError as error:  # locked, full, read-only, out of time
            raise StorageError(f"{path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise FormatError(
                f"{path}: is not an index, or is damaged ({error}). Delete the file; the next run "
                "builds it again"
            ) from error


def _listed(row: Sequence[Any]) -> ListedToken:
    """Read a row of `_LISTED`."""
    id, kind, scheme, size, root, digest, publisher, time, by, *rest = row
    withdrawn, disordered, attestations, claims, open_claims, owner, *text, _ = rest
    record = Record(
        *(id, Kind(kind), Scheme(scheme), size, root, digest, publisher, time, by),
        *(bool(withdrawn), bool(disordered), attestations, claims, open_claims),
    )
    return ListedToken(record, owner, None if text[0] is None else ArtifactText(*text))


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
_LISTED = """
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
