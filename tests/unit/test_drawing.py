"""How a lineage's evidence is summed up."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from alithis.chain.queries import Lineage, LineageEdge, LineageNode
from alithis.lineage.diagrams import mermaid
from alithis.lineage.drawing import Drawing
from alithis.lineage.text import listing
from alithis.manifest.terms import Grade, Kind, Relation, Scheme

GRADES = tuple(Grade)


def node(id: int, kind: Kind = Kind.MODEL) -> LineageNode:
    return LineageNode(
        id, kind, Scheme.SHA256, 1, bytes(32), bytes(32), "0xabc", "0xabc", None, False, False, 0
    )


def drawing(root: int, links: dict[tuple[int, int], str], kinds=None) -> Drawing:
    ids = sorted({root, *(id for link in links for id in link)})
    nodes = {id: node(id, (kinds or {}).get(id, Kind.MODEL)) for id in ids}
    edges = [LineageEdge(token, target, Relation.TRAINED_ON, False) for token, target in links]
    lineage = Lineage((root,), nodes, edges)
    grades = {edge: Grade(links[edge.token, edge.target]) for edge in edges}
    return Drawing(lineage, {1: "photos"}, grades)


def ways(links: dict[tuple[int, int], str], start: int, end: int, *, up: bool) -> list[int]:
    """Reference implementation: try all paths and take the weakest link of the best."""
    if start == end:
        return [len(GRADES) - 1]
    found = []
    for (token, target), grade in links.items():
        here, there = (token, target) if up else (target, token)
        if here == start:
            rest = ways(links, there, end, up=up)
            found += [min(GRADES.index(grade), weakest) for weakest in rest]
    return found


class TestEvidence:
    def test_grade_is_the_weakest_link_of_the_strongest_path(self):
        links = {(2, 1): "countersigned", (3, 2): "transcript", (4, 3): "countersigned"}
        assert drawing(1, links).evidence() == {
            2: "countersigned",
            3: "transcript",
            4: "transcript",
        }
        shortcut = links | {(4, 1): "stated"}
        assert drawing(1, shortcut).evidence()[4] == "transcript"
        assert drawing(1, links | {(4, 1): "countersigned"}).evidence()[4] == "countersigned"

    def test_grades_tokens_in_both_directions(self):
        links = {(2, 1): "stated", (3, 2): "countersigned"}
        assert drawing(2, links).evidence() == {1: "stated", 3: "countersigned"}

    @given(
        st.dictionaries(
            st.tuples(st.integers(1, 6), st.integers(1, 6)).filter(lambda link: link[1] < link[0]),
            st.sampled_from(GRADES),
            min_size=1,
            max_size=9,
        ),
        st.data(),
    )
    def test_grade_equals_the_best_of_all_paths(self, links, data):
        root = data.draw(st.sampled_from(sorted({id for link in links for id in link})))
        found = drawing(root, links).evidence()
        for id in {id for link in links for id in link} - {root}:
            tried = ways(links, root, id, up=True) + ways(links, root, id, up=False)
            assert found.get(id) == (GRADES[max(tried)] if tried else None)


class TestMermaid:
    def test_a_name_cannot_become_a_directive(self):
        links = {(2, 1): "stated"}
        name = "x%%{init:{'themeCSS':'.node{display:none}'}}%%"
        drawn = mermaid(replace(drawing(2, links), names={1: name}))
        assert not {"%", "{", "}"} & set(drawn)
        assert "x#37;#37;#123;init:" in drawn


class TestListing:
    LINKS = {(3, 1): "stated", (3, 2): "countersigned", (4, 3): "transcript"}  # noqa: RUF012
    KINDS = {1: Kind.DATASET, 2: Kind.DATASET}  # noqa: RUF012

    def listed(self, *args):
        return listing(drawing(4, self.LINKS, self.KINDS), *args).splitlines()

    def test_lists_all_tokens_except_the_roots(self):
        assert self.listed() == [
            "photos (token 1): dataset, stated, published by 0xabc",
            "unnamed (token 2): dataset, transcript, published by 0xabc",
            "unnamed (token 3): model, transcript, published by 0xabc",
        ]

    def test_lists_tokens_by_kind_and_grade(self):
        assert [line[:16] for line in self.listed("dataset")] == [
            "photos (token 1)",
            "unnamed (token 2",
        ]
        assert self.listed("dataset", "stated") == self.listed()[:1]
        assert self.listed("model", "countersigned") == []
