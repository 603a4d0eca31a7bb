"""The canonical forms ``text``, ``record`` and ``sample``: values → the bytes that are hashed.

docs/format.md specifies them, with vectors in tests/vectors/forms.json.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from alithis.base import untrusted_json
from alithis.errors import FormatError, SourceError

SAFE = (1 << 53) - 1
"""Up to this, doubles hold every whole number (RFC 7493, section 2.2)."""
_EXPONENT = 10**21  # from here on ECMAScript writes numbers with an exponent
_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_HASH = re.compile(r"[0-9a-f]{64}")


def record(value: Any) -> bytes:
    """Return a row's canonical JSON (RFC 8785).

    Args:
        value: an object of JSON values; numbers that JSON has no exact form for become strings.

    Raises:
        SourceError: it holds what is no JSON value, or half a surrogate pair.
    """
    if _is_simple(value):
        try:
            return _ENCODE(value).encode()
        except UnicodeEncodeError as error:
            raise SourceError(f"no canonical JSON: {error}") from error
    return _record(value)


def _is_simple(value: Any) -> bool:
    """Tell whether Python's own writer, which is ten times as fast, gives the canonical JSON.

    It writes a number with a fraction as ECMAScript does from 0.0001 on, and orders keys by code
    points, which is UTF-16's order unless some are beyond U+FFFF.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-SAFE <= value <= SAFE)
    if isinstance(value, float):
        return 0.0001 <= abs(value) < SAFE and not value.is_integer()
    if kind is dict:
        keys = "".join(value) if all(type(key) is str for key in value) else "\uffff"
        return keys.isascii() and all(map(_is_simple, value.values()))
    return kind is list and all(map(_is_simple, value))


def _record(value: Any) -> bytes:
    import rfc8785

    try:
        try:
            return rfc8785.dumps(value)
        except (rfc8785.IntegerDomainError, rfc8785.FloatDomainError):
            return rfc8785.dumps(_spelt(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise SourceError(f"no canonical JSON: {error}") from error


def _spelt(value: Any) -> Any:
    """Replace the numbers that JSON has no exact form for."""
    if isinstance(value, dict):
        return {key: _spelt(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_spelt(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return number(value)
    if type(value) is int and abs(value) > SAFE:
        return float(value) if _is_exact(value) else str(value)
    return value


def _is_exact(value: int) -> bool:
    """Tell whether RFC 8785 writes a whole number, which it takes for a double, digit by digit."""
    import rfc8785

    if abs(value) > _EXPONENT:
        return False
    return abs(value) <= SAFE or rfc8785.dumps(float(value)) == str(value).encode()


def number(value: float) -> Any:
    """Return a floating-point number as a JSON value: what is not finite, by its name."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def record_of(data: bytes, columns: Iterable[str] | None = None) -> bytes:
    """Return the canonical JSON of a row that is stored as JSON.

    Args:
        data: UTF-8, one JSON object; a byte order mark is left out.
        columns: the members that are taken; by default all.

    Raises:
        SourceError: it is no JSON object, has a key twice or none of the columns, is nested too
            deep, or holds a number that no double can.
    """
    return record(taken(parsed(data), columns))


def parsed(data: bytes) -> dict[str, Any]:
    """Read a row that is stored as JSON.

    Raises:
        SourceError: as `record_of` does.
    """
    try:
        return untrusted_json.parse(data.removeprefix(b"\xef\xbb\xbf"), "record")
    except FormatError as error:
        raise SourceError(str(error).removeprefix("record: ")) from error


def taken(value: Mapping[str, Any], columns: Iterable[str] | None) -> Mapping[str, Any]:
    """Return a row's members of these names; those it lacks are lacking.

    Raises:
        SourceError: it has none of them.
    """
    if columns is None:
        return value
    found = {name: value[name] for name in columns if name in value}
    if not found:
        raise SourceError(f"none of the columns {', '.join(columns)} in it")
    return found


def sample(members: Mapping[str, str]) -> bytes:
    """Return the canonical form of a sample: its members' digests by extension, as a record.

    Args:
        members: for each extension the SHA-256 of the member's bytes, in hexadecimal.
    """
    return record(members)


def sample_of(data: bytes) -> bytes:
    """Return the canonical form of a sample that is stored as JSON.

    Raises:
        SourceError: it is no object of extensions and digests.
    """
    members = parsed(data)
    if not members or not all(
        isinstance(each, str) and _HASH.fullmatch(each) for each in members.values()
    ):
        raise SourceError(
            'no sample: {"extension": "SHA-256 in hexadecimal", …} for each of its files'
        )
    return sample(members)


def row_pattern(names: Iterable[str]) -> tuple[list[str], str]:
    """Return how rows of these columns are written, cell by cell.

    Returns:
        The names in the order of the members (RFC 8785, section 3.2.3), and a pattern that takes
        the cells' canonical JSON in that order.
    """
    order = sorted(names, key=lambda name: name.encode("utf-16-be"))
    members = (quoted(name).replace("%", "%%") + ":%s" for name in order)
    return order, "{" + ",".join(members) + "}"


def fragment(value: Any) -> str:
    """Return a value inside a record as canonical JSON.

    Raises:
        SourceError: as `record` does.
    """
    if value is None:
        return "null"
    if type(value) is str:
        return quoted(value)
    if type(value) is int:
        return str(value) if _is_exact(value) else f'"{value}"'
    return record(value).decode()


def quoted(value: str) -> str:
    """Return a string as canonical JSON."""
    return json.encoder.encode_basestring(value)
