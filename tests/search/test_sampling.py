"""Samplers: what they draw, what a strategy is told, and what is asked again after a stop."""

import json

import numpy as np
import pytest

from search import sampling
from search.space import darts
from search.spaces import discrete_cells
from search.strategies import Proposal

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
    """A strategy whose state is what it was told, and which asks for one option then another."""

    def init(self, space, seed):
        return (0, ())

    def ask(self, state):
        asked, told = state
        return Proposal(point(asked % 2)), (asked + 1, told)

    def tell(self, state, proposal, score):
        asked, told = state
        self.told = (*told, (proposal.point, score))
        return asked, self.told


def test_a_strategy_learns_between_epochs_and_its_samples_are_not_told():
    strategy = Recorded()
    sample = sampling.by_strategy(strategy, POINTS, trials=3)

    def scores(points):
        return np.array([points[0][1] / 2])

    assert sample(0, 2, scores) == [point(0), point(1)]
    assert not hasattr(strategy, "told")
    assert sample(1, 2, scores) == [point(1), point(0)]
    assert strategy.told == ((point(0), 0.0), (point(1), 0.5), (point(0), 0.0))


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
