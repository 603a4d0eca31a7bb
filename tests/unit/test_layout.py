"""Where a drawn lineage's boxes and lines go."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from alithis.lineage.columns import ACROSS, HEIGHT, MARGIN, WIDTH, layered


@st.composite
def graphs(draw):
    """Nodes from 1 on, and links from any to smaller ones."""
    count = draw(st.integers(1, 12))
    pairs = [(origin, target) for origin in range(2, count + 1) for target in range(1, origin)]
    some = st.lists(st.sampled_from(pairs), max_size=20, unique=True) if pairs else st.just([])
    return list(range(1, count + 1)), draw(some)


@given(graphs())
def test_no_boxes_overlap_and_all_is_inside(graph):
    nodes, links = graph
    found = layered(nodes, links)
    for x, y in [*found.boxes.values(), *(point for line in found.lines for point in line)]:
        assert MARGIN <= x <= found.width - MARGIN
        assert MARGIN <= y <= found.height - MARGIN
    for node, (x, y) in found.boxes.items():
        for other, (x2, y2) in found.boxes.items():
            assert node == other or x != x2 or abs(y - y2) > HEIGHT


@given(graphs())
def test_a_line_leads_from_box_to_box_and_passes_none(graph):
    nodes, links = graph
    found = layered(nodes, links)
    for (origin, target), line in zip(links, found.lines, strict=True):
        (x, y), (x2, y2) = found.boxes[target], found.boxes[origin]
        assert line[0] == (x + WIDTH, y + HEIGHT // 2)
        assert line[-1] == (x2, y2 + HEIGHT // 2)
        for at, ((left, above), (right, below)) in enumerate(itertools.pairwise(line)):
            if at % 2 == 0:
                assert right - left == ACROSS  # the gap between two columns, where nothing stands
                continue
            assert (right - left, above) == (WIDTH, below)  # straight past a column
            in_column = (top for x, top in found.boxes.values() if x == left)
            assert not any(top <= above <= top + HEIGHT for top in in_column)


@given(graphs())
def test_what_it_came_from_stands_to_the_left(graph):
    nodes, links = graph
    boxes = layered(nodes, links).boxes
    assert all(boxes[target][0] < boxes[origin][0] for origin, target in links)
