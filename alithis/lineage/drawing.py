"""A lineage as a tree, a list, Mermaid, DOT, JSON or SVG.

Names come from metadata that anybody can publish: each format gets them escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Self

from alithis.chain.queries import Lineage, LineageEdge, LineageNode
from alithis.lineage.columns import HEIGHT, WIDTH, Point, layered
from alithis.manifest.terms import Kind
from alithis.verify.library import Shelf

GRADES = ("stated", "transcript", "countersigned")
"""How far a link is evidenced, from little to much."""

_LETTERS = 30  # of a name that fit into a box


@dataclass(frozen=True, slots=True)
class Drawing:
    """A lineage, and the words for its tokens and links.

    Attributes:
        lineage: the tokens and links.
        names: the tokens' names, as their metadata states them, where that is at hand.
        grade: how far a link is evidenced.
    """

    lineage: Lineage
    names: Mapping[int, str]
    grade: Callable[[LineageEdge], str]

    @classmethod
    def of(cls, lineage: Lineage, shelf: Shelf) -> Self:
        """Draw a lineage with the names and transcripts that metadata at hand states.

        Args:
            lineage: the tokens and links.
            shelf: where the tokens' manifests are.
        """
        statements = {id: shelf.statement(node.metadata) for id, node in lineage.nodes.items()}

        def grade(edge: LineageEdge) -> str:
            target = lineage.nodes[edge.target]
            if edge.countersigned:
                return "countersigned"
            recorded = statements[edge.token].transcript(
                edge.relation.value, target.metadata, target.size, statements[edge.target].root
            )
            return "transcript" if recorded else "stated"

        names = {id: stated.name for id, stated in statements.items() if stated.name}
        return cls(lineage, names, grade)

    def _title(self, node: LineageNode) -> str:
        return f"{self.names.get(node.id, 'unnamed')} (token {node.id})"

    def _remarks(self, node: LineageNode) -> str:
        return "".join(f", {mark}" for mark in node.marks)

    def _below(self, *, upward: bool) -> dict[int, list[tuple[LineageEdge, int]]]:
        """For each token its links, each with the token at the other end."""
        ends = [
            (edge.token, edge, edge.target) if upward else (edge.target, edge, edge.token)
            for edge in self.lineage.edges
        ]
        ends.sort(key=lambda end: (end[0], end[2], end[1].relation))
        return {
            token: [(edge, other) for _, edge, other in group]
            for token, group in groupby(ends, key=lambda end: end[0])
        }

    def tree(self) -> str:
        """Return lines of text: for each root what it came from, then what came from it."""
        lines = []
        for id in self.lineage.roots:
            root = self.lineage.nodes[id]
            lines.append(
                f"{self._title(root)}: {root.kind}, published by {root.publisher}"
                f"{self._remarks(root)}"
            )
            for words, upward in ("it came from", True), ("came from it", False):
                branches = list(self._branches(id, self._below(upward=upward)))
                lines += [words, *branches] if branches else []
        return "\n".join(lines)

    def _branches(
        self, root: int, below: Mapping[int, list[tuple[LineageEdge, int]]]
    ) -> Iterator[str]:
        """Unfold a token; one that was shown before is not unfolded again."""
        shown = {root}
        # A stack instead of recursion: a chain of fine-tunes may be longer than Python's stack.
        stack = _unfolded("", below.get(root, []))
        while stack:
            indent, edge, id, last = stack.pop()
            again = " …as above" if id in shown and id in below else ""
            node = self.lineage.nodes[id]
            yield (
                f"{indent}{'└─' if last else '├─'} {edge.relation} {self._title(node)}: "
                f"{self.grade(edge)}{self._remarks(node)}{again}"
            )
            if id not in shown:
                shown.add(id)
                stack += _unfolded(indent + ("   " if last else "│  "), below.get(id, []))

    def evidence(self) -> dict[int, str]:
        """For each token but the roots, how well the links between it and a root are evidenced.

        It is the grade of the weakest link on the best way that leads there.
        """
        best = dict.fromkeys(self.lineage.roots, len(GRADES) - 1)
        for upward in (True, False):
            reached = dict.fromkeys(self.lineage.roots, len(GRADES) - 1)
            # A link's target has the smaller id, so that each token comes after all ways to it.
            for edge in sorted(
                self.lineage.edges,
                key=lambda edge: -edge.token if upward else edge.target,
            ):
                start, end = (edge.token, edge.target) if upward else (edge.target, edge.token)
                if start in reached:
                    grade = min(reached[start], GRADES.index(self.grade(edge)))
                    reached[end] = max(reached.get(end, 0), grade)
            best |= {id: max(grade, best.get(id, 0)) for id, grade in reached.items()}
        return {id: GRADES[grade] for id, grade in best.items() if id not in self.lineage.roots}

    def listing(self, kind: str | None = None, grade: str | None = None) -> str:
        """Return a line for each token but the roots.

        Args:
            kind: only these: ``dataset`` or ``model``.
            grade: only those that are evidenced in this way: one of `GRADES`.
        """
        return "\n".join(
            f"{self._title(node)}: {node.kind}, {found}, published by {node.publisher}"
            f"{self._remarks(node)}"
            for id, found in sorted(self.evidence().items())
            if (node := self.lineage.nodes[id]).kind == (kind or node.kind)
            and found == (grade or found)
        )

    def mermaid(self) -> str:
        """Return a Mermaid flowchart."""
        lines = ["flowchart BT"]
        for node in self.lineage.nodes.values():
            left, right = ("([", "])") if node.kind is Kind.MODEL else ("[", "]")
            label = _quoted(f"{self._title(node)}{self._remarks(node)}", '"#`;&<>%{}')
            lines.append(f'  t{node.id}{left}"{label}"{right}')
        for edge in self.lineage.edges:
            arrow = "-.->" if self.grade(edge) == "stated" else "-->"
            lines.append(
                f'  t{edge.token} {arrow}|"{edge.relation}, {self.grade(edge)}"| t{edge.target}'
            )
        return "\n".join(lines)

    def dot(self) -> str:
        """Return a graph in Graphviz's language."""
        lines = ["digraph lineage {", "  rankdir=BT; node [shape=box, fontname=sans];"]
        for node in self.lineage.nodes.values():
            label = f"{self._title(node)}{self._remarks(node)}"
            label = label.replace("\\", "\\\\").replace('"', '\\"')
            style = ", style=rounded" if node.kind is Kind.MODEL else ""
            lines.append(f'  {node.id} [label="{label}"{style}];')
        for edge in self.lineage.edges:
            dashed = ", style=dashed" if self.grade(edge) == "stated" else ""
            label = f"{edge.relation}\\n{self.grade(edge)}"
            lines.append(f'  {edge.token} -> {edge.target} [label="{label}"{dashed}];')
        return "\n".join([*lines, "}"])

    def as_json(self) -> dict[str, Any]:
        """Return what ``--format json`` prints."""
        evidence = self.evidence()
        return {
            "roots": list(self.lineage.roots),
            "truncated": self.lineage.truncated,
            "tokens": [
                {
                    "token": node.id,
                    "kind": node.kind.value,
                    "name": self.names.get(node.id),
                    "size": node.size,
                    "metadata": node.metadata.hex(),
                    "publisher": node.publisher,
                    "owner": node.owner,
                    "superseded_by": node.superseded_by,
                    "withdrawn": node.withdrawn,
                    "disordered": node.disordered,
                    "open_claims": node.open_claims,
                    "evidence": evidence.get(node.id),
                }
                for node in self.lineage.nodes.values()
            ],
            "links": [
                {
                    "token": edge.token,
                    "target": edge.target,
                    "relation": edge.relation.value,
                    "grade": self.grade(edge),
                }
                for edge in self.lineage.edges
            ],
        }

    def svg(self) -> str:
        """Return a picture: one column a generation, older tokens to the left."""
        edges = self.lineage.edges
        places = layered(list(self.lineage.nodes), [(edge.token, edge.target) for edge in edges])
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{places.width}" '
            f'height="{places.height}" viewBox="0 0 {places.width} {places.height}" '
            'font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            *map(self._line, edges, places.lines),
            *(self._box(node, *places.boxes[node.id]) for node in self.lineage.nodes.values()),
            "</svg>",
        ]
        return "\n".join(parts)

    def _box(self, node: LineageNode, x: int, y: int) -> str:
        name = self.names.get(node.id, "unnamed")
        name = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
        fill, stroke = ("#eaf3ff", "#2f6fb3") if node.kind is Kind.DATASET else _MODEL
        second = f"token {node.id}, {node.kind}{self._remarks(node)}"
        second = second if len(second) <= _LETTERS + 4 else f"{second[: _LETTERS + 3]}…"
        weight = 3 if node.id in self.lineage.roots else 1
        return (
            f"<g><title>{escape(self._title(node) + self._remarks(node))}</title>"
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{fill}" '
            f'stroke="{stroke}" stroke-width="{weight}"/>'
            f'<text x="{x + 12}" y="{y + 24}" font-weight="600">{escape(name)}</text>'
            f'<text x="{x + 12}" y="{y + 44}" fill="{"#a4262c" if node.marks else "#555"}">'
            f"{escape(second)}</text></g>"
        )

    def _line(self, edge: LineageEdge, points: Sequence[Point]) -> str:
        grade = self.grade(edge)
        colour = _COLOURS[grade]
        dashes = ' stroke-dasharray="5 4"' if grade == "stated" else ""
        (x1, y1), (x2, y2) = points[-2:] if len(points) == 2 else points[-3:-1]
        x, y = (x1 + x2) // 2, (y1 + y2) // 2
        words = [edge.relation, grade] if len(points) == 2 else [f"{edge.relation}, {grade}"]
        texts = (
            f'<text x="{x}" y="{y - 5 + 18 * row}">{escape(text)}</text>'
            for row, text in enumerate(words)
        )
        return (
            f'<path d="{_path(points)}" fill="none" stroke="{colour}"{dashes}/>'
            f'<g text-anchor="middle" font-size="11" fill="{colour}" stroke="#fff" '
            f'stroke-width="3" paint-order="stroke">{"".join(texts)}</g>'
        )


def _path(points: Sequence[Point]) -> str:
    """Return a line that bends between the columns, and is straight where it passes one."""
    path = "M{} {}".format(*points[0])
    for (x1, y1), (x2, y2) in zip(points[::2], points[1::2], strict=True):
        middle = (x1 + x2) // 2
        path += f"L{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return path


_COLOURS = {"stated": "#666", "transcript": "#4a4aa8", "countersigned": "#0b6b4f"}
_MODEL = ("#fdf1e3", "#b3702f")


def _unfolded(
    indent: str, entries: Sequence[tuple[LineageEdge, int]]
) -> list[tuple[str, LineageEdge, int, bool]]:
    """Return a token's links, the last one first, to be put on a stack."""
    marked = [(indent, edge, id, False) for edge, id in entries]
    if marked:
        marked[-1] = (*marked[-1][:3], True)
    return marked[::-1]


def _quoted(text: str, special: str) -> str:
    return "".join(f"#{ord(letter)};" if letter in special else letter for letter in text)
