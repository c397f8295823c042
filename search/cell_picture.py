"""The picture of a discrete cell."""

import functools
import itertools
import re
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath

from jaxcv.genotype import Cell
from search.layout import Box, arrange

# Okabe and Ito's palette, safe for the colour-blind; strong for lines, dark for text on the tint.
_BLUE, _ORANGE, _GREEN, _GREY = (
    ("#0072b2", "#00517f", "#e1eef7"),
    ("#d55e00", "#9a4400", "#fbe9dd"),
    ("#009e73", "#00694d", "#dff2ec"),
    ("#5f5f5f", "#4d4d4d", "#eeeeee"),
)
_FAMILIES = {
    "sep": _BLUE,
    "dil": _ORANGE,
    "pool": _GREEN,
    "skip": _GREY,
    "tanh": _BLUE,
    "relu": _ORANGE,
    "sigmoid": _GREEN,
    "identity": _GREY,
    "none": ("#b8a200", "#6b5e00", "#f7f4dc"),
    "conv": ("#b5539a", "#86356f", "#f6e6f1"),
}
_INK = "#222222"
_CONCAT = "#b4b4b4"
_INPUT, _NODE, _OUTPUT = ("#e3f0d8", "#6d9150"), ("#dce9f7", "#5b83ad"), ("#fdf1c7", "#b89a2e")
_LABEL_SIZE, _STATE_SIZE = 9.5, 12.0
_EDGE = 0.12


def operation_label(operation: str) -> str:
    """The name of an operation for readers: ``sep_conv_3x3`` becomes "sep conv 3×3"."""
    return re.sub(r"(?<=\d)x(?=\d)", "×", operation).replace("_", " ")


def state_label(state: int, inputs: int = 2) -> str:
    """The name of a state as in the DARTS paper, mathtext: the cell's inputs, then 0, 1, ..."""
    return f"$c_{{k-{inputs - state}}}$" if state < inputs else str(state - inputs)


def operation_colors(operation: str) -> tuple[str, str, str]:
    """The colours of an operation's family: for lines, for text, and to fill with."""
    return next((c for name, c in _FAMILIES.items() if name in operation), _FAMILIES["conv"])


def draw_cell(cell: Cell, title: str | None = None, *, inputs: int = 2) -> Figure:
    """A discrete cell, left to right: its inputs, its nodes with the operation on each edge, and
    its output, as in figures 4 to 6 of arXiv:1806.09055. Node 0 of a recurrent cell is what it
    makes of its inputs; its numbers are those of the genotype.

    Args:
        cell: what to draw.
        title: of the figure.
        inputs: of the cell, 2, or 1 of one of kind "single". A recurrent cell has both of its own.
    """
    if cell.output.rule == "mean":
        inputs = 2
        labels, edges = _recurrent_graph(cell)
    else:
        labels, edges = _graph(cell, inputs)
    boxes, lines = _boxes_and_lines(labels, inputs, edges)
    links = [link for line in lines for link in itertools.pairwise(line.boxes)]
    y, ports = arrange(boxes, links)
    bottom = min(at - box.height / 2 for at, box in zip(y, boxes, strict=True)) - _EDGE
    y, ports = y - bottom, ports - bottom
    x = _abscissas(boxes, links, ports)
    height = max(at + box.height / 2 for at, box in zip(y, boxes, strict=True)) + _EDGE
    width = max(at + box.width / 2 for at, box in zip(x, boxes, strict=True)) + _EDGE
    figure, axes = _canvas(width, height, title)

    columns = range(1 + max(box.column for box in boxes))
    halves = [max(box.width for box in boxes if box.column == c) / 2 for c in columns]
    ends = iter(ports)
    for operation, chain in lines:
        points = []
        for source, target in itertools.pairwise(chain):
            start, stop = next(ends)
            points.append((x[source] + halves[boxes[source].column], start))
            points.append((x[target] - halves[boxes[target].column], stop))
        if operation is None:
            axes.add_patch(_arrow(points, _CONCAT))
        else:
            strong, dark, tint = operation_colors(operation)
            axes.add_patch(_arrow(points, strong))
            box = chain[-2]
            _draw_box(axes, (x[box], y[box]), boxes[box], tint, "none", 0.08)
            _text(axes, (x[box], y[box]), operation_label(operation), _LABEL_SIZE, dark)
    output = len(labels) - 1
    for state, text in enumerate(labels):
        fill, edge = _INPUT if state < inputs else _OUTPUT if state == output else _NODE
        _draw_box(axes, (x[state], y[state]), boxes[state], fill, edge, 0.06)
        _text(axes, (x[state], y[state]), text, _STATE_SIZE, _INK)
    return figure


_Arc = tuple[int, int, str | None]


def _graph(cell: Cell, inputs: int, behind: int = 0) -> tuple[list[str], list[_Arc]]:
    """The labels of all states, inputs, nodes and the output; and (source, target, operation) of
    all edges, without an operation where there is none to choose. States of the genotype stand so
    many behind."""
    states = inputs + len(cell.nodes)
    edges: list[_Arc] = [
        (source + behind, target + behind, operation)
        for target, node in enumerate(cell.nodes, inputs)
        for operation, source in node
    ]
    edges += [(state + behind, states + behind, None) for state in cell.output.states]
    return [*(state_label(state, inputs) for state in range(states)), "$c_k$"], edges


def _recurrent_graph(cell: Cell) -> tuple[list[str], list[_Arc]]:
    """The same of a recurrent cell, whose state 0 stands behind the two inputs that it is made
    of."""
    _, edges = _graph(cell, 1, behind=2)
    labels = ["$x_t$", "$h_{t-1}$", *map(str, range(len(cell.nodes) + 1)), "$h_t =$ mean"]
    return labels, [(0, 2, None), (1, 2, None), *edges]


class _Line(NamedTuple):
    """A line of the picture: its operation, if it has one, and its boxes from end to end."""

    operation: str | None
    boxes: list[int]


def _boxes_and_lines(
    labels: list[str], inputs: int, edges: list[_Arc]
) -> tuple[list[Box], list[_Line]]:
    """The boxes, first those of the cell's states and its output, then labels and places to pass;
    and the lines through them. A node is as far to the right as its inputs demand."""
    output = len(labels) - 1
    depths = [0] * inputs
    for state in range(inputs, output):
        depths.append(1 + max(depths[source] for source, target, _ in edges if target == state))
    # Labels stand in the columns between those of the states.
    columns = [2 * depth for depth in depths]
    columns.append(max(columns) + 1)

    boxes = []
    for state, column in enumerate(columns):
        leaving = sum(source == state for source, _, _ in edges)
        entering = sum(target == state for _, target, _ in edges)
        height = max(0.36, 0.14 + 0.13 * max(leaving, entering))
        text = _text_width(labels[state], _STATE_SIZE)
        width = 0.62 if state < inputs else max(0.36, text + 0.16)
        boxes.append(Box(column, width, height, 0.12))
    lines = []
    for source, target, operation in edges:
        passed = range(columns[source] + 1, columns[target])
        lines.append(
            _Line(operation, [source, *range(len(boxes), len(boxes) + len(passed)), target])
        )
        boxes += [Box(column) for column in passed]
        if operation is not None:
            width = _text_width(operation_label(operation), _LABEL_SIZE) + 0.18
            boxes[-1] = Box(columns[target] - 1, width, 0.25)
    return boxes, lines


@functools.cache
def _text_width(text: str, size: float) -> float:
    return float(TextPath((0, 0), text, size=size).get_extents().width) / 72


def _abscissas(boxes: list[Box], links: list[tuple[int, int]], ports: np.ndarray) -> np.ndarray:
    """The centres of the boxes [boxes]: columns as wide as their boxes, and wider gaps between
    them where a line has to climb."""
    centres, right = [], 0.0
    for column in range(1 + max(box.column for box in boxes)):
        here = [i for i, (_, target) in enumerate(links) if boxes[target].column == column]
        rise = np.abs(np.diff(ports[here])).max(initial=0.0)
        width = max(box.width for box in boxes if box.column == column)
        left = right + (min(max(0.2, 0.3 * rise), 0.75) if column else _EDGE)
        centres.append(left + width / 2)
        right = left + width
    return np.array([centres[box.column] for box in boxes])


def _arrow(points: list[tuple[float, float]], color: str) -> FancyArrowPatch:
    """A line through the points that is level in each: level from the second point to the third,
    from the fourth to the fifth, and so on; a curve in between."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for i, (x, y) in enumerate(points[1:], 1):
        if i % 2:
            middle = (points[i - 1][0] + x) / 2
            vertices += [(middle, points[i - 1][1]), (middle, y), (x, y)]
            codes += [Curve.CURVE4] * 3
        else:
            vertices.append((x, y))
            codes.append(Curve.LINETO)
    return FancyArrowPatch(
        path=Curve(vertices, codes),
        arrowstyle="-|>,head_length=4,head_width=2",
        mutation_scale=1.2,
        color=color,
        linewidth=1.3,
        zorder=1,
    )


def _draw_box(
    axes: Axes, centre: tuple[float, float], box: Box, fill: str, edge: str, rounding: float
) -> None:
    corner = (centre[0] - box.width / 2, centre[1] - box.height / 2)
    style = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(
        FancyBboxPatch(
            corner, box.width, box.height, style, facecolor=fill, edgecolor=edge, zorder=2
        )
    )


def _text(axes: Axes, at: tuple[float, float], text: str, size: float, color: str) -> None:
    axes.text(*at, text, size=size, color=color, ha="center", va="center_baseline", zorder=3)


def _canvas(width: float, height: float, title: str | None) -> tuple[Figure, Axes]:
    """A figure whose axes are in inches, with room for the title above."""
    head = 0.36 if title else 0.0
    if title:
        # Bold letters are up to a fifth wider than those measured.
        width = max(width, 1.2 * _text_width(title, 12) + 2 * _EDGE)
    figure = Figure(figsize=(width, height + head), facecolor="white")
    axes = figure.add_axes((0, 0, 1, height / (height + head)))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    if title:
        at = (_EDGE / width, 1 - _EDGE / (height + head))
        figure.text(*at, title, size=12, weight="bold", va="top")
    return figure, axes
