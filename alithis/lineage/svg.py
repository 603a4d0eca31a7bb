"""Draws a lineage as SVG: one column for each generation, older tokens on the left."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from alithis.chain.queries import LineageEdge, LineageNode
from alithis.lineage.columns import HEIGHT, WIDTH, Point, layered
from alithis.lineage.drawing import Drawing, remarks
from alithis.manifest.terms import Grade, Kind

_LETTERS = 30  # characters of a name that fit into a box
_COLOURS = {Grade.STATED: "#666", Grade.TRANSCRIPT: "#4a4aa8", Grade.COUNTERSIGNED: "#0b6b4f"}
_BOXES = {Kind.DATASET: ("#eaf3ff", "#2f6fb3"), Kind.MODEL: ("#fdf1e3", "#b3702f")}


def svg(drawing: Drawing) -> str:
    """Return the picture."""
    nodes, edges = drawing.lineage.nodes, drawing.lineage.edges
    layout = layered(list(nodes), [(edge.token, edge.target) for edge in edges])
    lines = (
        _line(edge, drawing.grades[edge], points)
        for edge, points in zip(edges, layout.lines, strict=True)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{layout.width}" '
            f'height="{layout.height}" viewBox="0 0 {layout.width} {layout.height}" '
            'font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            *lines,
            *(_box(drawing, node, *layout.boxes[node.id]) for node in nodes.values()),
            "</svg>",
        ]
    )


def _box(drawing: Drawing, node: LineageNode, x: int, y: int) -> str:
    name = drawing.names.get(node.id, "unnamed")
    name = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    second = f"token {node.id}, {node.kind}{remarks(node)}"
    second = second if len(second) <= _LETTERS + 4 else f"{second[: _LETTERS + 3]}…"
    fill, stroke = _BOXES[node.kind]
    weight = 3 if node.id in drawing.lineage.roots else 1
    return (
        f"<g><title>{escape(drawing.title(node) + remarks(node))}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="{weight}"/>'
        f'<text x="{x + 12}" y="{y + 24}" font-weight="600">{escape(name)}</text>'
        f'<text x="{x + 12}" y="{y + 44}" fill="{"#a4262c" if node.marks else "#555"}">'
        f"{escape(second)}</text></g>"
    )


def _line(edge: LineageEdge, grade: Grade, points: Sequence[Point]) -> str:
    colour = _COLOURS[grade]
    dashes = ' stroke-dasharray="5 4"' if grade is Grade.STATED else ""
    # Between adjacent columns the label is in the gap, on two lines. Where the line passes a
    # column, the straight segment is wide enough for a label on one line.
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
    """Return a path that curves between columns and is straight where it passes one."""
    path = "M{} {}".format(*points[0])
    for (x1, y1), (x2, y2) in zip(points[::2], points[1::2], strict=True):
        middle = (x1 + x2) // 2
        path += f"L{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return path
