"""Places the boxes and lines of a graph so that no line crosses a box.

The layout is layered: each generation is a column, and the boxes of a column are sorted by the
position of their targets. A line that passes a column gets a lane of its own there. Source:
Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures",
1981, with a single barycentre sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 230, 58
"""A box's size in pixels."""
ACROSS, DOWN = 140, 26
"""Pixels between boxes, horizontally and vertically."""
MARGIN = 10
_LANE = 30  # pixels in height for a line that passes a column

Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """The positions in a drawing, in pixels.

    Attributes:
        boxes: each node's upper left corner.
        lines: for each link the points of its line, from its target's box to the right until its
            origin's box. Its segments alternate: the first crosses the gap between two columns,
            the next passes a column, and so on.
        width: the drawing's width.
        height: the drawing's height.
    """

    boxes: dict[int, Point]
    lines: list[list[Point]]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Lane:
    """The place of a link in a column that it passes."""

    link: int
    column: int


_Entry = int | _Lane


def layered(nodes: Sequence[int], links: Sequence[tuple[int, int]]) -> Layout:
    """Lay out a graph with the oldest nodes on the left.

    Args:
        nodes: their numbers, at least one; a link's target has a smaller number than its origin.
        links: pairs of origin and target.
    """
    columns = _columns(nodes, links)
    chains = [_chain(number, link, columns) for number, link in enumerate(links)]
    heights = _heights(columns, chains)
    tops = {
        entry: (MARGIN + column * (WIDTH + ACROSS), top)
        for column, tops in enumerate(heights)
        for entry, top in tops.items()
    }
    boxes = {entry: tops[entry] for entry in nodes}
    return Layout(
        boxes=boxes,
        lines=[_line(chain, tops) for chain in chains],
        width=max(x for x, _ in tops.values()) + WIDTH + MARGIN,
        height=max(y + _height(entry) for entry, (_, y) in tops.items()) + MARGIN,
    )


def _columns(nodes: Sequence[int], links: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Put each node one column to the right of its rightmost target."""
    targets: dict[int, list[int]] = {}
    for origin, target in links:
        targets.setdefault(origin, []).append(target)
    columns: dict[int, int] = {}
    for node in sorted(nodes):
        columns[node] = 1 + max((columns[each] for each in targets.get(node, [])), default=-1)
    return columns


def _chain(number: int, link: tuple[int, int], columns: dict[int, int]) -> list[_Entry]:
    """Return the target, lanes and origin that a link's line connects, column by column."""
    origin, target = link
    between = range(columns[target] + 1, columns[origin])
    return [target, *(_Lane(number, column) for column in between), origin]


def _heights(columns: dict[int, int], chains: list[list[_Entry]]) -> list[dict[_Entry, int]]:
    """Return for each column the top of each entry."""
    entries: list[list[_Entry]] = [[] for _ in range(1 + max(columns.values()))]
    for node in sorted(columns):
        entries[columns[node]].append(node)
    left: dict[_Entry, list[_Entry]] = {}
    for chain in chains:
        for before, entry in pairwise(chain):
            left.setdefault(entry, []).append(before)
            if isinstance(entry, _Lane):
                entries[entry.column].append(entry)
    middles: dict[_Entry, float] = {}
    found = []
    for column in entries:
        linked = {entry: [middles[each] for each in left.get(entry, [])] for entry in column}
        column.sort(key=lambda entry: _mean(linked[entry]))
        tops = _stacked(column)
        middles |= {entry: top + _height(entry) / 2 for entry, top in tops.items()}
        found.append(tops)
    return found


def _mean(heights: list[float]) -> float:
    return sum(heights) / len(heights) if heights else 0.0


def _stacked(column: list[_Entry]) -> dict[_Entry, int]:
    tops, top = {}, MARGIN
    for entry in column:
        tops[entry] = top
        top += _height(entry) + (DOWN if isinstance(entry, int) else 0)
    return tops


def _height(entry: _Entry) -> int:
    return HEIGHT if isinstance(entry, int) else _LANE


def _line(chain: list[_Entry], tops: dict[_Entry, Point]) -> list[Point]:
    points = []
    for entry in chain:
        x, y = tops[entry]
        middle = y + _height(entry) // 2
        points += [(x, middle), (x + WIDTH, middle)]
    return points[1:-1]
