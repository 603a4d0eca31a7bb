"""Makes untrusted text safe to show in messages, terminals and reports.

Names, URLs and error messages come from files, servers and chains. A line break in them could forge
a line of our output, and a terminal executes escape sequences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit


def is_url(text: str) -> bool:
    """Tell whether a text is an http or https URL."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not re.search(r"\s", text)


def printable(text: str) -> str:
    """Escape control characters and other characters that cannot be printed; keep line breaks."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def clipped(text: str, limit: int = 80) -> str:
    """Cut a text to a number of characters; an ellipsis shows that it was cut."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def quoted(text: str) -> str:
    """Return a text for an error message: at most 80 characters, in quotes, escaped."""
    return repr(clipped(text))


def one_line(value: object, limit: int = 200) -> str:
    """Return an untrusted value on one line, without characters that cannot be printed.

    Args:
        value: a text. For a list or mapping, only the type and the length are shown.
        limit: characters at most.
    """
    if isinstance(value, list | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    # The first cut limits the work, since the value may have millions of characters.
    text = "".join(char if char.isprintable() else " " for char in str(value)[: 5 * limit])
    return clipped(" ".join(text.split()), limit)


def first_line(error: object) -> str:
    """Return the first line of an error's message; some libraries add paragraphs of advice."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
