"""A lineage with the names and grades that its pictures show.

`alithis.lineage.text`, `.diagrams` and `.svg` turn a `Drawing` into one format each. Names come
from metadata that anybody can publish, so each format escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from alithis.chain.queries import Lineage, LineageEdge, LineageNode
from alithis.manifest.terms import Grade
from alithis.verify.grade import Endpoint, evidence
from alithis.verify.library import Shelf

_GRADES = tuple(Grade)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A lineage with its tokens' names and its links' grades.

    Attributes:
        lineage: the tokens and links.
        names: names by token, for tokens whose metadata is available.
        grades: the evidence for each link.
    """

    lineage: Lineage
    names: Mapping[int, str]
    grades: Mapping[LineageEdge, Grade]

    @classmethod
    def of(cls, lineage: Lineage, shelf: Shelf, names: Mapping[int, str] | None = None) -> Self:
        """Grade the links of a lineage, and name its tokens.

        Args:
            lineage: the tokens and links.
            shelf: where the tokens' manifests are.
            names: names by token; None to read them from the metadata.
        """
        if names is None:
            found = {id: shelf.statement(node.metadata) for id, node in lineage.nodes.items()}
            names = {id: statement.name for id, statement in found.items() if statement.name}
        return cls(lineage, names, {edge: _grade(edge, lineage, shelf) for edge in lineage.edges})

    def title(self, node: LineageNode) -> str:
        """Return a token's name and number."""
        return f"{self.names.get(node.id, 'unnamed')} (token {node.id})"

    def evidence(self) -> dict[int, Grade]:
        """Return each token's grade: the evidence for its strongest path to a root.

        A path is as strong as its weakest link. The roots themselves are left out.
        """
        strongest = len(_GRADES) - 1
        best = dict.fromkeys(self.lineage.roots, strongest)
        for upward in (True, False):
            reached = dict.fromkeys(self.lineage.roots, strongest)
            # A link's target has the smaller id. In this order all paths to a token are known
            # before its own links are looked at.
            for edge in sorted(
                self.lineage.edges,
                key=lambda edge: -edge.token if upward else edge.target,
            ):
                start, end = (edge.token, edge.target) if upward else (edge.target, edge.token)
                if start in reached:
                    grade = min(reached[start], _GRADES.index(self.grades[edge]))
                    reached[end] = max(reached.get(end, 0), grade)
            best |= {id: max(grade, best.get(id, 0)) for id, grade in reached.items()}
        return {id: _GRADES[grade] for id, grade in best.items() if id not in self.lineage.roots}

    def as_object(self) -> dict[str, Any]:
        """Return what ``alithis lineage --format json`` prints."""
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
                    "grade": self.grades[edge],
                }
                for edge in self.lineage.edges
            ],
        }


def remarks(node: LineageNode) -> str:
    """Return the known problems of a token, to be appended to a line about it."""
    return "".join(f", {mark}" for mark in node.marks)


def _grade(edge: LineageEdge, lineage: Lineage, shelf: Shelf) -> Grade:
    source, target = (Endpoint.of_node(lineage.nodes[id]) for id in (edge.token, edge.target))
    statement = shelf.statement(source.metadata)
    found = evidence(edge.relation, source, target, statement, countersigned=edge.countersigned)
    return found.grade
