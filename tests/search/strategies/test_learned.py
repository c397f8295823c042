"""What every strategy that learns has in common: it depends on a seed and what it was told."""

import pickle
from dataclasses import replace

import pytest
from toy_growing import LEARNERS, SPACE, play, worth

from search.strategies import ENAS, PPO, Progressive, Reinforce, Surrogate

STRATEGIES = (
    *LEARNERS,
    Surrogate(initial=4, batch=3),
    Progressive(beam=4, members=2, hidden=5),
)


@pytest.fixture(params=STRATEGIES, ids=lambda strategy: type(strategy).__name__)
def strategy(request):
    return request.param


def test_the_same_answers_lead_to_the_same_questions(strategy):
    whole, _ = play(strategy, SPACE, worth, 15)
    state = strategy.init(SPACE, 0)
    for number, (point, score) in enumerate(whole):
        if number == 10:
            kept = pickle.loads(pickle.dumps(state._replace(space=None)))
            state = kept._replace(space=SPACE)
        first, _ = strategy.ask(state)
        # An ask changes no state, so that asking again is asking the same.
        proposal, after = strategy.ask(state)
        assert first.point == proposal.point == point
        state = strategy.tell(after, proposal, score)


def test_seeds_and_answers_matter(strategy):
    one, _ = play(strategy, SPACE, worth, 15)
    other, _ = play(strategy, SPACE, worth, 15, seed=2**40)
    assert one != other
    against, _ = play(strategy, SPACE, lambda point: -worth(point), 15)
    assert [point for point, _ in one] != [point for point, _ in against]


def test_in_a_limited_space_with_failures_in_batches(strategy):
    """Where some points have no neighbour, and those of two decisions no limit."""
    space = replace(SPACE, allowed=lambda point: len(point) < 3 or sum(point) % 4 != 1)
    history, _ = play(strategy, space, lambda p: worth(p) if p[0] else None, 16, batch=4)
    for point, _ in history:
        space.check(point)
    assert {None} < {score for _, score in history}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reinforce(batch=0),
        lambda: PPO(steps=0),
        lambda: ENAS(decay=1.0),
        lambda: Surrogate(mutants=0),
        lambda: Progressive(beam=0),
    ],
)
def test_wrong_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"=.*; allowed is"):
        make()
