"""Policy gradients against enumeration and NumPy, and what they learn."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx
from toy_growing import LEARNERS, OPTIONS, SPACE, play, worth

from search.strategies import ENAS, PPO, Proposal, Reinforce, TabularReinforce
from search.strategies.controller import Table, log_probability
from search.strategies.policy_gradient import Batch
from search.strategies.ppo import Clipped
from search.strategies.reinforce import likelihood

EXPECTED = np.mean([worth(point) for point in itertools.product(*map(range, OPTIONS))])


def test_reinforce_on_average_climbs_the_expected_score():
    points = np.array(list(itertools.product(range(2), range(3))))
    scores = np.array([0.1, 0.9, 0.4, 0.3, 0.2, 0.8])

    def logs(logits):
        return jax.vmap(lambda point: log_probability(logits, point))(points)

    def expected_score(logits):
        return jnp.sum(jnp.exp(logs(logits)) * scores)

    def objective(logits, shares, baseline):
        # A batch that has each point as often as it is drawn.
        batch = Batch(logs(logits), logs(logits), 0.0, 6 * shares * (scores - baseline))
        return likelihood(batch)

    with jax.enable_x64(True):
        logits = jnp.array([[0.3, -0.2, -1e9], [0.5, 0.1, -0.7]])
        shares = jnp.exp(logs(logits))
        truth = jax.grad(expected_score)(logits)
        for baseline in (0.0, 0.5):
            found = jax.grad(objective)(logits, shares, baseline)
            np.testing.assert_allclose(found, -truth, rtol=1e-9, atol=1e-12)


def test_clipped_objective_is_a_numpy_loop():
    random = np.random.default_rng(0)
    new, old, entropy, advantage = random.normal(size=(4, 50)) * [[0.3], [0.3], [1], [1]]
    with jax.enable_x64(True):
        batch = Batch(*map(jnp.asarray, (new, old, entropy, advantage)))
        found, gradient = jax.value_and_grad(Clipped(0.2, 0.1))(batch)
        moves = np.array(gradient.log_probability) != 0
    total, clipped = 0.0, []
    for n, o, h, a in zip(new, old, entropy, advantage, strict=True):
        ratio = np.exp(n - o)
        clipped.append(ratio > 1.2 if a > 0 else ratio < 0.8)
        total -= (a * (min(ratio, 1.2) if a > 0 else max(ratio, 0.8)) + 0.1 * h) / 50
    np.testing.assert_allclose(found, total, rtol=1e-12)
    assert 5 < sum(clipped) < 45
    # What has moved far enough in its direction moves no further.
    np.testing.assert_array_equal(~moves, clipped)


def test_clipped_objective_starts_as_reinforce():
    random = np.random.default_rng(0)
    logs, entropy, advantage = (jnp.asarray(row) for row in random.normal(size=(3, 20)))
    batch = Batch(logs, logs, entropy, advantage)
    found, truth = (jax.grad(f)(batch).log_probability for f in (Clipped(), likelihood))
    np.testing.assert_allclose(found, truth, rtol=1e-6)


def test_reinforce_is_the_published_loop_in_numpy():
    strategy = TabularReinforce()
    history, state = play(strategy, SPACE, worth, 20)
    logits = np.array(strategy.init(SPACE, 0).weights["logits"][...])
    first = logits.copy()
    rewards = ones = 0.0
    m, v = np.zeros_like(logits), np.zeros_like(logits)
    for time, (point, reward) in enumerate(history, 1):
        rewards, ones = 0.9 * rewards + 0.1 * reward, 0.9 * ones + 0.1
        gradient = np.zeros_like(logits)
        for row, (choice, n) in enumerate(zip(point, OPTIONS, strict=True)):
            gradient[row, :n] = scipy.special.softmax(logits[row, :n]) - np.eye(n)[choice]
        gradient *= reward - rewards / ones
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        logits -= 0.01 * m / (1 - 0.9**time) / (np.sqrt(v / (1 - 0.999**time)) + 1e-8)
    assert np.abs(logits - first).max() > 0.05
    np.testing.assert_allclose(state.weights["logits"][...], logits, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("strategy", LEARNERS, ids=lambda strategy: type(strategy).__name__)
def test_controllers_learn_what_is_good(strategy):
    scores = [score for _, score in play(strategy, SPACE, worth, 200)[0]]
    assert abs(np.mean(scores[:5]) - EXPECTED) < 0.1
    assert np.mean(scores[-40:]) > 0.8


def test_what_is_told_late_counts_as_drawn():
    """Four are asked before the first update, and two updates are made before the next ask."""
    strategy = TabularReinforce(learning_rate=0.1, batch=2)
    state = strategy.init(SPACE, 0)
    first = jax.tree.map(np.array, state.weights["logits"][...])
    for _ in range(4):
        _, state = strategy.ask(state)
    for drawn in state.pending:
        logs = scipy.special.log_softmax
        expected = sum(
            logs(row[:n])[choice]
            for row, n, choice in zip(first, OPTIONS, drawn.point, strict=True)
        )
        np.testing.assert_allclose(drawn.log_probability, expected, rtol=1e-5)
    third, fourth = state.pending[2:]
    for drawn in state.pending[:3]:
        state = strategy.tell(state, Proposal(drawn.point), worth(drawn.point))
    assert np.abs(state.weights["logits"][...] - first).max() > 0.05
    assert state.pending == (fourth,)
    assert [drawn for drawn, _ in state.lessons] == [third]


def test_the_entropy_is_rewarded():
    strategy = ENAS(controller=Table, batch=3)
    state = strategy.init(SPACE, 0)
    proposal, state = strategy.ask(state)
    state = strategy.tell(state, proposal, 0.25)
    # Nearly even logits of 4, 3, 5, 1 and 4 options.
    reward = 0.25 + 0.1 * np.log(np.prod(OPTIONS))
    np.testing.assert_allclose(state.baseline[0] / state.baseline[1], reward, rtol=1e-5)
    proposal, state = strategy.ask(state)
    state = strategy.tell(state, proposal, 0.5)
    np.testing.assert_allclose(state.baseline[0], 0.01 * (0.99 * reward + reward + 0.25), rtol=1e-5)
    np.testing.assert_allclose(state.lessons[1][1], 0.25 * (1 - 0.01 / (1 - 0.99**2)), rtol=1e-4)


def test_what_fails_is_as_bad_as_the_worst():
    strategy = TabularReinforce(batch=10)
    state = strategy.init(SPACE, 0)
    for score in (None, 0.5, 0.2, None, 0.4):
        proposal, state = strategy.ask(state)
        state = strategy.tell(state, proposal, score)
    assert state.lowest == 0.2
    advantages = [advantage for _, advantage in state.lessons]
    # Nothing to compare the first with.
    assert len(advantages) == 4
    assert advantages[0] == 0
    average, weight = 0.0, 0.0
    for found, score in zip(advantages, (0.5, 0.2, 0.2, 0.4), strict=True):
        average, weight = 0.9 * average + 0.1 * score, 0.9 * weight + 0.1
        np.testing.assert_allclose(found, score - average / weight, rtol=1e-9, atol=1e-12)


def test_what_was_not_asked_is_not_told():
    strategy = TabularReinforce()
    with pytest.raises(ValueError, match=r"proposal=.*allowed are points asked for: \[\]"):
        strategy.tell(strategy.init(SPACE, 0), Proposal((0, 0, 0, 0, 0)), 1.0)


def test_points_that_are_not_allowed_are_drawn_again():
    space = replace(SPACE, allowed=lambda point: point[0] == point[4])
    history, _ = play(TabularReinforce(), space, worth, 10)
    assert all(point[0] == point[4] for point, _ in history)


def test_published_settings():
    first = nnx.eval_shape(lambda: Reinforce().controller(OPTIONS, rngs=nnx.Rngs(0)))
    assert len(first.layers) == 2
    assert first.layers[1].dense_h.kernel.shape == (35, 4 * 35)
    for strategy in (PPO(), ENAS()):
        first = nnx.eval_shape(lambda s=strategy: s.controller(OPTIONS, rngs=nnx.Rngs(0)))
        assert first.start.shape == (100,)
        assert len(first.layers) == 1
