"""The read API: the contents of the index and the store, as JSON.

No request reads the chain. A token's record comes from the index, as of the block that every
response states, and proofs are computed from the local store. So a response is a hint where to
look, with a proof that the client checks against the root, which it reads from the chain itself.
`openapi.json` describes the API, and a test compares the two.

A request runs in a thread, with its own connection to the index, for a limited time.
"""

from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.resources import files
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alithis.chain.index import Index
from alithis.chain.queries import DERIVES, ClaimDetails, ListedToken, TokenFilter
from alithis.chain.registry import Registry
from alithis.errors import AlithisError, FormatError, NoTokenError, StorageError
from alithis.ipfs.cid import Cid
from alithis.lineage.drawing import Drawing
from alithis.manifest import proof
from alithis.manifest.metadata import Metadata
from alithis.manifest.terms import Kind, Relation, Scheme
from alithis.server.follower import Follower
from alithis.server.middleware import problem
from alithis.storage.store import Store
from alithis.verify import tokens as tokens_module
from alithis.verify import verdict
from alithis.verify.library import Shelf
from alithis.verify.target import Target

MAX_TOKENS = 500
"""The most tokens in one response."""
MAX_VERIFIED = 50
"""The most tokens that one request verifies against."""
MAX_CLAIMS = 200
"""The most claims in the response about a token."""

_AT_ONCE = 4  # requests that run in parallel
_WAITING = 64  # requests in the queue
_SECONDS = 5.0  # for one request
_LONGEST = 200  # characters of a search

_T = TypeVar("_T", Kind, Scheme)


class RequestError(Exception):
    """A request that cannot be served.

    Attributes:
        status: the HTTP status.
        detail: the reason, in words.
    """

    def __init__(self, status: int, detail: str) -> None:
        """Keep the status and the reason."""
        super().__init__(detail)
        self.status, self.detail = status, detail


class Api:
    """The endpoints of the API."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        follower: Follower,
        open_index: Callable[[], Index],
    ) -> None:
        """Keep the sources; nothing is opened yet.

        Args:
            registry: the registry; only its address and chain are used.
            store: the store with the manifests.
            follower: keeps the index up to date.
            open_index: opens a new connection to the index.
        """
        self._registry, self._store, self._follower = registry, store, follower
        self._open_index = open_index
        self._idle: queue.LifoQueue[Index] = queue.LifoQueue()
        self._inside = 0
        self._limiter: anyio.CapacityLimiter | None = None

    def close(self) -> None:
        """Close the connections to the index."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def routes(self) -> list[Route]:
        """Return the routes, for Starlette."""
        working = {
            "/api/tokens": (self.tokens, _TOKENS),
            "/api/tokens/{id}": (self.token, ()),
            "/api/lineage/{id}": (self.lineage, _LINEAGE),
            "/api/verify/{sha256}": (self.verify, _VERIFY),
        }
        return [
            Route("/health/live", self.live, methods=["GET"]),
            Route("/health/ready", self.ready, methods=["GET"]),
            Route("/api/openapi.json", self.openapi, methods=["GET"]),
            *(
                Route(path, self._endpoint(work, known), methods=["GET"])
                for path, (work, known) in working.items()
            ),
        ]

    def live(self, _: Request) -> Response:
        """Return 200: the process responds."""
        return JSONResponse({"live": True}, headers={"Cache-Control": "no-store"})

    def ready(self, _: Request) -> Response:
        """Return whether the chain can be reached, and up to which block the index is."""
        state = self._follower.state
        content = {
            "ready": state.ready,
            "chain": self._registry.chain_id,
            "reachable": state.asked is not None and state.error is None,
            "block": state.block,
            "head": state.head,
            "tokens": state.tokens,
        }
        headers = {"Cache-Control": "no-store"}
        return JSONResponse(content, 200 if state.ready else 503, headers=headers)

    def openapi(self, _: Request) -> Response:
        """Return the API's description."""
        return Response(description(), media_type="application/json")

    # -- Scheduling --------------------------------------------------------------------------------

    def _endpoint(
        self,
        work: Callable[[Index, Mapping[str, str], Query], dict[str, Any]],
        known: Sequence[str],
    ) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                query = Query(request, known)
                content = await self._in_turn(lambda: self._work(work, request.path_params, query))
                return _Ascii(content, headers={"Cache-Control": "no-store"})
            except RequestError as error:
                headers = {"Cache-Control": "no-store"} | (
                    {"Retry-After": "2"} if error.status == 503 else {}
                )
                content = problem(error.status, error.detail)
                kind = "application/problem+json"
                return JSONResponse(content, error.status, headers=headers, media_type=kind)

        return endpoint

    async def _in_turn(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        if self._inside >= _AT_ONCE + _WAITING:
            raise RequestError(503, "The server is busy. Try again in a few seconds.")
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._inside -= 1

    def _work(
        self,
        work: Callable[[Index, Mapping[str, str], Query], dict[str, Any]],
        path: Mapping[str, str],
        query: Query,
    ) -> dict[str, Any]:
        try:
            with self._borrowed() as index, index.time_limit(_SECONDS):
                return work(index, path, query) | {"asOf": self._as_of(index)}
        except NoTokenError as error:
            raise RequestError(404, str(error)) from error
        except AlithisError as error:
            raise RequestError(
                503, "The index cannot be read at the moment. Try again in a few seconds."
            ) from error

    @contextmanager
    def _borrowed(self) -> Iterator[Index]:
        """Take an idle connection for one thread; after a failure it is closed, not reused."""
        try:
            index = self._idle.get_nowait()
        except queue.Empty:
            index = self._open_index()
        try:
            yield index
        except (StorageError, FormatError):
            index.close()
            raise
        except BaseException:
            self._idle.put(index)
            raise
        self._idle.put(index)

    def _as_of(self, index: Index) -> dict[str, Any]:
        known = index.status()
        return {
            "chain": self._registry.chain_id,
            "registry": self._registry.address,
            "block": known.block,
            "tokens": known.tokens,
        }

    # -- Requests ----------------------------------------------------------------------------------

    def tokens(self, index: Index, _: Mapping[str, str], query: Query) -> dict[str, Any]:
        """List tokens, the newest first."""
        wanted = TokenFilter(
            words=tuple(query.text("search").split()),
            kind=query.term("kind", Kind),
            scheme=query.term("scheme", Scheme),
            account=query.address("account"),
            current=query.flag("current"),
            claimed=query.flag("claimed"),
            before=query.number("before", 1, _MAX_ID),
        )
        limit = query.number("limit", 1, MAX_TOKENS) or 50
        found = index.find_tokens(wanted, limit + 1)
        return {
            "tokens": [self._entry(entry) for entry in found[:limit]],
            "next": found[limit - 1].record.id if len(found) > limit else None,
        }

    def token(self, index: Index, path: Mapping[str, str], _: Query) -> dict[str, Any]:
        """Return a token with its links, claims and metadata."""
        entry = index.listed(_token(path["id"]))
        around = index.lineage([entry.record.id], depth=1, limit=MAX_TOKENS)
        drawing = self._drawing(index, around)
        links = [
            link for link in drawing["links"] if entry.record.id in (link["token"], link["target"])
        ]
        return {
            **self._entry(entry),
            "owner": entry.owner,
            "claims": {
                "count": entry.record.claims,
                "first": [_claim(each) for each in index.claims(entry.record.id, MAX_CLAIMS)],
            },
            "links": links,
            "linked": [each for each in drawing["tokens"] if each["token"] != entry.record.id],
            "truncated": drawing["truncated"],
            "metadata": self._document(entry),
        }

    def lineage(self, index: Index, path: Mapping[str, str], query: Query) -> dict[str, Any]:
        """Return what a token came from, and what came from it."""
        way = query.choice("direction", ("both", "up", "down")) or "both"
        found = index.lineage(
            [_token(path["id"])],
            DERIVES if query.flag("derived") else tuple(Relation),
            up=way != "down",
            down=way != "up",
            depth=query.number("depth", 1, 1000),
            limit=query.number("limit", 1, MAX_TOKENS) or 200,
        )
        return self._drawing(index, found)

    def verify(self, index: Index, path: Mapping[str, str], query: Query) -> dict[str, Any]:
        """Look up a digest in tokens, the newest first, each with a verdict and a proof."""
        target = Target(path["sha256"], digest=_digest(path["sha256"]))
        only = query.number("token", 1, _MAX_ID)
        wanted = TokenFilter(before=query.number("before", 1, _MAX_ID))
        limit = query.number("limit", 1, MAX_VERIFIED) or 20
        entries = [index.listed(only)] if only else index.find_tokens(wanted, limit + 1)
        results, end = [], time.monotonic() + _SECONDS / 2
        for entry in entries[:limit]:
            results.append(self._verified(index, target, entry))
            if time.monotonic() > end:
                break
        more = len(results) < len(entries)
        return {"results": results, "next": entries[len(results) - 1].record.id if more else None}

    # -- Answers -----------------------------------------------------------------------------------

    def _entry(self, entry: ListedToken) -> dict[str, Any]:
        record, text = entry.record, entry.text
        return {
            "token": record.id,
            "kind": record.kind.value,
            "scheme": record.scheme.value,
            "size": record.size,
            "root": record.root.hex(),
            "metadataDigest": record.metadata_digest.hex(),
            "publisher": record.publisher,
            "time": record.time,
            "supersededBy": record.superseded_by,
            "withdrawn": record.withdrawn,
            "disordered": record.disordered,
            "openClaims": record.open_claims,
            "stored": self._has(record.metadata_digest),
            "text": None if text is None else asdict(text),
        }

    def _has(self, digest: bytes) -> bool:
        try:
            return self._store.has(Cid.raw(digest))
        except StorageError:
            return False

    def _document(self, entry: ListedToken) -> Mapping[str, Any] | None:
        stated = self._stated(entry.record.metadata_digest)
        return stated.document if stated else None

    def _stated(self, digest: bytes) -> Metadata | None:
        try:
            return Shelf(self._store).open(digest).metadata
        except AlithisError:
            return None

    def _drawing(self, index: Index, found: Any) -> dict[str, Any]:
        shelf = Shelf(self._store)  # a new one sees what was stored since the last request
        return Drawing.of(found, shelf, index.names(found.nodes)).as_object()

    def _verified(self, index: Index, target: Target, entry: ListedToken) -> dict[str, Any]:
        shelf, record = Shelf(self._store), entry.record
        result = tokens_module.verify_token(target, self._registry, shelf, record)
        content = {
            "token": record.id,
            "kind": record.kind.value,
            "name": result.name,
            "verdict": result.verdict,
            "index": result.index,
            "size": record.size,
            "root": record.root.hex(),
            "steps": [
                asdict(step) | {"detail": self._redacted(step.detail)} for step in result.steps
            ],
            "marks": list(result.marks),
            "models": [],
            "proof": None,
        }
        if result.proof is not None:
            subject = tokens_module.subject_of(self._registry, record)
            content["proof"] = json.loads(proof.dump(result.proof, subject))
        if result.verdict == verdict.INCLUDED:
            content["models"] = self._models(index, record.id)
        return content

    def _redacted(self, detail: str) -> str:
        """Remove the store's folder: clients must not learn where it is on this machine."""
        return detail.replace(str(self._store.root), "of this server")

    def _models(self, index: Index, token: int) -> list[dict[str, Any]]:
        """Return the models that link to a token."""
        found = self._drawing(index, index.lineage([token], up=False, depth=1, limit=MAX_TOKENS))
        newer = {each["token"]: each for each in found["tokens"]}
        return [
            {
                "token": link["token"],
                "name": newer[link["token"]]["name"],
                "relation": link["relation"],
                "grade": link["grade"],
            }
            for link in found["links"]
            if link["target"] == token and newer[link["token"]]["kind"] == "model"
        ]


class _Ascii(JSONResponse):
    """JSON in ASCII: a publisher's text can have lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def description() -> bytes:
    """Return the API's description, in OpenAPI 3.1."""
    return (files("alithis.server") / "openapi.json").read_bytes()


def _claim(claim: ClaimDetails) -> dict[str, Any]:
    return asdict(claim) | {"leaf": claim.leaf.hex(), "status": claim.status.value}


# -- Parameters ------------------------------------------------------------------------------------

_TOKENS = ("search", "kind", "scheme", "account", "current", "claimed", "before", "limit")
_LINEAGE = ("direction", "derived", "depth", "limit")
_VERIFY = ("token", "before", "limit")
_MAX_ID = 10**15 - 1


def _token(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,14}", text):
        raise RequestError(404, "There is no such token. A token is a whole number from 1.")
    return int(text)


def _digest(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise RequestError(400, "The SHA-256 must be 64 hexadecimal digits.")
    return bytes.fromhex(text)


class Query:
    """The query of a request."""

    def __init__(self, request: Request, known: Sequence[str]) -> None:
        """Parse the query.

        Raises:
            RequestError: a parameter is unknown, or occurs twice.
        """
        pairs = request.query_params.multi_items()
        self._values = dict(pairs)
        if len(pairs) != len(self._values) or not self._values.keys() <= set(known):
            raise RequestError(
                400,
                "A parameter is unknown or repeated. "
                f"Use each of these at most once: {', '.join(known) or 'none'}.",
            )

    def text(self, name: str) -> str:
        """Return a text; empty if it is not given."""
        text = self._values.get(name, "")
        if len(text) > _LONGEST or not re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]*", text):
            message = f"{name} must be at most {_LONGEST} characters, without control characters."
            raise RequestError(400, message)
        return text

    def number(self, name: str, least: int, most: int) -> int | None:
        """Return a number; None if it is not given."""
        text = self._values.get(name)
        if text is None:
            return None
        if re.fullmatch("[0-9]{1,15}", text) and least <= int(text) <= most:
            return int(text)
        raise RequestError(400, f"{name} must be a whole number from {least} to {most}.")

    def choice(self, name: str, words: Sequence[str]) -> str | None:
        """Return one of some words; None if it is not given."""
        text = self._values.get(name)
        if text is not None and text not in words:
            raise RequestError(400, f"{name} must be one of {', '.join(words)}.")
        return text

    def term(self, name: str, terms: type[_T]) -> _T | None:
        """Return one of the contract's terms; None if it is not given."""
        text = self.choice(name, [term.value for term in terms])
        return None if text is None else terms(text)

    def flag(self, name: str) -> bool:
        """Return whether a flag is set."""
        return self.choice(name, ("true", "false")) == "true"

    def address(self, name: str) -> str | None:
        """Return an address; None if it is not given."""
        text = self._values.get(name)
        if text is None:
            return None
        if not re.fullmatch("0x[0-9a-fA-F]{40}", text):
            raise RequestError(400, f"{name} must be an address, 0x and 40 hexadecimal digits.")
        return text
