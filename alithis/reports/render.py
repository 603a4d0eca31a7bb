"""Writes reports as HTML or Markdown with Jinja2, and makes untrusted text harmless.

Names, descriptions and addresses in a report were written by strangers. So escaping is not left
to the templates: both environments escape every value that a template prints, unless one of our
own macros made it. `templates/html.j2` and `templates/markdown.j2` define the same macros, so a
report is one template for both formats.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from alithis.base.text import is_url, printable

Format = Literal["html", "markdown"]

MAX_TEXT = 1_000
"""Characters of one text that are shown. JSON output has all of them."""
MAX_ROWS = 500
"""Rows of a table, or items of a list, that are shown. JSON output has all of them."""


class Toned(str):
    """A text that is shown in a colour.

    Attributes:
        tone: ``good``, ``fair``, ``weak``, ``bad`` or ``open``, a class of the style sheet.
    """

    tone: str

    def __new__(cls, text: str, tone: str) -> Toned:
        """Give a text a tone."""
        toned = super().__new__(cls, text)
        toned.tone = tone
        return toned


NOT_KNOWN = Toned("not known", "open")


def render(template: str, form: Format, **context: Any) -> str:
    """Write a report.

    Args:
        template: its template, such as ``model_report.j2``.
        form: the format.
        context: the values that the template shows. Strings are untrusted, except `Markup`.
    """
    text = environment(form).get_template(template).render(context)
    if form == "markdown":  # indented lines would be code, and blank lines would end a table
        text = re.sub(r"\n{3,}", "\n\n", re.sub(r"(?m)^ +| +$", "", text))
    return text.strip() + "\n"


@cache
def environment(form: Format) -> Environment:
    """Return the environment that templates of a format are rendered in."""
    found = Environment(
        loader=PackageLoader("alithis.reports"),
        autoescape=True,
        finalize=_html if form == "html" else _markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert found.loader is not None
    style, _, _ = found.loader.get_source(found, "report.css")
    found.globals |= {
        "layout": f"{form}.j2",
        "MAX_ROWS": MAX_ROWS,
        "style": style,
        "style_hash": base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    }
    found.filters |= {"number": number}
    found.tests["address"] = _is_address
    return found


def one_line(text: str) -> str:
    """Return a text in one line, clipped, without control and bidirectional characters."""
    text = printable(" ".join(text.split())[: MAX_TEXT + 1])
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def number(value: float | None) -> str:
    """Return a number with thousands separators, or "not known" for None."""
    return NOT_KNOWN if value is None else f"{value:,}"


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and is_url(value) and one_line(value) == value


def _html(value: Any) -> Markup:
    return value if isinstance(value, Markup) else escape(one_line(str(value)))


def _markdown(value: Any) -> Markup:
    """Escape Markdown and HTML (CommonMark 0.31.2, section 2.4)."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", one_line(str(value)))
    # At the start of a line these characters begin a list or underline a heading.
    text = re.sub(r"^(\d{0,9})([-+=.)])(?!\d)", r"\1\\\2", text)
    # GitHub turns bare addresses into links, and a backslash does not prevent it.
    return Markup(re.sub(r"(?i)(?<=www)\.|(?<=http)s?:|(?<=ftp):|@", _entity, text))  # noqa: S704


def _entity(found: re.Match[str]) -> str:
    text = found[0]
    return f"{text[:-1]}&#{ord(text[-1])};"
