"""The receptive field of one feature, on the image."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from jaxcv.analysis import ReceptiveField
from jaxcv.plot._pixels import (
    INK,
    LINES,
    PADDING,
    PADDING_LINES,
    around,
    draw_box,
    draw_cells,
    frame,
    middle,
    rectangle,
    whole,
)

_FIELD, _CENTRES = "#d55e00", "#0072b2"
_DOT: dict[str, Any] = {"marker": "o", "linestyle": "none", "markeredgecolor": "white"}
# In inches: the longer side of a panel; what is left of it for its scale, and below it with the
# label too; between panels; a line of the legend; a title, of the figure or of the panels.
_PANEL, _LEFT, _BELOW, _GAP, _LINE, _TITLE = 4.0, 0.55, 0.45, 0.35, 0.21, 0.42


def draw_receptive_field(
    field: ReceptiveField,
    position: tuple[int, int],
    image: np.ndarray,
    features: tuple[int, int],
    *,
    effective: np.ndarray | None = None,
    title: str | None = None,
) -> Figure:
    """What one feature sees of an image: the box of its receptive field and its centre, among the
    centres of all features. Where the box goes beyond the border, there is padding.

    Args:
        field: of a feature map.
        position: (i, j) of the feature.
        image: [height, width, 1 or 3], bytes or numbers from 0 to 1.
        features: (height, width) of the feature map.
        effective: [height, width], how much each pixel counts, as
            ``analysis.effective_receptive_field`` gives it; drawn in a second panel.
        title: above.

    Raises:
        ValueError: for a position outside the map, and arrays of another shape.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"image has shape {image.shape}; allowed is [height, width, 1 or 3]")
    if any(not 0 <= at < length for at, length in zip(position, features, strict=True)):
        raise ValueError(f"position={position!r}; allowed is one within features={features!r}")
    if effective is not None and np.shape(effective) != image.shape[:2]:
        raise ValueError(f"effective has shape {np.shape(effective)}; allowed is {image.shape[:2]}")

    box, pixels = field.box(*position), whole(image.shape)
    canvas = around(pixels, box)
    entries = _legend(field, position, features)
    if canvas != pixels:
        entries["padding"] = Patch(facecolor=PADDING, edgecolor=PADDING_LINES)

    inch = _PANEL / max(map(len, canvas))
    high, wide = (inch * len(each) for each in canvas)
    # At least as wide as the legend.
    panels = 1 if effective is None else 2
    width = max(_LEFT + panels * (wide + _GAP) + 0.45 * (panels - 1), 4.2)
    below = _LINE * len(entries) + 0.15 + _BELOW
    height = below + high + (0.1 if effective is None else _TITLE) + (_TITLE if title else 0)
    figure = Figure((width, height), facecolor="white")

    def panel(left: float, wide: float) -> Axes:
        return figure.add_axes((left / width, below / height, wide / width, high / height))

    first = panel(_LEFT, wide)
    shown = [first]
    _draw_image(first, image, box)
    _draw_centres(first, field, features, 72 * inch)
    if effective is not None:
        second = panel(_LEFT + wide + _GAP, wide)
        shown.append(second)
        _draw_effective(second, panel(_LEFT + 2 * wide + _GAP + 0.15, 0.12), np.asarray(effective))
        first.set_title("receptive field", size=10, color=INK)
    for axes in shown:
        draw_cells(axes, canvas, PADDING, PADDING_LINES, zorder=0)
        draw_cells(axes, pixels, "none", LINES, zorder=2)
        draw_box(axes, box, _FIELD)
        axes.plot(*middle(box), color=_FIELD, markersize=7, zorder=5, **_DOT)
        frame(axes, canvas)
        axes.set_xlabel("pixels", size=9, color=INK)
        axes.tick_params(labelsize=8.5, color=LINES, labelcolor=INK, labelleft=axes is first)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="lower left",
        bbox_to_anchor=((_LEFT - 0.1) / width, 0.05 / height),
        borderaxespad=0,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.4,
    )
    if title:
        figure.text(_LEFT / width, 1 - 0.1 / height, title, size=12, weight="bold", va="top")
    return figure


def _legend(
    field: ReceptiveField, position: tuple[int, int], features: tuple[int, int]
) -> dict[str, Artist]:
    high, wide = map(len, field.box(*position))
    apart = " × ".join(str(jump) for jump in dict.fromkeys(field.jump))
    return {
        f"feature {position} sees {high} × {wide} pixels": Line2D([], [], color=_FIELD, lw=2),
        "its centre": Line2D([], [], color=_FIELD, markersize=8, **_DOT),
        f"centres of all {features[0]} × {features[1]} features, {apart} pixels apart": Line2D(
            [], [], color=_CENTRES, markersize=6, **_DOT
        ),
    }


def _draw_image(axes: Axes, image: np.ndarray, box: tuple[range, range]) -> None:
    """Pale outside the box."""
    most = 255 if image.dtype == np.uint8 else 1
    shades: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": most}
    axes.add_patch(rectangle(whole(image.shape), facecolor="white", zorder=1))
    axes.imshow(image, alpha=0.4, zorder=1.1, **shades)
    inside = rectangle(box, transform=axes.transData)
    axes.imshow(image, zorder=1.2, **shades).set_clip_path(inside)


def _draw_effective(axes: Axes, bar_axes: Axes, effective: np.ndarray) -> None:
    share = effective / max(effective.max(), np.finfo(float).tiny)
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, zorder=1)
    bar = bar_axes.figure.colorbar(shown, cax=bar_axes, ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    bar_axes.tick_params(labelsize=8.5, color=LINES, labelcolor=INK)
    title = "effective: derivative by each pixel,\nas a share of the largest"
    axes.set_title(title, size=10, color=INK)


def _draw_centres(
    axes: Axes, field: ReceptiveField, features: tuple[int, int], points: float
) -> None:
    """With dots that do not touch, of at most 5 points; a pixel has so many points."""
    rows, columns = whole(features)
    middles = [middle(field.box(i, j)) for i in rows for j in columns]
    between = points * min(abs(float(jump)) for jump in field.jump)
    size = min(max(0.28 * between, 1), 5)
    x, y = zip(*middles, strict=True)
    axes.plot(x, y, color=_CENTRES, markersize=size, markeredgewidth=0.4, zorder=3, **_DOT)
