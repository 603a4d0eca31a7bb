"""A small document, and how it is written as Markdown, as HTML or as JSON.

What stands in it was written by others: names, descriptions, addresses. So its texts are plain
text, and each way of writing makes them harmless. Markdown gets its marks escaped (CommonMark
0.31, section 2.4), HTML its characters, and neither gets control characters or marks that turn
the direction of writing. The HTML page loads nothing and runs nothing, by its own policy.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from alithis.base.text import is_url, printable

MAX_TEXT = 1_000
"""Characters of one text that are shown; JSON has all of them."""
MAX_ROWS = 500
"""Rows of a table that are shown, likewise."""

TONES = ("", "good", "fair", "weak", "bad", "open")
"""How a text is meant; each is told by a word beside its colour."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a cell or a paragraph.

    Attributes:
        text: plain text, of anybody.
        tone: one of `TONES`.
    """

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph.

    Attributes:
        text: what it says.
        tone: one of `TONES`.
    """

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list.

    Attributes:
        texts: its items.
        tone: one of `TONES`.
    """

    texts: Sequence[str]
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what they stand for; rows whose text is empty are left out.

    Attributes:
        rows: each name with its text.
    """

    rows: Sequence[tuple[str, str | Text]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        head: its columns.
        rows: the cells of each row; the first names the row.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Text]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is drawn here, and so is no foreign text.

    Attributes:
        svg: it, with all foreign text escaped.
        alt: what it shows, in words.
    """

    svg: str
    alt: str


Block = Paragraph | Items | Facts | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A section.

    Attributes:
        title: its heading.
        blocks: what stands in it.
        sections: sections within it.
        number: as which it is counted, such as ``2.1``; empty for none.
    """

    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = ()
    number: str = ""

    @property
    def heading(self) -> str:
        """Its number and title."""
        return f"{self.number} {self.title}".strip()


@dataclass(frozen=True, slots=True)
class Document:
    """A document.

    Attributes:
        title: its title.
        lead: what stands before the first section.
        sections: its sections.
    """

    title: str
    lead: Sequence[Block] = ()
    sections: Sequence[Section] = field(default_factory=tuple)


def _of(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def shown(text: str) -> str:
    """Return a text in one line, bounded, and without what a reader's device would obey."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


# -- Markdown ------------------------------------------------------------------------------------


def markdown(document: Document) -> str:
    """Write a document as Markdown, GitHub's flavour for its tables."""
    parts = [f"# {_marked(document.title)}", *map(_markdown_block, document.lead)]
    for section in document.sections:
        parts += _markdown_section(section, 2)
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_marked(section.heading)}"
    yield from map(_markdown_block, section.blocks)
    for inner in section.sections:
        yield from _markdown_section(inner, level + 1)


def _markdown_block(block: Block) -> str:
    match block:
        case Paragraph(text, tone):
            return f"> {_word(tone)}{_begun(text)}" if tone else _begun(text)
        case Items(texts):
            return "\n".join(f"- {_begun(text)}" for text in texts)
        case Facts(rows):
            cells = [(name, cell) for name, cell in rows if _of(cell).text]
            return _markdown_table(("", ""), cells) if cells else ""
        case Table(caption, head, rows):
            table = _markdown_table(head, rows[:MAX_ROWS]) + _more(rows, "\n\n")
            return f"**{_marked(caption)}**\n\n{table}"
        case Picture():
            return ""


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> str:
    lines = [head, ["---"] * len(head)]
    body = [[_marked(_of(cell).text) or " " for cell in row] for row in rows]
    lines = [[_marked(name) or " " for name in head], ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _word(tone: str) -> str:
    return {"bad": "**Warning:** ", "open": "**Open:** "}.get(tone, "")


def _more(rows: Sequence[Any], before: str) -> str:
    left = len(rows) - MAX_ROWS
    return f"{before}… and {left:,} more" if left > 0 else ""


def _begun(text: str) -> str:
    """Escape a text that a line begins with: it is to begin no list and no rule."""
    return re.sub(r"^(\d{0,9})([-+=.)])", r"\1\\\2", _marked(text))


def _marked(text: str) -> str:
    """Escape what Markdown would take for a mark, and HTML for a tag."""
    text = re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", shown(text))
    # GitHub makes links of bare addresses.
    return re.sub(r"(?i)(?<=www)\.|(?<=http)s?:|(?<=ftp):|@", lambda at: _entity(at[0]), text)


def _entity(text: str) -> str:
    return f"{text[:-1]}&#{ord(text[-1])};"


# -- HTML ----------------------------------------------------------------------------------------


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2330;--soft:#5a6375;--line:#d8dde6;--page:#fff;
--pane:#f6f8fb;--accent:#1f5fa8;--good:#14683a;--fair:#7a4b00;--weak:#4f5868;--bad:#a3212a;--open:#5b3a9b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#a3acbd;--line:#3a4252;
--page:#161a22;
--pane:#1e2430;--accent:#8ab8f0;--good:#7fd6a2;--fair:#f0c070;--weak:#b4bccb;--bad:#ff9a9a;
--open:#c4a8ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:64rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:2rem;line-height:1.2;margin:0 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.35rem;margin:2.75rem 0 .75rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1.1rem;margin:2rem 0 .5rem}h4{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.6rem 0;max-width:46rem;overflow-wrap:anywhere}
nav{background:var(--pane);border:1px solid var(--line);border-radius:8px;padding:.75rem 1.25rem;
margin:1.5rem 0}
nav ol{margin:0;padding:0;list-style:none;columns:16rem}
nav li{margin:0;padding:.2rem 0;break-inside:avoid}
a{color:var(--accent)}a:focus-visible,.wide:focus-visible{outline:3px solid var(--accent);
outline-offset:2px}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;color:var(--soft);padding:0 0 .4rem}
th,td{text-align:left;vertical-align:top;padding:.5rem .75rem .5rem 0;
border-bottom:1px solid var(--line);overflow-wrap:break-word;min-width:5rem}
td a{overflow-wrap:anywhere}
thead th{color:var(--soft);font-weight:600;white-space:nowrap}
tbody th{font-weight:600;max-width:20rem}
dl{display:grid;grid-template-columns:minmax(8rem,14rem) 1fr;gap:.35rem 1.25rem;margin:1rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
ul{padding-left:1.25rem;max-width:46rem}li{margin:.35rem 0;overflow-wrap:anywhere}
.tone{font-weight:600}.good{color:var(--good)}.fair{color:var(--fair)}.weak{color:var(--weak)}
.bad{color:var(--bad)}.open{color:var(--open)}
p.bad,p.open,p.good,p.fair,ul.bad,ul.open{background:var(--pane);border-left:4px solid currentColor;
padding:.6rem 1rem;border-radius:0 6px 6px 0}
ul.bad,ul.open{padding-left:2.25rem}
ul.bad li,ul.open li,p.bad span,p.open span,p.good span,p.fair span{color:var(--ink)}
figure{margin:1rem 0;padding:1rem;overflow-x:auto;border:1px solid var(--line);border-radius:8px;
background:#fff}
footer{margin-top:3rem;color:var(--soft);font-size:.88rem}
@media(max-width:40rem){dl{grid-template-columns:1fr;gap:.1rem}dd{margin:0 0 .6rem}}
@media print{nav{display:none}main{max-width:none;padding:0}h2{break-after:avoid}
tr{break-inside:avoid}}
"""


def html(document: Document) -> str:
    """Write a document as one page of HTML, which loads and runs nothing."""
    policy = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    sections = list(document.sections)
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'sha256-{policy}'; base-uri 'none'; form-action 'none'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{_escaped(document.title)}</title>",
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>",
        f"<h1>{_escaped(document.title)}</h1>",
        *map(_html_block, document.lead),
        _contents(sections) if len(sections) > 2 else "",
        *(_html_section(section, 2, f"s{at}") for at, section in enumerate(sections, 1)),
        "<footer>Written by alithis report. It shows what records say, and what was checked of "
        "them; it is no legal advice.</footer>",
        "</main>\n</body>\n</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _contents(sections: Sequence[Section]) -> str:
    lines = (
        f'<li><a href="#s{at}">{_escaped(section.heading)}</a></li>'
        for at, section in enumerate(sections, 1)
    )
    return f'<nav aria-label="Contents"><ol>{"".join(lines)}</ol></nav>'


def _html_section(section: Section, level: int, anchor: str) -> str:
    inner = (
        _html_section(each, level + 1, f"{anchor}-{at}")
        for at, each in enumerate(section.sections, 1)
    )
    heading = f'<h{level} id="{anchor}">{_escaped(section.heading)}</h{level}>'
    body = "\n".join([heading, *map(_html_block, section.blocks), *inner])
    return f'<section aria-labelledby="{anchor}">\n{body}\n</section>'


def _html_block(block: Block) -> str:
    match block:
        case Paragraph(text, tone):
            return f"<p{_class(tone)}>{_html_word(tone)}<span>{_linked(text)}</span></p>"
        case Items(texts, tone):
            items = "".join(f"<li>{_linked(text)}</li>" for text in texts)
            return f"<ul{_class(tone)}>{items}</ul>"
        case Facts(rows):
            cells = [(name, _of(cell)) for name, cell in rows if _of(cell).text]
            pairs = "".join(
                f"<dt>{_escaped(name)}</dt><dd>{_html(cell)}</dd>" for name, cell in cells
            )
            return f"<dl>{pairs}</dl>" if cells else ""
        case Table():
            return _html_table(block)
        case Picture(svg, alt):
            return f'<figure role="img" aria-label="{_escaped(alt)}">{svg}</figure>'


def _html_table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_escaped(name)}</th>' for name in table.head)
    rows = "".join(
        f'<tr><th scope="row">{_html(_of(row[0]))}</th>'
        + "".join(f"<td>{_html(_of(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows[:MAX_ROWS]
    )
    caption = _escaped(table.caption)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        f"</table></div>{_more(table.rows, '')}"
    )


def _html(cell: Text) -> str:
    return (
        f'<span class="tone {cell.tone}">{_linked(cell.text)}</span>'
        if cell.tone
        else _linked(cell.text)
    )


def _html_word(tone: str) -> str:
    word = {"bad": "Warning: ", "open": "Open: "}.get(tone, "")
    return f'<span class="tone">{word}</span>' if word else ""


def _class(tone: str) -> str:
    return f' class="{tone}"' if tone else ""


def _linked(text: str) -> str:
    """Escape a text, which may be of any direction; one that is a web address becomes a link."""
    escaped = _escaped(text)
    if is_url(text) and shown(text) == text:
        return f'<a href="{escaped}" rel="noopener noreferrer nofollow">{escaped}</a>'
    return f"<bdi>{escaped}</bdi>"


def _escaped(text: str) -> str:
    return escape(shown(text))


# -- JSON ----------------------------------------------------------------------------------------


def as_object(document: Document) -> dict[str, Any]:
    """Return a document in JSON's types, its texts whole."""
    return {
        "title": document.title,
        "lead": [_block_object(block) for block in document.lead],
        "sections": [_section_object(section) for section in document.sections],
    }


def _section_object(section: Section) -> dict[str, Any]:
    return {
        "number": section.number,
        "title": section.title,
        "blocks": [_block_object(block) for block in section.blocks if type(block) is not Picture],
        "sections": [_section_object(each) for each in section.sections],
    }


def _block_object(block: Block) -> Mapping[str, Any]:
    match block:
        case Paragraph(text, tone):
            return {"text": text, "open": tone == "open"}
        case Items(texts, tone):
            return {"items": list(texts), "open": tone == "open"}
        case Facts(rows):
            return {"facts": {name: _of(cell).text for name, cell in rows if _of(cell).text}}
        case Table(caption, head, rows):
            named = [
                {name: _of(cell).text for name, cell in zip(head, row, strict=True)} for row in rows
            ]
            return {"table": caption, "rows": named}
        case Picture(_, alt):
            return {"picture": alt}
