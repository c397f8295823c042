"""Which points the steps of a training of shared weights train."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.training.run import write_atomically
from search.discrete import DiscreteSpace, Point
from search.strategies import Proposal, Strategy

Scores = Callable[[Sequence[Point]], np.ndarray]
Sampler = Callable[[int, int, Scores], Sequence[Point]]
"""Of an epoch's number, the number of points wanted, and the accuracies of points with the weights
so far: the points that the steps of this epoch train. It is asked for all epochs in order; by a
training that goes on, or has ended, for those before the stop too, with the scores of then."""


def uniform(space: DiscreteSpace, seed: int = 0) -> Sampler:
    """Points drawn uniformly."""

    def sample(epoch: int, count: int, scores: Scores) -> list[Point]:
        # Other draws than those of a strategy with this seed.
        random = np.random.default_rng((seed, epoch, 1))
        return [space.sample(random) for _ in range(count)]

    return sample


class Learning:
    """Points that a strategy asks for, which before each epoch but the first is told the scores of
    some others. It is for one training, with which it learns.

    Args:
        strategy: of those whose state counts in ``asked`` what it was asked for.
        space: of the points.
        trials: how many scores it is told in an epoch.
        seed: of everything random.

    Attributes:
        state: of the strategy by now; once the training has ended, what it has learned.
    """

    def __init__(self, strategy: Strategy, space: DiscreteSpace, trials: int, seed: int = 0):
        self._strategy, self._trials = strategy, trials
        self.state = strategy.init(space, seed)

    def __call__(self, epoch: int, count: int, scores: Scores) -> list[Point]:
        """The points of an epoch, as of any sampler."""
        for _ in range(self._trials if epoch else 0):
            proposal, self.state = self._strategy.ask(self.state)
            score = float(scores([proposal.point])[0])
            self.state = self._strategy.tell(self.state, proposal, score)
        points, asking = [], self.state
        for _ in range(count):
            proposal, asking = self._strategy.ask(asking)
            points.append(proposal.point)
        # It waits for no scores of these, but does not draw them again.
        self.state = self.state._replace(asked=asking.asked)
        return points


@dataclass(frozen=True)
class Learned:
    """A strategy that goes on from a state, with what it has learned until then.

    Attributes:
        strategy: the strategy.
        state: to begin with.
    """

    strategy: Strategy
    state: Any

    def init(self, space: DiscreteSpace, seed: int) -> Any:
        """The state that was given, which has a space and a seed."""
        return self.state

    def ask(self, state: Any) -> tuple[Proposal, Any]:
        """As the strategy."""
        return self.strategy.ask(state)

    def tell(self, state: Any, proposal: Proposal, score: float | None) -> Any:
        """As the strategy."""
        return self.strategy.tell(state, proposal, score)


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
        self.catch_up(epoch)
        self._next = epoch + 1
        return self._ask(epoch, scores)

    def catch_up(self, epochs: int) -> None:
        """Asks for those of the first so many epochs that have not been asked for."""
        for before in range(self._next, epochs):
            self._ask(before, None)
        self._next = max(self._next, epochs)

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
