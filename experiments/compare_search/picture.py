"""The pictures of a comparison."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from experiments.compare_search.table import Summary

_MARK, _PLAIN, _SOFT = "#0072b2", "#5d6670", "#9aa4ae"


def draw_errors(found: Sequence[Summary]) -> Figure:
    """Test errors by method: a ring a seed, a bar for the mean, a line of a deviation each way.
    What was not searched is grey, with its mean across all rows to compare with."""
    figure = Figure((7.2, 0.42 * len(found) + 1.0), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for place, summary in enumerate(found):
        searched = summary.kind != "random"
        color, mean, reach = (
            _MARK if searched else _PLAIN,
            100 * summary.mean,
            100 * summary.deviation,
        )
        if not searched:
            axes.axvline(mean, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.plot([mean - reach, mean + reach], [place] * 2, color=color, linewidth=1.6)
        axes.plot(mean, place, "|", color=color, markersize=14, markeredgewidth=2.4)
        errors = [100 * error for error in summary.errors]
        axes.plot(
            errors,
            [place] * len(errors),
            "o",
            markersize=6,
            markerfacecolor="white",
            markeredgecolor=color,
            markeredgewidth=1.3,
        )
    axes.set_yticks(range(len(found)), [summary.title for summary in found], size=10)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel("test error (%): rings are seeds, bars their mean ± deviation", size=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=9, color="#999999", labelcolor="#444444")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure


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
    figure = Figure((7.6, 4.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for curve, color in zip(curves.values(), itertools.cycle(_COLORS), strict=False):
        _draw(axes, curve, color)
    _frame(axes, curves)
    low, high = axes.get_ylim()
    ends = zip((curve.percent()[0][-1] for curve in curves.values()), curves, _COLORS, strict=False)
    # Labels stand beside the ends of their curves, and apart.
    place, step = -np.inf, 0.055 * (high - low)
    for end, name, color in sorted(ends):
        place = max(end, place + step)
        axes.annotate(
            name,
            (1, place),
            (8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=color,
            size=9.5,
            va="center",
            annotation_clip=False,
        )
    axes.set_xlabel("trials", size=10)
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
            axes.plot(range(1, len(center) + 1), center, color="#c3c9cf", linewidth=1)
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
    axes.plot(trials, center, color=color, linewidth=1.6)
    axes.fill_between(trials, center - reach, center + reach, color=color, alpha=0.18, lw=0)


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
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, color="#999999", labelcolor="#444444")
