"""The figures as text, and as a picture: docs/benchmarks.json, .md and .svg."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
_WIDTH, _LINE, _LEFT, _RIGHT = 860, 18, 270, 190


def save(part: str, value: Any) -> None:
    """Keep a part of the figures, and write the report anew from all of them."""
    path = DOCS / "benchmarks.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[part] = {"machine": machine(), "found": value}
    path.write_text(json.dumps(known, indent=1) + "\n")
    rows = [
        row for part in ("figures", "training") if part in known for row in known[part]["found"]
    ]
    if rows:
        (DOCS / "benchmarks.svg").write_text(plot(rows))
    page = DOCS / "benchmarks.md"
    text = page.read_text()
    for name, write in PARTS.items():
        if name in known:
            body = f"{known[name]['machine']}.\n\n{write(known[name]['found'])}"
            text = _between(text, name, body)
    page.write_text(text)


def machine() -> str:
    """Say what the figures were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} processors ({model}), Python {platform.python_version()}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the comparisons as a table in Markdown."""
    lines = ["| work | Alithis | the others | | ratio |", "| --- | ---: | --- | ---: | ---: |"]
    for row in rows:
        work, ours = row["work"], f"{row['seconds']:.3f} s"
        for other in row["others"]:
            theirs, ratio = "not run", ""
            if other["seconds"] is not None:
                theirs, ratio = f"{other['seconds']:.3f} s", f"{other['ratio']:.2f}"
            if between := other.get("between"):
                ratio += " ({:.2f} to {:.2f}, {} pairs)".format(*between, other["rounds"])
            lines.append(f"| {work} | {ours} | {other['name']} | {theirs} | {ratio} |")
            work = ours = ""
    return "\n".join(lines)


def large(found: Mapping[str, Any]) -> str:
    """Return the phases of a large manifest as a table in Markdown, and what proofs cost."""
    count = found["count"]
    lines = [
        f"{count:,} data points.",
        "",
        "| phase | seconds | data points a second | peak memory |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in ("build", "audit"):
        phases = found[name]
        for phase, took in phases.items():
            lines.append(_phase(f"{name}: {phase}", took["seconds"], took["peak"], count))
        total = sum(took["seconds"] for took in phases.values())
        peak = max(took["peak"] for took in phases.values())
        lines.append(_phase(f"**{name}**", total, peak, count))
    proofs = found["lookups"]
    sizes = f"`leaves` has {found['leaves'] / 1e9:.2f} GB, the items {found['items'] / 1e9:.2f} GB."
    lines += [
        "",
        f"{sizes} {proofs['proofs']:,} proofs, half of them of absence, each from nothing: at most "
        f"{proofs['reads at most']} reads and {proofs['bytes at most']:,} bytes, "
        f"{proofs['bytes on average']:,} bytes on average.",
    ]
    return "\n".join(lines)


PARTS: dict[str, Callable[[Any], str]] = {"figures": table, "training": table, "large": large}
"""What can be measured by itself, and how each is written."""


def _phase(name: str, seconds: float, peak: int, count: int) -> str:
    rate = f"{count / seconds:,.0f}" if seconds else ""
    return f"| {name} | {seconds:.1f} | {rate} | {peak / 1e9:.2f} GB |"


def _between(text: str, name: str, body: str) -> str:
    """Replace what stands between the marks of a part."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{body}\n\n{end}{tail}"


def plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw seconds as bars on a logarithmic scale, ours and the others', as SVG."""
    times = [row["seconds"] for row in rows]
    times += [each["seconds"] for row in rows for each in row["others"] if each["seconds"]]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    room = (_WIDTH - _LEFT - _RIGHT) / (high - low)
    drawn, y = list[str](), 34
    for row in rows:
        drawn.append(_text(12, y, row["work"], "font-weight='bold'"))
        y += _LINE
        ours = {"name": "Alithis", "seconds": row["seconds"], "ratio": None}
        for each in (ours, *row["others"]):
            if each["seconds"] is not None:
                drawn += _bar(y, each, (math.log10(each["seconds"]) - low) * room)
                y += _LINE
        y += _LINE // 2
    scale = _scale(low, high, room, y)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {y + 24}' "
        f"font-family='sans-serif' font-size='12'>"
        f"<rect width='{_WIDTH}' height='{y + 24}' fill='white'/>"
        f"{''.join([*scale, *drawn])}</svg>\n"
    )


def _bar(y: int, each: Mapping[str, Any], length: float) -> Iterator[str]:
    colour = "#2a6fb0" if each["ratio"] is None else "#b8c4ce"
    ratio = "" if each["ratio"] is None else f", {each['ratio']:.2f} x"
    yield _text(_LEFT - 8, y, each["name"], "text-anchor='end'")
    yield (
        f"<rect x='{_LEFT}' y='{y - 11}' width='{max(length, 1):.1f}' height='13' fill='{colour}'/>"
    )
    yield _text(_LEFT + length + 6, y, f"{each['seconds']:.3g} s{ratio}")


def _scale(low: int, high: int, room: float, y: int) -> Iterator[str]:
    for power in range(low, high + 1):
        x = _LEFT + (power - low) * room
        yield f"<line x1='{x:.1f}' y1='20' x2='{x:.1f}' y2='{y}' stroke='#e4e8ec'/>"
        yield _text(x, y + 14, f"{10.0**power:g} s", "text-anchor='middle' fill='#667'")


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y}' {more}>{escape(text)}</text>"
