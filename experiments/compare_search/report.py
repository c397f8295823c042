"""What a comparison leaves: its table, its pictures, its page."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare_search import cheap
from experiments.compare_search.black_box import mean_curve, valid_errors
from experiments.compare_search.jobs import folder_of, jobs_of
from experiments.compare_search.methods import METHODS
from experiments.compare_search.options import Options
from experiments.compare_search.picture import (
    Curve,
    draw_errors,
    draw_progress,
    draw_progress_apart,
)
from experiments.compare_search.table import (
    HEAD,
    TABULAR_HEAD,
    cells,
    summaries,
    tabular_cells,
    tabular_summary,
)
from experiments.environment import environment
from experiments.page import markdown_table, picture, results_table, settings_table, write_page
from jaxcv.training.run import write_atomically


def write_tabular(
    folder: Path,
    options: Options,
    found: dict[str, dict[str, Any]],
    ranks: Sequence[dict[str, Any]],
) -> str:
    """Writes the table of the methods so far and that of cheap evaluators, and their page; gives
    back the tables."""
    lines = tabular_cells(found)
    text = markdown_table(TABULAR_HEAD, lines, slice(1, -1)) + _ranks_text(ranks)
    write_atomically(folder / "results.md", text)
    summary_of = {name: tabular_summary(name, own) for name, own in found.items()}
    best = min(summary_of.values(), key=lambda summary: summary.mean)
    curves = {
        summary.title: Curve(
            found[name]["curve"], found[name]["curve_deviation"], len(summary.errors)
        )
        for name, summary in summary_of.items()
    }
    body = [
        "<h1>Methods of search on a tabular benchmark</h1>",
        f'<p class="headline">{best.title}: {1 - best.mean:.2%} test accuracy</p>',
        f'<p class="detail">the most of {len(found)} methods on average, {options.seeds} searches '
        f"of {options.trials} trials each</p>",
        picture(
            folder,
            "progress",
            "test error over the trials",
            draw_progress(curves, "test error of the best by validation (%)"),
        ),
        "<h2>Results</h2>",
        results_table(TABULAR_HEAD, lines),
        "<p>Architectures are chosen by the validation accuracy after the short training, and "
        "judged by the test accuracy after the long one. Published searches had 12,000 simulated "
        "seconds. Bands are 95% confidence intervals of the mean.</p>",
        *_ranks_part(ranks, "the test accuracy after the long training, over the whole table"),
        "<h2>Environment</h2>",
        settings_table(environment()),
    ]
    write_page(folder / "report.html", "Methods of search on a table", body)
    return text


def write(folder: Path, options: Options, rows: Sequence[dict[str, Any]]) -> str:
    """Writes the rows so far, their tables and their page; gives back the tables."""
    found = summaries(rows)
    ordered = sorted(rows, key=lambda row: (list(METHODS).index(row["method"]), row["seed"]))
    ranks = cheap.correlations(ordered)
    record = {"options": asdict(options), "rows": ordered, "correlations": ranks}
    write_atomically(folder / "results.json", json.dumps(record, indent=1) + "\n")
    text = markdown_table(HEAD, map(cells, found), slice(1, -1)) + _ranks_text(ranks)
    write_atomically(folder / "results.md", text)
    best = min(found, key=lambda summary: summary.mean)
    body = [
        f"<h1>Methods of search on {options.data}</h1>",
        f'<p class="headline">{best.title}: {best.mean:.2%} test error</p>',
        f'<p class="detail">the least of {len(found)} methods on average, {len(rows)} of '
        f"{len(jobs_of(options))} jobs done</p>",
        picture(folder, "errors", "test error by method", draw_errors(found)),
        "<h2>Results</h2>",
        results_table(HEAD, map(cells, found)),
        "<p>Every method searches for as many epochs with as many cells, channels and images in a "
        "batch; search cost is the time that takes. Deviations are those of a sample.</p>",
        *_progress(folder, ordered),
        *_ranks_part(ranks, "the test accuracy of the networks that were found and trained"),
        "<h2>Configuration</h2>",
        settings_table(asdict(options)),
        "<h2>Environment</h2>",
        settings_table(rows[-1]["environment"]),
    ]
    write_page(folder / "report.html", "Methods of search", body)
    return text


def _progress(folder: Path, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Pictures of the black-box searches that have ended: one for each way to score trials, whose
    scores cannot be compared with another's."""
    errors: dict[str, dict[str, list[list[float]]]] = {}
    for row in rows:
        method, job = METHODS[row["method"]], (row["method"], row["seed"])
        if method.strategy is not None:
            own = errors.setdefault(method.scored_by, {}).setdefault(method.title, [])
            own.append(valid_errors(folder_of(folder, job), job))
    parts = ["<h2>Search</h2>"] if errors else []
    for way, found in errors.items():
        curves = {title: mean_curve(np.array(own)) for title, own in found.items()}
        figure = draw_progress_apart(curves, f"validation error of the best by {way} (%)")
        name = f"progress_{way.replace(' ', '_')}"
        parts.append(picture(folder, name, f"validation error over the trials, {way}", figure))
    if errors:
        parts.append(
            "<p>Bands are 95% confidence intervals of the mean of three seeds or more.</p>"
        )
    return parts


def _ranks_text(ranks: Sequence[dict[str, Any]]) -> str:
    """The table of cheap evaluators, below the one of methods, if there is something to say."""
    return "\n" + markdown_table(cheap.HEAD, cheap.cells(ranks)) if ranks else ""


def _ranks_part(ranks: Sequence[dict[str, Any]], truth: str) -> list[str]:
    """The same as part of the page."""
    if not ranks:
        return []
    return [
        "<h2>Cheap evaluators</h2>",
        results_table(cheap.HEAD, cheap.cells(ranks)),
        f"<p>Rank correlations with {truth}.</p>",
    ]
