"""Local search (arXiv:2005.02960)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from search.discrete import DiscreteSpace, Point
from search.strategies.members import Member
from search.strategies.strategy import Proposal


class State(NamedTuple):
    """Where a local search is.

    Attributes:
        space, seed: what is searched, and from what all that is random comes.
        asked: how often it was asked.
        seen: canonical texts of all that was proposed.
        centre: whose neighbours are being evaluated; None while a start is.
        queue: neighbours to propose next.
        pending: how many proposals of this round it was not told the score of.
        best: of those of this round that it was.
    """

    space: DiscreteSpace
    seed: int
    asked: int
    seen: frozenset[str]
    centre: Member | None
    queue: tuple[Point, ...]
    pending: int
    best: Member | None


@dataclass(frozen=True)
class LocalSearch:
    """Hill climbing: from a random point to the best of its neighbours, as long as that is better.

    All neighbours are evaluated, in random order, but for those that are isomorphic to a point
    that was proposed before. At a local optimum it begins anew from a random point. Asked for more
    than there are neighbours before it is told, it proposes random points too, which then compete
    with the neighbours.
    """

    def init(self, space: DiscreteSpace, seed: int) -> State:
        return State(space, seed, 0, frozenset(), None, (), 0, None)

    def ask(self, state: State) -> tuple[Proposal, State]:
        if state.queue:
            point = state.queue[0]
        else:
            point = state.space.sample(np.random.default_rng((state.seed, state.asked)))
        return Proposal(point), state._replace(
            asked=state.asked + 1,
            seen=state.seen | {state.space.canonical(point)},
            queue=state.queue[1:],
            pending=state.pending + 1,
        )

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        best = state.best
        if score is not None and (best is None or score > best.score):
            best = Member(proposal.point, score)
        state = state._replace(pending=state.pending - 1, best=best)
        if state.pending or state.queue:
            return state
        climbs = best is not None and (state.centre is None or best.score > state.centre.score)
        queue = _fresh(state, best.point) if best is not None and climbs else ()
        return state._replace(centre=best if queue else None, queue=queue, best=None)


def _fresh(state: State, point: Point) -> tuple[Point, ...]:
    """The neighbours of a point that are isomorphic to nothing seen, nor to each other."""
    found = {state.space.canonical(beside): beside for beside in state.space.neighbours(point)}
    fresh = [beside for text, beside in found.items() if text not in state.seen]
    order = np.random.default_rng((state.seed, state.asked)).permutation(len(fresh))
    return tuple(fresh[number] for number in order)
