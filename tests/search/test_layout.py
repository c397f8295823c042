import itertools

import numpy as np
from scipy.optimize import isotonic_regression

from search.layout import Box, _falling, arrange


def test_pooling_agrees_with_isotonic_regression():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 30):
        values, weights = rng.normal(size=size), rng.uniform(0.1, 5.0, size)
        expected = isotonic_regression(values, weights=weights, increasing=False).x
        np.testing.assert_allclose(_falling(values, weights), expected, atol=1e-12)


def test_lines_that_need_not_cross_do_not():
    # Two trees, their leaves given in the wrong order.
    boxes = [Box(0, 1, 1), Box(0, 1, 1)] + [Box(1, 1, 0.3) for _ in range(6)] + [Box(2, 1, 1)] * 2
    links = [(leaf % 2, leaf) for leaf in range(2, 8)] + [
        (leaf, 9 - leaf % 2) for leaf in (2, 4, 7)
    ]
    y, ports = arrange(boxes, links)
    for (a, ports_a), (b, ports_b) in itertools.combinations(zip(links, ports, strict=True), 2):
        if boxes[a[0]].column == boxes[b[0]].column:
            assert ((ports_a - ports_b) > 0).all() or ((ports_a - ports_b) < 0).all(), (a, b)
    assert y[0] > y[1]


def test_boxes_of_a_column_keep_their_distance():
    boxes = [Box(0, 1, 1, 0.2), Box(0, 1, 0.5, 0.2), Box(0), *(Box(1, 1, h) for h in (0.2, 1, 3))]
    y, ports = arrange(boxes, [(0, 3), (1, 4), (1, 3), (1, 5), (2, 5)])
    for column in (boxes[:3], boxes[3:]):
        members = [boxes.index(box) for box in column]
        for a, b in itertools.combinations(members, 2):
            least = (boxes[a].height + boxes[b].height) / 2 + boxes[a].margin + boxes[b].margin
            assert abs(y[a] - y[b]) >= least - 1e-9
    assert abs(ports[0, 0] - y[0]) <= 0.5


def test_line_that_can_be_straight_is_straight():
    boxes = [Box(0, 1, 0.5), Box(0, 1, 0.5), Box(1), Box(1, 1, 1), Box(2), Box(3, 1, 0.5)]
    _, ports = arrange(boxes, [(0, 2), (1, 3), (2, 4), (4, 5)])
    assert np.abs(ports[[0, 2, 3], 0] - ports[[0, 2, 3], 1]).max() < 0.02
