"""The pictures of the comparison, after arXiv:1605.07678: a circle or a bar for each model."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from experiments.compare.table import Row, density
from search.plot import log_scale, tidy

# Okabe and Ito's palette. More colours could not be told apart.
_COLORS = ("#d55e00", "#0072b2", "#009e73", "#e69f00", "#b5539a", "#56b4e9")
_OTHERS = "#8a8a8a"
_FAMILIES = {"CellNetwork": "cells, by search and its data", "InceptionNetwork": "Inception"}
_LARGEST, _SMALLEST, _EQUAL = 500.0, 14.0, 36.0  # areas of circles, in square points
_LETTERS, _HEIGHT = 8.0, 8.5  # of names, in points


def operations(rows: Sequence[Row]) -> Figure:
    """Accuracy against multiply-adds; the area of a circle is the number of parameters, but small
    ones are drawn large enough to be seen."""
    figure, axes = _canvas("multiply-adds for one image, billions", "top-1 accuracy, %")
    log_scale(axes, "x")
    millions = np.array([row["parameters"] / 1e6 for row in rows])
    scale = _LARGEST / millions.max()
    _circles(
        axes,
        rows,
        [row["multiply_adds"] / 1e9 for row in rows],
        [row["top1"] for row in rows],
        "lower right",
        np.maximum(scale * millions, _SMALLEST),
        {
            f"{number:g} M parameters": scale * number
            for number in (0.1, 1, 10, 100, 1000)
            if millions.min() <= number <= millions.max()
        },
    )
    return figure


def speed(rows: Sequence[Row]) -> Figure:
    """Accuracy against images a second, at the largest number of images at once."""
    figure, axes = _canvas(f"images a second, {_measured(rows)}", "top-1 accuracy, %")
    log_scale(axes, "x")
    found = [_largest_batch(row) for row in rows]
    x = [batch / seconds for batch, seconds in found]
    _circles(axes, rows, x, [row["top1"] for row in rows], "lower left")
    return figure


def time(rows: Sequence[Row]) -> Figure:
    """Seconds an image against multiply-adds: what is below a line of slope one is fast."""
    figure, axes = _canvas(
        "multiply-adds for one image, billions", f"milliseconds an image, {_measured(rows)}"
    )
    log_scale(axes, "x", "y")
    y = [1e3 * seconds / batch for batch, seconds in map(_largest_batch, rows)]
    _circles(axes, rows, [row["multiply_adds"] / 1e9 for row in rows], y, "upper left")
    return figure


def memory(rows: Sequence[Row]) -> Figure:
    """Memory of activations against that of parameters."""
    figure, axes = _canvas("parameters, MB", "activations of one image, MB")
    log_scale(axes, "x", "y")
    x = [4 * row["parameters"] / 1e6 for row in rows]
    _circles(axes, rows, x, [row["activation_bytes"] / 1e6 for row in rows], "upper left")
    return figure


def densities(rows: Sequence[Row]) -> Figure:
    """Percent of accuracy per million parameters."""
    return _bars(rows, [density(row) for row in rows], "top-1 accuracy per million parameters, %")


def accuracies(rows: Sequence[Row]) -> Figure:
    """Accuracy, from the best model down."""
    return _bars(rows, [row["top1"] for row in rows], "top-1 accuracy, %")


PICTURES: dict[str, tuple[str, Callable[[Sequence[Row]], Figure]]] = {
    "operations": ("Accuracy against operations", operations),
    "speed": ("Accuracy against speed on this machine", speed),
    "time": ("Time against operations", time),
    "memory": ("Memory of activations against that of parameters", memory),
    "accuracy": ("Published accuracy", accuracies),
    "density": ("Information density", densities),
}


def _largest_batch(row: Row) -> tuple[int, float]:
    """The largest number of images at once, and the seconds that it took."""
    batch = max(row["seconds"], key=int)
    return int(batch), row["seconds"][batch]["median"]


def _measured(rows: Sequence[Row]) -> str:
    """How many images at once, and on what."""
    batch = max(_largest_batch(row)[0] for row in rows)
    places = dict.fromkeys(f"{r['on']['device']}, {r['on']['processors']} cores" for r in rows)
    return f"{batch} at once, on {' and '.join(places)}"


_Corner = Literal["upper left", "lower left", "lower right"]


def _canvas(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure((8.6, 5.4), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x, size=10)
    axes.set_ylabel(y, size=10)
    axes.margins(0.08, 0.1)
    tidy(axes)
    return figure, axes


def _colors(rows: Sequence[Row]) -> dict[str, str]:
    """By family its colour, those with most models first; grey for the least."""
    families = Counter(row["family"] for row in rows).most_common()
    colors = itertools.chain(_COLORS, itertools.repeat(_OTHERS))
    return {family: color for (family, _), color in zip(families, colors, strict=False)}


def _legend(axes: Axes, rows: Sequence[Row], place: _Corner, sizes: dict[str, float]) -> None:
    """The families with a colour of their own, and circles of some areas."""
    titles = {color: _FAMILIES.get(family, family) for family, color in _colors(rows).items()}
    if _OTHERS in titles:
        titles[_OTHERS] = "others"
    for color, title in titles.items():
        axes.scatter([], [], s=_EQUAL, color=color, label=title)
    for title, size in sizes.items():
        axes.scatter([], [], s=size, color="none", edgecolor=_OTHERS, label=title)
    axes.legend(
        loc=place,
        frameon=False,
        fontsize=8.5,
        labelspacing=0.9,
        borderpad=0.8,
        scatteryoffsets=(0.5,),
    )


def _circles(
    axes: Axes,
    rows: Sequence[Row],
    x: Sequence[float],
    y: Sequence[float],
    legend: _Corner,
    areas: np.ndarray | None = None,
    sizes: dict[str, float] | None = None,
) -> None:
    """A circle for each row, names, and a legend at a place that is empty in the picture."""
    areas = np.full(len(rows), _EQUAL) if areas is None else areas
    colors = _colors(rows)
    # Large ones first, so that small ones lie on them.
    for i in np.argsort(-areas):
        color = colors[rows[i]["family"]]
        circle = axes.scatter(
            x[i], y[i], s=areas[i], color=color, alpha=0.7, linewidth=0.8, edgecolor="white"
        )
        circle.set_gid(rows[i]["model"])
    _legend(axes, rows, legend, sizes or {})
    _label(axes, rows, np.column_stack([x, y]), np.sqrt(areas / np.pi))


_Box = tuple[float, float, float, float]


def _label(axes: Axes, rows: Sequence[Row], places: np.ndarray, radii: np.ndarray) -> None:
    """Names beside circles, nearer to their own than to any other, where there is room: the best
    of each family first; those farther away at the end of a line."""
    figure, legend = axes.figure, axes.get_legend()
    assert isinstance(figure, Figure) and legend is not None
    figure.draw_without_rendering()
    points = 72 / figure.dpi
    frame, area = (points * np.array(part.get_window_extent().extents) for part in (axes, legend))
    taken: list[_Box] = [tuple(area)]
    at = axes.transData.transform(places) * points
    circles = np.column_stack([at, radii])
    order = sorted(range(len(rows)), key=lambda i: -rows[i]["top1"])
    firsts = {rows[i]["family"]: i for i in reversed(order)}.values()
    for i in sorted(order, key=lambda i: i not in firsts):
        # Names of one picture need not say of which data set it is.
        name = rows[i]["model"].removesuffix(f"_{rows[i]['data'].split('-')[0].lower()}")
        others = np.delete(circles, i, axis=0)
        width = TextPath((0, 0), name, size=_LETTERS).get_extents().width + 3
        for box, line in _spots(circles[i], width):
            if (
                (box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3])
                or any(_overlap(box, other) for other in taken)
                or (_distances(box, others) < (3 if len(line) else 7)).any()
                or any(_distances(other, line).min(initial=1) <= 0 for other in taken)
                or any((np.hypot(*(others[:, :2] - p[:2]).T) < others[:, 2]).any() for p in line)
            ):
                continue
            taken.append(box)
            circles = np.concatenate([circles, line])
            axes.annotate(
                name,
                places[i],
                ((box[0] + box[2]) / 2 - at[i, 0], (box[1] + box[3]) / 2 - at[i, 1]),
                textcoords="offset points",
                size=_LETTERS,
                color="#222222",
                ha="center",
                va="center",
            )
            if len(line):
                ends = axes.transData.inverted().transform(line[[0, -1], :2] / points)
                axes.plot(*ends.T, color="#777777", linewidth=0.6, scalex=False, scaley=False)
            break


def _spots(circle: np.ndarray, width: float) -> Iterator[tuple[_Box, np.ndarray]]:
    """Boxes around a circle, the nearest first, and points of the line to each, as small circles;
    the nearest need none."""
    x, y, radius = circle
    for gap in (3, 12, 20, 30, 42):
        for turn in (0, 4, 2, 6, 1, 7, 3, 5):
            direction = np.round([np.cos(turn * np.pi / 4), np.sin(turn * np.pi / 4)], 6)
            near = np.array([x, y]) + (radius + gap) * direction
            low = near + (np.sign(direction) - 1) / 2 * (width, _HEIGHT)
            steps = np.linspace(radius, radius + gap - 2, 20 if gap > 3 else 0)
            line = np.array([x, y]) + steps[:, None] * direction
            box = (low[0], low[1], low[0] + width, low[1] + _HEIGHT)
            yield box, np.column_stack([line, np.full(len(line), 1.5)])


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _distances(box: _Box, circles: np.ndarray) -> np.ndarray:
    """Of circles from a box; below zero where they touch."""
    x, y, radii = circles.T
    across = np.maximum(np.maximum(box[0] - x, x - box[2]), 0)
    along = np.maximum(np.maximum(box[1] - y, y - box[3]), 0)
    return np.hypot(across, along) - radii


def _bars(rows: Sequence[Row], values: Sequence[float], title: str) -> Figure:
    order = np.argsort(values)
    colors = _colors(rows)
    figure = Figure((7.5, 0.24 * len(rows) + 0.9), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for place, i in enumerate(order):
        (bar,) = axes.barh(place, values[i], color=colors[rows[i]["family"]], height=0.72)
        bar.set_gid(rows[i]["model"])
        axes.text(values[i], place, f" {values[i]:.3g}", size=8, va="center", color="#444444")
    axes.set_yticks(range(len(rows)), [rows[i]["model"] for i in order])
    axes.set_xlabel(title, size=10)
    axes.margins(x=0.1, y=0.01)
    tidy(axes)
    axes.grid(visible=False, axis="y")
    return figure
