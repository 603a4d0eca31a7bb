"""Text that others wrote, made harmless before it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

import re
from urllib.parse import urlsplit


def is_url(text: str) -> bool:
    """Tell whether a text is an http or https URL."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not re.search(r"\s", text)


def printable(text: str) -> str:
    """Show foreign text without what a terminal would obey, and what it has no characters for."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; libraries add paragraphs of advice."""
    return next(iter(str(error).splitlines()), type(error).__name__)
