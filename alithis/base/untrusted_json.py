"""JSON that nobody vouches for: manifests, proofs, answers of nodes.

Python's parser takes more than the standard (RFC 8259) means, and recurses as deep as the text
is nested; here a key stands once in an object, NaN is no number, no number is beyond a double and
nesting has a bound.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from alithis.errors import FormatError

MAX_DEPTH = 32
"""Nesting allowed: more than any document of ours has."""

MAX_DIGITS = 100
"""Digits allowed in a whole number: more than 2^256 has."""

_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)  # or a string, to skip


def parse(data: bytes, name: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        data: the bytes; the caller has bounded how many.
        name: what the object is called in errors.

    Raises:
        FormatError: the bytes are not one JSON object, a key of an object stands twice, or it
            is nested too deep.
    """
    if not _is_shallow(data):
        raise FormatError(f"{name}: JSON nested more than {MAX_DEPTH} deep")
    try:
        document = _DECODER.decode(data.decode())
    except ValueError as error:
        raise FormatError(f"{name}: not JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{name}: not a JSON object")
    return document


def _is_shallow(data: bytes) -> bool:
    """Tell whether the nesting is within bounds.

    The parser's own recursion limit does not help: where it has been raised, as py-evm does,
    deep nesting ends the process.
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
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _integer(text: str) -> int:
    digits = len(text.removeprefix("-"))
    if digits > MAX_DIGITS:
        raise ValueError(f"a number of {digits} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"no double holds the number {text[:40]}")
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct,
    parse_constant=_refuse,
    parse_int=_integer,
    parse_float=_finite,
)
