"""Boxes of pixels, drawn. Pixel (i, j) is the square of side 1 around x = j, y = i."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

# Colours are of Okabe and Ito's palette, safe for the colour-blind.
INK, LINES = "#333333", "#bdbdbd"
PADDING, PADDING_LINES = "#ececec", "#dcdcdc"
# Up to this many pixels on a side there are lines between them.
_MOST_LINES = 40
_HALO = (withStroke(linewidth=4, foreground="white"),)

# Rows and columns.
Box = tuple[range, range]


def whole(shape: Sequence[int]) -> Box:
    """All pixels of an image [height, width, ...]."""
    return range(shape[0]), range(shape[1])


def around(first: Box, second: Box) -> Box:
    """The smallest box that holds both."""
    rows, columns = (
        range(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
    return rows, columns


def middle(box: Box) -> tuple[float, float]:
    """(x, y) of the centre."""
    rows, columns = box
    return (columns.start + columns.stop - 1) / 2, (rows.start + rows.stop - 1) / 2


def rectangle(box: Box, **how: Any) -> Rectangle:
    rows, columns = box
    return Rectangle((columns.start - 0.5, rows.start - 0.5), len(columns), len(rows), **how)


def draw_box(axes: Axes, box: Box, color: str) -> None:
    """An outline that stands out."""
    outline = rectangle(
        box,
        fill=False,
        edgecolor=color,
        linewidth=2,
        joinstyle="miter",
        path_effects=_HALO,
        clip_on=False,
        zorder=4,
    )
    axes.add_patch(outline)


def draw_cells(axes: Axes, box: Box, fill: str, lines: str, *, zorder: float) -> None:
    """Pixels side by side, with lines between them unless they are many."""
    axes.add_patch(rectangle(box, facecolor=fill, edgecolor=lines, linewidth=0.7, zorder=zorder))
    if max(map(len, box)) <= _MOST_LINES:
        y, x = (np.arange(each.start, each.stop + 1) - 0.5 for each in box)
        level = [[(x[0], at), (x[-1], at)] for at in y]
        upright = [[(at, y[0]), (at, y[-1])] for at in x]
        axes.add_collection(
            LineCollection(level + upright, colors=lines, linewidths=0.7, zorder=zorder)
        )


def frame(axes: Axes, canvas: Box, size: tuple[int, int] | None = None) -> None:
    """Axes that show this box, in the middle of a (height, width) if one is given, and have no
    frame of their own."""
    x, y = middle(canvas)
    # Room for half a line at the edge.
    down, right = (0.505 * length for length in size or map(len, canvas))
    axes.set(xlim=(x - right, x + right), ylim=(y + down, y - down), aspect="equal")
    axes.spines[:].set_visible(False)
