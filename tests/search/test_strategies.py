"""Strategies of black-box search, against plain loops, and what holds for all of them."""

import math
import pickle
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from toy_search import SPACE, canonical, worth

from search.limits import limited
from search.strategies import (
    Halving,
    HierarchicalEvolution,
    LocalSearch,
    Proposal,
    RandomSearch,
    RegularizedEvolution,
    hyperband,
    successive_halving,
)
from search.strategies.halving import Rung
from search.strategies.surrogate import Surrogate

STRATEGIES = (
    RandomSearch(),
    RegularizedEvolution(population=3, sample=2),
    HierarchicalEvolution(initial=3),
    LocalSearch(),
    successive_halving(6, 4, factor=2),
    hyperband(4, factor=2, sampler=RegularizedEvolution(population=3, sample=2)),
    hyperband(3, sampler=LocalSearch()),
)


def only_some(point):
    """Islands: some of these points have no neighbour among them."""
    return sum(point) in (2, 5, 11)


LIMITED = replace(SPACE, allowed=only_some)


def play(strategy, space, seed, scores, batch, state=None):
    """The proposals of a search that is told these scores, and its state after each batch."""
    state = strategy.init(space, seed) if state is None else state
    proposals, states = [], []
    for start in range(0, len(scores), batch):
        asked = []
        for _ in scores[start : start + batch]:
            proposal, state = strategy.ask(state)
            asked.append(proposal)
        for proposal, score in zip(asked, scores[start : start + batch], strict=True):
            state = strategy.tell(state, proposal, score)
        proposals += asked
        states.append(state)
    return proposals, states


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**40),
    scores=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=20, max_size=40),
    batch=st.integers(1, 5),
    limited=st.booleans(),
)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
def test_proposals_are_in_the_space_and_survive_a_restart(strategy, seed, scores, batch, limited):
    space = LIMITED if limited else SPACE
    proposals, states = play(strategy, space, seed, scores, batch)
    for proposal in proposals:
        space.check(proposal.point)
    assert play(strategy, space, seed, scores, batch)[0] == proposals
    middle = len(states) // 2
    kept = pickle.loads(pickle.dumps(states[middle - 1]))
    rest = play(strategy, space, seed, scores[middle * batch :], batch, kept)[0]
    assert rest == proposals[middle * batch :]


def differences(one, other):
    return sum(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("strategy", [RegularizedEvolution(5, 500), HierarchicalEvolution(5, 1.0)])
def test_evolution_mutates_the_best_that_lives(strategy):
    scores = np.random.default_rng(0).permutation(30).astype(float).tolist()
    scores[3] = 100.0  # dies of age in one, and is the parent forever in the other
    proposals, _ = play(strategy, SPACE, 0, scores, 1)
    points = [proposal.point for proposal in proposals]
    for number in range(5, 30):
        oldest = number - 5 if isinstance(strategy, RegularizedEvolution) else 0
        parent = max(range(oldest, number), key=lambda n: scores[n])
        assert differences(points[number], points[parent]) == 1


def test_evolution_samples_with_chance():
    """Of two members the better is a parent unless both draws are the other: 3 times in 4."""
    strategy = RegularizedEvolution(population=2, sample=2)
    parents = []
    for seed in range(400):
        state = strategy.init(SPACE, seed)
        for point, score in (((0, 0, 0, 0), 0.0), ((3, 3, 3, 3), 1.0)):
            state = strategy.tell(state, Proposal(point), score)
        point = strategy.ask(state)[0].point
        parents.append(differences(point, (3, 3, 3, 3)) == 1)
    assert 0.68 < np.mean(parents) < 0.82


def test_what_failed_joins_no_population():
    for strategy in (RegularizedEvolution(2, 2), HierarchicalEvolution(2)):
        _, states = play(strategy, SPACE, 0, [None] * 5 + [1.0, 2.0], 1)
        assert [member.score for member in states[-1].population] == [1.0, 2.0]


def test_tournaments_are_a_part_of_the_population():
    """The winner among five of a hundred is the best of them, one time in twenty."""
    wins = []
    for seed in range(200):
        state = HierarchicalEvolution(initial=100).init(SPACE, seed)
        for number in range(100):
            point = (3, 3, 3, 3) if number == 50 else (0, 0, 0, 0)
            state = HierarchicalEvolution().tell(state, Proposal(point), float(number == 50))
        point = HierarchicalEvolution(initial=100).ask(state)[0].point
        wins.append(differences(point, (3, 3, 3, 3)) == 1)
    assert 0.01 < np.mean(wins) < 0.1


def test_local_search_is_hill_climbing():
    strategy, state = LocalSearch(), LocalSearch().init(SPACE, 5)

    def ask_and_tell(state):
        proposal, state = strategy.ask(state)
        return proposal.point, strategy.tell(state, proposal, worth(proposal.point))

    seen = set()
    centre, state = ask_and_tell(state)
    while worth(centre) < worth((3, 3, 3, 3)):
        seen.add(canonical(centre))
        expected = {canonical(beside) for beside in SPACE.neighbours(centre)} - seen
        tried = {}
        for _ in expected:
            point, state = ask_and_tell(state)
            tried[canonical(point)] = point
        assert tried.keys() == expected
        seen |= expected
        centre = max(tried.values(), key=worth)
    assert len(seen) < SPACE.size / 2
    rest = {canonical(beside) for beside in SPACE.neighbours(centre)} - seen
    for _ in rest:
        _, state = ask_and_tell(state)
    assert state.centre is None and not state.queue  # an optimum: it begins anew


def counts(point):
    decoded.append(point)
    """The second differ between isomorphic points."""
    return {"parameters": 10 * sum(point), "multiply_adds": point[1]}


decoded = []


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
def test_every_strategy_keeps_to_limits(strategy):
    space = pickle.loads(pickle.dumps(limited(LIMITED, counts, parameters=50, multiply_adds=1)))
    decoded.clear()
    proposals, _ = play(strategy, space, 0, np.linspace(0, 1, 30).tolist(), 1)
    for proposal in proposals:
        point = proposal.point
        assert sum(point) in (2, 5) and point[1] <= 1
    assert len(set(decoded)) == len(decoded)


def test_limits_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"parameters=-1 in toy; allowed are limits that one"):
        limited(SPACE, counts, parameters=-1)
    with pytest.raises(ValueError, match=r"weight is limited; allowed are .* parameters, multi"):
        limited(SPACE, counts, weight=1)


def test_the_brackets_of_hyperband():
    """n = ceil((s_max + 1) / (s + 1) * 3 ** s) points, then a third of them each time."""
    brackets = [[tuple(rung) for rung in rungs] for rungs in hyperband(81).brackets]
    assert brackets == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]
    assert successive_halving(8, 40, least=10, factor=2).brackets == (((8, 10), (4, 20), (2, 40)),)


def test_the_best_of_a_rung_go_on():
    strategy = Halving(((Rung(6, 1), Rung(3, 4), Rung(1, 9)), (Rung(1, 9),)))
    scores = [0.1, 0.6, None, 0.3, 0.6, 0.2, 0.5, None, 0.4, 0.9, 0.8, None, None]
    proposals, states = play(strategy, SPACE, 0, scores, 1)
    assert [proposal.budget for proposal in proposals] == [1] * 6 + [4] * 3 + [9, 9, 1, 1]
    points = [proposal.point for proposal in proposals]
    assert points[6:9] == [points[1], points[4], points[3]]  # 0.6, 0.6, 0.3
    assert points[9] == points[6]  # 0.5
    assert not states[10].open and len(states[11].open) == 1


def test_a_rung_that_is_not_told_lets_the_next_bracket_begin():
    strategy = Halving(((Rung(2, 1), Rung(1, 4)),))
    proposals, _ = play(strategy, SPACE, 0, [0.1, 0.2, 0.3, 0.4, None, None, 0.5], 3)
    assert [proposal.budget for proposal in proposals] == [1, 1, 1, 4, 1, 1, 4]
    assert proposals[3].point == proposals[1].point
    # Of the second bracket one came in the first batch, one in the second, where it failed.
    assert proposals[6].point == proposals[2].point


def test_a_sampler_is_told_the_scores_of_first_rungs():
    class Watched(RandomSearch):
        def tell(self, state, proposal, score):
            told.append((proposal.budget, score))
            return state

    told = []
    strategy = Halving(((Rung(2, 1), Rung(1, 3)),), Watched())
    play(strategy, SPACE, 0, [0.1, 0.2, 0.9, 0.3, None, 0.8], 1)
    assert told == [(None, 0.1), (None, 0.2), (None, 0.3), (None, None)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: RegularizedEvolution(population=0),
        lambda: RegularizedEvolution(sample=0),
        lambda: HierarchicalEvolution(initial=0),
        lambda: HierarchicalEvolution(tournament=0.0),
        lambda: HierarchicalEvolution(tournament=math.nan),
        lambda: Surrogate(decay=0.0),
        lambda: Surrogate(noise=-1.0),
        lambda: Halving(()),
        lambda: Halving(((),)),
        lambda: Halving(((Rung(1, 1), Rung(2, 3)),)),
        lambda: Halving(((Rung(2, 3), Rung(1, 3)),)),
        lambda: successive_halving(3, 9),
        lambda: successive_halving(9, 9, factor=1),
        lambda: hyperband(0),
        lambda: hyperband(3, least=4),
    ],
)
def test_wrong_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"allowed (is|are)"):
        make()
