"""What one feature sees, map by map."""

import functools
import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxcv.analysis import Window, chain_receptive_field, output_size
from jaxcv.functional._arguments import IntPair, pair
from jaxcv.plot._pixels import (
    INK,
    LINES,
    PADDING,
    PADDING_LINES,
    Box,
    around,
    draw_box,
    draw_cells,
    frame,
    middle,
    whole,
)

# Strong, and a tint of it.
_MAPS = (
    ("#0072b2", "#cfe4f3"),
    ("#009e73", "#c8ecdf"),
    ("#d55e00", "#fadcc7"),
    ("#b5539a", "#f2dcea"),
    ("#8a7a00", "#f3efc9"),
)
# Of the square for a feature at its centre in the image, in pixels.
_SIDE = 0.64


def draw_feature_maps(
    windows: Sequence[Window],
    size: IntPair,
    position: tuple[int, int],
    *,
    title: str | None = None,
) -> Figure:
    """What one feature at the end of a chain of layers sees of the image and of each map. Above,
    each by itself, with the part that is read. Below, the features of each at their centres in the
    image, with the receptive field of one that is read.

    Args:
        windows: of the layers, as for ``analysis.chain_receptive_field``.
        size: of the image; an int, or (height, width).
        position: (i, j) of the feature in the last map.
        title: above.

    Raises:
        ValueError: for an image that is too small, and a position outside the last map.
    """
    windows = [Window(*window) for window in windows]
    sizes = [pair("size", size)]
    for window, *how in windows:
        stride, padding, dilation = how
        last = sizes[-1]
        sizes.append(output_size(last, window, stride=stride, padding=padding, dilation=dilation))
    if any(not 0 <= at < length for at, length in zip(position, sizes[-1], strict=True)):
        raise ValueError(f"position={position!r}; allowed is one within the last map, {sizes[-1]}")

    maps = [whole(each) for each in sizes]
    padded = [
        *(_grown(box, window.padding) for box, window in zip(maps, windows, strict=False)),
        maps[-1],
    ]
    # What the feature reads of each map, as far as there is something.
    seen = [
        _within(chain_receptive_field(windows[number:]).box(*position), box)
        for number, box in enumerate(padded)
    ]
    fields = [chain_receptive_field(windows[:number]) for number in range(len(maps))]
    shown = [_middle_feature(part, box) for part, box in zip(seen, maps, strict=True)]
    canvas = functools.reduce(
        around, (field.box(*one) for field, one in zip(fields, shown, strict=True)), maps[0]
    )

    height, width = (max(len(box[axis]) for box in (*padded, canvas)) for axis in range(2))
    inch = min(0.3, 12 / (len(maps) * (width + 1)))
    figure = Figure(
        (len(maps) * inch * (width + 1) + 0.5, 2 * inch * (height + 1) + 1.2),
        facecolor="white",
        layout="constrained",
    )
    above, below = figure.subplots(2, len(maps), squeeze=False)
    layers = ["", *map(_in_words, windows)]
    for number, (box, axes) in enumerate(zip(maps, above, strict=True)):
        strong, tint = _MAPS[number % len(_MAPS)]
        draw_cells(axes, padded[number], PADDING, PADDING_LINES, zorder=0)
        draw_cells(axes, box, "white", LINES, zorder=1)
        draw_cells(axes, _within(seen[number], box), tint, strong, zorder=2)
        draw_box(axes, seen[number], strong)
        frame(axes, padded[number], (height, width))
        name = f"map {number}" if number else "image"
        axes.set_title(f"{name}: {len(box[0])} × {len(box[1])}", size=10.5, color=strong, pad=18)
        where = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
        axes.annotate(layers[number], (0.5, 1), (0, 6), size=8.5, color=INK, **where)
    for number, (box, axes) in enumerate(zip(maps, below, strict=True)):
        strong, tint = _MAPS[number % len(_MAPS)]
        field, (i, j) = fields[number], shown[number]
        draw_cells(axes, canvas, PADDING, PADDING_LINES, zorder=0)
        draw_cells(axes, maps[0], "white", LINES, zorder=1)
        for at in itertools.product(*box):
            _draw_feature(axes, field.box(*at), strong if at == (i, j) else tint, strong)
        draw_box(axes, field.box(i, j), strong)
        frame(axes, canvas, (height, width))
        high, wide = field.size
        axes.set_xlabel(f"one sees {high} × {wide} pixels", size=9, color=strong)
    for axes in (*above, *below):
        axes.set(xticks=[], yticks=[])
    above[0].set_ylabel("each map by itself", size=9, color=INK)
    below[0].set_ylabel("features at their centres", size=9, color=INK)
    if title:
        figure.suptitle(title, size=12, weight="bold")
    return figure


def _draw_feature(axes: Axes, box: Box, fill: str, edge: str) -> None:
    """A square at the centre of its receptive field."""
    x, y = middle(box)
    corner = (x - _SIDE / 2, y - _SIDE / 2)
    axes.add_patch(Rectangle(corner, _SIDE, _SIDE, facecolor=fill, edgecolor=edge, zorder=5))


def _in_words(window: Window) -> str:
    """A layer, without what is as usual."""
    high, wide = pair("size", window.size)
    words = [f"{high} × {wide}"]
    for name, value, usual in zip(window._fields[1:], window[1:], (1, 0, 1), strict=True):
        both = pair(name, value, least=0)
        if both != (usual, usual):
            words.append(f"{name} {' × '.join(map(str, dict.fromkeys(both)))}")
    return ", ".join(words)


def _middle_feature(box: Box, limits: Box) -> tuple[int, int]:
    """The one in the middle of what the box has of a map, or the nearest to it."""
    part = _within(box, limits)
    i, j = (
        min(max((each.start + each.stop) // 2, limit.start), limit.stop - 1)
        for each, limit in zip(part, limits, strict=True)
    )
    return i, j


def _grown(box: Box, padding: IntPair) -> Box:
    rows, columns = (
        range(each.start - by, each.stop + by)
        for each, by in zip(box, pair("padding", padding, least=0), strict=True)
    )
    return rows, columns


def _within(box: Box, limits: Box) -> Box:
    """The part of a box within limits; empty at their border if it is beyond."""
    rows, columns = (
        range(*(min(max(end, limit.start), limit.stop) for end in (each.start, each.stop)))
        for each, limit in zip(box, limits, strict=True)
    )
    return rows, columns
