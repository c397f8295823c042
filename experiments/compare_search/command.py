"""Compare methods of search: each from several seeds, at equal budgets, with a training of every
architecture that is found; or black-box ones on a tabular benchmark. Writes a table of means and
deviations, and its picture."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments import cli
from experiments.compare_search.black_box import on_table, read_table
from experiments.compare_search.jobs import jobs_of, results
from experiments.compare_search.methods import METHODS
from experiments.compare_search.options import Options
from experiments.compare_search.picture import draw_errors, draw_progress
from experiments.compare_search.table import (
    HEAD,
    TABULAR_HEAD,
    cells,
    markdown,
    summaries,
    tabular_cells,
    tabular_summary,
)
from experiments.environment import environment
from experiments.page import picture, results_table, settings_table, write_page
from experiments.presets import CLASSIFICATION, SEARCH
from jaxcv.training.run import Run, write_atomically

PRESETS = {
    "digits": Options(
        folder="runs/compare_search_digits",
        trials=12,
        brief=replace(CLASSIFICATION["digits"], epochs=3),
        search=SEARCH["digits"],
        train=CLASSIFICATION["digits"],
    ),
    "cifar10_small": Options(
        data="cifar10",
        folder="runs/compare_search_cifar10_small",
        methods=tuple(name for name, method in METHODS.items() if method.strategy is None),
        images=3200,
        search=replace(SEARCH["cifar10_small"], channels=8, epochs=3, batch_size=32),
        train=replace(CLASSIFICATION["cifar10_small"], epochs=8, batch_size=64),
    ),
    "cifar10": Options(
        data="cifar10",
        folder="runs/compare_search_cifar10",
        brief=replace(CLASSIFICATION["cifar10"], epochs=20),
    ),
    "nasbench201": Options(
        folder="runs/compare_search_nasbench201", table="nb201.npz", seeds=500, jobs=2
    ),
}


def command(arguments: Sequence[str]) -> None:
    folder = cli.resumed(arguments)
    program = "python -m experiments.compare_search"
    if folder is None:
        options = cli.parse(arguments, PRESETS, __doc__ or "", program)
        run = Run.create(options.folder, "compare_search", {"options": asdict(options)})
    else:
        run = Run.open(folder, "compare_search")
        options = cli.options_of(run, Options)
    try:
        text = compare_on_table(run, options) if options.table else compare(run, options)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"{stop or 'Stopped'}. Go on with: {program} --resume {run.path}"
        ) from None
    print(text, end="")
    print(f"report: {run.path / 'report.html'}")


def compare_on_table(run: Run, options: Options) -> str:
    """Searches on a tabular benchmark; the table of results."""
    found: dict[str, dict[str, Any]] = {}
    table = read_table(options.table)
    run.begin()
    for name in options.chosen:
        path = run.path / f"{name}.json"
        if not path.exists():
            started = time.monotonic()
            row = on_table(name, table, options)
            row |= {"seconds": round(time.monotonic() - started, 1), "environment": environment()}
            write_atomically(path, json.dumps(row) + "\n")
        found[name] = json.loads(path.read_text())
        write_tabular(run.path, options, found)
    return markdown(TABULAR_HEAD, tabular_cells(found))


def write_tabular(folder: Path, options: Options, found: dict[str, dict[str, Any]]) -> None:
    """Writes the table of the methods so far, and their page."""
    lines = tabular_cells(found)
    write_atomically(folder / "results.md", markdown(TABULAR_HEAD, lines))
    summary_of = {name: tabular_summary(name, own) for name, own in found.items()}
    best = min(summary_of.values(), key=lambda summary: summary.mean)
    curves = {
        summary.title: (found[name]["curve"], found[name]["curve_deviation"], len(summary.errors))
        for name, summary in summary_of.items()
    }
    body = [
        "<h1>Methods of search on a tabular benchmark</h1>",
        f'<p class="headline">{best.title}: {1 - best.mean:.2%} test accuracy</p>',
        f'<p class="detail">the most of {len(found)} methods on average, {options.seeds} searches '
        f"of {options.trials} trials each</p>",
        picture(folder, "progress", "test error over the trials", draw_progress(curves)),
        "<h2>Results</h2>",
        results_table(TABULAR_HEAD, lines),
        "<p>Architectures are chosen by the validation accuracy after the short training, and "
        "judged by the test accuracy after the long one. Published searches had 12,000 simulated "
        "seconds. Bands are 95% confidence intervals of the mean.</p>",
        "<h2>Environment</h2>",
        settings_table(environment()),
    ]
    write_page(folder / "report.html", "Methods of search on a table", body)


def compare(run: Run, options: Options) -> str:
    """Searches on images and trains what they find; the table of results."""
    rows: list[dict[str, Any]] = []
    bar = tqdm(total=len(jobs_of(options)), unit="job", dynamic_ncols=True, file=sys.stderr)
    try:
        with bar:
            for row in results(run, options):
                rows.append(row)
                bar.set_description(f"{row['method']} {row['seed']}: {row['test_error']:.2%}")
                bar.update()
                write(run.path, options, rows)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Stopped, {len(rows)} of {bar.total} jobs are done") from None
    return markdown(HEAD, map(cells, summaries(rows)))


def write(folder: Path, options: Options, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the rows so far, their table and their page."""
    found = summaries(rows)
    ordered = sorted(rows, key=lambda row: (list(METHODS).index(row["method"]), row["seed"]))
    record = {"options": asdict(options), "rows": ordered}
    write_atomically(folder / "results.json", json.dumps(record, indent=1) + "\n")
    write_atomically(folder / "results.md", markdown(HEAD, map(cells, found)))
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
        "<h2>Configuration</h2>",
        settings_table(asdict(options)),
        "<h2>Environment</h2>",
        settings_table(rows[-1]["environment"]),
    ]
    write_page(folder / "report.html", "Methods of search", body)
