"""The pictures of a comparison."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.compare_search.table import Summary

_MARK, _SOFT = "#0072b2", "#9aa4ae"


def draw_errors(found: Sequence[Summary]) -> Figure:
    """Test errors by method: a ring a seed, a bar for the mean, a line of a deviation each way.
    What was not searched is grey, with its mean across all rows to compare with."""
    figure = Figure((7.2, 0.42 * len(found) + 1.0), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for place, summary in enumerate(found):
        searched = summary.kind != "random"
        color, mean, reach = (
            _MARK if searched else "#5d6670",
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


# As many as there are black-box methods.
_COLORS = (
    *("#5d6670", "#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#e69f00", "#56b4e9", "#8c510a", "#6a51a3"),
)
_LEAST_SEARCHES = 3


class Curve(NamedTuple):
    """The error of the best architecture so far, after each trial.

    Attributes:
        mean, deviation: over searches, the latter that of a sample.
        count: how many searches.
    """

    mean: Sequence[float]
    deviation: Sequence[float]
    count: int

    @property
    def reach(self) -> np.ndarray:
        """From the mean to the ends of its 95% confidence interval, by Student's t."""
        quantile = stats.t.ppf(0.975, self.count - 1)
        return quantile * np.asarray(self.deviation) / np.sqrt(self.count)


def draw_progress(curves: Mapping[str, Curve], title: str) -> Figure:
    """The error of the best architecture so far, over the trials.

    Args:
        curves: by the name of the method. Bands are 95% confidence intervals of the mean, where
            there are enough searches for one.
        title: what error that is.
    """
    figure = Figure((7.6, 4.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    ends, first = [], []
    for (name, curve), color in zip(curves.items(), itertools.cycle(_COLORS), strict=False):
        center = 100 * np.asarray(curve.mean)
        trials = np.arange(1, len(center) + 1)
        axes.plot(trials, center, color=color, linewidth=1.6)
        if curve.count >= _LEAST_SEARCHES:
            reach = 100 * curve.reach
            axes.fill_between(trials, center - reach, center + reach, color=color, alpha=0.18, lw=0)
        ends.append([center[-1], name, color])
        # The first trials would make the others flat.
        first.append(np.nanmax(center[min(9, len(center) // 10) :]))
    axes.set_xlim(1, len(trials))
    last = [end for end, _, _ in ends]
    spread = max(max(first) - min(last), 0.1)
    axes.set_ylim(min(last) - 0.08 * spread, max(first) + 0.08 * spread)
    # Labels stand beside the ends of their curves, and apart.
    place, step = -np.inf, 0.055 * 1.16 * spread
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
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, color="#999999", labelcolor="#444444")
    return figure
