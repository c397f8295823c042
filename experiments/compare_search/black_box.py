"""Black-box searches of a comparison: on images, and on a table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import search
from experiments.compare_search.methods import METHODS, Method
from experiments.compare_search.options import Options
from experiments.compare_search.picture import Curve
from jaxcv import data
from jaxcv.models import Architecture
from jaxcv.training.run import Run
from search.discrete import DiscreteSpace
from search.engine import best_so_far, run, run_many
from search.evaluators import Evaluator, Tabular, tabular
from search.evaluators.shared import SharedWeights
from search.evaluators.training import FromScratch
from search.history import History, Trial
from search.sampling import Learned, Learning, uniform
from search.shared import cell_supernet, train_shared
from search.strategies import Strategy


def black_box(
    own: Path, options: Options, job: tuple[str, int], dataset: data.Dataset, *, progress: bool
) -> tuple[Architecture, dict[str, Any]]:
    """The architecture with the best score of a search, and figures of the search. Its trials are
    in ``history.sqlite``, from which it goes on."""
    name, seed = job
    method = METHODS[name]
    assert method.strategy is not None
    space_name = options.space if method.space == "darts" else method.space
    space = search.create_discrete(space_name)
    halves = data.halved(dataset, jax.random.key(seed))
    strategy, evaluator, seconds = _searcher(
        own, options, method, space, space_name, halves, seed, progress
    )
    try:
        trials = run(
            strategy,
            space,
            evaluator,
            trials=options.trials,
            seed=seed,
            history=own / "history.sqlite",
            method=name,
            progress=progress,
        )
    except RuntimeError as error:
        # When nothing can be scored, it is what was asked for that is wrong.
        raise ValueError(f"{name} with seed {seed}: {error}") from error
    best = best_so_far(trials)[-1]
    assert best is not None and best.score is not None
    return space.decode(best.proposal.point), {
        "search_seconds": seconds + sum(trial.seconds for trial in trials),
        "valid_accuracy": best.score,
        "failed": sum(trial.score is None for trial in trials),
    }


def _searcher(
    own: Path,
    options: Options,
    method: Method,
    space: DiscreteSpace,
    space_name: str,
    halves: data.Dataset,
    seed: int,
    progress: bool,
) -> tuple[Strategy, Evaluator, float]:
    """What proposes the trials, what scores them, and the seconds that it took to make these."""
    assert method.strategy is not None
    if method.evaluator == "training":
        return method.strategy, FromScratch(space.decode, halves, options.brief), 0.0
    supernet = cell_supernet(
        search.create_space(space_name),
        space,
        options.search,
        len(halves.classes),
        inputs=halves.train.images.shape[-1],
    )
    shared = Run.within(own / "shared", "shared")
    learning = Learning(method.strategy, space, options.trials, seed)
    learns = method.evaluator == "shared"
    weights = train_shared(
        supernet,
        halves,
        options.search,
        learning if learns else uniform(space, seed),
        jax.random.key(seed),
        folder=shared,
        progress=progress,
    )
    evaluator = SharedWeights(
        supernet, jax.device_get(weights), halves.test, halves.mean, halves.std
    )
    # A strategy that has learned draws the trials, as ENAS does.
    strategy = Learned(method.strategy, learning.state) if learns else method.strategy
    return strategy, evaluator, sum(row["seconds"] for row in shared.rows)


def read_table(path: str) -> Tabular:
    """A table that scores by the shortest training, and has the test accuracy of the longest.

    Raises:
        ValueError: for a table without a test accuracy.
    """
    table = tabular(path, search.create_discrete("nasbench201"))
    if "test_accuracy" not in table.metrics:
        raise ValueError(f"table={path!r} has no test accuracy; allowed is one that has")
    least = min(table.valid)
    return replace(table, valid={least: table.valid[least]})


def on_table(name: str, table: Tabular, options: Options) -> dict[str, Any]:
    """Searches from all seeds on the table: of each the test error and the parameters of the
    architecture that its validation chose, and the curve of the error over the trials."""
    strategy = METHODS[name].strategy
    assert strategy is not None
    found = run_many(
        strategy,
        search.create_discrete("nasbench201"),
        table,
        trials=options.trials,
        seeds=range(options.seed, options.seed + options.seeds),
        workers=options.jobs,
    )
    errors = np.array([_test_errors(trials) for trials in found])
    last = [best_so_far(trials)[-1] for trials in found]
    curve = mean_curve(errors)
    return {
        "test_errors": np.round(errors[:, -1], 6).tolist(),
        "parameters": [trial.metrics["parameters"] for trial in last if trial is not None],
        "curve": np.round(curve.mean, 6).tolist(),
        "curve_deviation": np.round(curve.deviation, 6).tolist(),
    }


def valid_errors(own: Path, job: tuple[str, int]) -> list[float]:
    """The validation errors of the best until each trial, of a job that has ended."""
    with History(own / "history.sqlite") as history:
        best = best_so_far(history.trials(*job))
    return [_MISSING if trial is None or trial.score is None else 1 - trial.score for trial in best]


def mean_curve(errors: np.ndarray) -> Curve:
    """Of errors [searches, trials]."""
    deviation = errors.std(0, ddof=min(len(errors) - 1, 1))
    return Curve(errors.mean(0).tolist(), deviation.tolist(), len(errors))


# Until the first trial that did not fail.
_MISSING = float("nan")


def _test_errors(trials: Sequence[Trial]) -> list[float]:
    """The test errors of the best by validation until each trial."""
    best = best_so_far(trials)
    return [_MISSING if trial is None else 1 - trial.metrics["test_accuracy"] for trial in best]
