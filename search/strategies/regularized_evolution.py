"""Regularized evolution, by which AmoebaNet was found (arXiv:1802.01548)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace
from search.strategies.members import Member, child
from search.strategies.strategy import Proposal


class State(NamedTuple):
    """The space, the seed, how often it was asked, and the population, the oldest first."""

    space: DiscreteSpace
    seed: int
    asked: int
    population: tuple[Member, ...]


@dataclass(frozen=True)
class RegularizedEvolution:
    """Evolution in which the oldest dies, not the worst.

    Random points until the population is full; then each time the best of a sample, drawn with
    replacement, is mutated, and its child takes the place of the oldest. Points that failed do not
    join the population. The defaults are the paper's; NAS-Bench-201 (arXiv:2001.00326) uses a
    population of 10 and samples of 3.

    Attributes:
        population: how many points it holds.
        sample: how many compete to be a parent.

    Raises:
        ValueError: for sizes that are not positive.
    """

    population: int = 100
    sample: int = 25

    def __post_init__(self) -> None:
        positive(population=self.population, sample=self.sample)

    def init(self, space: DiscreteSpace, seed: int) -> State:
        return State(space, seed, 0, ())

    def ask(self, state: State) -> tuple[Proposal, State]:
        random = np.random.default_rng((state.seed, state.asked))
        members = state.population
        if len(members) < self.population:
            point = state.space.sample(random)
        else:
            drawn = random.integers(len(members), size=self.sample)
            point = child([members[number] for number in drawn], state.space, random)
        return Proposal(point), state._replace(asked=state.asked + 1)

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        if score is None:
            return state
        population = (*state.population, Member(proposal.point, score))[-self.population :]
        return state._replace(population=population)
