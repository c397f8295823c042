"""Random search: points drawn uniformly, one independent of the other (arXiv:1902.07638)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from search.discrete import DiscreteSpace
from search.strategies.strategy import Proposal


class State(NamedTuple):
    """The space, the seed, and how often it was asked."""

    space: DiscreteSpace
    seed: int
    asked: int


@dataclass(frozen=True)
class RandomSearch:
    """Random search, the baseline of every method. It may propose a point twice."""

    def init(self, space: DiscreteSpace, seed: int) -> State:
        return State(space, seed, 0)

    def ask(self, state: State) -> tuple[Proposal, State]:
        random = np.random.default_rng((state.seed, state.asked))
        return Proposal(state.space.sample(random)), state._replace(asked=state.asked + 1)

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        return state
