"""The table of a comparison, in the columns of the papers' Table 1 (arXiv:1806.09055)."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu

from experiments.compare_search.methods import METHODS

Row = Mapping[str, Any]


class Summary(NamedTuple):
    """What the seeds of a method gave; deviations are those of a sample.

    Attributes:
        title, kind: of the method.
        errors: of the seeds, on the test images, a fraction.
        parameters: their mean.
        seconds: mean search time.
        skips: mean skip connections in the normal cell, where a search counted them.
    """

    title: str
    kind: str
    errors: tuple[float, ...]
    parameters: float
    seconds: float
    skips: float | None

    @property
    def mean(self) -> float:
        """Of the errors."""
        return float(np.mean(self.errors))

    @property
    def deviation(self) -> float:
        """Of the errors; 0 for one."""
        return float(np.std(self.errors, ddof=1)) if len(self.errors) > 1 else 0.0


def summaries(rows: Iterable[Row]) -> list[Summary]:
    """One for each method of the rows, in the order of ``METHODS``."""
    by_method: dict[str, list[Row]] = {name: [] for name in METHODS}
    for row in sorted(rows, key=lambda row: row["seed"]):
        by_method[row["method"]].append(row)
    found = []
    for name, own in by_method.items():
        if not own:
            continue
        skips = [row["skip_connections"] for row in own if "skip_connections" in row]
        found.append(
            Summary(
                METHODS[name].title,
                METHODS[name].kind,
                tuple(row["test_error"] for row in own),
                float(np.mean([row["parameters"] for row in own])),
                float(np.mean([row["search_seconds"] for row in own])),
                float(np.mean(skips)) if skips else None,
            )
        )
    return found


def tabular_summary(name: str, found: Mapping[str, Any]) -> Summary:
    """That of a method on a table, from what ``on_table`` found."""
    method, parameters = METHODS[name], float(np.mean(found["parameters"]))
    return Summary(method.title, method.kind, tuple(found["test_errors"]), parameters, 0.0, None)


# Test accuracy in percent on CIFAR-10 of searches of 12,000 simulated seconds, which are about as
# many trials (arXiv:2001.00326).
PUBLISHED = {
    "random_search": "93.70 ± 0.36",
    "regularized_evolution": "93.92 ± 0.30",
    "reinforce": "93.85 ± 0.37",
}

TABULAR_HEAD = (
    "method",
    "test accuracy (%)",
    "published",
    "searches",
    "params (K)",
    "p against random search",
    "p against regularized evolution",
    "search method",
)


def tabular_cells(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of the table of methods on a benchmark, by name what ``on_table`` found. p is that
    of Mann and Whitney's test, two-sided."""
    lines = []
    for name, own in found.items():
        summary = tabular_summary(name, own)
        against = [
            f"{mannwhitneyu(own['test_errors'], found[other]['test_errors']).pvalue:.1g}"
            if other in found and other != name
            else "–"
            for other in ("random_search", "regularized_evolution")
        ]
        lines.append(
            (
                summary.title,
                _with_deviation(1 - summary.mean, summary),
                PUBLISHED.get(name, "–"),
                str(len(summary.errors)),
                f"{summary.parameters / 1e3:,.0f}",
                *against,
                summary.kind,
            )
        )
    return lines


HEAD = (
    "architecture",
    "test error (%)",
    "seeds",
    "params (K)",
    "search cost (s)",
    "skip connections",
    "search method",
)


def cells(found: Summary) -> tuple[str, ...]:
    """A row of the table as text."""
    return (
        found.title,
        _with_deviation(found.mean, found),
        str(len(found.errors)),
        f"{found.parameters / 1e3:,.0f}",
        f"{found.seconds:,.0f}" if found.seconds else "–",
        "–" if found.skips is None else f"{found.skips:.1f}",
        found.kind,
    )


def _with_deviation(mean: float, found: Summary) -> str:
    """In percent; one seed has no deviation."""
    text = f"{100 * mean:.2f}"
    return f"{text} ± {100 * found.deviation:.2f}" if len(found.errors) > 1 else text
