"""The canonical form ``text``: NFC, as UTF-8 (docs/format.md, "text")."""

from __future__ import annotations

import re
import unicodedata

from alithis.errors import SourceError

_MAX_MARKS = 1000  # NFC sorts a run of combining marks in time that grows with its square
_USUAL = set(map(chr, range(128)))  # characters that were checked before, and are not marks


def text(value: str) -> bytes:
    """Return the canonical form of a text: in NFC, as UTF-8, without a byte order mark.

    Line ends, spaces and everything else stay as they are.

    Args:
        value: the text.

    Raises:
        SourceError: it contains half a surrogate pair, a code point that this Python's Unicode
            does not know (a later Unicode may give it another NFC), or a run of more than 1,000
            combining marks.
    """
    value = value.removeprefix("\ufeff")
    if not value.isascii():
        _check_characters(value)
        value = unicodedata.normalize("NFC", value)
    return value.encode()


def _check_characters(value: str) -> None:
    unusual = set(value) - _USUAL
    for char in unusual:
        category = unicodedata.category(char)
        if category == "Cs":
            raise SourceError(f"the text contains U+{ord(char):04X}, half of a surrogate pair")
        if category == "Cn" and not _is_noncharacter(ord(char)):
            raise SourceError(
                f"the text contains U+{ord(char):04X}, which Unicode {unicodedata.unidata_version} "
                "does not know: use a newer Python, or the form bytes"
            )
    marks = "".join(filter(unicodedata.combining, unusual))
    _USUAL.update(unusual.difference(marks))
    if marks and re.search(f"[{re.escape(marks)}]{{{_MAX_MARKS + 1}}}", value):
        raise SourceError(f"the text contains a run of more than {_MAX_MARKS} combining marks")


def _is_noncharacter(point: int) -> bool:
    """Tell whether a code point will never be a character (Unicode, section 23.7)."""
    return point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF


def text_of(data: bytes) -> bytes:
    """Return the canonical form of a text that is stored as UTF-8.

    Raises:
        SourceError: it is not UTF-8, or for the reasons that `text` names.
    """
    return text(decoded(data))


def decoded(data: bytes) -> str:
    """Decode bytes as UTF-8.

    Raises:
        SourceError: they are not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"not UTF-8: {error.reason} at byte {error.start}") from error
