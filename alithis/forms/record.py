"""The canonical forms ``record`` and ``sample``: JSON values → the bytes that are hashed.

The specification is docs/format.md; the test vectors are in tests/vectors/forms.json. Both forms
are JSON as in RFC 8785 (JCS), which writes every number as ECMAScript writes a double. JSON numbers
that a double does not hold exactly would collide: 2^53 and 2^53 + 1 would be one number. So whole
numbers are written digit by digit: as a number if RFC 8785 gives the same digits, else as a string.
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
"""Doubles represent every whole number up to this one (RFC 7493, section 2.2)."""
_EXPONENT = 10**21  # ECMAScript writes numbers from here on with an exponent
_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_HASH = re.compile(r"[0-9a-f]{64}")


def record(value: Any) -> bytes:
    """Return a row's canonical JSON (RFC 8785).

    Args:
        value: an object of JSON values; numbers without an exact JSON form become strings.

    Raises:
        SourceError: it contains a value that JSON does not have, or half a surrogate pair.
    """
    if _is_simple(value):
        try:
            return _ENCODE(value).encode()
        except UnicodeEncodeError as error:
            raise SourceError(f"no canonical JSON: {error}") from error
    return _record(value)


def _is_simple(value: Any) -> bool:
    """Tell whether Python's json module, which is ten times as fast, writes the canonical JSON.

    It differs from RFC 8785 in three ways: it writes small and large fractions with other exponents
    than ECMAScript (equal from 0.0001 up to 2^53), whole doubles as ``1.0``, and it sorts keys by
    code points instead of UTF-16 (equal for ASCII).
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
    """Replace the numbers that have no exact JSON form by strings."""
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
    """Tell whether RFC 8785, which converts a whole number to a double, writes the same digits."""
    import rfc8785

    if abs(value) > _EXPONENT:
        return False
    return abs(value) <= SAFE or rfc8785.dumps(float(value)) == str(value).encode()


def number(value: float) -> Any:
    """Return a float as a JSON value. JSON has no NaN and infinities: they become their names."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def record_of(data: bytes, columns: Iterable[str] | None = None) -> bytes:
    """Return the canonical JSON of a row that is stored as JSON.

    Args:
        data: one JSON object in UTF-8; a byte order mark is ignored.
        columns: the members to keep; by default all.

    Raises:
        SourceError: it is not a JSON object, repeats a key, has none of the columns, is nested too
            deep, or contains a number outside the range of doubles.
    """
    return record(taken(parsed(data), columns))


def parsed(data: bytes) -> dict[str, Any]:
    """Parse a row that is stored as JSON.

    Raises:
        SourceError: as `record_of` does.
    """
    try:
        return untrusted_json.parse(data.removeprefix(b"\xef\xbb\xbf"), "record")
    except FormatError as error:
        raise SourceError(str(error).removeprefix("record: ")) from error


def taken(value: Mapping[str, Any], columns: Iterable[str] | None) -> Mapping[str, Any]:
    """Return a row's members with these names; missing members are left out.

    Raises:
        SourceError: it has none of them.
    """
    if columns is None:
        return value
    found = {name: value[name] for name in columns if name in value}
    if not found:
        raise SourceError(f"the row has none of the columns {', '.join(columns)}")
    return found


def sample_of(data: bytes) -> bytes:
    """Return the canonical form of a sample: its files' digests by extension, as a record.

    Args:
        data: a JSON object of extensions, each with the SHA-256 of a file in hexadecimal.

    Raises:
        SourceError: it is not such an object.
    """
    members = parsed(data)
    if not members or not all(
        isinstance(each, str) and _HASH.fullmatch(each) for each in members.values()
    ):
        raise SourceError(
            'not a sample: it must be {"extension": "SHA-256 in hexadecimal", …}, one per file'
        )
    return record(members)


def row_pattern(names: Iterable[str]) -> tuple[list[str], str]:
    """Return a pattern that writes rows of these columns from their cells.

    The names are sorted and quoted once, instead of for each row.

    Returns:
        The names in the order of the members (RFC 8785, section 3.2.3), and a ``%`` pattern for
        the cells' canonical JSON in that order.
    """
    order = sorted(names, key=lambda name: name.encode("utf-16-be"))
    members = (quoted(name).replace("%", "%%") + ":%s" for name in order)
    return order, "{" + ",".join(members) + "}"


def fragment(value: Any) -> str:
    """Return a value in a record as canonical JSON.

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
