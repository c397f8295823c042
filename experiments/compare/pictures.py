"""The pictures of the comparison, after arXiv:1605.07678: a circle or a bar for each model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.compare.table import Row, density

# Okabe and Ito's palette, in an order that keeps neighbours apart.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#b5539a", "#8a7a00", "#4aa3d6", "#444444", "#b07000")
_SIZE = 60.0  # of a circle for ten million parameters, in square points


def _colors(rows: Sequence[Row]) -> list[str]:
    families = list(dict.fromkeys(row["family"] for row in rows))
    return [_COLORS[families.index(row["family"]) % len(_COLORS)] for row in rows]


def _largest_batch(row: Row) -> tuple[int, float]:
    """The largest number of images at once, and the seconds that it took."""
    batch = max(row["seconds"], key=int)
    return int(batch), row["seconds"][batch]["median"]


def operations(rows: Sequence[Row]) -> Figure:
    """Accuracy against multiply-adds; the area of a circle is the number of parameters."""
    x = np.array([row["multiply_adds"] / 1e9 for row in rows])
    y = np.array([row["top1"] for row in rows])
    sizes = np.array([row["parameters"] / 1e7 * _SIZE for row in rows])
    figure, axes = _canvas("multiply-adds for one image, billions", "top-1 accuracy, %")
    _circles(axes, rows, x, y, sizes)
    for millions in (1, 10, 100):
        axes.scatter(
            [], [], s=millions / 10 * _SIZE, color="#999999", alpha=0.5, label=f"{millions} M"
        )
    axes.legend(title="parameters", loc="lower right", frameon=False, fontsize=9, labelspacing=1.2)
    return figure


def speed(rows: Sequence[Row]) -> Figure:
    """Accuracy against images a second, at the largest number of images at once."""
    found = [_largest_batch(row) for row in rows]
    x = np.array([batch / seconds for batch, seconds in found])
    y = np.array([row["top1"] for row in rows])
    batch = max(batch for batch, _ in found)
    figure, axes = _canvas(f"images a second, {batch} at once", "top-1 accuracy, %")
    _circles(axes, rows, x, y, np.full(len(rows), 40.0))
    return figure


def time(rows: Sequence[Row]) -> Figure:
    """Seconds an image against multiply-adds: what is below a line of slope one is fast."""
    found = [_largest_batch(row) for row in rows]
    x = np.array([row["multiply_adds"] / 1e9 for row in rows])
    y = np.array([1e3 * seconds / batch for batch, seconds in found])
    batch = max(batch for batch, _ in found)
    figure, axes = _canvas(
        "multiply-adds for one image, billions", f"milliseconds an image, {batch} at once"
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    _circles(axes, rows, x, y, np.full(len(rows), 40.0))
    return figure


def memory(rows: Sequence[Row]) -> Figure:
    """Memory of activations against that of parameters."""
    x = np.array([4 * row["parameters"] / 1e6 for row in rows])
    y = np.array([row["activation_bytes"] / 1e6 for row in rows])
    figure, axes = _canvas("parameters, MB", "activations of one image, MB")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    _circles(axes, rows, x, y, np.full(len(rows), 40.0))
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


def _canvas(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure((9.5, 6.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(x, size=10)
    axes.set_ylabel(y, size=10)
    _tidy(axes)
    return figure, axes


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8.5, color="#999999", labelcolor="#444444")


def _circles(
    axes: Axes, rows: Sequence[Row], x: np.ndarray, y: np.ndarray, sizes: np.ndarray
) -> None:
    colors = _colors(rows)
    # Large ones first, so that small ones lie on them.
    for i in np.argsort(-sizes):
        circle = axes.scatter(
            x[i], y[i], s=sizes[i], color=colors[i], alpha=0.55, linewidth=0.8, edgecolor="white"
        )
        circle.set_gid(rows[i]["model"])
    axes.margins(0.09)
    _label(axes, [row["model"] for row in rows], x, y, np.sqrt(sizes / np.pi), colors)


def _label(
    axes: Axes,
    names: Sequence[str],
    x: np.ndarray,
    y: np.ndarray,
    radii: np.ndarray,
    colors: Sequence[str],
) -> None:
    """A name beside each circle, where it covers no other name and the fewest circles."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    points = 72 / figure.dpi
    at = axes.transData.transform(np.column_stack([x, y])) * points
    taken: list[tuple[float, float, float, float]] = []
    area = axes.get_window_extent()
    limits = np.array([area.x0, area.y0, area.x1, area.y1]) * points
    height = 9.0
    for i in np.lexsort((at[:, 0], -at[:, 1])):
        width = 4.3 * len(names[i])
        best: tuple[float, Any, Any] | None = None
        for ring in (2, 9, 17, 26, 38, 52):
            for direction in range(8):
                dx, dy = np.cos(direction * np.pi / 4), np.sin(direction * np.pi / 4)
                reach = radii[i] + ring
                left = at[i, 0] + reach * dx + (dx - 1) / 2 * width
                low = at[i, 1] + reach * dy + (dy - 1) / 2 * height
                box = (left, low, left + width, low + height)
                cost = ring + 200.0 * sum(_overlap(box, other) for other in taken)
                cost += 14.0 * np.sum(
                    (at[:, 0] > box[0] - radii)
                    & (at[:, 0] < box[2] + radii)
                    & (at[:, 1] > box[1] - radii)
                    & (at[:, 1] < box[3] + radii)
                )
                cost += 500.0 * (
                    box[0] < limits[0]
                    or box[1] < limits[1]
                    or box[2] > limits[2]
                    or box[3] > limits[3]
                )
                if best is None or cost < best[0]:
                    best = (cost, box, ring)
        assert best is not None
        _, box, ring = best
        taken.append(box)
        offset = ((box[0] + box[2]) / 2 - at[i, 0], (box[1] + box[3]) / 2 - at[i, 1])
        line = {"arrowstyle": "-", "color": colors[i], "linewidth": 0.5, "shrinkB": radii[i]}
        axes.annotate(
            names[i],
            (x[i], y[i]),
            offset,
            textcoords="offset points",
            size=7.5,
            color="#222222",
            ha="center",
            va="center",
            arrowprops=line if ring > 10 else None,
        )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _bars(rows: Sequence[Row], values: Sequence[float], title: str) -> Figure:
    order = np.argsort(values)
    colors = _colors(rows)
    figure = Figure((7.5, 0.24 * len(rows) + 0.9), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for place, i in enumerate(order):
        (bar,) = axes.barh(place, values[i], color=colors[i], height=0.72)
        bar.set_gid(rows[i]["model"])
        axes.text(values[i], place, f" {values[i]:.3g}", size=8, va="center", color="#444444")
    axes.set_yticks(range(len(rows)), [rows[i]["model"] for i in order])
    axes.set_xlabel(title, size=10)
    axes.margins(x=0.1, y=0.01)
    _tidy(axes)
    axes.grid(visible=False, axis="y")
    return figure
