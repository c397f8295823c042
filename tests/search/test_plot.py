import itertools
from collections import Counter

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from jaxcv.genotype import SINGLE, Cell, Output, published, published_recurrent
from search import create_discrete
from search.cell_picture import operation_label, state_label
from search.plot import draw_cell, draw_curves, draw_watch, draw_weights, save, to_svg

PRIMITIVES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")
UNUSUAL = {
    "one edge": Cell(((("sep_conv_3x3", 1),),), Output("concat", (2,))),
    "an input in the output": Cell(((("none", 0), ("none", 0)),), Output("concat", (0, 2))),
    "all edges": Cell(
        tuple(tuple(("conv_7x1_1x7", source) for source in range(n)) for n in range(2, 6)),
        Output("concat", (5,)),
    ),
}
CELLS = {
    f"{name} {kind}": cell
    for name, genotype in published.items()
    for kind, cell in genotype.cells.items()
} | UNUSUAL
RECURRENT = {
    f"{name} recurrent": genotype.cells["recurrent"]
    for name, genotype in published_recurrent.items()
} | {"one node": Cell(((("tanh", 0),),), Output("mean", (1,)))}
SINGLE_CELLS = {
    f"single {point}": create_discrete("nasbench201").decode(point).cells[SINGLE]
    for point in ((0, 1, 2, 3, 4, 1), (3,) * 6)
}


def labels_of(cell, inputs):
    """The labels of the states that the picture must have."""
    if inputs == 1:
        return ["$c_{k-1}$", *map(str, range(len(cell.nodes))), "$c_k$"]
    if cell.output.rule == "mean":
        states = map(str, range(len(cell.nodes) + 1))
        return ["$x_t$", "$h_{t-1}$", *states, "$h_t =$ mean"]
    return [*map(state_label, range(len(cell.nodes) + 2)), "$c_k$"]


def edges_of(cell, inputs=2):
    """(source, target, label) of every arrow that the picture must have; states are numbered as
    their labels are."""
    recurrent = cell.output.rule == "mean"
    behind, first = (2, 1) if recurrent else (0, inputs)
    nodes = enumerate(cell.nodes, first)
    edges = [(s + behind, t + behind, operation_label(o)) for t, node in nodes for o, s in node]
    edges += [(0, 2, None), (1, 2, None)] if recurrent else []
    output = len(labels_of(cell, inputs)) - 1
    return edges + [(state + behind, output, None) for state in cell.output.states]


def line_of(arrow):
    """Points along an arrow's line, in pixels, close together."""
    line = arrow.get_transform().transform_path(arrow.get_path()).to_polygons(closed_only=False)[0]
    steps = np.linspace(0, 1, 50)[:, None]
    return np.concatenate([a + (b - a) * steps for a, b in itertools.pairwise(line)])


def pixels_to(box, point):
    outside = np.maximum(0, np.maximum(box.min - point, point - box.max))
    return float(np.linalg.norm(outside))


@pytest.mark.parametrize("name", CELLS | RECURRENT | SINGLE_CELLS)
def test_cell_is_drawn_as_it_is_and_nothing_overlaps(name):
    cell = (CELLS | RECURRENT | SINGLE_CELLS)[name]
    inputs = 1 if name in SINGLE_CELLS else 2
    figure = draw_cell(cell, title=name, inputs=inputs)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes

    patches = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    boxes = [patch.get_window_extent() for patch in patches]
    texts = {text.get_text(): text for text in axes.texts}
    labelled = []
    for box in boxes:
        inside = [
            t for t in axes.texts if box.contains(*t.get_transform().transform(t.get_position()))
        ]
        assert len(inside) == 1, "one text in each box"
        extent = inside[0].get_window_extent(canvas.get_renderer())
        assert (extent.min >= box.min).all() and (extent.max <= box.max).all()
        labelled.append((inside[0].get_text(), box))
    assert len(axes.texts) == len(boxes)
    for a, b in itertools.combinations(boxes, 2):
        assert a.x1 < b.x0 or b.x1 < a.x0 or a.y1 < b.y0 or b.y1 < a.y0, "boxes overlap"
    title = figure.texts[0].get_window_extent(canvas.get_renderer())
    assert title.x1 <= figure.bbox.x1 and title.y1 <= figure.bbox.y1
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 < title.y0

    states = labels_of(cell, inputs)
    assert set(states) <= set(texts)
    places = {states.index(text): box for text, box in labelled if text in states}
    drawn = []
    for arrow in (patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)):
        line = line_of(arrow)
        source = min(places, key=lambda s: pixels_to(places[s], line[0]))
        target = min(places, key=lambda s: pixels_to(places[s], line[-1]))
        assert pixels_to(places[source], line[0]) < 5 > pixels_to(places[target], line[-1])
        met = {
            i
            for i, (_, box) in enumerate(labelled)
            if ((line > box.min + 1) & (line < box.max - 1)).all(axis=1).any()
        }
        assert len(met) <= 1, "a line runs through a box that is not its own"
        drawn.append((source, target, labelled[met.pop()][0] if met else None))
    assert Counter(drawn) == Counter(edges_of(cell, inputs))
    fills = {t: p.get_facecolor() for p, (t, _) in zip(patches, labelled, strict=True)}
    assert (fills[states[0]] == fills[states[1]]) == (inputs == 2), "inputs look alike"


def test_svg_names_every_operation_once_an_edge():
    cell = published["AMOEBANET_A"].cells["reduce"]
    svg = to_svg(draw_cell(cell))
    for label, count in Counter(label for *_, label in edges_of(cell) if label).items():
        assert svg.count(f"<!-- {label} -->") == count


def test_svg_of_equal_figures_is_equal():
    history = np.random.default_rng(0).uniform(size=(3, 2, 5))
    rows = [{"epoch": 1, "loss": 2.0, "accuracy": 0.1}]
    for draw in (
        lambda: draw_cell(published["DARTS_V2"].cells["normal"], "normal"),
        lambda: draw_weights(history, PRIMITIVES),
        lambda: draw_curves(rows),
    ):
        first = to_svg(draw())
        assert first == to_svg(draw())
        assert "<dc:date>" not in first


@pytest.mark.parametrize(
    ("epochs", "edges", "nodes", "inputs"),
    [(1, 14, 4, 2), (600, 2, 1, 2), (3, 20, 5, 2), (2, 36, 8, 1), (1, 1, 1, 1)],
)
def test_weights_have_a_panel_an_edge_and_a_line_a_primitive(epochs, edges, nodes, inputs):
    history = np.random.default_rng(0).dirichlet(np.ones(5), (epochs, edges))
    figure = draw_weights(history, PRIMITIVES, "normal", inputs=inputs)
    panels = [axes for axes in figure.axes if axes.get_lines()]
    label = state_label if inputs == 2 else str
    pairs = [(s, node + inputs) for node in range(nodes) for s in range(node + inputs)]
    names = [f"{label(s)} → {label(node)}" for s, node in pairs]
    assert [axes.get_title() for axes in panels] == names
    for edge, axes in enumerate(panels):
        for primitive, line in enumerate(axes.get_lines()):
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, epochs + 1))
            np.testing.assert_array_equal(line.get_ydata(), history[:, edge, primitive])
        assert axes.get_ylim()[1] > history.max()
    (legend,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == [*map(operation_label, PRIMITIVES)]
    looks = {
        (line.get_color(), str(line._dash_pattern) if epochs > 1 else line.get_marker())
        for line in panels[0].get_lines()
    }
    assert len(looks) == len(PRIMITIVES), "two primitives look the same"


def test_weights_of_what_was_chosen_are_thick():
    cell = Cell(
        ((("none", 0), ("skip_connect", 1)), (("sep_conv_3x3", 0), ("none", 2))),
        Output("concat", (2, 3)),
    )
    axes = draw_weights(np.ones((2, 5, 5)), PRIMITIVES, cell=cell).axes
    thick = {
        (panel.get_title(), PRIMITIVES[number])
        for panel in axes
        for number, line in enumerate(panel.get_lines())
        if line.get_linewidth() > 2
    }
    edges = [(0, 2, "none"), (1, 2, "skip_connect"), (0, 3, "sep_conv_3x3"), (2, 3, "none")]
    assert thick == {(f"{state_label(s)} → {state_label(t)}", name) for s, t, name in edges}
    # Its node were node 0 or node 1 of the search.
    fewer = Cell(cell.nodes[:1], Output("concat", (2,)))
    for panel in draw_weights(np.ones((2, 5, 5)), PRIMITIVES, cell=fewer).axes:
        assert all(line.get_linewidth() < 3 for line in panel.get_lines())
    (legend,) = (panel.get_legend() for panel in axes if panel.get_legend())
    assert max(line.get_linewidth() for line in legend.get_lines()) < 2


def test_weights_refuse_what_is_no_cell():
    with pytest.raises(ValueError, match="history has 13 edges"):
        draw_weights(np.ones((2, 13, 5)), PRIMITIVES)
    with pytest.raises(ValueError, match=r"\[epochs, edges, 5\]"):
        draw_weights(np.ones((2, 14, 8)), PRIMITIVES)
    with pytest.raises(ValueError, match="at least one epoch"):
        draw_weights(np.ones((0, 14, 5)), PRIMITIVES)


def test_curves_show_what_was_measured():
    rows = [
        {"epoch": 1, "loss": 2.0, "accuracy": 0.25, "test_loss": None, "test_accuracy": None},
        {"epoch": 2, "loss": 1.5, "accuracy": 0.5, "test_loss": 1.75, "test_accuracy": 0.375},
        {"epoch": 3, "loss": 1.0, "accuracy": 0.625},
    ]
    loss, accuracy = draw_curves(rows).axes
    curves = {
        (axes.get_title(loc="left"), line.get_label()): line.get_xydata().tolist()
        for axes in (loss, accuracy)
        for line in axes.get_lines()
    }
    assert curves == {
        ("loss", "train"): [[1, 2.0], [2, 1.5], [3, 1.0]],
        ("loss", "test"): [[2, 1.75]],
        ("accuracy (%)", "train"): [[1, 25.0], [2, 50.0], [3, 62.5]],
        ("accuracy (%)", "test"): [[2, 37.5]],
    }
    with pytest.raises(ValueError, match="rows is empty"):
        draw_curves([])


def test_curves_of_perplexity():
    rows = [
        {"epoch": 1, "loss": 5.0, "perplexity": 148.0, "valid_perplexity": 170.0},
        {"epoch": 2, "loss": 4.0, "perplexity": 55.0, "valid_perplexity": 90.0},
    ]
    loss, perplexity = draw_curves(rows, measure="perplexity").axes
    assert (loss.get_title(loc="left"), perplexity.get_title(loc="left")) == ("loss", "perplexity")
    assert perplexity.get_yscale() == "log"
    assert {line.get_label(): line.get_xydata().tolist() for line in perplexity.get_lines()} == {
        "train": [[1, 148.0], [2, 55.0]],
        "valid": [[1, 170.0], [2, 90.0]],
    }


def test_save_writes_svg_and_png(tmp_path):
    figure = draw_cell(published["DARTS_V2"].cells["normal"])
    save(figure, tmp_path / "cell.normal")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cell.normal.png",
        "cell.normal.svg",
    ]
    assert (tmp_path / "cell.normal.svg").read_text(encoding="utf-8") == to_svg(figure)
    height, width, _ = imread(tmp_path / "cell.normal.png").shape
    assert width / height == pytest.approx(figure.get_figwidth() / figure.get_figheight(), rel=0.01)


def test_signs_of_a_collapse_are_drawn_where_they_were_measured():
    rows = [
        {"epoch": 1, "entropy": 2.0, "skip_connections": 1, "valid_accuracy": 0.5},
        {"epoch": 2, "entropy": 1.5, "skip_connections": 3, "valid_accuracy": 0.6}
        | {"eigenvalue": 0.25, "discretized_accuracy": 0.3},
    ]

    def lines():
        return {
            axes.get_title(loc="left"): [line.get_xydata().tolist() for line in axes.get_lines()]
            for axes in draw_watch(rows).axes
        }

    drawn = lines()
    assert drawn == {
        "largest eigenvalue": [[[2, 0.25]]],
        "skip connections": [[[1, 1], [2, 3]]],
        "entropy (nats)": [[[1, 2], [2, 1.5]]],
        "accuracy (%)": [[[1, 50], [2, 60]], [[2, 30]]],
    }
    assert all(axes.get_ylim()[0] <= 0 for axes in draw_watch(rows).axes)
    rows[1]["spectrum"] = [-1.0, 0.25]
    (spectrum,) = lines()["all eigenvalues"]
    gap = [np.nan, np.nan]
    dashes = [[1.7, -1], [2.3, -1], gap, [1.7, 0.25], [2.3, 0.25], gap]
    np.testing.assert_allclose(spectrum, dashes)
    with pytest.raises(ValueError, match="nothing that was watched"):
        draw_watch([{"epoch": 1}])
