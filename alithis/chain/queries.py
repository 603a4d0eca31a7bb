"""Questions to the index of a registry: lineage, searches, claims, names.

All answers come from the local database that `alithis.chain.index` fills from the registry's
events; the chain is not asked. The database holds events, never a state that was derived from
them, so what a token's state is (superseded, countersigned, …) each query reads off the events:
mostly that the latest one counts.

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
"""Tokens in a lineage at most."""
MAX_WORDS = 8
"""Words of a search that are looked for; further ones are ignored."""
DERIVES = (
    Relation.DERIVED_FROM,
    Relation.TRAINED_ON,
    Relation.FINE_TUNED_FROM,
    Relation.DISTILLED_FROM,
)
"""Relations by which an artifact was made from an older one, as the contract counts them."""
CONTRADICTORY = "the node's events contradict each other: use another RPC endpoint"
_LOCK_TIMEOUT = 30.0  # seconds that one process waits for another's transaction
_OPERATIONS = 10_000  # of SQLite, between two looks at the clock


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How far an index has read the chain.

    Attributes:
        block: the last block it knows.
        head: the chain's last block; None where the chain was not asked.
        tokens: how many tokens it knows.
        undone: blocks that were deleted, because a reorganisation removed them from the chain.
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
class LineageNode:
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
        """Known problems of it, as the chain records them, in words."""
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
        roots: the tokens that were asked about.
        nodes: the tokens, by their ids, the roots among them.
        edges: the links between them, by token and position.
        truncated: whether there are more than was asked for.
    """

    roots: tuple[int, ...]
    nodes: Mapping[int, LineageNode]
    edges: Sequence[LineageEdge]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactText:
    """What an artifact's metadata.json says of it, as far as lists and searches need it.

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
        """The text that a search looks through."""
        return " ".join(filter(None, (self.name, self.description, self.license))).casefold()


@dataclass(frozen=True, slots=True)
class ListedToken:
    """A token in a list.

    Attributes:
        record: what the chain holds of it; attestations are those since the index began.
        owner: address of who owns it.
        text: what its metadata.json says; None while the index does not have it.
    """

    record: Record
    owner: str
    text: ArtifactText | None


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """Which tokens a list has.

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
        """Return it in SQL over `_LISTED`, each condition with its values."""
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
    """A claim with its statements, as far as the index has their events.

    Attributes:
        number: the claim's, among those of the token, from 1.
        leaf: the data point's leaf, 32 bytes.
        claimant: address of who filed it.
        time: when, in seconds since 1970.
        uri: where the claimant states the reasons.
        status: how it was answered.
        answer: where the answer is explained.
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
            # A server with several threads lends a connection to one thread at a time.
            self._database = sqlite3.connect(
                path, isolation_level=None, timeout=_LOCK_TIMEOUT, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA foreign_keys = ON")

    def __enter__(self) -> Self:
        """Return the opened file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Bound the time that queries take while the block lasts; use one thread only.

        Raises:
            StorageError: they took longer, or the file cannot be read.
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
            wanted: which ones.
            limit: how many at most.
        """
        conditions = [("1", []), *wanted.conditions()]
        where = " AND ".join(condition for condition, _ in conditions)
        values = [value for _, each in conditions for value in each]
        # The conditions are texts of this module; the values that a reader gives are bound.
        query = f"SELECT * FROM ({_LISTED}) WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608
        return [_listed(row) for row in self._database.execute(query, [*values, limit])]

    def listed(self, token: int) -> ListedToken:
        """Return a token as lists show it.

        Raises:
            NoTokenError: the index has no such token.
        """
        for found in self.find_tokens(TokenFilter(before=token + 1), 1):
            if found.record.id == token:
                return found
        raise self._unknown(token)

    def names(self, tokens: Iterable[int]) -> dict[int, str]:
        """Return the names of tokens, by their ids, where the index has their texts."""
        query = (
            "SELECT tokens.id, name FROM chosen CROSS JOIN tokens ON tokens.id = chosen.id "
            "JOIN texts ON texts.metadata = tokens.metadata"
        )
        with self._chosen(list(tokens)):
            return dict(self._database.execute(query).fetchall())

    def claims(self, token: int, limit: int) -> list[ClaimDetails]:
        """Return the first claims against a token, in their order."""
        rows = self._database.execute(_CLAIMS, [token, limit])
        return [
            ClaimDetails(number, leaf, claimant, time, uri, ClaimStatus(status or "open"), answer)
            for number, leaf, claimant, time, uri, status, answer in rows
        ]

    def claimed_leaf(self, token: int, number: int) -> bytes:
        """Return the leaf that a claim against a token is about, which is proved to be in it.

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
        """Return a token as lineages show it.

        Raises:
            NoTokenError: the index has no such token.
        """
        for node in self._nodes([token]):
            return node
        raise self._unknown(token)

    def tokens_with(self, metadata: bytes) -> list[int]:
        """Return the tokens that commit to the metadata.json with a SHA-256."""
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
        """Return what tokens came from, and what came from them, however indirectly.

        Args:
            tokens: where to begin.
            relations: which links to follow.
            up: whether to follow links to older tokens.
            down: whether to follow links from newer tokens.
            depth: how many links away at most.
            limit: how many tokens at most.

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

        A recursive query would be shorter, but SQLite cannot stop it at a depth and a number of
        tokens without walking through links again and again that lead to tokens already seen.
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
        """Put ids into the temporary table ``chosen``: a statement binds too few values."""
        self._database.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (id INTEGER PRIMARY KEY)")
        self._database.execute("BEGIN")  # or each id would be a transaction of its own
        self._database.executemany("INSERT INTO chosen VALUES (?)", [(id,) for id in ids])
        self._database.execute("COMMIT")
        try:
            yield
        finally:
            self._database.execute("DELETE FROM chosen")

    def _unknown(self, token: int) -> NoTokenError:
        return NoTokenError(f"the index has no token {token}: it has {self._count()} tokens")

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
                f"{path}: not an index, or damaged ({error}): delete it; it is then built again"
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
