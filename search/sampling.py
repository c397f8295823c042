"""Which points the steps of a training of shared weights train."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.training.run import write_atomically
from search.discrete import DiscreteSpace, Point
from search.strategies import Strategy

Scores = Callable[[Sequence[Point]], np.ndarray]
Sampler = Callable[[int, int, Scores], Sequence[Point]]
"""Of an epoch's number, the number of points wanted, and the accuracies of points with the weights
so far: the points that the steps of this epoch train. It is asked for all epochs in order; by a
training that goes on, for those before the stop too, with the scores of then."""


def uniform(space: DiscreteSpace, seed: int = 0) -> Sampler:
    """Points drawn uniformly."""

    def sample(epoch: int, count: int, scores: Scores) -> list[Point]:
        random = np.random.default_rng((seed, epoch))
        return [space.sample(random) for _ in range(count)]

    return sample


def by_strategy(strategy: Strategy, space: DiscreteSpace, trials: int, seed: int = 0) -> Sampler:
    """Points that a strategy asks for, which before each epoch but the first is told the scores of
    so many others. It is for one training, with which it learns."""
    state = strategy.init(space, seed)

    def sample(epoch: int, count: int, scores: Scores) -> list[Point]:
        nonlocal state
        for _ in range(trials if epoch else 0):
            proposal, state = strategy.ask(state)
            state = strategy.tell(state, proposal, float(scores([proposal.point])[0]))
        points, asked = [], state
        for _ in range(count):
            proposal, asked = strategy.ask(asked)
            points.append(proposal.point)
        return points

    return sample


class Recorded:
    """A sampler whose scores are kept in a file, a line of JSON for each epoch that has some, so
    that it can be asked again without them being computed again.

    Args:
        sample: the sampler, fresh.
        count: how many points an epoch trains.
        path: of the file; without one, nothing is kept.
    """

    def __init__(self, sample: Sampler, count: int, path: Path | None):
        self._sample, self._count, self._path = sample, count, path
        self._next = 0
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = {row["epoch"]: row for row in map(json.loads, lines)}

    def __call__(self, epoch: int, scores: Scores) -> Sequence[Point]:
        """The points of an epoch, the scores of which are written when this returns.

        Raises:
            ValueError: if the sampler asks for other scores than the file has.
        """
        # What is of later epochs is of weights that a training from this one on comes to anew.
        self._known = {each: row for each, row in self._known.items() if each <= epoch}
        for before in range(self._next, epoch):
            self._ask(before, None)
        self._next = epoch + 1
        return self._ask(epoch, scores)

    def _ask(self, epoch: int, scores: Scores | None) -> Sequence[Point]:
        known = self._known.get(epoch)
        if known is not None or scores is None:
            pairs = zip(known["points"], known["scores"], strict=True) if known else zip()
            return self._sample(epoch, self._count, lambda points: _again(epoch, points, pairs))
        asked: dict[str, Any] = {"epoch": epoch, "points": [], "scores": []}

        def anew(points: Sequence[Point]) -> np.ndarray:
            found = np.asarray(scores(points), float)
            asked["points"] += points
            asked["scores"] += found.tolist()
            return found

        points = self._sample(epoch, self._count, anew)
        if asked["points"]:
            self._known[epoch] = asked
            if self._path is not None:
                text = "".join(json.dumps(row) + "\n" for row in self._known.values())
                write_atomically(self._path, text)
        return points


def _again(epoch: int, points: Sequence[Point], known: Iterator[tuple[Any, float]]) -> np.ndarray:
    """The scores of points that were asked for before."""
    found = []
    for point in points:
        asked, score = next(known, (None, None))
        if asked != list(point):
            raise ValueError(
                f"sample asks in epoch {epoch} for the score of {point}, but the folder has "
                f"{'no more' if asked is None else f'that of {asked}'}; allowed are the settings "
                "that the training began with, or a new folder"
            )
        found.append(score)
    return np.array(found)
