"""A space of a few hundred points with known scores, controllers that are quick to compile and to
learn, and a search without an engine."""

import functools

import numpy as np

from search.discrete import DiscreteSpace
from search.strategies import ENAS, PPO, TabularReinforce
from search.strategies.controller import LSTM

OPTIONS = (4, 3, 5, 1, 4)
SPACE = DiscreteSpace(
    "toy",
    tuple(tuple(f"{number}.{option}" for option in range(n)) for number, n in enumerate(OPTIONS)),
    decode=lambda point: point,
    canonical=repr,
    stages=(2, 3, 5),
)


def worth(point):
    """Rises with every decision, more so together; the best full point is (3, 2, 4, 0, 3): 1."""
    shares = [(option + 1) / n for option, n in zip(point, OPTIONS, strict=False)]
    return 0.5 * np.prod(shares) + 0.1 * sum(shares)


_LSTM = functools.partial(LSTM, hidden=8)
LEARNERS = (
    TabularReinforce(learning_rate=0.1),
    ENAS(controller=_LSTM, learning_rate=0.02, decay=0.9, entropy=1e-3),
    PPO(controller=_LSTM, learning_rate=0.01, batch=10),
)


def play(strategy, space, score, trials, *, seed=0, batch=1):
    """Asked and told: a list of (point, score), and the last state."""
    state = strategy.init(space, seed)
    history = []
    while len(history) < trials:
        proposals = []
        for _ in range(batch):
            proposal, state = strategy.ask(state)
            proposals.append(proposal)
        for proposal in proposals:
            found = score(proposal.point)
            state = strategy.tell(state, proposal, found)
            history.append((proposal.point, found))
    return history, state
