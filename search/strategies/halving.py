"""Successive halving (arXiv:1502.07943) and Hyperband (arXiv:1603.06560)."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace, Point
from search.strategies.members import Member
from search.strategies.random_search import RandomSearch
from search.strategies.strategy import Proposal, Strategy


class Rung(NamedTuple):
    """How many points are evaluated, and with which budget each."""

    points: int
    budget: int


class Open(NamedTuple):
    """A bracket that is under way.

    Attributes:
        rungs: the one that it is at, and those that follow.
        fresh: how many new points it still asks for.
        queue: points that came through, to be evaluated next.
        pending: proposals whose scores are not known.
        told: points whose scores at this rung are.
    """

    rungs: tuple[Rung, ...]
    fresh: int
    queue: tuple[Point, ...] = ()
    pending: int = 0
    told: tuple[Member, ...] = ()


class State(NamedTuple):
    """The sampler's state, how many brackets were begun, those under way by their numbers, and of
    every proposal that waits for its score the bracket and what of the sampler's it is."""

    sampler: Any
    begun: int
    open: dict[int, Open]
    waiting: tuple[tuple[int, Proposal | None], ...]


@dataclass(frozen=True)
class Halving:
    """Brackets of rungs, again and again: all points of a rung are evaluated with its budget, and
    the best of them go on to the next, which has fewer and a larger one.

    Asked for more than a rung has before it is told, it begins the next bracket.

    Attributes:
        brackets: the rungs of each.
        sampler: what proposes the points of first rungs. It is told the scores that they have
            there, and none of later rungs.

    Raises:
        ValueError: for no brackets, or a bracket whose rungs do not have fewer and fewer points
            and larger and larger budgets.
    """

    brackets: tuple[tuple[Rung, ...], ...]
    sampler: Strategy = RandomSearch()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if not self.brackets:
            raise ValueError("brackets=(); allowed is at least one")
        for rungs in self.brackets:
            counts, budgets = [r.points for r in rungs], [r.budget for r in rungs]
            falling = all(a >= b for a, b in itertools.pairwise(counts))
            rising = all(a < b for a, b in itertools.pairwise(budgets))
            if not rungs or min(counts + budgets) < 1 or not falling or not rising:
                raise ValueError(
                    f"brackets has {rungs!r}; allowed are rungs of at least one point and budget, "
                    "of falling counts and rising budgets"
                )

    def init(self, space: DiscreteSpace, seed: int) -> State:
        return State(self.sampler.init(space, seed), 0, {}, ())

    def ask(self, state: State) -> tuple[Proposal, State]:
        ready = (n for n, bracket in state.open.items() if bracket.fresh or bracket.queue)
        number = next(ready, state.begun)
        if number == state.begun:
            rungs = self.brackets[number % len(self.brackets)]
            bracket = Open(rungs, rungs[0].points)
            state = state._replace(begun=number + 1)
        else:
            bracket = state.open[number]
        sampled = None
        if bracket.queue:
            point = bracket.queue[0]
            bracket = bracket._replace(queue=bracket.queue[1:])
        else:
            sampled, sampler = self.sampler.ask(state.sampler)
            point = sampled.point
            state = state._replace(sampler=sampler)
            bracket = bracket._replace(fresh=bracket.fresh - 1)
        bracket = bracket._replace(pending=bracket.pending + 1)
        return Proposal(point, bracket.rungs[0].budget), state._replace(
            open={**state.open, number: bracket}, waiting=(*state.waiting, (number, sampled))
        )

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        (number, sampled), *waiting = state.waiting
        if sampled is not None:
            state = state._replace(sampler=self.sampler.tell(state.sampler, sampled, score))
        bracket = state.open[number]
        told = bracket.told if score is None else (*bracket.told, Member(proposal.point, score))
        bracket = bracket._replace(pending=bracket.pending - 1, told=told)
        under_way = {**state.open, number: bracket}
        if not (bracket.fresh or bracket.queue or bracket.pending):
            rungs = bracket.rungs[1:]
            best = sorted(told, key=lambda member: -member.score)[: rungs[0].points if rungs else 0]
            if best:
                under_way[number] = Open(rungs, 0, tuple(member.point for member in best))
            else:
                del under_way[number]
        return state._replace(open=under_way, waiting=tuple(waiting))


def successive_halving(
    count: int, most: int, *, least: int = 1, factor: int = 3, sampler: Strategy | None = None
) -> Halving:
    """Brackets that begin with ``count`` points of budget ``least``, of which one in ``factor``
    goes on with a budget ``factor`` times as large, as long as that is at most ``most``.

    Raises:
        ValueError: for numbers that are not positive, a factor of 1, or fewer points than would
            leave one with the largest budget.
    """
    _check(most, least, factor)
    positive(count=count)
    steps = _logarithm(most // least, factor)
    if count < factor**steps:
        raise ValueError(
            f"count={count!r}; allowed is at least {factor**steps}, so that one point is left "
            f"after {steps} times that one in {factor} goes on"
        )
    rungs = tuple(Rung(count // factor**step, least * factor**step) for step in range(steps + 1))
    return Halving((rungs,), sampler or RandomSearch())


def hyperband(
    most: int, *, least: int = 1, factor: int = 3, sampler: Strategy | None = None
) -> Halving:
    """Brackets from bold to careful, each of about the same cost: the first begins with many
    points of the budget ``least``, each of the next with fewer of ``factor`` times as much, the
    last with some of the largest budget, which is at most ``most``.

    A bracket of s + 1 rungs, of s_max + 1 that there can be, begins with
    ceil((s_max + 1) / (s + 1) * factor ** s) points.

    Raises:
        ValueError: for numbers that are not positive, or a factor of 1.
    """
    _check(most, least, factor)
    steps = _logarithm(most // least, factor)
    brackets = []
    for s in range(steps, -1, -1):
        count = math.ceil((steps + 1) * factor**s / (s + 1))
        brackets.append(
            tuple(
                Rung(count // factor**step, least * factor ** (steps - s + step))
                for step in range(s + 1)
            )
        )
    return Halving(tuple(brackets), sampler or RandomSearch())


def _check(most: int, least: int, factor: int) -> None:
    positive(most=most, least=least)
    if least > most:
        raise ValueError(f"least={least!r}; allowed is at most {most}")
    if not isinstance(factor, int) or factor < 2:
        raise ValueError(f"factor={factor!r}; allowed is an int of at least 2")


def _logarithm(value: int, base: int) -> int:
    """Rounded down, exactly."""
    power = 0
    while base ** (power + 1) <= value:
        power += 1
    return power
