"""The contract's ABI, and contract objects with the same interface as Ape's, without Ape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol

from eth_abi import decode, encode
from eth_utils import keccak, to_checksum_address
from eth_utils.abi import (
    collapse_if_tuple,
    event_abi_to_log_topic,
    function_abi_to_4byte_selector,
    function_signature_to_4byte_selector,
)

from alithis.chain.contract import artifact
from helpers import registry_model as model


class Account(str):
    """An address."""

    __slots__ = ()

    @property
    def address(self) -> str:
        """The address; Ape's accounts have this attribute."""
        return str(self)


def address_of(name: str) -> Account:
    """Returns some address, the same for the same name."""
    return Account(to_checksum_address(keccak(text=name)[12:]))


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the contract."""

    entry: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.entry["name"]

    @property
    def selector(self) -> bytes:
        return function_abi_to_4byte_selector(self.entry)

    def types(self, side: str) -> list[str]:
        return [collapse_if_tuple(param) for param in self.entry[side]]

    def encode_input(self, *args: Any) -> bytes:
        return self.selector + encode(self.types("inputs"), args)

    def encode_output(self, value: Any) -> bytes:
        return encode(self.types("outputs"), [value] if self.entry["outputs"] else [])

    def decode_output(self, data: bytes) -> Any:
        if not self.entry["outputs"]:
            return None
        (value,) = decode(self.types("outputs"), data)
        return _named(self.entry["outputs"][0], value)


@cache
def functions() -> dict[str, Function]:
    entries = [entry for entry in artifact()["abi"] if entry["type"] == "function"]
    return {entry["name"]: Function(entry) for entry in entries}


@cache
def by_selector() -> dict[bytes, Function]:
    return {function.selector: function for function in functions().values()}


@cache
def _entries(kind: str) -> dict[str, Mapping[str, Any]]:
    return {entry["name"]: entry for entry in artifact()["abi"] if entry["type"] == kind}


def _named(param: Mapping[str, Any], value: Any) -> Any:
    """Gives structs their fields' names, and addresses their checksum."""
    kind = param["type"]
    if kind.endswith("[]"):
        return [_named({**param, "type": kind[:-2]}, each) for each in value]
    if kind == "tuple":
        parts = zip(param["components"], value, strict=True)
        return SimpleNamespace(**{part["name"]: _named(part, each) for part, each in parts})
    return to_checksum_address(value) if kind == "address" else value


def revert_data(error: model.RefusedError) -> bytes:
    """Returns what the contract reverts with."""
    inputs = _entries("error")[error.error]["inputs"]
    types = [param["type"] for param in inputs]
    selector = function_signature_to_4byte_selector(f"{error.error}({','.join(types)})")
    return selector + encode(types, [error.values[param["name"]] for param in inputs])


def log_fields(log: model.Log) -> dict[str, Any]:
    """Returns an event's topics and data, as a node writes them."""
    entry = _entries("event")[log.name]
    sides: dict[bool, list[Mapping[str, Any]]] = {True: [], False: []}
    for param in entry["inputs"]:
        sides[param["indexed"]].append(param)
    topics = [encode([param["type"]], [log.args[param["name"]]]) for param in sides[True]]
    types = [param["type"] for param in sides[False]]
    data = encode(types, [log.args[param["name"]] for param in sides[False]])
    return {
        "topics": [to_hex(event_abi_to_log_topic(entry)), *map(to_hex, topics)],
        "data": to_hex(data),
    }


def to_hex(data: bytes) -> str:
    """Returns bytes as JSON-RPC writes them."""
    return f"0x{data.hex()}"


# -- Contracts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of a mined transaction."""

    txn_hash: str
    block_number: int
    timestamp: int


class Chain(Protocol):
    """The chain that a contract is on."""

    def send(self, to: str, data: bytes, sender: str) -> Receipt:
        """Mines a transaction."""

    def read(self, to: str, data: bytes) -> bytes:
        """Returns the result of a call in the state after the last block."""


class Contract:
    """A registry: its functions are methods, and a transaction names its sender.

    Ape's contracts are called in the same way, so that a test reads the same with either.
    """

    def __init__(self, chain: Chain, address: str) -> None:
        self.chain, self.address = chain, address

    def __getattr__(self, name: str) -> _Method:
        if name not in functions():
            raise AttributeError(name)
        return _Method(self, functions()[name])


@dataclass(frozen=True, slots=True)
class _Method:
    contract: Contract
    function: Function

    def encode_input(self, *args: Any) -> bytes:
        return self.function.encode_input(*args)

    def call(self, *args: Any) -> Any:
        """Returns what a call returns, and changes nothing."""
        return self(*args)

    def __call__(self, *args: Any, sender: str | None = None) -> Any:
        chain, data = self.contract.chain, self.function.encode_input(*args)
        if sender is not None:
            return chain.send(self.contract.address, data, sender)
        return self.function.decode_output(chain.read(self.contract.address, data))
