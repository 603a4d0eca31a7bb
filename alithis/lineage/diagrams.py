"""Writes a lineage in the languages of Mermaid and Graphviz."""

from __future__ import annotations

from alithis.lineage.drawing import Drawing, remarks
from alithis.manifest.terms import Grade, Kind

# Mermaid reads these as syntax even in a quoted label; %%{init} would start a directive.
_MERMAID_SPECIAL = '"#`;&<>%{}'


def mermaid(drawing: Drawing) -> str:
    """Return a Mermaid flowchart."""
    lines = ["flowchart BT"]
    for node in drawing.lineage.nodes.values():
        left, right = ("([", "])") if node.kind is Kind.MODEL else ("[", "]")
        label = "".join(
            f"#{ord(letter)};" if letter in _MERMAID_SPECIAL else letter
            for letter in drawing.title(node) + remarks(node)
        )
        lines.append(f'  t{node.id}{left}"{label}"{right}')
    for edge in drawing.lineage.edges:
        grade = drawing.grades[edge]
        arrow = "-.->" if grade is Grade.STATED else "-->"
        lines.append(f'  t{edge.token} {arrow}|"{edge.relation}, {grade}"| t{edge.target}')
    return "\n".join(lines)


def dot(drawing: Drawing) -> str:
    """Return a graph in DOT, Graphviz's language."""
    lines = ["digraph lineage {", "  rankdir=BT; node [shape=box, fontname=sans];"]
    for node in drawing.lineage.nodes.values():
        label = f"{drawing.title(node)}{remarks(node)}"
        label = label.replace("\\", "\\\\").replace('"', '\\"')
        style = ", style=rounded" if node.kind is Kind.MODEL else ""
        lines.append(f'  {node.id} [label="{label}"{style}];')
    for edge in drawing.lineage.edges:
        grade = drawing.grades[edge]
        dashed = ", style=dashed" if grade is Grade.STATED else ""
        lines.append(
            f'  {edge.token} -> {edge.target} [label="{edge.relation}\\n{grade}"{dashed}];'
        )
    return "\n".join([*lines, "}"])
