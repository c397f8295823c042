"""What every strategy that learns has in common: it depends on a seed and what it was told."""

import functools
from dataclasses import replace

import pytest
from toy_growing import SPACE, play, worth

from search.strategies.controller import LSTM
from search.strategies.enas import enas
from search.strategies.ppo import nasnet
from search.strategies.progressive import Progressive
from search.strategies.reinforce import reinforce
from search.strategies.surrogate import Surrogate

SMALL = functools.partial(LSTM, hidden=4)
STRATEGIES = {
    "reinforce": replace(reinforce(), learning_rate=0.1),
    "ppo": replace(nasnet(), controller=SMALL, batch=3, learning_rate=0.1),
    "enas": replace(enas(), controller=SMALL, learning_rate=0.1),
    "surrogate": Surrogate(initial=4, batch=3),
    "progressive": Progressive(beam=4, members=2, hidden=5),
}


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return STRATEGIES[request.param]


def test_the_same_answers_lead_to_the_same_questions(strategy):
    whole, _ = play(strategy, SPACE, worth, 15)
    state = strategy.init(SPACE, 0)
    for number, (point, score) in enumerate(whole):
        first, _ = strategy.ask(state)
        # An ask changes no state, so that asking again is asking the same.
        proposal, after = strategy.ask(state)
        assert first == proposal
        assert proposal.point == point, number
        later = strategy.tell(after, proposal, score)
        again = strategy.tell(after, proposal, score)
        assert strategy.ask(again)[0] == strategy.ask(later)[0]
        state = later


def test_seeds_and_answers_matter(strategy):
    one, _ = play(strategy, SPACE, worth, 15)
    other, _ = play(strategy, SPACE, worth, 15, seed=1)
    assert one != other
    against, _ = play(strategy, SPACE, lambda point: -worth(point), 15)
    assert [point for point, _ in one] != [point for point, _ in against]


def test_several_are_asked_before_they_are_told(strategy):
    history, _ = play(strategy, SPACE, worth, 16, batch=4)
    assert len(history) == 16
    for point, _ in history:
        SPACE.check(point)


def test_what_fails_does_not_stop_it(strategy):
    history, _ = play(strategy, SPACE, lambda point: worth(point) if point[0] else None, 15)
    assert {None} < {score for _, score in history}
