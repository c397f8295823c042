"""Samplers: what they draw, what a strategy is told, and what is asked again after a stop."""

import json
from typing import NamedTuple

import numpy as np
import pytest

from search import sampling
from search.space import darts
from search.spaces import create_discrete, discrete_cells
from search.strategies import ENAS, Proposal, RandomSearch, RegularizedEvolution

SPACE = darts(nodes=1, primitives=("none", "skip_connect", "nor_conv_1x1"))
POINTS = discrete_cells(SPACE, "tiny")


def point(option):
    """Both edges of both kinds of cell with one option."""
    return (0, option, option) * 2


def test_points_are_drawn_anew_in_each_epoch():
    sample = sampling.uniform(POINTS, 1)
    epochs = [sample(epoch, 9, None) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert len(set(epochs[0])) > 3 and all(map(POINTS.check, epochs[0]))


class Recorded:
    """A strategy whose state has what it was told, and which asks for one option after another."""

    class State(NamedTuple):
        asked: int
        told: tuple = ()

    def init(self, space, seed):
        return self.State(seed)

    def ask(self, state):
        return Proposal(point(state.asked)), state._replace(asked=state.asked + 1)

    def tell(self, state, proposal, score):
        return state._replace(told=(*state.told, (proposal.point[1], score)))


def test_a_strategy_learns_between_epochs_from_others_than_it_has_drawn():
    strategy = Recorded()
    sample = sampling.Learning(strategy, POINTS, trials=3)

    def scores(points):
        return np.array([points[0][1] / 2])

    assert sample(0, 2, scores) == [point(0), point(1)]
    assert sample.state.told == ()
    assert sample(1, 2, scores) == [point(5), point(6)]
    assert sample.state == (7, ((2, 1.0), (3, 1.5), (4, 2.0)))

    learned = sampling.Learned(strategy, sample.state)
    state = learned.init(POINTS, 9)
    proposal, state = learned.ask(state)
    assert proposal.point == point(7)
    assert learned.tell(state, proposal, 0.5).told[2:] == ((4, 2.0), (7, 0.5))


@pytest.mark.parametrize("strategy", [RandomSearch(), RegularizedEvolution(), ENAS()])
def test_no_draw_comes_twice(strategy):
    """As likely as not every point would be another one, were the numbers the same."""
    space, told = create_discrete("nasbench201"), []

    def scores(points):
        told.extend(points)
        return np.array([0.5])

    sample, alike = sampling.Learning(strategy, space, trials=5), sampling.uniform(space)
    drawn = [*sample(0, 20, scores), *sample(1, 20, scores)]
    # Of 15,625 points; of such 45 two are the same in six cases of a hundred.
    assert len(told) == 5 and len({*drawn, *told}) >= 44
    assert not {*alike(0, 20, scores), *alike(1, 20, scores)} & {*drawn, *told}


def asking(epoch, count, scores):
    """A sampler that wants the score of a point for each epoch before, and draws what it has."""
    return [point(int(score)) for score in scores([point(1)] * epoch)] * count


def none(points):
    raise AssertionError("nothing is scored again")


def test_scores_are_kept_and_given_again(tmp_path):
    path = tmp_path / "scores.jsonl"
    first = sampling.Recorded(asking, 2, path)
    drawn = [first(epoch, lambda points: np.zeros(len(points))) for epoch in (0, 1)]
    assert drawn == [[], [point(0)] * 2]
    kept = [{"epoch": 1, "points": [list(point(1))], "scores": [0.0]}]
    assert list(map(json.loads, path.read_text().splitlines())) == kept
    # Of the same epoch, and of the next, without those before being scored.
    assert sampling.Recorded(asking, 2, path)(1, none) == drawn[1]
    assert sampling.Recorded(asking, 2, path)(2, lambda points: np.ones(2)) == [point(1)] * 4
    assert len(path.read_text().splitlines()) == 2
    # From an earlier epoch on its weights come to be anew, and with them the scores.
    again = sampling.Recorded(asking, 2, path)
    assert again(1, none) == drawn[1]
    with pytest.raises(AssertionError):
        again(2, none)


def test_a_sampler_that_asks_for_something_else(tmp_path):
    path = tmp_path / "scores.jsonl"
    row = {"epoch": 1, "points": [point(0)], "scores": [0.5]}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"asks in epoch 1 for .* has that of \[0, 0, 0"):
        sampling.Recorded(asking, 2, path)(1, none)
    path.unlink()
    with pytest.raises(ValueError, match=r"asks in epoch 1 for .* the folder has no more"):
        sampling.Recorded(asking, 2, path)(2, none)
