"""Where a drawn lineage's boxes and lines go."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from alithis.lineage.columns import ACROSS, HEIGHT, MARGIN, WIDTH, layered


@st.composite
def graphs(draw):
    """Draw nodes 1, 2, … and links to smaller numbers."""
    count = draw(st.integers(1, 12))
    pairs = [(origin, target) for origin in range(2, count + 1) for target in range(1, origin)]
    some = st.lists(st.sampled_from(pairs), max_size=20, unique=True) if pairs else st.just([])
    return list(range(1, count + 1)), draw(some)


@given(graphs())
def test_boxes_do_not_overlap_and_are_inside_the_drawing(graph):
    nodes, links = graph
    found = layered(nodes, links)
    for x, y in [*found.boxes.values(), *(point for line in found.lines for point in line)]:
        assert MARGIN <= x <= found.width - MARGIN
        assert MARGIN <= y <= found.height - MARGIN
    for node, (x, y) in found.boxes.items():
        for other, (x2, y2) in found.boxes.items():
            assert node == other or x != x2 or abs(y - y2) > HEIGHT


@given(graphs())
def test_a_line_connects_two_boxes_and_crosses_no_other(graph):
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
def test_older_nodes_are_further_left(graph):
    nodes, links = graph
    boxes = layered(nodes, links).boxes
    assert all(boxes[target][0] < boxes[origin][0] for origin, target in links)
