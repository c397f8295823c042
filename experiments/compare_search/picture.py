"""The picture of a comparison."""

from collections.abc import Sequence

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
