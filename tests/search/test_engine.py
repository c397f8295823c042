"""The loop around strategy and evaluator: what is kept, what goes on, what runs where."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
import toy_search
from toy_search import SPACE, evaluate, worth

from search.discrete import DiscreteSpace
from search.engine import best_so_far, run, run_many
from search.evaluators import Outcome
from search.history import History
from search.strategies import Proposal, RandomSearch, RegularizedEvolution
from search.workers import Job, Result, dispatch, on_ray

EVOLUTION = RegularizedEvolution(population=4, sample=2)
search = functools.partial(run, EVOLUTION, SPACE, progress=False)


def lasting(trials):
    """All of trials but what the clock says."""
    return [trial._replace(seconds=0, ended="") for trial in trials]


class Told:
    """Random search that keeps what it is asked and told."""

    def __init__(self):
        self.calls = []

    def init(self, space, seed):
        return RandomSearch().init(space, seed)

    def ask(self, state):
        proposal, state = RandomSearch().ask(state)
        self.calls.append(("ask", proposal))
        return proposal, state

    def tell(self, state, proposal, score):
        self.calls.append(("tell", proposal, score))
        return state


def test_a_batch_is_asked_evaluated_and_told_in_order():
    strategy = Told()
    trials = run(strategy, SPACE, evaluate, trials=5, batch=2, progress=False)
    assert [trial.number for trial in trials] == list(range(5))
    expected = []
    for batch in (trials[:2], trials[2:4], trials[4:]):
        expected += [("ask", trial.proposal) for trial in batch]
        expected += [("tell", trial.proposal, worth(trial.proposal.point)) for trial in batch]
    assert strategy.calls == expected
    assert len({trial.metrics["seed"] for trial in trials}) == 5
    assert {trial.method for trial in trials} == {"Told"}


def test_a_search_depends_on_its_seed_and_on_nothing_else():
    one, same = (lasting(search(evaluate, trials=30, seed=3)) for _ in range(2))
    assert one == same != lasting(search(evaluate, trials=30, seed=4))
    many = run_many(EVOLUTION, SPACE, evaluate, trials=30, seeds=[3, 4, 5], progress=False)
    assert lasting(many[0]) == one and [trials[0].seed for trials in many] == [3, 4, 5]


def test_failed_trials_are_kept_with_their_reasons():
    trials = search(toy_search.fail_often, trials=60)
    reasons = {0: "ValueError: no such network", 1: "the score is nan", 2: None, 3: None}
    for trial in trials:
        assert trial.reason == reasons[trial.proposal.point[0]]
        assert (trial.score is None) == (trial.reason is not None)
    assert {trial.proposal.point[0] for trial in trials} == {0, 1, 2, 3}
    best = best_so_far(trials)
    assert best[-1].score == max(trial.score or 0 for trial in trials)
    assert all(a is None or b.score >= a.score for a, b in itertools.pairwise(best))


def test_when_all_trials_fail_it_says_so_and_they_run_again(tmp_path):
    path = tmp_path / "h.sqlite"
    with pytest.raises(RuntimeError, match=r"first 10 trials failed, .* OSError: no data"):
        search(toy_search.fail, trials=50, history=path)
    with pytest.raises(RuntimeError, match="first 3 trials"):
        search(toy_search.fail, trials=3)
    assert all(trial.score is not None for trial in search(evaluate, trials=12, history=path))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_search_goes_on_from_its_history(tmp_path, batch):
    calls = []

    def counted(proposal, seed):
        calls.append(seed)
        return toy_search.fail_often(proposal, seed)

    whole = lasting(search(counted, trials=20, batch=batch))
    stopped = search(counted, trials=10, batch=batch, history=tmp_path / "h")
    calls.clear()
    assert lasting(search(counted, trials=20, batch=batch, history=tmp_path / "h")) == whole
    assert len(calls) == 10 and lasting(stopped) == whole[:10]
    with pytest.raises(ValueError, match=r"has Proposal.*another method's name"):
        search(counted, trials=20, batch=5, history=tmp_path / "h")
    other = search(counted, trials=20, batch=5, history=tmp_path / "h", method="other")
    with History(tmp_path / "h") as history:
        assert history.trials("other", 0) == other
        assert lasting(history.trials("RegularizedEvolution", 0)) == whole


def test_ctrl_c_says_how_to_go_on(tmp_path):
    def interrupted(proposal, seed):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(proposal)
        return evaluate(proposal, seed)

    calls = []
    with pytest.raises(KeyboardInterrupt, match=r"after 3 of 9 .* goes on from history .*h"):
        search(interrupted, trials=9, batch=2, history=tmp_path / "h")
    with History(tmp_path / "h") as history:
        assert [trial.number for trial in history] == [0, 1, 2]


SCRIPT = """
import pathlib, sys
import toy_search
from search.engine import run
from search.strategies import RegularizedEvolution
if __name__ == "__main__":
    history, folder = map(pathlib.Path, sys.argv[1:])
    run(RegularizedEvolution(4, 2), toy_search.SPACE, toy_search.Deadly(folder), trials=500,
        history=history, batch=2, workers=2)
"""


def test_a_killed_search_loses_no_trial_that_ended_and_leaves_no_worker(tmp_path):
    """In two processes, one of which dies too."""
    script, path, marks = tmp_path / "script.py", tmp_path / "h", tmp_path / "marks"
    script.write_text(SCRIPT)
    marks.mkdir()
    paths = os.pathsep.join(str(Path(__file__).parents[n]) for n in (2, 1))
    process = subprocess.Popen(
        [sys.executable, script, path, marks],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "4,7"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        while len(trials_of(path)) < 9:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.1)
        process.kill()
    assert {mark.name for mark in marks.iterdir()} == {"count", "dead", "device 4", "device 7"}
    kept = trials_of(path)
    whole = search(evaluate, trials=500, batch=2)
    # Of the last batch the second may have ended alone.
    assert 9 <= len(kept) < 500 and all(trial.number <= len(kept) for trial in kept)
    assert lasting(kept) == lasting([whole[trial.number] for trial in kept])
    again = search(evaluate, trials=len(kept) + 5, batch=2, history=path)
    assert lasting(again) == lasting(whole[: len(kept) + 5])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("workers outlived the search")


def trials_of(path):
    if not path.exists():
        return []
    with History(path) as history:
        return list(history)


class DiedError(Exception):
    pass


def test_a_job_whose_worker_dies_runs_again_but_not_forever():
    submitted = []

    def submit(number, job):
        submitted.append(job.number)
        future = Future()
        dies = {1: 99, 3: 2}.get(job.number, 0)
        if submitted.count(job.number) <= dies:
            future.set_exception(DiedError())
        else:
            future.set_result(Result(Outcome(float(job.number), {}), None, 0.0))
        return future

    jobs = [Job(number, Proposal((0,)), 0) for number in range(5)]
    results = {job.number: result for job, result in dispatch(2, submit, DiedError, jobs)}
    assert results.pop(1) == Result(None, "its worker died, 3 times", 0.0)
    assert {number: r.outcome.score for number, r in results.items()} == {0: 0, 2: 2, 3: 3, 4: 4}
    assert [submitted.count(number) for number in range(5)] == [1, 3, 1, 3, 1]


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_two_ray_workers_give_what_one_process_gives_though_one_dies(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they wait for all other tests
    ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        mortal = toy_search.Deadly(tmp_path)
        trials = search(mortal, trials=8, batch=4, workers=on_ray(2))
        with pytest.raises(ValueError, match="count=3; allowed is at most 2, one for each GPU"):
            search(mortal, trials=8, batch=4, workers=on_ray(3))
    finally:
        ray.shutdown()
    assert lasting(trials) == lasting(search(evaluate, trials=8, batch=4))
    names = {mark.name for mark in tmp_path.iterdir()}
    assert names == {"count", "dead", "device 0", "device 1"}


def test_wrong_input_is_refused():
    for wrong in ({"trials": 0}, {"batch": 0}, {"workers": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*allowed"):
            search(evaluate, **{"trials": 5, **wrong})
    with pytest.raises(ValueError, match="workers=3 with batch=2"):
        search(evaluate, trials=5, batch=2, workers=3)
    with pytest.raises(ValueError, match="seeds"):
        run_many(EVOLUTION, SPACE, evaluate, trials=5, seeds=[])
    narrow = DiscreteSpace(
        "narrow", SPACE.options, SPACE.decode, SPACE.canonical, allowed=lambda point: point[0] > 2
    )

    class Blind(RandomSearch):
        def ask(self, state):
            return Proposal((0, 0, 0, 0)), state

    with pytest.raises(ValueError, match="narrow calls allowed"):
        run(Blind(), narrow, evaluate, trials=5, progress=False)
