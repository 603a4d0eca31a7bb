"""Writes a lineage as text: a tree or a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from alithis.chain.queries import LineageEdge
from alithis.lineage.drawing import Drawing, remarks

_End = tuple[LineageEdge, int]  # a link, and the token at its other end


def tree(drawing: Drawing) -> str:
    """Return a tree: for each root what it came from, then what came from it."""
    lines = []
    for id in drawing.lineage.roots:
        root = drawing.lineage.nodes[id]
        lines.append(
            f"{drawing.title(root)}: {root.kind}, published by {root.publisher}{remarks(root)}"
        )
        for words, upward in ("it came from", True), ("came from it", False):
            branches = list(_branches(drawing, id, _links(drawing, upward=upward)))
            lines += [words, *branches] if branches else []
    return "\n".join(lines)


def listing(drawing: Drawing, kind: str | None = None, grade: str | None = None) -> str:
    """Return a list: a line for each token except the roots.

    Args:
        drawing: the lineage.
        kind: only tokens of this kind: ``dataset`` or ``model``.
        grade: only tokens whose strongest path to a root has this grade.
    """
    return "\n".join(
        f"{drawing.title(node)}: {node.kind}, {found}, published by {node.publisher}{remarks(node)}"
        for id, found in sorted(drawing.evidence().items())
        if (node := drawing.lineage.nodes[id]).kind == (kind or node.kind)
        and found == (grade or found)
    )


def _links(drawing: Drawing, *, upward: bool) -> dict[int, list[_End]]:
    """Return each token's links to older tokens (upward), or the links of newer tokens to it."""
    ends = [
        (edge.token, edge, edge.target) if upward else (edge.target, edge, edge.token)
        for edge in drawing.lineage.edges
    ]
    ends.sort(key=lambda end: (end[0], end[2], end[1].relation))
    return {
        token: [(edge, other) for _, edge, other in group]
        for token, group in groupby(ends, key=lambda end: end[0])
    }


def _branches(drawing: Drawing, root: int, links: Mapping[int, list[_End]]) -> Iterator[str]:
    """Yield the lines below a token. A token that was shown before is not expanded again."""
    shown = {root}
    # A chain of fine-tunes can be longer than Python's recursion limit, so this uses a stack.
    stack = _entries("", links.get(root, []))
    while stack:
        indent, edge, id, last = stack.pop()
        again = " …as above" if id in shown and id in links else ""
        node = drawing.lineage.nodes[id]
        yield (
            f"{indent}{'└─' if last else '├─'} {edge.relation} {drawing.title(node)}: "
            f"{drawing.grades[edge]}{remarks(node)}{again}"
        )
        if id not in shown:
            shown.add(id)
            stack += _entries(indent + ("   " if last else "│  "), links.get(id, []))


def _entries(indent: str, ends: Sequence[_End]) -> list[tuple[str, LineageEdge, int, bool]]:
    """Return a token's links in stack order, each with whether it is printed last."""
    last = len(ends) - 1
    return [(indent, edge, id, at == last) for at, (edge, id) in enumerate(ends)][::-1]
