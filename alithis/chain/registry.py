"""Reads the registry contract over JSON-RPC: records, links, events.

Any transport with a method ``request(method, params)`` can be used. Answers are untrusted: each is
decoded with the contract's ABI and must encode to exactly the same bytes again; otherwise it is a
`RegistryError`. A node can still lie about the chain's state. If you cannot accept that, run your
own node.

Sources: the Ethereum JSON-RPC specification, the Solidity contract ABI specification,
`contracts/IAlithis.sol`.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

from alithis.base.text import one_line
from alithis.chain.abi import interface, record_of, split_multicall, topics_match
from alithis.chain.contract import artifact
from alithis.chain.records import Claim, Event, Link, Record
from alithis.chain.rpc import INTERNAL_ERROR, Transport
from alithis.chain.values import (
    WORD,
    checksum_address,
    field,
    parse_data,
    parse_hash,
    parse_quantity,
    revert_data,
    to_hex,
    unusable,
)
from alithis.errors import (
    ChainError,
    NoRegistryError,
    NoTokenError,
    ProofError,
    RegistryError,
    RpcError,
    TransportError,
)

MAX_SCAN = 1 << 20
"""Maximum number of tokens that are read in a scan of the whole registry."""
_MAX_QUERIES = 20_000  # requests for logs in one call of `events`
_BATCH = 100  # tokens, or claims, in one eth_call
_LOGS, _BLOCK = "eth_getLogs", "eth_getBlockByNumber"
_URI = re.compile(r"ipfs://f01551220[0-9a-f]{64}")


class Registry:
    """A registry contract on a chain."""

    def __init__(self, transport: Transport, address: str, chain_id: int | None = None) -> None:
        """Find the registry, and check that it is one.

        Args:
            transport: sends requests to a node.
            address: the contract's, ``0x`` and 40 hexadecimal digits.
            chain_id: the chain that it must be on; None for any chain.

        Raises:
            ChainError: the node serves another chain.
            NoRegistryError: there is no registry at the address.
            TransportError: the node gives no usable answer.
        """
        self._transport = transport
        self._block = "latest"
        self.address = checksum_address(address)
        self.chain_id = parse_quantity(self._request("eth_chainId", []), "eth_chainId")
        if chain_id is not None and chain_id != self.chain_id:
            raise ChainError(
                f"the RPC endpoint serves chain {self.chain_id}, not {chain_id}: "
                "use an endpoint for that chain"
            )
        if not self._is_registry():
            code = parse_data(self._request("eth_getCode", [self.address, "latest"]), "eth_getCode")
            found = "the contract is not an Alithis registry" if code else "there is no contract"
            raise NoRegistryError(
                f"{self.address} on chain {self.chain_id}: {found}. Check the address and the chain"
            )

    def pinned(self, block: int) -> Self:
        """Return the registry as it is after a block; public nodes have only recent states."""
        view = copy.copy(self)
        view._block = hex(block)
        return view

    def count(self) -> int:
        """Return the number of tokens; their ids are 1 to this number."""
        return int(self._call("totalSupply"))

    def record(self, id: int) -> Record:
        """Return a token's record.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            return record_of(id, self._call("record", id))

    def links(self, id: int) -> tuple[Link, ...]:
        """Return a token's links, in the publisher's order.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            return _links(self._call("links", id))

    def records(self, ids: Iterable[int]) -> Iterator[Record]:
        """Yield the records of tokens, with one request per hundred.

        Raises:
            NoTokenError: one of the tokens does not exist.
        """
        for id, value in self._batched("record", ids):
            yield record_of(id, value)

    def tokens(self) -> Iterator[Record]:
        """Yield the records of all tokens, in the order of their ids."""
        return self.records(self._ids(1))

    def all_links(self, first: int = 1) -> Iterator[tuple[int, tuple[Link, ...]]]:
        """Yield the tokens from an id on, each with its links, with one request per hundred.

        Links are read from the contract's state, not from its events: public nodes serve only the
        events of the last days.
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
        """Return the claims against a token, in order.

        Claims are read from the contract's state, which does not contain their texts: these are
        only in the events ``Claimed`` and ``ClaimAnswered``.

        Raises:
            NoTokenError: there is no such token.
        """
        count = self.record(id).claims
        if count > MAX_SCAN:
            raise RegistryError(
                f"token {id} has {count:,} claims; at most {MAX_SCAN:,} can be read"
            )
        function = interface().functions["claimOf"]
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
            raise RegistryError(
                f"there is no claim {number} against token {id}; it has {count} claims"
            )
        return _claim(id, number, self._call("claimOf", id, number))

    def is_derived_from(self, id: int, ancestor: int) -> bool:
        """Ask the contract whether links of derivation lead from a token to an older one.

        Raises:
            NoTokenError: there is no such token.
            RpcError: there are more tokens between the two than the contract searches.
        """
        with _token(id, ancestor):
            return bool(self._call("isDerivedFrom", id, ancestor))

    def nonce(self, publisher: str) -> int:
        """Return the nonce for the next mint that a publisher signs."""
        return int(self._call("nonces", checksum_address(publisher)))

    def token_uri(self, id: int) -> str:
        """Return the URI of a token's metadata: ``ipfs://f01551220`` and its SHA-256.

        Raises:
            NoTokenError: there is no such token.
        """
        with _token(id):
            uri = self._call("tokenURI", id)
        if not _URI.fullmatch(uri):
            raise RegistryError(f"tokenURI({id}): {one_line(uri)!r} is not ipfs://f01551220…")
        return str(uri)

    def owners(self, ids: Iterable[int]) -> Iterator[tuple[int, str]]:
        """Yield tokens, each with its owner's address, with one request per hundred.

        Raises:
            NoTokenError: one of the tokens does not exist.
        """
        return self._batched("ownerOf", ids)

    def owner_of(self, id: int) -> str:
        """Return the address of a token's owner.

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
            index: the leaf's position, from 0.
            path: the inclusion path, leaf to root, 32 bytes each.

        Raises:
            NoTokenError: there is no such token.
            ProofError: leaf, index or path do not fit the contract's types.
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
            index: where it would be: 0 to the tree's size.
            left: the leaf before it; None at the left edge.
            left_path: that leaf's inclusion path, leaf to root; empty at the left edge.
            right: the leaf after it; None at the right edge.
            right_path: that leaf's inclusion path, leaf to root; empty at the right edge.

        Returns:
            Whether the leaf is absent; False for every leaf if the token was proved to be
            disordered.

        Raises:
            NoTokenError: there is no such token.
            ProofError: the proof does not fit the contract's types.
        """
        left, right = left or bytes(WORD), right or bytes(WORD)
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

        If the node refuses a range of blocks, the range is halved until the node accepts it.

        Args:
            name: the events' name in the ABI; by default all events.
            from_block: the first block; by default the block in which the contract was deployed.
            to_block: the last block; by default the chain's last one.
            **indexed: the values to look for in indexed arguments of the named event.

        Raises:
            RegistryError: the node gives no usable answer, or does not serve such old events.
            ValueError: there is no such event, or it has no such indexed argument.
        """
        topics = interface().topics(name, indexed)
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
                    "the RPC endpoint serves too few blocks at a time: use another endpoint"
                )
            try:
                logs = self._logs(first, last, topics)
            except TransportError as error:
                # Nodes have no common error code for too many blocks or logs, so any error of the
                # node itself (one with a code) is taken for that.
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
        logs = self._request(_LOGS, [query])
        if not isinstance(logs, list):
            raise unusable(_LOGS, logs)
        events = [
            self._event(log, topics)
            for log in logs
            if field(log, "removed", _LOGS, False) is not True
        ]
        places = [(event.block, event.index) for event in events]
        if any(not first <= block <= last for block, _ in places):
            raise RegistryError(
                f"{_LOGS}: the node returned events of blocks that were not requested"
            )
        if sorted(set(places)) != places:
            raise RegistryError(f"{_LOGS}: the node returned events twice, or out of order")
        return events

    def _event(self, log: Any, topics: list[Any]) -> Event:
        if str(field(log, "address", _LOGS)).lower() != self.address.lower():
            raise RegistryError(f"{_LOGS}: the node returned an event of another contract")
        found = field(log, "topics", _LOGS)
        if not isinstance(found, list) or not topics_match(found, topics):
            raise RegistryError(f"{_LOGS}: the node returned an event that was not requested")
        name, args = interface().event(found, parse_data(field(log, "data", _LOGS), _LOGS))
        return Event(
            name,
            args,
            parse_quantity(field(log, "blockNumber", _LOGS), _LOGS),
            parse_hash(field(log, "blockHash", _LOGS), _LOGS),
            parse_hash(field(log, "transactionHash", _LOGS), _LOGS),
            parse_quantity(field(log, "logIndex", _LOGS), _LOGS),
        )

    def deployment_block(self) -> int:
        """Return the number of the block in which the contract was deployed."""
        return int(self._call("deploymentBlock"))

    def last_block(self) -> int:
        """Return the number of the chain's last block."""
        return parse_quantity(self._request("eth_blockNumber", []), "eth_blockNumber")

    def block_hash(self, number: int) -> bytes | None:
        """Return a block's hash, 32 bytes; None if the chain has no such block yet."""
        block = self._request(_BLOCK, [hex(number), False])
        if block is None:
            return None
        if parse_quantity(field(block, "number", _BLOCK), _BLOCK) != number:
            raise RegistryError(f"{_BLOCK}: the node returned another block than {number}")
        return parse_hash(field(block, "hash", _BLOCK), _BLOCK)

    def _is_registry(self) -> bool:
        interface = bytes.fromhex(artifact()["interfaceId"].removeprefix("0x"))
        try:
            # ERC-165 requires False for 0xffffffff: a contract that answers True to everything,
            # such as one with a fallback function, does not implement the interface.
            return bool(self._call("supportsInterface", interface)) and not self._call(
                "supportsInterface", b"\xff\xff\xff\xff"
            )
        except TransportError as error:
            if getattr(error, "code", None) is None:
                raise
        except RegistryError:
            pass
        return False  # it reverted, or did not return a boolean

    def _ids(self, first: int) -> range:
        count = self.count()
        if count > MAX_SCAN:
            raise RegistryError(
                f"the registry has {count:,} tokens; at most {MAX_SCAN:,} can be read one by one"
            )
        return range(first, count + 1)

    def _batched(self, name: str, ids: Iterable[int]) -> Iterator[tuple[int, Any]]:
        function = interface().functions[name]
        remaining = iter(ids)
        while batch := list(itertools.islice(remaining, _BATCH)):
            with _token(*batch):
                parts = list(self._many(function.encode(id) for id in batch))
            yield from zip(batch, map(function.decode, parts), strict=True)

    def _many(self, calls: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the results of calls, with one request per hundred."""
        remaining = iter(calls)
        while batch := list(itertools.islice(remaining, _BATCH)):
            yield from split_multicall(self._returned("multicall", batch), len(batch))

    def _call(self, name: str, *args: Any) -> Any:
        return interface().functions[name].decode(self._returned(name, *args))

    def _returned(self, name: str, *args: Any) -> bytes:
        data = "0x" + interface().functions[name].encode(*args).hex()
        result = self._request("eth_call", [{"to": self.address, "data": data}, self._block])
        return parse_data(result, name)

    def _request(self, method: str, params: list[Any]) -> Any:
        try:
            return self._transport.request(method, params)
        except RegistryError:
            raise
        except Exception as error:  # other transports raise exceptions of their own
            data = revert_data(getattr(error, "data", None))
            raise RpcError(
                f"{method}: {one_line(error)}", code=INTERNAL_ERROR, data=data
            ) from error


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
    """Check only that a proof fits the contract's types; the contract itself checks the proof."""
    if any(len(value) != WORD for value in hashes):
        raise ProofError("a leaf, or a hash of a path, does not have 32 bytes")
    if not 0 <= index < 1 << 256:
        raise ProofError(f"index {index} is out of range")


@contextmanager
def _token(*ids: int) -> Iterator[None]:
    """Translate the contract's error for a token that does not exist."""
    for id in ids:
        if not 1 <= id < 1 << 256:
            raise NoTokenError(f"the registry has no token {id}: tokens are numbered from 1")
    try:
        yield
    except TransportError as error:
        data = revert_data(getattr(error, "data", None))
        if data is None or not re.fullmatch(_nonexistent() + "[0-9a-f]{64}", data):
            raise
        raise NoTokenError(f"the registry has no token {int(data[-64:], 16)}") from error


@cache
def _nonexistent() -> str:
    from eth_utils.abi import function_signature_to_4byte_selector

    return to_hex(function_signature_to_4byte_selector("ERC721NonexistentToken(uint256)"))
