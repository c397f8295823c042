"""Compare methods of search: each from several seeds, at equal budgets, with a training of every
architecture that is found; or black-box ones on a tabular benchmark. Writes a table of means and
deviations, and its picture."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import search
from experiments import cli, train
from experiments.compare_search.black_box import on_table, read_table
from experiments.compare_search.cheap import tabular_correlations
from experiments.compare_search.jobs import is_done, jobs_of, load, results
from experiments.compare_search.methods import METHODS
from experiments.compare_search.options import Options
from experiments.compare_search.report import write, write_tabular
from experiments.environment import environment
from experiments.presets import CLASSIFICATION, SEARCH
from jaxcv import data
from jaxcv.training.run import Run, write_atomically
from search.evaluators import Tabular

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
    options, run = cli.start(arguments, "compare_search", PRESETS, __doc__)
    table = read_table(options.table) if options.table else None
    # Once all jobs are done none is needed.
    missing = run is None or any(not is_done(run.path, job) for job in jobs_of(options))
    dataset = load(options) if table is None and missing else None
    if run is None:
        if dataset is not None:
            check(options, dataset)
        run = Run.create(options.folder, "compare_search", {"options": asdict(options)})
    with cli.resumable("compare_search", run):
        if table is not None:
            text = compare_on_table(run, options, table)
        else:
            text = compare(run, options, dataset)
    print(text, end="")
    print(f"report: {run.path / 'report.html'}")


def check(options: Options, dataset: data.Dataset) -> None:
    """Refuses trainings that could not begin, which else would come out after the first search."""
    space = search.create_discrete(options.space)
    some = space.decode(space.sample(np.random.default_rng(0)))
    if any(METHODS[name].trains_trials for name in options.chosen):
        halves = data.halved(dataset, jax.random.key(options.seed))
        train.check("brief", some, halves, options.brief)
    train.check("train", some, dataset, options.train)


def compare_on_table(run: Run, options: Options, table: Tabular) -> str:
    """Searches on a tabular benchmark; the table of results."""
    found: dict[str, dict[str, Any]] = {}
    ranks = tabular_correlations(table)
    run.begin()
    for name in options.chosen:
        path = run.path / f"{name}.json"
        if not path.exists():
            started = time.monotonic()
            row = on_table(name, table, options)
            row |= {"seconds": round(time.monotonic() - started, 1), "environment": environment()}
            write_atomically(path, json.dumps(row) + "\n")
        found[name] = json.loads(path.read_text())
        text = write_tabular(run.path, options, found, ranks)
    return text


def compare(run: Run, options: Options, dataset: data.Dataset | None) -> str:
    """Searches on images and trains what they find; the table of results."""
    rows: list[dict[str, Any]] = []
    bar = tqdm(total=len(jobs_of(options)), unit="job", dynamic_ncols=True, file=sys.stderr)
    try:
        with bar:
            for found in results(run, options, dataset):
                rows += found
                row = rows[-1]
                bar.set_description(f"{row['method']} {row['seed']}: {row['test_error']:.2%}")
                bar.update(len(found))
                text = write(run.path, options, rows)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Stopped, {len(rows)} of {bar.total} jobs are done") from None
    return text
