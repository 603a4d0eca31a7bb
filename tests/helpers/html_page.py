"""Parses HTML independently of the code that wrote it."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """The content of a page."""

    VOID = ("meta", "img", "br", "rect", "path", "link", "input")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.headings: list[str] = []
        self.links: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if re.fullmatch(r"h\d", tag):
            self.headings.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        self.links |= {
            value for name, value in attrs if name == "href" and not value.startswith("#")
        }

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
