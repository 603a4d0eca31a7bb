"""Reads the registry contract over JSON-RPC: records, links, events.

Any transport with ``request(method, params)`` will do. What comes back is untrusted: it is
decoded by the contract's ABI, must encode back to the very same bytes, and is turned into the
values below or into a `RegistryError`. A node can still lie about the chain's state; whoever
must exclude that runs a node.

Sources: the Ethereum JSON-RPC specification, the Solidity contract ABI specification,
`contracts/IAlithis.sol`.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NoReturn, Protocol, Self

from alithis.cid import Cid
from alithis.contract import artifact
from alithis.errors import (
    AlithisError,
    ChainError,
    FormatError,
    NoRegistryError,
    NoTokenError,
    ProofError,
    RegistryError,
    RpcError,
    TransportError,
)
from alithis.exchange import Client, meaning
from alithis.strict_json import parse

# eth-abi and eth-utils take a quarter of a second to load: they are imported where they are used,
# so that commands which read no chain start at once.

MAX_ANSWER = 16 << 20
"""Bytes of an answer that are read at most."""
MAX_SCAN = 1 << 20
"""Tokens that a scan of the whole registry goes through at most."""

_MAX_RETURN = 3 << 20  # bytes that one eth_call returns: 100 tokens' links are 2.4 MiB at most
_MAX_QUERIES = 20_000  # eth_getLogs in one reading of events
_BATCH = 100  # tokens, or claims, in one eth_call
_WORD = 32
_URI = re.compile(r"ipfs://f01551220[0-9a-f]{64}")


class _Term(StrEnum):
    """A word that the contract writes as a number: its position in the enum."""

    @property
    def number(self) -> int:
        """The contract's number for it."""
        return list(type(self)).index(self)


class Kind(_Term):
    """What a token stands for."""

    DATASET = "dataset"
    MODEL = "model"


class Scheme(_Term):
    """How leaves are made from digests."""

    SHA256 = "sha256"
    KEYED = "keyed"


class Relation(_Term):
    """How an artifact came from an older one."""

    DERIVED_FROM = "derived_from"
    TRAINED_ON = "trained_on"
    VALIDATED_ON = "validated_on"
    TESTED_ON = "tested_on"
    FINE_TUNED_FROM = "fine_tuned_from"
    DISTILLED_FROM = "distilled_from"
    SUPERSEDES = "supersedes"


class ClaimStatus(_Term):
    """How a claim has been answered: an answer only ever moves down this list."""

    OPEN = "open"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    REMOVED = "removed"


class Grade(StrEnum):
    """How far a link is evidenced by the chain."""

    STATED = "stated"
    COUNTERSIGNED = "countersigned"


@dataclass(frozen=True, slots=True)
class Record:
    """What the chain holds of a token.

    Attributes:
        id: the token, from 1.
        kind: dataset or model.
        scheme: how its leaves are made.
        size: number of leaves.
        root: tree hash over the leaves, 32 bytes.
        metadata_digest: SHA-256 of metadata.json, 32 bytes.
        publisher: address of who minted it, whoever owns it now.
        time: when it was minted, in seconds since 1970 by the block's clock.
        superseded_by: the token that replaces it, or None.
        withdrawn: whether it has been withdrawn.
        disordered: whether its leaves have been proved not to ascend.
        attestations: how many times somebody proved to the contract that a leaf is in it.
        claims: how many claims there are; their numbers are 1 to this.
        open_claims: how many of them are unanswered.
    """

    id: int
    kind: Kind
    scheme: Scheme
    size: int
    root: bytes
    metadata_digest: bytes
    publisher: str
    time: int
    superseded_by: int | None
    withdrawn: bool
    disordered: bool
    attestations: int
    claims: int
    open_claims: int

    @property
    def metadata_cid(self) -> Cid:
        """CID of metadata.json, a single raw block."""
        return Cid.raw(self.metadata_digest)


@dataclass(frozen=True, slots=True)
class Link:
    """A typed edge to an older token.

    Attributes:
        target: the older token.
        relation: how the artifact came from it.
        countersigned: whether the target's owner confirmed it, and no owner took that back.
    """

    target: int
    relation: Relation
    countersigned: bool = False

    @property
    def grade(self) -> Grade:
        """How far it is evidenced by the chain."""
        return Grade.COUNTERSIGNED if self.countersigned else Grade.STATED


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says against the use of a data point of a token.

    Attributes:
        token: the token.
        number: the claim's, among those of the token, from 1.
        leaf: the data point's leaf, 32 bytes, proved to be in the token's tree.
        claimant: address of who filed it.
        time: when, in seconds since 1970 by the block's clock.
        status: how the token's owner answered.
    """

    token: int
    number: int
    leaf: bytes
    claimant: str
    time: int
    status: ClaimStatus


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the registry.

    Attributes:
        name: its name in the ABI.
        args: its arguments by their names in the ABI; enums as words, addresses checksummed.
        block: number of its block.
        block_hash: hash of its block, 32 bytes.
        transaction: hash of its transaction, 32 bytes.
        index: its place among the block's logs.
    """

    name: str
    args: Mapping[str, Any]
    block: int
    block_hash: bytes
    transaction: bytes
    index: int


class Transport(Protocol):
    """Carries requests to a node of the chain."""

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC request, in JSON's types.

        Raises:
            TransportError: there is none. When the node answered with an error, the exception
                has `RpcError`'s attributes.
        """


class HttpTransport:
    """JSON-RPC over HTTP. Whatever stands in the URL beside the host is kept a secret."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        """Name the endpoint; nothing is sent yet.

        Args:
            url: ``http://`` or ``https://``.
            timeout: seconds for an answer.

        Raises:
            TransportError: the URL is no such URL.
        """
        self._client = Client("RPC endpoint", TransportError, timeout)
        self.host = self._client.host(url)
        self._url = url
        self._secrets = [part for part in re.split("[/?&=:@#]", url) if len(part) >= 8]
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        """Name the host alone."""
        return f"HttpTransport({self.host!r})"

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC request.

        Raises:
            RpcError: the node answered with an error, or with more than `MAX_ANSWER` bytes.
            TransportError: it did not answer, or with something else.
        """
        number = next(self._numbers)
        call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        status, body = self._post(call)
        answer = self._parse(status, body)
        if answer.get("error") is not None:
            raise self._rpc_error(answer["error"])
        if status != 200:
            raise self._no_use(meaning(status))
        if answer.get("id") != number or "result" not in answer:
            raise self._no_use("answers something else than it was asked")
        return answer["result"]

    def _post(self, call: Mapping[str, Any]) -> tuple[int, bytes]:
        answer = self._client.ask(self._url, json=call, limit=MAX_ANSWER)
        if answer.cut:
            raise RpcError(
                f"RPC endpoint {self.host} answers more than {MAX_ANSWER >> 20} MiB",
                code=_TOO_LARGE,
            )
        return answer.status, answer.body

    def _parse(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            return parse(body, "answer")
        except FormatError as error:
            said = "answers something that is not JSON-RPC" if status == 200 else meaning(status)
            raise self._no_use(said) from error

    def _rpc_error(self, error: Any) -> RpcError:
        fields = error if isinstance(error, dict) else {"message": error}
        code = fields.get("code")
        message = fields.get("message")
        message = message if isinstance(message, str) else _line(message)
        return RpcError(
            f"RPC endpoint {self.host} answers: {self._redacted(message)}",
            code=code if isinstance(code, int) else _INTERNAL,
            data=_hex_in(fields.get("data")) or _hex_in_lotus(message),
        )

    def _redacted(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "…")
        return _line(message)

    def _no_use(self, what: str) -> AlithisError:
        return self._client.no_use(self._url, what)


class Registry:
    """A registry contract on a chain."""

    def __init__(self, transport: Transport, address: str, chain_id: int | None = None) -> None:
        """Find the registry, and check that it is one.

        Args:
            transport: the way to a node.
            address: the contract's, ``0x`` and 40 hexadecimal digits.
            chain_id: the chain it should be on, if that is known.

        Raises:
            ChainError: the node serves another chain.
            NoRegistryError: there is no registry at the address.
            TransportError: the node gives no usable answer.
        """
        self._transport = transport
        self._block = "latest"
        self.address = _checksummed(address)
        self.chain_id = _quantity(self._request("eth_chainId", []), "eth_chainId")
        if chain_id is not None and chain_id != self.chain_id:
            raise ChainError(
                f"the RPC endpoint serves chain {self.chain_id}, not {chain_id}: "
                "name an endpoint of that chain"
            )
        if not self._is_registry():
            code = _bytes(self._request("eth_getCode", [self.address, "latest"]), "eth_getCode")
            found = "the contract is no Alithis registry" if code else "there is no contract"
            raise NoRegistryError(
                f"{self.address} on chain {self.chain_id}: {found}; check the address and the chain"
            )

    def pinned(self, block: int) -> Self:
        """Return the registry as it is after a block; public nodes know that of recent ones."""
        view = copy.copy(self)
        view._block = hex(block)
        return view

    def count(self) -> int:
        """Return how many tokens there are; their ids are 1 to this number."""
        return int(self._call("totalSupply"))

    def record(self, id: int) -> Record:
        """Return a token's record.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            return _record(id, self._call("record", id))

    def links(self, id: int) -> tuple[Link, ...]:
        """Return a token's links, in its publisher's order.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            return _links(self._call("links", id))

    def records(self, ids: Iterable[int]) -> Iterator[Record]:
        """Yield the records of tokens, with one request for a hundred of them.

        Raises:
            NoTokenError: one of the tokens does not exist.
        """
        for id, value in self._batched("record", ids):
            yield _record(id, value)

    def tokens(self) -> Iterator[Record]:
        """Yield the records of all tokens, in the order of their ids."""
        return self.records(self._ids(1))

    def all_links(self, first: int = 1) -> Iterator[tuple[int, tuple[Link, ...]]]:
        """Yield the tokens from an id on, each with its links: one request for a hundred of them.

        Links are read from the contract's state, not from its events: public nodes serve the
        events of the last days only.
        """
        for id, value in self._batched("links", self._ids(first)):
            yield id, _links(value)

    def linked_from(self, id: int) -> tuple[tuple[int, Link], ...]:
        """Return the newer tokens that link to a token, each with its link.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            self._call("links", id)
        return tuple(
            (newer, link)
            for newer, links in self.all_links(id + 1)
            for link in links
            if link.target == id
        )

    def claims(self, id: int) -> tuple[Claim, ...]:
        """Return the claims against a token, in their order.

        Claims are read from the contract's state, which lacks their texts: these are in the
        events ``Claimed`` and ``ClaimAnswered`` alone.

        Raises:
            NoTokenError: there is no such token.
        """
        count = self.record(id).claims
        if count > MAX_SCAN:
            raise RegistryError(f"{count} claims against token {id} are too many to go through")
        function = _interface().functions["claimOf"]
        numbers = range(1, count + 1)
        calls = (function.encode(id, number) for number in numbers)
        values = map(function.decode, self._many(calls))
        return tuple(
            _claim(id, number, value) for number, value in zip(numbers, values, strict=True)
        )

    def claim(self, id: int, number: int) -> Claim:
        """Return one claim against a token.

        Raises:
            NoTokenError: there is no such token.
            RegistryError: there is no such claim.
        """
        count = self.record(id).claims
        if not 1 <= number <= count:
            raise RegistryError(f"there is no claim {number} against token {id}: it has {count}")
        return _claim(id, number, self._call("claimOf", id, number))

    def is_derived_from(self, id: int, ancestor: int) -> bool:
        """Ask the contract whether links lead from a token to an older one it was made from.

        Raises:
            NoTokenError: there is no such token.
            RpcError: more tokens lie between the two than the contract walks through.
        """
        with _token(id, ancestor):
            return bool(self._call("isDerivedFrom", id, ancestor))

    def nonce(self, publisher: str) -> int:
        """Return a publisher's next nonce, which the next mint it signs must be over."""
        return int(self._call("nonces", _checksummed(publisher)))

    def token_uri(self, id: int) -> str:
        """Return the URI of a token's metadata: ``ipfs://f01551220`` and its SHA-256.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            uri = self._call("tokenURI", id)
        if not _URI.fullmatch(uri):
            raise RegistryError(f"tokenURI({id}): {_line(uri)!r} is not ipfs://f01551220…")
        return str(uri)

    def owners(self, ids: Iterable[int]) -> Iterator[tuple[int, str]]:
        """Yield tokens, each with the address that owns it: one request for a hundred of them.

        Raises:
            NoTokenError: one of the tokens does not exist.
        """
        return self._batched("ownerOf", ids)

    def owner_of(self, id: int) -> str:
        """Return the address that owns a token.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            return str(self._call("ownerOf", id))

    def verify_inclusion(self, id: int, leaf: bytes, index: int, path: Sequence[bytes]) -> bool:
        """Ask the contract whether a leaf is in a token's tree.

        Args:
            id: the token.
            leaf: 32 bytes.
            index: the leaf's place, from 0.
            path: the inclusion path, leaf to root, 32 bytes each.

        Raises:
            NoTokenError: there is no such token.
            ProofError: the leaf, index or path cannot even be written down for the contract.
        """
        _check_proof(index, leaf, *path)
        with _token(id):
            return bool(self._call("verifyInclusion", id, leaf, index, list(path)))

    def verify_exclusion(
        self,
        id: int,
        leaf: bytes,
        index: int,
        left: bytes | None,
        left_path: Sequence[bytes],
        right: bytes | None,
        right_path: Sequence[bytes],
    ) -> bool:
        """Ask the contract whether a leaf is absent from a token's tree.

        Args:
            id: the token.
            leaf: 32 bytes.
            index: where it would stand: 0 to the tree's size.
            left: the leaf before it, or None at the left edge.
            left_path: its inclusion path, leaf to root; empty at the left edge.
            right: the leaf after it, or None at the right edge.
            right_path: its inclusion path, leaf to root; empty at the right edge.

        Returns:
            Whether it is; False for every leaf once the token is known to be disordered.

        Raises:
            NoTokenError: there is no such token.
            ProofError: the proof cannot even be written down for the contract.
        """
        left, right = left or bytes(_WORD), right or bytes(_WORD)
        _check_proof(index, leaf, left, right, *left_path, *right_path)
        proof = (leaf, index, left, list(left_path), right, list(right_path))
        with _token(id):
            return bool(self._call("verifyExclusion", id, *proof))

    def events(
        self,
        name: str | None = None,
        *,
        from_block: int | None = None,
        to_block: int | None = None,
        **indexed: Any,
    ) -> Iterator[Event]:
        """Read the registry's events, in the chain's order.

        A range that the node refuses is halved until it is served.

        Args:
            name: the events' name in the ABI; by default all.
            from_block: the first block; by default the one the contract was deployed in.
            to_block: the last block; by default the chain's last.
            **indexed: values that indexed arguments of the named event must have.

        Raises:
            RegistryError: the node gives no usable answer, or none for so old events.
            ValueError: there is no such event, or it has no such indexed argument.
        """
        topics = _interface().topics(name, indexed)
        return self._events(topics, from_block, to_block)

    def _events(
        self, topics: list[Any], from_block: int | None, to_block: int | None
    ) -> Iterator[Event]:
        first = self.deployment_block() if from_block is None else from_block
        last = self.last_block() if to_block is None else to_block
        ranges = [(first, last)] if first <= last else []
        queries = 0
        while ranges:
            first, last = ranges.pop()
            queries += 1
            if queries > _MAX_QUERIES:
                raise RegistryError(
                    "the RPC endpoint serves events in too small pieces: use another"
                )
            try:
                logs = self._logs(first, last, topics)
            except TransportError as error:
                # Nodes have no common code for a range that is too large, nor for too many logs.
                if getattr(error, "code", None) is None or first == last:
                    raise
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]
                continue
            yield from logs

    def _logs(self, first: int, last: int, topics: list[Any]) -> list[Event]:
        query = {
            "address": self.address,
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "topics": topics,
        }
        logs = self._request("eth_getLogs", [query])
        if not isinstance(logs, list):
            _fail("eth_getLogs", logs)
        events = [
            self._event(log, topics) for log in logs if _field(log, "removed", False) is not True
        ]
        places = [(event.block, event.index) for event in events]
        if any(not first <= block <= last for block, _ in places):
            raise RegistryError("eth_getLogs: events from outside the blocks that were asked for")
        if sorted(set(places)) != places:
            raise RegistryError("eth_getLogs: events twice, or not in the chain's order")
        return events

    def _event(self, log: Any, topics: list[Any]) -> Event:
        if str(_field(log, "address")).lower() != self.address.lower():
            raise RegistryError("eth_getLogs: an event of another contract")
        found = _field(log, "topics")
        if not isinstance(found, list) or not _match(found, topics):
            raise RegistryError("eth_getLogs: an event that was not asked for")
        name, args = _interface().event(found, _bytes(_field(log, "data"), "eth_getLogs"))
        return Event(
            name,
            args,
            _quantity(_field(log, "blockNumber"), "eth_getLogs"),
            _hash(_field(log, "blockHash")),
            _hash(_field(log, "transactionHash")),
            _quantity(_field(log, "logIndex"), "eth_getLogs"),
        )

    def deployment_block(self) -> int:
        """Return the number of the block in which the contract was deployed."""
        return int(self._call("deploymentBlock"))

    def last_block(self) -> int:
        """Return the number of the chain's last block."""
        return _quantity(self._request("eth_blockNumber", []), "eth_blockNumber")

    def block_hash(self, number: int) -> bytes | None:
        """Return a block's hash, 32 bytes; None while the chain has no such block."""
        block = self._request("eth_getBlockByNumber", [hex(number), False])
        if block is None:
            return None
        if _quantity(_field(block, "number"), "eth_getBlockByNumber") != number:
            raise RegistryError("eth_getBlockByNumber: another block than was asked for")
        return _hash(_field(block, "hash"))

    def _is_registry(self) -> bool:
        interface = bytes.fromhex(artifact()["interfaceId"].removeprefix("0x"))
        try:
            # ERC-165: a contract that claims 0xffffffff too would say yes to anything.
            return bool(self._call("supportsInterface", interface)) and not self._call(
                "supportsInterface", b"\xff\xff\xff\xff"
            )
        except TransportError as error:
            if getattr(error, "code", None) is None:
                raise
        except RegistryError:
            pass
        return False  # it reverted, or gave no boolean

    def _ids(self, first: int) -> range:
        count = self.count()
        if count > MAX_SCAN:
            raise RegistryError(f"{count} tokens are too many to go through one by one")
        return range(first, count + 1)

    def _batched(self, name: str, ids: Iterable[int]) -> Iterator[tuple[int, Any]]:
        function = _interface().functions[name]
        remaining = iter(ids)
        while batch := list(itertools.islice(remaining, _BATCH)):
            with _token(*batch):
                parts = list(self._many(function.encode(id) for id in batch))
            yield from zip(batch, map(function.decode, parts), strict=True)

    def _many(self, calls: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what calls return, with one request for a hundred of them."""
        remaining = iter(calls)
        while batch := list(itertools.islice(remaining, _BATCH)):
            yield from _split(self._returned("multicall", batch), len(batch))

    def _call(self, name: str, *args: Any) -> Any:
        return _interface().functions[name].decode(self._returned(name, *args))

    def _returned(self, name: str, *args: Any) -> bytes:
        data = "0x" + _interface().functions[name].encode(*args).hex()
        result = self._request("eth_call", [{"to": self.address, "data": data}, self._block])
        return _bytes(result, name)

    def _request(self, method: str, params: list[Any]) -> Any:
        try:
            return self._transport.request(method, params)
        except RegistryError:
            raise
        except Exception as error:  # a foreign transport has exceptions of its own
            data = _hex_in(getattr(error, "data", None))
            raise RpcError(f"{method}: {_line(error)}", code=_INTERNAL, data=data) from error


_TOO_LARGE = -32005  # EIP-1474: limit exceeded
_INTERNAL = -32603
_TERMS = {term.__name__: tuple(term) for term in (Kind, Scheme, Relation, ClaimStatus)}


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[Mapping[str, Any], ...]

    def encode(self, *args: Any) -> bytes:
        from eth_abi.abi import encode

        return self.selector + encode(self.inputs, args)

    def decode(self, data: bytes) -> Any:
        """Return the function's only result."""
        if _type(self.outputs[0]).endswith("[]"):
            _check_length(data, self.name)
        (value,) = _decode(self.outputs, data, self.name)
        return value


class _Interface:
    """The contract's ABI, ready for use."""

    def __init__(self, abi: Sequence[Mapping[str, Any]]) -> None:
        from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

        functions = (entry for entry in abi if entry["type"] == "function")
        self.functions = {
            entry["name"]: _Function(
                entry["name"],
                function_abi_to_4byte_selector(entry),  # type: ignore[arg-type]
                tuple(_type(param) for param in entry["inputs"]),
                tuple(entry["outputs"]),
            )
            for entry in functions
        }
        self._events = {
            _to_hex(event_abi_to_log_topic(entry)): entry  # type: ignore[arg-type]
            for entry in abi
            if entry["type"] == "event"
        }

    def topics(self, name: str | None, indexed: Mapping[str, Any]) -> list[Any]:
        """Write a log query's topics."""
        if name is None and not indexed:
            return [sorted(self._events)]
        for topic, entry in self._events.items():
            if entry["name"] == name:
                return [topic, *_argument_topics(entry, indexed)]
        raise ValueError(f"the registry has no event {name!r}")

    def event(self, topics: list[str], data: bytes) -> tuple[str, dict[str, Any]]:
        """Decode a log whose first topic is one of the contract's."""
        entry = self._events[topics[0].lower()]
        name, inputs = entry["name"], entry["inputs"]
        indexed = [param for param in inputs if param["indexed"]]
        if len(indexed) != len(topics) - 1:
            raise RegistryError(f"{name}: {len(topics)} topics instead of {len(indexed) + 1}")
        others = [param for param in inputs if not param["indexed"]]
        values = iter(_decode(indexed, b"".join(_hash(topic) for topic in topics[1:]), name))
        rest = iter(_decode(others, data, name))
        return name, {param["name"]: next(values if param["indexed"] else rest) for param in inputs}


@cache
def _interface() -> _Interface:
    return _Interface(artifact()["abi"])


def _type(param: Mapping[str, Any]) -> str:
    from eth_utils.abi import collapse_if_tuple

    return collapse_if_tuple(param)  # type: ignore[arg-type]


def _argument_topics(entry: Mapping[str, Any], indexed: Mapping[str, Any]) -> list[str | None]:
    params = [param for param in entry["inputs"] if param["indexed"]]
    if unknown := set(indexed) - {param["name"] for param in params}:
        raise ValueError(f"event {entry['name']} has no indexed {', '.join(sorted(unknown))}")
    topics = [_argument_topic(param, indexed.get(param["name"])) for param in params]
    while topics and topics[-1] is None:
        topics.pop()
    return topics


def _argument_topic(param: Mapping[str, Any], value: Any) -> str | None:
    from eth_abi.abi import encode
    from eth_abi.exceptions import EncodingError

    if value is None:
        return None
    try:
        topic = encode([param["type"]], [value.number if isinstance(value, _Term) else value])
    except EncodingError as error:
        raise ValueError(f"{param['name']}: {_line(value)} is no {param['type']}") from error
    if param["type"] == "bytes32" and topic != value:  # a shorter value would be padded
        raise ValueError(f"{param['name']}: {_line(value)} has not 32 bytes")
    return _to_hex(topic)


def _match(found: list[Any], asked: list[Any]) -> bool:
    """Tell whether a log's topics are what a query asked for."""
    if len(found) < len(asked) or not all(isinstance(topic, str) for topic in found):
        return False
    return all(
        want is None or topic.lower() in (want if isinstance(want, list) else [want])
        for topic, want in zip(found, asked, strict=False)
    )


def _decode(params: Sequence[Mapping[str, Any]], data: bytes, name: str) -> list[Any]:
    """Decode what must be the canonical encoding of values, and give them our types."""
    from eth_abi.abi import decode, encode
    from eth_abi.exceptions import DecodingError

    types = [_type(param) for param in params]
    try:
        values = decode(types, data)
        canonical = encode(types, values) == data
    except (DecodingError, ValueError, OverflowError) as error:
        raise RegistryError(f"{name}: the node answers {_shown(data)}") from error
    if not canonical:
        raise RegistryError(f"{name}: the node answers {_shown(data)}")
    return [_typed(param, value) for param, value in zip(params, values, strict=True)]


def _check_length(data: bytes, name: str) -> None:
    """Check the length that an encoded array states: eth-abi would count up to it, however long."""
    offset, length = data[:_WORD], data[_WORD : 2 * _WORD]
    if int.from_bytes(offset) != _WORD or int.from_bytes(length) * _WORD > len(data):
        raise RegistryError(f"{name}: the node answers {_shown(data)}")


def _typed(param: Mapping[str, Any], value: Any) -> Any:
    """Give a decoded value its type: enums and addresses in words, structs as dictionaries."""
    kind: str = param["type"]
    if kind.endswith("[]"):
        element = {**param, "type": kind[:-2]}
        return [_typed(element, item) for item in value]
    if kind == "tuple":
        parts = zip(param["components"], value, strict=True)
        return {part["name"]: _typed(part, item) for part, item in parts}
    if kind == "address":
        return _checksummed(value)
    internal = param.get("internalType", "")
    enum = internal.rpartition(".")[2] if internal.startswith("enum ") else ""
    return _term(enum, value) if enum in _TERMS else value


def _term(enum: str, number: int) -> _Term:
    terms = _TERMS[enum]
    if number >= len(terms):
        raise RegistryError(f"{enum} {number} is not one that this release knows: upgrade alithis")
    return terms[number]


def _record(id: int, value: Mapping[str, Any]) -> Record:
    return Record(
        id=id,
        kind=value["kind"],
        scheme=value["scheme"],
        size=value["size"],
        root=value["root"],
        metadata_digest=value["metadataDigest"],
        publisher=value["publisher"],
        time=value["time"],
        superseded_by=value["supersededBy"] or None,
        withdrawn=value["withdrawn"],
        disordered=value["disordered"],
        attestations=value["attestations"],
        claims=value["claims"],
        open_claims=value["openClaims"],
    )


def _links(values: Iterable[Mapping[str, Any]]) -> tuple[Link, ...]:
    return tuple(
        Link(value["target"], value["relation"], value["countersigned"]) for value in values
    )


def _claim(id: int, number: int, value: Mapping[str, Any]) -> Claim:
    return Claim(
        token=id,
        number=number,
        leaf=value["leaf"],
        claimant=value["claimant"],
        time=value["time"],
        status=value["status"],
    )


def _check_proof(index: int, *hashes: bytes) -> None:
    """Check what cannot even be written down for the contract."""
    if any(len(value) != _WORD for value in hashes):
        raise ProofError("a leaf, and each hash of a path, has 32 bytes")
    if not 0 <= index < 1 << 256:
        raise ProofError(f"index {index} is out of range")


def _split(data: bytes, count: int) -> list[bytes]:
    """Decode ``bytes[]`` of a known length.

    A general decoder lets every element point to the same bytes, so that a small answer fills
    the memory. Here each must begin where the one before it ends.
    """
    head, end = 2 * _WORD, (2 + count) * _WORD
    words = [int.from_bytes(data[at : at + _WORD]) for at in range(0, end, _WORD)]
    items = []
    for start in words[2:]:
        length = int.from_bytes(data[end : end + _WORD])
        if start + head != end or length > len(data):
            break
        items.append(data[end + _WORD : end + _WORD + length])
        end += _WORD + -(-length // _WORD) * _WORD
    if words[:2] != [_WORD, count] or len(items) != count or end != len(data):
        raise RegistryError(f"multicall: the node answers {_shown(data)}")
    return items


@contextmanager
def _token(*ids: int) -> Iterator[None]:
    """Turn the contract's refusal of an unknown token into ours."""
    for id in ids:
        if not 1 <= id < 1 << 256:
            raise NoTokenError(f"the registry holds no token {id}: they count from 1")
    try:
        yield
    except TransportError as error:
        data = _hex_in(getattr(error, "data", None))
        if data is None or not re.fullmatch(_nonexistent() + "[0-9a-f]{64}", data):
            raise
        raise NoTokenError(f"the registry holds no token {int(data[-64:], 16)}") from error


@cache
def _nonexistent() -> str:
    from eth_utils.abi import function_signature_to_4byte_selector

    return _to_hex(function_signature_to_4byte_selector("ERC721NonexistentToken(uint256)"))


def _checksummed(address: str) -> str:
    from eth_utils.address import to_checksum_address

    digits = address.removeprefix("0x")
    if re.fullmatch("0x[0-9a-fA-F]{40}", address):
        checksummed = to_checksum_address(address)
        if address == checksummed or digits in (digits.lower(), digits.upper()):
            return checksummed
    raise RegistryError(
        f"{_line(address)!r} is not an address: 0x and 40 hexadecimal digits, "
        "with EIP-55's capitals or all of one case"
    )


def _field(log: Any, name: str, *default: Any) -> Any:
    if not isinstance(log, Mapping) or not (name in log or default):
        raise RegistryError(f"the node answers a log or block without {name}")
    return log.get(name, *default)


def _quantity(value: Any, what: str) -> int:
    if not isinstance(value, str) or not re.fullmatch("0x[0-9a-fA-F]{1,64}", value):
        _fail(what, value)
    return int(value, 16)


def _bytes(value: Any, what: str) -> bytes:
    if isinstance(value, str) and len(value) > 2 * _MAX_RETURN:
        raise RegistryError(f"{what}: the node answers {len(value) // 2} bytes, which is too much")
    if not isinstance(value, str) or len(value) % 2 or not re.fullmatch("0x[0-9a-fA-F]*", value):
        _fail(what, value)
    return bytes.fromhex(value[2:])


def _hash(value: Any) -> bytes:
    data = _bytes(value, "eth_getLogs")
    if len(data) != _WORD:
        raise RegistryError(f"eth_getLogs: {_shown(data)} is no hash")
    return data


def _fail(what: str, value: Any) -> NoReturn:
    raise RegistryError(f"{what}: the node answers {_line(value)}")


def _to_hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def _hex_in(data: Any) -> str | None:
    """Find revert data: nodes put it into ``data``, or a ``data`` within that."""
    if isinstance(data, Mapping):
        data = data.get("data")
    if isinstance(data, str) and re.fullmatch("0x[0-9a-fA-F]*", data):
        return data.lower()
    return None


def _hex_in_lotus(message: str) -> str | None:
    """Find revert data where older Filecoin nodes put it: in the message, in brackets."""
    found = re.search(r"\[(0x[0-9a-fA-F]{8,})\]", message)
    return found[1].lower() if found else None


def _shown(data: bytes) -> str:
    return f"{len(data)} bytes that do not decode" if data else "nothing"


def _line(value: Any) -> str:
    """Show foreign text on one line, without what a terminal would obey."""
    if isinstance(value, list | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    text = "".join(c if c.isprintable() else " " for c in str(value)[:1000])
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:199]}…"
