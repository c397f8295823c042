"""A model of the scores found so far says what to try next (BANANAS, arXiv:1910.11858)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace, Point
from search.strategies.members import Member, child
from search.strategies.strategy import Proposal


class State(NamedTuple):
    """What a search by surrogate knows.

    Attributes:
        space, seed, asked: what is searched, the seed, the number of asks.
        queue: what the model has chosen to ask next.
        told: points and their scores; minus infinity for those that failed.
        proposed: what was asked, as canonical texts.
    """

    space: DiscreteSpace
    seed: int
    asked: int = 0
    queue: tuple[Point, ...] = ()
    told: tuple[Member, ...] = ()
    proposed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Surrogate:
    """Random points first; then, batch after batch, those candidates that look best to a model of
    all scores so far, by independent Thompson sampling: by one draw from the posterior of each.

    As BANANAS, but that the model is a Gaussian process on one-hot options, not an ensemble of
    networks on paths, and sees ranks: neither the scale of the scores nor hopeless outliers matter.
    Candidates are mutants of the best points, and random ones; what has failed counts as worst. No
    point is asked twice, nor one isomorphic to it, until hardly any other is left.

    Attributes:
        initial: random points at first.
        batch: points chosen before the model is fitted again.
        parents: how many of the best points are mutated.
        mutants: candidates that are mutants.
        strangers: candidates that are random.
        decay: of the prior correlation of two points, ``exp(-decay * share of decisions that
            differ)``.
        noise: variance of a score beside the one that the options explain, which is 1.

    Raises:
        ValueError: for sizes that are not positive.
    """

    initial: int = 10
    batch: int = 10
    parents: int = 5
    mutants: int = 200
    strangers: int = 200
    decay: float = 1.5
    noise: float = 0.1

    def __post_init__(self) -> None:
        positive(
            initial=self.initial,
            batch=self.batch,
            parents=self.parents,
            mutants=self.mutants,
            strangers=self.strangers,
        )
        for name in ("decay", "noise"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a positive number")

    def init(self, space: DiscreteSpace, seed: int) -> State:
        """Nothing is known."""
        return State(space, seed)

    def ask(self, state: State) -> tuple[Proposal, State]:
        """The next of the queue, which is filled when it is empty."""
        random = np.random.default_rng((state.seed, state.asked))
        queue = state.queue
        if not queue and state.asked >= self.initial and state.told:
            queue = _new(state, self._ranked(state, random), self.batch)
        if not queue:
            queue = _new(state, (state.space.sample(random) for _ in range(100)), 1)
        # Hardly anything is new any more.
        point, *rest = queue or (state.space.sample(random),)
        return Proposal(point), state._replace(
            asked=state.asked + 1,
            queue=tuple(rest),
            proposed=state.proposed | {state.space.canonical(point)},
        )

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        """Keeps the score for the next fit."""
        told = Member(proposal.point, -math.inf if score is None else score)
        return state._replace(told=(*state.told, told))

    def _ranked(self, state: State, random: np.random.Generator) -> Iterator[Point]:
        """Candidates, the most promising first."""
        space = state.space
        best = sorted(state.told, key=lambda member: -member.score)[: self.parents]
        mutants = (
            child([best[number % len(best)]], space, random) for number in range(self.mutants)
        )
        candidates = [*mutants, *(space.sample(random) for _ in range(self.strangers))]
        points, scores = zip(*state.told, strict=True)
        mean, deviation = posterior(
            np.stack([space.encode(point) for point in points]),
            normal_scores(scores),
            np.stack([space.encode(point) for point in candidates]),
            length=math.sqrt(len(space.options) / self.decay),
            noise=self.noise,
        )
        for number in np.argsort(-random.normal(mean, deviation), kind="stable"):
            yield candidates[number]


def normal_scores(scores: Sequence[float]) -> np.ndarray:
    """What a normal distribution has at the quantiles that the scores are; equal ones share."""
    # Late, as below, since these take a second.
    from scipy.stats import norm, rankdata

    return norm.ppf((rankdata(scores) - 0.5) / len(scores))


def posterior(
    codes: np.ndarray, targets: np.ndarray, others: np.ndarray, *, length: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [candidates] of a Gaussian process of mean zero.

    Args:
        codes: of what was told, [points, features].
        targets: its values, [points].
        others: codes of candidates, [candidates, features].
        length: of the kernel ``exp(-|x - x'|^2 / (2 length^2))``.
        noise: variance of the targets beside it.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    model = GaussianProcessRegressor(RBF(length), alpha=noise, optimizer=None)
    return model.fit(codes, targets).predict(others, return_std=True)


def _new(state: State, points: Iterable[Point], number: int) -> tuple[Point, ...]:
    """The first so many points of which none was asked, and no two are isomorphic."""
    found: dict[str, Point] = {}
    for point in points:
        text = state.space.canonical(point)
        if text not in state.proposed:
            found.setdefault(text, point)
        if len(found) == number:
            break
    return tuple(found.values())
