"""The contract's functions, events and errors, encoded and decoded by its ABI.

Answers of a node are untrusted. A decoded value must encode to exactly the same bytes again: the
ABI allows many encodings of a value, and with some of them a small answer makes a decoder use much
memory.

Source: the Solidity contract ABI specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from alithis.base.text import one_line
from alithis.chain.contract import artifact
from alithis.chain.records import Record
from alithis.chain.values import WORD, checksum_address, parse_hash, to_hex, undecodable
from alithis.errors import RegistryError
from alithis.manifest.terms import ClaimStatus, Kind, Relation, Scheme, Term

_TERMS = {term.__name__: tuple(term) for term in (Kind, Scheme, Relation, ClaimStatus)}


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the contract.

    Attributes:
        name: its name.
        selector: the first 4 bytes of a call.
        inputs: the types of its arguments.
        outputs: the ABI of its results.
    """

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[Mapping[str, Any], ...]

    def encode(self, *args: Any) -> bytes:
        """Return the data of a call."""
        from eth_abi.abi import encode

        return self.selector + encode(self.inputs, args)

    def decode(self, data: bytes) -> Any:
        """Return the function's only result."""
        if _type(self.outputs[0]).endswith("[]"):
            _check_length(data, self.name)
        (value,) = _decode(self.outputs, data, self.name)
        return value


class Interface:
    """The contract's ABI."""

    def __init__(self, abi: Sequence[Mapping[str, Any]]) -> None:
        """Index the functions, events and errors of an ABI."""
        from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

        functions = (entry for entry in abi if entry["type"] == "function")
        self.functions = {
            entry["name"]: Function(
                entry["name"],
                function_abi_to_4byte_selector(entry),  # type: ignore[arg-type]
                tuple(_type(param) for param in entry["inputs"]),
                tuple(entry["outputs"]),
            )
            for entry in functions
        }
        self._events = {
            to_hex(event_abi_to_log_topic(entry)): entry  # type: ignore[arg-type]
            for entry in abi
            if entry["type"] == "event"
        }
        # Errors have selectors like functions (Solidity's ABI specification, "Errors").
        self._errors = {
            function_abi_to_4byte_selector({**entry, "type": "function"}): entry  # type: ignore[arg-type]
            for entry in abi
            if entry["type"] == "error"
        }

    def topics(self, name: str | None, indexed: Mapping[str, Any]) -> list[Any]:
        """Return the topics of a log query.

        Args:
            name: the event; None for all events.
            indexed: the values to look for in its indexed arguments.

        Raises:
            ValueError: there is no such event, or it has no such indexed argument.
        """
        if name is None and not indexed:
            return [sorted(self._events)]
        for topic, entry in self._events.items():
            if entry["name"] == name:
                return [topic, *_argument_topics(entry, indexed)]
        raise ValueError(f"the registry has no event {name!r}")

    def event(self, topics: list[str], data: bytes) -> tuple[str, dict[str, Any]]:
        """Decode a log of one of the contract's events: its name and arguments."""
        entry = self._events[topics[0].lower()]
        name, inputs = entry["name"], entry["inputs"]
        indexed = [param for param in inputs if param["indexed"]]
        if len(indexed) != len(topics) - 1:
            raise RegistryError(
                f"{name}: the node gave {len(topics)} topics, not {len(indexed) + 1}"
            )
        others = [param for param in inputs if not param["indexed"]]
        hashes = b"".join(parse_hash(topic, "eth_getLogs") for topic in topics[1:])
        values = iter(_decode(indexed, hashes, name))
        rest = iter(_decode(others, data, name))
        return name, {param["name"]: next(values if param["indexed"] else rest) for param in inputs}

    def refusal(self, data: str | None) -> str | None:
        """Describe the contract's error with which a call reverted.

        Args:
            data: the revert data, in hexadecimal.

        Returns:
            The error and its values; None if it is not one of the contract's errors.
        """
        try:
            raw = bytes.fromhex((data or "").removeprefix("0x"))
            entry = self._errors[raw[:4]]
            values = _decode(entry["inputs"], raw[4:], entry["name"])
        except (KeyError, ValueError, RegistryError):
            return None
        names = (param["name"] for param in entry["inputs"])
        return _refusal(entry["name"], dict(zip(names, values, strict=True)))

    def refusal_of(self, name: str, values: Mapping[str, Any]) -> str:
        """Describe an error that another library decoded; its enums are numbers."""
        params = {
            param["name"]: param
            for entry in self._errors.values()
            for param in entry["inputs"]
            if entry["name"] == name
        }
        worded = dict(values)
        for key in params.keys() & values.keys():
            with suppress(RegistryError):  # an unknown enum value stays a number
                worded[key] = _typed(params[key], values[key])
        return _refusal(name, worded)


def _refusal(name: str, values: Mapping[str, Any]) -> str:
    words = (
        f"{key}={value.hex() if isinstance(value, bytes) else value}"
        for key, value in values.items()
    )
    return f"the contract refuses: {name}({', '.join(words)})"


@cache
def interface() -> Interface:
    """Return the registry contract's interface."""
    return Interface(artifact()["abi"])


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
        topic = encode([param["type"]], [value.number if isinstance(value, Term) else value])
    except EncodingError as error:
        raise ValueError(f"{param['name']}: {one_line(value)} is not a {param['type']}") from error
    if param["type"] == "bytes32" and topic != value:  # a shorter value would be padded
        raise ValueError(f"{param['name']}: {one_line(value)} does not have 32 bytes")
    return to_hex(topic)


def topics_match(found: list[Any], asked: list[Any]) -> bool:
    """Return whether a log's topics match a query's."""
    if len(found) < len(asked) or not all(isinstance(topic, str) for topic in found):
        return False
    return all(
        want is None or topic.lower() in (want if isinstance(want, list) else [want])
        for topic, want in zip(found, asked, strict=False)
    )


def _decode(params: Sequence[Mapping[str, Any]], data: bytes, name: str) -> list[Any]:
    """Decode values of our types; any encoding but the canonical one is refused."""
    from eth_abi.abi import decode, encode
    from eth_abi.exceptions import DecodingError

    types = [_type(param) for param in params]
    try:
        values = decode(types, data)
        canonical = encode(types, values) == data
    except (DecodingError, ValueError, OverflowError) as error:
        raise undecodable(name, data) from error
    if not canonical:
        raise undecodable(name, data)
    return [_typed(param, value) for param, value in zip(params, values, strict=True)]


def _check_length(data: bytes, name: str) -> None:
    """Check the stated length of an encoded array: eth-abi would loop over any length."""
    offset, length = data[:WORD], data[WORD : 2 * WORD]
    if int.from_bytes(offset) != WORD or int.from_bytes(length) * WORD > len(data):
        raise undecodable(name, data)


def _typed(param: Mapping[str, Any], value: Any) -> Any:
    """Convert a decoded value: enums to terms, addresses to text, structs to dictionaries."""
    kind: str = param["type"]
    if kind.endswith("[]"):
        element = {**param, "type": kind[:-2]}
        return [_typed(element, item) for item in value]
    if kind == "tuple":
        parts = zip(param["components"], value, strict=True)
        return {part["name"]: _typed(part, item) for part, item in parts}
    if kind == "address":
        return checksum_address(value)
    internal = param.get("internalType", "")
    enum = internal.rpartition(".")[2] if internal.startswith("enum ") else ""
    return _term(enum, value) if enum in _TERMS else value


def _term(enum: str, number: int) -> Term:
    terms = _TERMS[enum]
    if number >= len(terms):
        raise RegistryError(f"this release does not know {enum} {number}: upgrade alithis")
    return terms[number]


def record_of(id: int, value: Mapping[str, Any]) -> Record:
    """Return a token's record from the contract's struct."""
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


def split_multicall(data: bytes, count: int) -> list[bytes]:
    """Decode ``bytes[]`` of a known length.

    With a general decoder all elements may point to the same bytes, so a small answer could fill
    the memory. Here each element must begin where the previous one ends.
    """
    head, end = 2 * WORD, (2 + count) * WORD
    words = [int.from_bytes(data[at : at + WORD]) for at in range(0, end, WORD)]
    items = []
    for start in words[2:]:
        length = int.from_bytes(data[end : end + WORD])
        if start + head != end or length > len(data):
            break
        items.append(data[end + WORD : end + WORD + length])
        end += WORD + -(-length // WORD) * WORD
    if words[:2] != [WORD, count] or len(items) != count or end != len(data):
        raise undecodable("multicall", data)
    return items
