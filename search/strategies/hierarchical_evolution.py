"""Evolution by tournament, by which hierarchical cells were found (arXiv:1711.00436)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace
from search.strategies.members import Member, child
from search.strategies.strategy import Proposal


class State(NamedTuple):
    """The space, the seed, how often it was asked, and the population."""

    space: DiscreteSpace
    seed: int
    asked: int
    population: tuple[Member, ...]


@dataclass(frozen=True)
class HierarchicalEvolution:
    """Evolution in which nothing dies.

    Random points at first, which is what the paper's thousand mutations of a trivial cell come to;
    then each time the winner of a tournament among a random part of the population is mutated, and
    its child joins the population. Points that failed do not.

    Attributes:
        initial: how many random points it begins with.
        tournament: what part of the population competes, of at least two points.

    Raises:
        ValueError: for an initial number that is not positive, or a part that is not in (0, 1].
    """

    initial: int = 200
    tournament: float = 0.05

    def __post_init__(self) -> None:
        positive(initial=self.initial)
        if not 0 < self.tournament <= 1:
            raise ValueError(f"tournament={self.tournament!r}; allowed is a number in (0, 1]")

    def init(self, space: DiscreteSpace, seed: int) -> State:
        return State(space, seed, 0, ())

    def ask(self, state: State) -> tuple[Proposal, State]:
        random = np.random.default_rng((state.seed, state.asked))
        members = state.population
        if len(members) < self.initial:
            point = state.space.sample(random)
        else:
            size = min(len(members), max(2, round(self.tournament * len(members))))
            drawn = random.choice(len(members), size, replace=False)
            point = child([members[number] for number in drawn], state.space, random)
        return Proposal(point), state._replace(asked=state.asked + 1)

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        if score is None:
            return state
        return state._replace(population=(*state.population, Member(proposal.point, score)))
