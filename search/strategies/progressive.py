"""PNAS: architectures grow, and a learned predictor says which (arXiv:1712.00559)."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace, Point
from search.strategies.members import Member
from search.strategies.strategy import Proposal


class State(NamedTuple):
    """What a progressive search knows.

    Attributes:
        space, seed, asked: what is searched, the seed, the number of asks.
        stage: of the space, which is asked now; -1 before the first.
        queue: points of the stage still to be asked.
        told: points and their scores, without those that failed.
        proposed: what was asked or is in the queue, as canonical texts.
    """

    space: DiscreteSpace
    seed: int
    asked: int = 0
    stage: int = -1
    queue: tuple[Point, ...] = ()
    told: tuple[Member, ...] = ()
    proposed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Progressive:
    """Evaluates the smallest architectures; then, stage after stage of the space, of all expansions
    of those before the ones that the predictor finds best, K of them, until it comes to whole
    architectures: all in all at most K times the number of stages. Asked for more, it goes on with
    the next best of these.

    The predictor is the mean of perceptrons, each fitted to four fifths of all scores so far. (The
    paper's learn embeddings of the options by an L1 loss and end in a sigmoid; these learn
    standardised scores of one-hot options by a squared loss.)

    An architecture of a stage whose score is not told before the last of them is asked does not
    grow, so that large batches should divide K.

    Attributes:
        beam: K; of a first stage that has more, as many are drawn at random.
        members: perceptrons.
        hidden: units of each of their two hidden layers.

    Raises:
        ValueError: for sizes that are not positive.
    """

    beam: int = 256
    members: int = 5
    hidden: int = 100

    def __post_init__(self) -> None:
        positive(beam=self.beam, members=self.members, hidden=self.hidden)

    def init(self, space: DiscreteSpace, seed: int) -> State:
        """Nothing is known.

        Raises:
            ValueError: for a space that does not grow.
        """
        if len(space.stages) < 2:
            raise ValueError(
                f"space={space.name!r} has stages={space.stages!r}; allowed are at least two"
            )
        return State(space, seed)

    def ask(self, state: State) -> tuple[Proposal, State]:
        """The next of the stage, or the first of the next one."""
        random = np.random.default_rng((state.seed, state.asked))
        if not state.queue:
            state = self._next_stage(state, random)
        # Nothing is left, or nothing was told that could grow.
        point, *rest = state.queue or (state.space.sample(random),)
        return Proposal(point), state._replace(asked=state.asked + 1, queue=tuple(rest))

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        """Keeps the score for the next stage; what failed does not grow."""
        if score is None:
            return state
        return state._replace(told=(*state.told, Member(proposal.point, score)))

    def _next_stage(self, state: State, random: np.random.Generator) -> State:
        sizes = state.space.stages
        stage = min(state.stage + 1, len(sizes) - 1)
        if stage == 0:
            points = list(_tails(state.space, 0, sizes[0]))
            ranked = iter([points[number] for number in random.permutation(len(points))])
        else:
            parents = [point for point, _ in state.told if len(point) == sizes[stage - 1]]
            if not parents:
                return state
            ranked = self._ranked(state, parents, sizes[stage], random)
        queue: list[Point] = []
        proposed = set(state.proposed)
        for point in ranked:
            if len(queue) == self.beam:
                break
            if (
                state.space.allowed(point)
                and (text := state.space.canonical(point)) not in proposed
            ):
                proposed.add(text)
                queue.append(point)
        return state._replace(stage=stage, queue=tuple(queue), proposed=frozenset(proposed))

    def _ranked(
        self, state: State, parents: Sequence[Point], size: int, random: np.random.Generator
    ) -> Iterator[Point]:
        """All expansions of the parents, the most promising first."""
        predict = self._fit(state, random)
        tails = list(_tails(state.space, len(parents[0]), size))
        # The part of the code that a tail adds is the same for every parent.
        added = np.stack([state.space.encode((*parents[0], *tail)) for tail in tails])
        added -= state.space.encode(parents[0])
        scores = np.stack([predict(state.space.encode(parent) + added) for parent in parents])
        for number in np.argsort(-scores, axis=None, kind="stable"):
            parent, tail = divmod(int(number), len(tails))
            yield (*parents[parent], *tails[tail])

    def _fit(self, state: State, random: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """The predictor: from codes [points, features] to scores [points]."""
        # Late, since it takes a second.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        codes = np.stack([state.space.encode(point) for point, _ in state.told])
        scores = np.array([score for _, score in state.told])
        scores = (scores - scores.mean()) / (scores.std() or 1.0)
        members = []
        for _ in range(self.members):
            part = random.permutation(len(scores))[: math.ceil(0.8 * len(scores))]
            member = MLPRegressor(
                hidden_layer_sizes=(self.hidden, self.hidden),
                learning_rate_init=0.01,
                random_state=int(random.integers(2**31)),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                members.append(member.fit(codes[part], scores[part]))
        return lambda codes: np.mean([member.predict(codes) for member in members], axis=0)


def _tails(space: DiscreteSpace, start: int, end: int) -> Iterator[Point]:
    """All options of the decisions from start to end."""
    return itertools.product(*(range(len(names)) for names in space.options[start:end]))
