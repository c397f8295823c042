"""Pictures of a search: cells, mixing weights over the epochs, curves of loss and accuracy.

Figures are made with matplotlib's objects, without pyplot: no global state, no display.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from jaxcv.genotype import Cell
from jaxcv.training.run import write_atomically
from search.cell_picture import draw_cell, operation_colors, operation_label, state_label

__all__ = [
    "draw_cell",
    "draw_curves",
    "draw_watch",
    "draw_weights",
    "log_scale",
    "save",
    "tidy",
    "to_svg",
]

_SPLITS = {"": "#0072b2", "valid": "#d55e00", "test": "#009e73"}
_STYLES = (("-", "o"), ((0, (4, 1.5)), "s"), ((0, (1, 1)), "^"), ((0, (5, 1, 1, 1)), "D"))


def draw_weights(
    history: np.ndarray,
    primitives: Sequence[str],
    title: str | None = None,
    *,
    inputs: int = 2,
    cell: Cell | None = None,
) -> Figure:
    """How the mixing weights of one kind of cell moved: a row of panels for each node, a panel for
    each of its edges, a line for each primitive, thick for those that were chosen.

    Args:
        history: [epochs, edges, primitives], the weights after each epoch. Node i, from 0, has
            i + inputs edges, one from each cell input and each node before it, in this order.
        primitives: their names.
        title: of the figure.
        inputs: of the cell, 2, or 1 of a recurrent one, whose node 0 that is.
        cell: what was chosen; by default no line is thick, nor of a cell that nodes were left out
            of, as the others are numbered anew in it.

    Raises:
        ValueError: for a history that has no epoch, not the edges of such nodes, or another number
            of primitives.
    """
    history = np.asarray(history, float)
    if history.ndim != 3 or not len(history) or history.shape[2] != len(primitives):
        raise ValueError(
            f"history has shape {history.shape}; allowed is [epochs, edges, {len(primitives)}], "
            "with at least one epoch"
        )
    edges = history.shape[1]
    sizes = [n * (n - 1) // 2 + n * inputs for n in range(1, edges + 2)]
    if edges not in sizes:
        raise ValueError(
            f"history has {edges} edges; allowed are {', '.join(map(str, sizes[:5]))}, ... "
            f"(node i: i + {inputs})"
        )
    nodes = 1 + sizes.index(edges)
    marked = cell if cell and len(cell.nodes) == nodes else None

    columns = max(nodes + inputs - 1, 3)
    figure = Figure(
        (1.9 * columns + 0.5, 1.5 * nodes + 0.9), facecolor="white", layout="constrained"
    )
    grid = figure.add_gridspec(nodes, columns)
    styles = _line_styles(primitives, points=len(history) == 1)
    epochs = np.arange(1, len(history) + 1)
    label = str if inputs == 1 else state_label
    first: Axes | None = None
    edge = 0
    for node in range(nodes):
        chosen = set(marked.nodes[node]) if marked else set()
        for source in range(node + inputs):
            axes = figure.add_subplot(grid[node, source], sharex=first, sharey=first)
            first = first or axes
            for primitive, name in enumerate(primitives):
                (line,) = axes.plot(epochs, history[:, edge, primitive], **styles[name])
                if (name, source) in chosen:
                    line.set(linewidth=3, zorder=3)
            axes.set_title(f"{label(source)} → {label(node + inputs)}", size=10, pad=3)
            _tidy_epochs(axes, len(history))
            axes.tick_params(labelleft=source == 0, labelbottom=node == nodes - 1)
            edge += 1
    assert first is not None
    first.set_ylim(0, 1.05 * max(float(np.nanmax(history)), 1e-3))
    figure.supxlabel("epoch", size=10)
    figure.supylabel("mixing weight", size=10)
    lines = [Line2D([], [], **styles[name]) for name in primitives]
    legend = figure.add_subplot(grid[0, 2:])
    legend.axis("off")
    legend.legend(
        lines,
        [operation_label(name) for name in primitives],
        loc="upper right",
        ncols=1 if columns == 3 else 2,
        title="thick: chosen" if marked else None,
        frameon=False,
        fontsize=9,
        borderaxespad=0,
    )
    if title:
        figure.suptitle(title, size=12, weight="bold")
    return figure


def draw_curves(
    rows: Sequence[Mapping[str, Any]], title: str | None = None, *, measure: str = "accuracy"
) -> Figure:
    """Loss and accuracy over the epochs, of the examples trained on and of those held out.

    Args:
        rows: of ``metrics.jsonl``: "epoch", and of "loss", "valid_loss", "test_loss", "accuracy"
            (a fraction), ... what was measured at that epoch.
        title: of the figure.
        measure: "accuracy", or "perplexity" instead of it, on a logarithmic scale.

    Raises:
        ValueError: without rows.
    """
    if not rows:
        raise ValueError("rows is empty; allowed is at least one epoch")
    figure = Figure((8.4, 3.1), facecolor="white", layout="constrained")
    for axes, shown in zip(figure.subplots(1, 2), ("loss", measure), strict=True):
        scale = 100 if shown == "accuracy" else 1
        for prefix, color in _SPLITS.items():
            key = f"{prefix}_{shown}" if prefix else shown
            points = [(row["epoch"], scale * row[key]) for row in rows if row.get(key) is not None]
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(
                    *zip(*points, strict=True),
                    color=color,
                    marker=marker,
                    markersize=5,
                    linewidth=1.6,
                    label=prefix or "train",
                )
        axes.set_title("accuracy (%)" if shown == "accuracy" else shown, size=11, loc="left")
        axes.set_xlabel("epoch", size=10)
        _tidy_epochs(axes, len(rows))
        if shown == "perplexity":
            axes.set_yscale("log")
            for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                formatted("{x:.0f}")
            axes.tick_params(which="minor", labelsize=8.5, color="#999999", labelcolor="#444444")
        if axes.get_lines():
            axes.legend(frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, size=12, weight="bold")
    return figure


def draw_watch(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Figure:
    """What a search collapses by, over the epochs: the largest eigenvalue of the architecture
    Hessian, all its eigenvalues, the skip connections of the normal cell, the entropy of an edge's
    mixing weights, and the supernet's accuracy as it is and discretized, on the half held out. All
    scales have 0 in them, so that noise does not look like a rise.

    Args:
        rows: of ``metrics.jsonl``; what none of them has is left out.
        title: of the figure.

    Raises:
        ValueError: for rows in which nothing of this was measured.
    """
    panels = [
        (shown, {name: scale for name in names if any(name in row for row in rows)})
        for shown, names, scale in (
            ("largest eigenvalue", ("eigenvalue",), 1),
            ("all eigenvalues", ("spectrum",), 1),
            ("skip connections", ("skip_connections",), 1),
            ("entropy (nats)", ("entropy",), 1),
            ("accuracy (%)", ("valid_accuracy", "discretized_accuracy"), 100),
        )
    ]
    panels = [(shown, names) for shown, names in panels if names]
    if not panels:
        raise ValueError("rows have nothing that was watched; allowed are those of a search")
    lines = -(-len(panels) // 2)
    figure = Figure((7.4, 2.5 * lines), facecolor="white", layout="constrained")
    for number, (shown, names) in enumerate(panels, 1):
        axes = figure.add_subplot(lines, 2, number)
        for (name, scale), color in zip(names.items(), _SPLITS.values(), strict=False):
            points = [(row["epoch"], scale * row[name]) for row in rows if name in row]
            several = name == "spectrum"
            axes.plot(
                *zip(*(_dashes(points) if several else points), strict=True),
                color=color,
                marker=None if several else "o",
                markersize=3,
                linewidth=0.6 if several else 1.6,
                label={"valid_accuracy": "supernet", "discretized_accuracy": "discretized"}.get(
                    name
                ),
            )
        axes.set_title(shown, size=11, loc="left")
        axes.set_xlabel("epoch", size=10)
        _tidy_epochs(axes, len(rows))
        if shown == "skip connections":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.update_datalim([(rows[0]["epoch"], 0)])
        axes.autoscale_view()
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, size=12, weight="bold")
    return figure


def _dashes(points: Sequence[tuple[float, Sequence[float]]]) -> list[tuple[float, float]]:
    """Of the values at each epoch a dash each, as the points of one line with gaps."""
    return [
        (x, y)
        for epoch, values in points
        for value in values
        for x, y in ((epoch - 0.3, value), (epoch + 0.3, value), (np.nan, np.nan))
    ]


def _line_styles(primitives: Sequence[str], points: bool) -> dict[str, dict[str, Any]]:
    """For each primitive the colour of its family, and a style or marker of its own within it."""
    seen: Counter[str] = Counter()
    styles: dict[str, dict[str, Any]] = {}
    for name in primitives:
        color = operation_colors(name)[0]
        line, marker = _STYLES[seen[color] % len(_STYLES)]
        seen[color] += 1
        style = {"marker": marker, "linestyle": "none"} if points else {"linestyle": line}
        styles[name] = {"color": color, "linewidth": 1.4, "markersize": 4.5, **style}
    return styles


def tidy(axes: Axes) -> None:
    """Lines that stand back: no frame above and on the right, grey axes, a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=9, color="#999999", labelcolor="#444444")


def log_scale(axes: Axes, *axis: Literal["x", "y"]) -> None:
    """A logarithmic scale with marks at 1, 2, 5, 10, ..."""
    for name in axis:
        axes.set(**{f"{name}scale": "log"})
        getattr(axes, f"{name}axis").set(
            major_locator=LogLocator(subs=(1, 2, 5)),
            major_formatter="{x:g}",
            minor_locator=NullLocator(),
        )


def _tidy_epochs(axes: Axes, epochs: int) -> None:
    tidy(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if epochs == 1:
        axes.set_xlim(0, 2)
        axes.set_xticks([1])


def to_svg(figure: Figure) -> str:
    """The figure as SVG: the same text for the same figure, letters as outlines."""
    file = io.StringIO()
    with rc_context({"svg.hashsalt": "jaxcv", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def save(figure: Figure, path: Path | str) -> None:
    """Writes ``path`` with the suffixes .svg and .png, each file whole or not at all."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=160)
    write_atomically(f"{path}.svg", to_svg(figure))
    write_atomically(f"{path}.png", png.getvalue())
