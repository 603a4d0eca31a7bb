"""Draws the packages of Alithis and the imports between them: docs/architecture.svg.

The boxes and their rows are stated here; the arrows are read from the code. An import that runs
up, or across a row, is an error, and so is a package that has no box.

Usage: python tools/architecture.py [--check]
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
OUTSIDE = "alithis_ape"
"""The package beside the library that uses Ape."""


@dataclass(frozen=True, slots=True)
class Box:
    """A package, or a module beside them, and its place in the picture.

    Attributes:
        row: from the top; a box imports boxes of lower rows only.
        column: of its middle, in widths of a box, from the left.
        caption: what it does, in a few words.
    """

    row: int
    column: float
    caption: str


BOXES: Mapping[str, Box] = {
    "cli": Box(0, 1.5, "the alithis command"),
    OUTSIDE: Box(0, 3, "with Ape: signs, sends"),
    "integrations": Box(1, 0.5, "frameworks, Ray"),
    "alithis": Box(0, 0.5, "the public names"),
    "server": Box(1, 2, "page, gateway, API"),
    "reports": Box(1, 3.5, "reports, exports"),
    "training": Box(2, 1, "Run, models"),
    "lineage": Box(2, 3, "graphs, drawn"),
    "readers": Box(3, 1, "data → data points"),
    "verify": Box(3, 3, "verdicts"),
    "storage": Box(4, 2.5, "stores, gateways"),
    "chain": Box(4, 3.5, "the registry"),
    "manifest": Box(5, 2, "tree, proofs, files"),
    "forms": Box(6, 1.5, "canonical forms"),
    "ipfs": Box(6, 2.5, "CIDs, CAR files"),
    "base": Box(7, 2, "files, HTTP, JSON"),
    "errors": Box(8, 2, "the exception tree"),
}
"""Where each package stands. `alithis` is the library's own ``__init__.py``."""


@dataclass(frozen=True, slots=True)
class Import:
    """An import of one box's code by another's.

    Attributes:
        importer: the box that imports.
        imported: the box that is imported.
        where: file and line, for messages.
    """

    importer: str
    imported: str
    where: str


def imports(root: Path = ROOT) -> Iterator[Import]:
    """Yield all imports between boxes, those in functions and for type checkers too."""
    for package in ("alithis", OUTSIDE):
        for path in sorted((root / package).rglob("*.py")):
            where = path.relative_to(root)
            importer = _box(root, where.with_suffix("").parts)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for line, name in _imported(tree, where):
                imported = _box(root, name.split("."))
                if importer and imported and imported != importer:
                    yield Import(importer, imported, f"{where}:{line}")


def _imported(tree: ast.Module, where: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each import; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise SystemExit(f"{where}:{node.lineno}: a relative import. Write the whole name")
            yield from ((node.lineno, f"{node.module}.{each.name}") for each in node.names)


def _box(root: Path, parts: Sequence[str]) -> str | None:
    """Return the box that a name belongs to; None for what is not ours."""
    package, *rest = parts
    if package != "alithis":
        return package if package == OUTSIDE else None
    if rest[:1] == ["__main__"]:
        return "cli"
    inner = root / "alithis" / "".join(rest[:1])
    is_inner = (
        rest and rest[0] != "__init__" and (inner.is_dir() or inner.with_suffix(".py").is_file())
    )
    return rest[0] if is_inner else package  # what is no package is a public name


def problems(found: Iterable[Import]) -> Iterator[str]:
    """Say, in a line each, what keeps the imports from being drawn."""
    found = list(found)
    drawn = {name for each in found for name in (each.importer, each.imported)}
    for name in sorted(drawn - BOXES.keys()):
        yield f"{name}: has no box. Add it to BOXES in tools/architecture.py"
    for name in sorted(BOXES.keys() - drawn):
        yield f"{name}: has a box, and no such package exists. Remove it from BOXES"
    for each in found:
        if {each.importer, each.imported} <= BOXES.keys() and not runs_down(
            each.importer, each.imported
        ):
            place = "above" if BOXES[each.imported].row < BOXES[each.importer].row else "beside"
            yield (
                f"{each.where}: {each.importer} imports {each.imported}, which stands {place} it. "
                "Move the code down, or hand it over as an argument"
            )


def runs_down(importer: str, imported: str) -> bool:
    """Return whether an arrow from one box to the other runs down."""
    return BOXES[importer].row < BOXES[imported].row


Arrow = tuple[str, str]


def reduced(arrows: Set[Arrow]) -> list[Arrow]:
    """Leave out each arrow that a way over other boxes makes superfluous, in a fixed order."""
    targets: dict[str, set[str]] = {}
    for start, end in arrows:
        targets.setdefault(start, set()).add(end)

    def reached(start: str) -> set[str]:
        ends = targets.get(start, set())
        return ends.union(*map(reached, ends))

    kept = {
        (start, end)
        for start, ends in targets.items()
        for end in ends
        if not any(end in reached(other) for other in ends)
    }
    return sorted(kept, key=lambda arrow: [_place(name) for name in arrow])


def _place(name: str) -> tuple[int, float]:
    return BOXES[name].row, BOXES[name].column


# -- The picture ---------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _ACROSS, _DOWN, _MARGIN = 172, 50, 34, 38, 24  # pixels
_LANE = 12  # pixels between lines that pass a row in the same gap
_STYLE = """
svg{--paper:#fff;--box:#f3f6fa;--edge:#5b7a9d;--ink:#1b2733;--soft:#51606f;--line:#6d7f92}
@media(prefers-color-scheme:dark){svg{--paper:#12171d;--box:#1d2630;--edge:#6f8fb3;--ink:#e8eef4;\
--soft:#a9b7c6;--line:#8496a9}}
.paper{fill:var(--paper)}
.box{fill:var(--box);stroke:var(--edge)}
.outside{stroke-dasharray:5 4}
.line{fill:none;stroke:var(--line);stroke-width:1.4;marker-end:url(#head)}
#head path{fill:var(--line)}
text{font-family:system-ui,sans-serif;text-anchor:middle;fill:var(--ink)}
.name{font-size:15px;font-weight:600}
.caption{font-size:12.5px;fill:var(--soft)}
"""

Point = tuple[int, int]


def svg(arrows: Iterable[Arrow]) -> str:
    """Draw the boxes and the arrows."""
    arrows = list(arrows)
    corners = [_corner(name) for name in BOXES]
    width = max(x for x, _ in corners) + _WIDTH + _MARGIN
    height = max(y for _, y in corners) + _HEIGHT + _MARGIN
    words = ", ".join(f"{start} uses {end}" for start, end in arrows)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-labelledby="title what">',
            '<title id="title">The packages of Alithis, and which uses which</title>',
            f'<desc id="what">{escape(words)}.</desc>',
            f"<style>{_STYLE}</style>",
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto" markerUnits="userSpaceOnUse">'
            '<path d="M0 0 8 4 0 8z"/></marker>',
            f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
            *(f'<path class="line" d="{_curve(points)}"/>' for points in _lines(arrows)),
            *map(_drawn, BOXES),
            "</svg>",
            "",
        )
    )


def _corner(name: str) -> Point:
    box = BOXES[name]
    left = min(each.column for each in BOXES.values())
    return (
        round(_MARGIN + (box.column - left) * (_WIDTH + _ACROSS)),
        _MARGIN + box.row * (_HEIGHT + _DOWN),
    )


def _drawn(name: str) -> str:
    x, y = _corner(name)
    kind = "box outside" if name == OUTSIDE else "box"
    middle = x + _WIDTH // 2
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="7"/>'
        f'<text class="name" x="{middle}" y="{y + 21}">{escape(name)}</text>'
        f'<text class="caption" x="{middle}" y="{y + 39}">{escape(BOXES[name].caption)}</text>'
    )


def _lines(arrows: Sequence[Arrow]) -> Iterator[list[Point]]:
    """Yield the points of each arrow: where it leaves, passes rows, and arrives."""
    taken: dict[int, list[int]] = {}  # row -> where lines pass it
    for start, end in sorted(arrows, key=lambda arrow: _middle(arrow[1]) - _middle(arrow[0])):
        first, last = BOXES[start].row, BOXES[end].row
        leaving = _port(start, [to for origin, to in arrows if origin == start], end)
        arriving = _port(end, [origin for origin, to in arrows if to == end], start)
        points = [(leaving, _corner(start)[1] + _HEIGHT)]
        for row in range(first + 1, last):
            wanted = leaving + (arriving - leaving) * (row - first) // (last - first)
            x = _free(row, wanted, taken.setdefault(row, []))
            taken[row].append(x)
            y = _MARGIN + row * (_HEIGHT + _DOWN)
            points += [(x, y), (x, y + _HEIGHT)]
        yield [*points, (arriving, _corner(end)[1])]


def _middle(name: str) -> int:
    return _corner(name)[0] + _WIDTH // 2


def _port(name: str, others: Sequence[str], other: str) -> int:
    """Return where on a box's edge the line to another box begins: they must not cross there."""
    order = sorted(others, key=lambda each: (_middle(each), BOXES[each].row))
    return _middle(name) + 26 * (2 * order.index(other) - len(order) + 1) // 2


def _free(row: int, wanted: int, taken: Sequence[int]) -> int:
    """Return the place nearest to the one wanted where a line can pass a row of boxes."""
    lefts = [_corner(name)[0] for name, box in BOXES.items() if box.row == row]

    def is_free(x: int) -> bool:
        clear = all(not left - _LANE < x < left + _WIDTH + _LANE for left in lefts)
        return clear and all(abs(x - each) >= _LANE for each in taken)

    return next(x for step in range(2000) for x in (wanted - step, wanted + step) if is_free(x))


def _curve(points: Sequence[Point]) -> str:
    """Return a path that bends between the rows, and is straight where it passes one."""
    path = "M{} {}".format(*points[0])
    for (x1, y1), (x2, y2) in zip(points[::2], points[1::2], strict=True):
        middle = (y1 + y2) // 2
        path += f"L{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture, or say whether the one in docs/ is current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    options = parser.parse_args(arguments)
    found = list(imports())
    if wrong := list(problems(found)):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    drawn = svg(reduced({(each.importer, each.imported) for each in found}))
    if not options.check:
        PICTURE.write_text(drawn, encoding="utf-8")
    elif not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != drawn:
        print(f"{PICTURE.name} is out of date: run make architecture", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
