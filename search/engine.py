"""A black-box search as one call: asked, evaluated, written down, told."""

import contextlib
import datetime
import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
from tqdm.auto import tqdm

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace
from search.evaluators import Evaluator
from search.history import History, Trial
from search.strategies import Strategy
from search.workers import Job, Result, Workers, processes, serial

# When so many trials have failed and none has not, what is wrong is not the trials.
_FAILURES = 10


def run(
    strategy: Strategy,
    space: DiscreteSpace,
    evaluator: Evaluator,
    *,
    trials: int,
    seed: int = 0,
    history: Path | str | None = None,
    method: str | None = None,
    batch: int = 1,
    workers: int | Workers = 1,
    progress: bool = True,
) -> list[Trial]:
    """Searches a space: batch after batch, the strategy is asked, its proposals are evaluated, and
    it is told their scores in the order in which it asked.

    A trial that raises, or whose score is not finite, has failed: its reason is kept, and the
    search goes on. The same call with the same history goes on with a search that was stopped,
    however that was, or adds trials to one that is done. It gives what a search that never stopped
    would have given.

    Args:
        strategy: what to try.
        space: to search.
        evaluator: scores proposals.
        trials: how many, those in the history among them.
        seed: of everything random.
        history: the file to write each trial to as it ends, and to go on from; by default trials
            are only given back. It may hold other searches too.
        method: what the search is called in the history; by default the strategy's class.
        batch: trials between which the strategy learns nothing, so that they may run at the same
            time. What is found depends on it, but not on the workers.
        workers: how many processes evaluate, where 1 is this one, or ``on_ray()``.
        progress: whether to show a progress bar.

    Returns:
        The trials, by their numbers.

    Raises:
        ValueError: for more workers than a batch has trials, a proposal that is not in the space,
            or a history in which this search made other proposals.
        RuntimeError: if all trials fail, the first ten or all that there are.
        KeyboardInterrupt: on Ctrl-C; trials that had ended are in the history.
    """
    positive(trials=trials, batch=batch)
    if seed < 0:
        raise ValueError(f"seed={seed!r}; allowed is at least 0")
    if isinstance(workers, int):
        positive(workers=workers)
        if workers > batch:
            raise ValueError(
                f"workers={workers!r} with batch={batch!r}; allowed is at most one for each trial "
                "of a batch"
            )
        workers = serial if workers == 1 else processes(workers)
    method = method or type(strategy).__name__
    done: list[Trial] = []
    ended: dict[int, Trial] = {}
    best = -math.inf
    with contextlib.ExitStack() as stack:
        written = None if history is None else stack.enter_context(History(history))
        known = {} if written is None else _known(written, method, seed)
        bar = stack.enter_context(_bar(method, trials, "trial", progress))
        try:
            evaluate = stack.enter_context(workers(evaluator))
            state = strategy.init(space, seed)
            while len(done) < trials:
                jobs = []
                for number in range(len(done), min(len(done) + batch, trials)):
                    proposal, state = strategy.ask(state)
                    space.check(proposal.point)
                    jobs.append(Job(number, proposal, _trial_seed(seed, number)))
                ended = _again(jobs, known)
                bar.update(len(ended))
                for job, result in evaluate([job for job in jobs if job.number not in ended]):
                    trial = _trial(method, seed, space, job, result)
                    if written is not None:
                        written.add(trial)
                    ended[job.number] = trial
                    bar.update()
                for job in jobs:
                    trial = ended.pop(job.number)
                    done.append(trial)
                    state = strategy.tell(state, job.proposal, trial.score)
                    if trial.score is not None and trial.score > best:
                        best = trial.score
                        bar.set_postfix_str(f"best {best:.4g}", refresh=False)
                if best == -math.inf and len(done) >= min(_FAILURES, trials):
                    raise RuntimeError(
                        f"all of the first {len(done)} trials failed, the last with {trial.reason}"
                    )
        except KeyboardInterrupt:
            kept = (
                "they are kept nowhere"
                if history is None
                else f"the same search goes on from history {history}"
            )
            raise KeyboardInterrupt(
                f"stopped after {len(done) + len(ended)} of {trials} trials; {kept}"
            ) from None
    return done


def run_many(
    strategy: Strategy,
    space: DiscreteSpace,
    evaluator: Evaluator,
    *,
    trials: int,
    seeds: Sequence[int],
    batch: int = 1,
    workers: int = 1,
    progress: bool = True,
) -> list[list[Trial]]:
    """Searches from several seeds, each as ``run`` does without a history: for evaluators that
    answer at once, as those of a table.

    Args:
        strategy, space, evaluator, trials, batch, progress: as for ``run``.
        seeds: one for each search.
        workers: processes that searches run in.

    Returns:
        The trials of each search, in the order of the seeds.

    Raises:
        ValueError, RuntimeError: as ``run``; the former also for no seeds.
    """
    positive(workers=workers)
    if not len(seeds):
        raise ValueError("seeds is empty; allowed is at least one")
    search = functools.partial(
        run, strategy, space, evaluator, trials=trials, batch=batch, progress=False
    )
    # What it needs goes to a process once for each part.
    parts = np.array_split(seeds, min(len(seeds), 20 * workers))
    found = joblib.Parallel(workers, return_as="generator")(
        joblib.delayed(_each)(search, part.tolist()) for part in parts
    )
    results: list[list[Trial]] = []
    with _bar(type(strategy).__name__, len(seeds), "search", progress) as bar:
        for part in found:
            results += part
            bar.update(len(part))
    return results


def best_so_far(trials: Sequence[Trial]) -> list[Trial | None]:
    """After each trial the one with the best score until then, of equals the first; None as long
    as all failed."""
    found: list[Trial | None] = []
    best, score = None, -math.inf
    for trial in trials:
        if trial.score is not None and trial.score > score:
            best, score = trial, trial.score
        found.append(best)
    return found


def _known(history: History, method: str, seed: int) -> dict[int, Trial]:
    """The trials of a search that need not run again, by number. Where all failed, all do: what
    was wrong may be mended by now."""
    trials = history.trials(method, seed)
    if all(trial.score is None for trial in trials):
        return {}
    return {trial.number: trial for trial in trials}


def _again(jobs: Sequence[Job], known: dict[int, Trial]) -> dict[int, Trial]:
    """Of the known trials those that are one of the jobs, by number."""
    again = {job.number: known[job.number] for job in jobs if job.number in known}
    for job in jobs:
        trial = again.get(job.number)
        if trial is not None and trial.proposal != job.proposal:
            raise ValueError(
                f"trial {job.number} of {trial.method} with seed {trial.seed} is {job.proposal}, "
                f"but history has {trial.proposal}; allowed are the settings that the search began "
                "with, another method's name, or a new history"
            )
    return again


def _bar(description: str, total: int, unit: str, progress: bool) -> tqdm:
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        disable=not progress,
        dynamic_ncols=True,
        file=sys.stderr,
    )


def _trial_seed(seed: int, number: int) -> int:
    """Of 31 bits, as all libraries take it."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0]) >> 1


def _trial(method: str, seed: int, space: DiscreteSpace, job: Job, result: Result) -> Trial:
    outcome = result.outcome
    return Trial(
        method,
        seed,
        job.number,
        job.proposal,
        space.canonical(job.proposal.point),
        None if outcome is None else outcome.score,
        result.reason,
        {} if outcome is None else outcome.metrics,
        round(result.seconds, 6),
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _each(search: functools.partial[list[Trial]], seeds: Sequence[int]) -> list[list[Trial]]:
    return [search(seed=seed) for seed in seeds]
