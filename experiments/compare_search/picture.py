"""The pictures of a comparison."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

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


_COLORS = ("#5d6670", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def draw_progress(curves: Mapping[str, tuple[Sequence[float], Sequence[float], int]]) -> Figure:
    """The test error of the best architecture so far, by validation, over the trials.

    Args:
        curves: by title the mean over searches after each trial, the deviation, and the number of
            searches. Bands are 95% confidence intervals of the mean.
    """
    figure = Figure((7.6, 4.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    ends = []
    for (title, (mean, deviation, count)), color in zip(
        curves.items(), itertools.cycle(_COLORS), strict=False
    ):
        trials = np.arange(1, len(mean) + 1)
        center, reach = 100 * np.asarray(mean), 196 * np.asarray(deviation) / np.sqrt(count)
        axes.plot(trials, center, color=color, linewidth=1.6)
        axes.fill_between(trials, center - reach, center + reach, color=color, alpha=0.18, lw=0)
        ends.append([center[-1], title, color])
    axes.set_xlim(1, len(mean))
    first = [100 * curve[0][min(9, len(curve[0]) - 1)] for curve in curves.values()]
    last = [end for end, _, _ in ends]
    spread = max(max(first) - min(last), 0.1)
    axes.set_ylim(min(last) - 0.08 * spread, max(first) + 0.08 * spread)
    # Labels stand beside the ends of their curves, and apart.
    place, step = -np.inf, 0.055 * 1.16 * spread
    for end, title, color in sorted(ends):
        place = max(end, place + step)
        axes.annotate(
            title,
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
    axes.set_title("test error of the best by validation (%)", size=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, color="#999999", labelcolor="#444444")
    return figure
