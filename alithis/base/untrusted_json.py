"""Parses and checks untrusted JSON: manifests, proof files and responses of servers.

Python's parser accepts more than the standard (RFC 8259) allows, and recurses as deep as the text
is nested. This parser refuses repeated keys, NaN, numbers outside the range of doubles, and deep
nesting. `JsonObject` returns values of the expected types only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from alithis.base.text import first_line, quoted
from alithis.errors import FormatError

MAX_DEPTH = 32
"""Nesting allowed. No document of ours is nested as deep."""

MAX_DIGITS = 100
"""Digits allowed in a whole number. 2^256 has 78."""

# A bracket; or a string, to skip the brackets in it. The possessive "++" keeps it linear.
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)
_SHA256 = re.compile("[0-9a-f]{64}")
_TYPES = {dict: "an object", list: "a list", str: "text", int: "a whole number"}


def parse(data: bytes, name: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        data: the bytes; the caller has limited their number.
        name: the document's name in errors.

    Raises:
        FormatError: the bytes are not one JSON object, a key is repeated in an object, or it is
            nested too deep.
    """
    if not _is_shallow(data):
        raise FormatError(f"{name}: JSON nested more than {MAX_DEPTH} deep")
    try:
        document = _DECODER.decode(data.decode())
    except ValueError as error:
        raise FormatError(f"{name}: not JSON: {first_line(error)}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{name}: not a JSON object")
    return document


class JsonObject:
    """An object of an untrusted document, whose values are checked when they are read.

    Every method raises a FormatError that names the document and the key.

    Attributes:
        values: the object, unchecked.
    """

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        """Wrap an object.

        Args:
            values: the parsed object.
            name: the document's name in errors: ``metadata.json``.
        """
        self.values, self._name = values, name

    def __contains__(self, key: str) -> bool:
        """Tell whether the object has a key, with a value other than null."""
        return self.values.get(key) is not None

    def fail(self, key: str, what: str) -> NoReturn:
        """Refuse a value.

        Raises:
            FormatError: always.
        """
        raise FormatError(f"{self._name}: {key} {what}")

    def object(self, key: str) -> JsonObject:
        """Return an object."""
        return JsonObject(self._typed(key, dict), self._name)

    def list(self, key: str, maximum: int) -> list[Any]:
        """Return a list of at most ``maximum`` elements, which are not checked."""
        found: list[Any] = self._typed(key, list)
        if len(found) > maximum:
            self.fail(key, f"has {len(found):,} elements; at most {maximum:,} are allowed")
        return found

    def text(self, key: str, pattern: str = ".*", expected: str = "text") -> str:
        """Return a text.

        Args:
            key: its key.
            pattern: a regular expression that the whole text must match.
            expected: a description of the pattern, for errors.
        """
        found: str = self._typed(key, str)
        if not re.fullmatch(pattern, found, re.DOTALL):
            self.fail(key, f"must be {expected}, not {quoted(found)}")
        return found

    def integer(self, key: str, minimum: int, maximum: int) -> int:
        """Return a whole number within bounds."""
        found: int = self._typed(key, int)
        if not minimum <= found <= maximum:
            self.fail(key, f"must be from {minimum} to {maximum}")
        return found

    def one_of(self, key: str, words: Sequence[str]) -> str:
        """Return a text that must be one of ``words``."""
        found: str = self._typed(key, str)
        if found not in words:
            self.fail(key, f"is {quoted(found)}; it must be one of {', '.join(words)}")
        return found

    def sha256(self, key: str) -> bytes:
        """Return a SHA-256, 32 bytes; the document has it in hexadecimal."""
        return self._sha256(key, self.values.get(key))

    def sha256_list(self, key: str, maximum: int) -> tuple[bytes, ...]:
        """Return a list of at most ``maximum`` SHA-256 digests, 32 bytes each."""
        return tuple(self._sha256(key, value) for value in self.list(key, maximum))

    def _sha256(self, key: str, value: Any) -> bytes:
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            self.fail(key, "must be 64 lower-case hexadecimal digits")
        return bytes.fromhex(value)

    def _typed(self, key: str, kind: type[Any]) -> Any:
        found = self.values.get(key)
        if found is None:
            self.fail(key, "is missing")
        if type(found) is not kind:  # isinstance would take a bool for a number
            self.fail(key, f"must be {_TYPES[kind]}")
        return found


def _is_shallow(data: bytes) -> bool:
    """Tell whether the nesting is within the limit.

    Python's recursion limit is no protection: if a library has raised it, as py-evm does, deep
    nesting overflows the C stack, and the process crashes.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return True
    depth = 0
    for token in _BRACKETS.finditer(data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            return False
    return True


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # RFC 8259, section 4: parsers differ on repeated keys, so two tools could read one file
    # differently.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is repeated in one object")
    return result


def _integer(text: str) -> int:
    # The time of int() grows with the square of the number of digits.
    digits = len(text.removeprefix("-"))
    if digits > MAX_DIGITS:
        raise ValueError(f"a number of {digits} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large for a double")
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct,
    parse_constant=_refuse,
    parse_int=_integer,
    parse_float=_finite,
)
