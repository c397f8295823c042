"""The pictures of a comparison."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Transform
from scipy import optimize, stats

from experiments.compare_search.methods import METHODS
from experiments.compare_search.table import Summary
from search.plot import log_scale, tidy

_REFERENCES = (METHODS["random"].title, METHODS["random_search"].title)
_MARK, _PLAIN, _SOFT = "#0072b2", "#5d6670", "#9aa4ae"


def draw_errors(found: Sequence[Summary]) -> Figure:
    """Test errors by method, the best first: of several seeds a dot each, a bar for their mean and
    a line of a deviation each way; of one a ring. Beside them the parameters, which alone explain
    much. A line marks random cells, or else random search, to compare with."""
    found = sorted(found, key=lambda summary: summary.mean)
    titles = [summary.title for summary in found]
    reference = next((t for t in _REFERENCES if t in titles), "")
    figure = Figure((7.2, 0.36 * len(found) + 1.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    for place, summary in enumerate(found):
        color = _PLAIN if summary.title == reference else _MARK
        mean, reach = 100 * summary.mean, 100 * summary.deviation
        several = len(summary.errors) > 1
        errors = [100 * error for error in summary.errors]
        fill = color if several else "white"
        axes.plot(errors, [place] * len(errors), "o", color=color, markerfacecolor=fill)
        if several:
            axes.plot([mean - reach, mean + reach], [place] * 2, color=color, linewidth=1.6)
            axes.plot(mean, place, "|", color=color, markersize=15, markeredgewidth=2.4)
        if summary.title == reference:
            axes.axvline(mean, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            text = f"{reference}, mean" if several else reference
            _above(axes, mean, text, axes.get_xaxis_transform(), "center")
        text, row = f"{summary.parameters / 1e3:,.0f} K", axes.get_yaxis_transform()
        axes.text(1.07, place, text, size=9, color=_PLAIN, ha="right", va="center", transform=row)
    _above(axes, 1.07, "parameters", axes.transAxes, "right")
    if 0 < 4 * found[0].mean < found[-1].mean:
        log_scale(axes, "x")
    axes.set_yticks(range(len(found)), titles, size=10, color="black")
    axes.set_ylim(len(found) - 0.4, -0.6)
    marks = {
        "dots are seeds, bars their mean ± deviation": [len(s.errors) > 1 for s in found],
        "rings are single seeds": [len(s.errors) == 1 for s in found],
    }
    said = "; ".join(text for text, those in marks.items() if any(those))
    axes.set_xlabel(f"test error (%); {said}", size=10)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    return figure


def _above(axes: Axes, x: float, text: str, transform: Transform, side: str) -> None:
    """A remark above the frame."""
    axes.text(x, 1.01, text, size=9, color=_PLAIN, ha=side, va="bottom", transform=transform)


_COLORS = (_PLAIN, _MARK, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


class Curve(NamedTuple):
    """The error of the best architecture so far, after each trial.

    Attributes:
        mean, deviation: over searches, the latter that of a sample.
        searches: how many.
    """

    mean: Sequence[float]
    deviation: Sequence[float]
    searches: int

    def percent(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean, and from there to the ends of its 95% confidence interval, by Student's t; 0
        for fewer than three searches, which tell too little of it."""
        center, reach = 100 * np.asarray(self.mean), np.zeros(len(self.mean))
        if self.searches > 2:
            quantile = stats.t.ppf(0.975, self.searches - 1)
            reach = 100 * quantile * np.asarray(self.deviation) / np.sqrt(self.searches)
        return center, reach


def draw_progress(curves: Mapping[str, Curve], title: str) -> Figure:
    """The error of the best architecture so far, over the trials: all methods in one frame, for
    many searches each, whose bands are narrow.

    Args:
        curves: by the name of the method. Bands are 95% confidence intervals of the mean.
        title: what error that is.
    """
    figure = Figure((7.6, 5.0), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for curve, color in zip(curves.values(), itertools.cycle(_COLORS), strict=False):
        _draw(axes, curve, color)
    _frame(axes, curves)
    low, high = axes.get_ylim()
    colors = itertools.cycle(_COLORS)
    ends = sorted(zip((c.percent()[0][-1] for c in curves.values()), curves, colors, strict=False))
    # Labels stand as near the ends of their curves as they can, and apart.
    apart = 0.046 * (high - low) * np.arange(len(ends))
    places = apart + optimize.isotonic_regression([end for end, *_ in ends] - apart).x
    line = {"arrowstyle": "-", "linewidth": 0.8, "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 0}
    for (end, name, color), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (1, end),
            (1.05, place),
            xycoords=("axes fraction", "data"),
            color=color,
            size=9.5,
            va="center",
            annotation_clip=False,
            arrowprops=line | {"color": color},
        )
    searches = max(curve.searches for curve in curves.values())
    bands = "; bands: 95 % confidence of the mean" if searches > 2 else ""
    axes.set_xlabel(f"trials (curves: means of {searches} searches{bands})", size=10)
    axes.set_title(title, size=11, loc="left")
    return figure


def draw_progress_apart(curves: Mapping[str, Curve], title: str) -> Figure:
    """The same for few searches each, whose bands are wide: a frame for each method, in front of
    the means of the others."""
    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    size = (2.6 * columns, 1.9 * rows + 0.7)
    figure = Figure(size, facecolor="white", layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, (name, own) in zip(panels.flat, curves.items(), strict=False):
        for other in curves.values():
            center, _ = other.percent()
            trials = range(1, len(center) + 1)
            axes.plot(trials, center, color="#c3c9cf", linewidth=1, drawstyle="steps-post")
        _draw(axes, own, _MARK)
        _frame(axes, curves)
        axes.set_title(name, size=9.5, loc="left")
    # Those with none below, also where the last row is not full.
    for axes in panels.flat[len(curves) - columns : len(curves)]:
        axes.tick_params(labelbottom=True)
    figure.suptitle(title, size=11, x=0.01, ha="left")
    figure.supxlabel("trials", size=10)
    return figure


def _draw(axes: Axes, curve: Curve, color: str) -> None:
    center, reach = curve.percent()
    trials = range(1, len(center) + 1)
    axes.plot(trials, center, color=color, linewidth=1.6, drawstyle="steps-post")
    low, high = center - reach, center + reach
    axes.fill_between(trials, low, high, color=color, alpha=0.15, lw=0, step="post")


def _frame(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Limits by all curves, and lines that stand back."""
    low, high = np.inf, -np.inf
    for curve in curves.values():
        center, reach = curve.percent()
        low = min(low, max(center[-1] - reach[-1], 0))
        # The first trials would make the others flat.
        high = max(high, np.nanmax(center[min(9, len(center) // 10) :]), center[-1] + reach[-1])
    margin = 0.08 * max(high - low, 0.1)
    axes.set_xlim(1, max(len(center), 2))
    axes.set_ylim(max(low - margin, 0), high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=2))
    tidy(axes)
