"""Compare methods of search: each from several seeds, at equal budgets, with a training of every
cell that is found. Writes a table of mean and deviation, and its picture."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments import cli
from experiments.compare_search.jobs import Options, jobs_of, results
from experiments.compare_search.methods import METHODS
from experiments.compare_search.picture import draw_errors
from experiments.compare_search.table import HEAD, cells, markdown, summaries
from experiments.page import picture, results_table, settings_table, write_page
from experiments.presets import CLASSIFICATION, SEARCH
from jaxcv.training.run import Run, write_atomically

PRESETS = {
    "digits": Options(
        folder="runs/compare_search_digits",
        search=SEARCH["digits"],
        train=CLASSIFICATION["digits"],
    ),
    "cifar10_small": Options(
        data="cifar10",
        folder="runs/compare_search_cifar10_small",
        search=replace(
            SEARCH["cifar10_small"], channels=8, epochs=6, batch_size=256, learning_rate=0.1
        ),
        train=replace(
            CLASSIFICATION["cifar10_small"],
            channels=16,
            epochs=8,
            batch_size=256,
            learning_rate=0.1,
        ),
    ),
    "cifar10": Options(data="cifar10", folder="runs/compare_search_cifar10"),
}


def command(arguments: Sequence[str]) -> None:
    folder = cli.resumed(arguments)
    program = "python -m experiments.compare_search"
    if folder is None:
        options = cli.parse(arguments, PRESETS, __doc__ or "", program)
        run = Run.create(options.folder, "compare_search", {"options": asdict(options)})
        run.begin()
    else:
        run = Run.open(folder, "compare_search")
        options = cli.options_of(run, Options)
    rows: list[dict[str, Any]] = []
    bar = tqdm(total=len(jobs_of(options)), unit="job", dynamic_ncols=True, file=sys.stderr)
    try:
        with bar:
            for row in results(run.path, options):
                rows.append(row)
                bar.set_description(f"{row['method']} {row['seed']}: {row['test_error']:.2%}")
                bar.update()
                write(run.path, options, rows)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped, {len(rows)} of {bar.total} jobs are done. Go on with: {program} --resume "
            f"{run.path}"
        ) from None
    print(markdown(summaries(rows)), end="")
    print(f"report: {run.path / 'report.html'}")


def write(folder: Path, options: Options, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the rows so far, their table and their page."""
    found = summaries(rows)
    ordered = sorted(rows, key=lambda row: (list(METHODS).index(row["method"]), row["seed"]))
    record = {"options": asdict(options), "rows": ordered}
    write_atomically(folder / "results.json", json.dumps(record, indent=1) + "\n")
    write_atomically(folder / "results.md", markdown(found))
    best = min(found, key=lambda summary: summary.mean)
    body = [
        f"<h1>Methods of search on {options.data}</h1>",
        f'<p class="headline">{best.title}: {best.mean:.2%} test error</p>',
        f'<p class="detail">the least of {len(found)} methods on average, {len(rows)} of '
        f"{len(jobs_of(options))} jobs done</p>",
        picture(folder, "errors", "test error by method", draw_errors(found)),
        "<h2>Results</h2>",
        results_table(HEAD, [cells(summary) for summary in found]),
        "<p>Every method searches for as many epochs with as many cells, channels and images in a "
        "batch; search cost is the time that takes. Deviations are those of a sample.</p>",
        "<h2>Configuration</h2>",
        settings_table(asdict(options)),
        "<h2>Environment</h2>",
        settings_table(rows[-1]["environment"]),
    ]
    write_page(folder / "report.html", "Methods of search", body)
