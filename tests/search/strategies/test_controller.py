"""Controllers against enumeration, a NumPy loop and derivatives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from flax import nnx

from search.strategies.controller import LSTM, Table, draw, entropy, log_probability, read

OPTIONS = (3, 1, 4)
POINTS = jnp.array(list(itertools.product(*map(range, OPTIONS))))
MAKERS = {
    "table": functools.partial(Table, scale=0.8),
    "lstm": functools.partial(LSTM, hidden=3, layers=2, scale=1.5, temperature=0.7),
    "bounded": functools.partial(LSTM, hidden=3, scale=2.0, temperature=0.5, tanh_constant=1.2),
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=MAKERS)
def controller(request):
    graph, weights = nnx.split(MAKERS[request.param](OPTIONS, rngs=nnx.Rngs(3)))
    random = np.random.default_rng(0)
    # Biases too, which are zero at first.
    weights = jax.tree.map(lambda w: jnp.asarray(w + 0.3 * random.normal(size=w.shape)), weights)
    return graph, weights


@jax.jit(static_argnums=0)
def everything(graph, weights):
    """The logits, log probability and entropy on the way to each point."""
    logits = jax.vmap(functools.partial(read, nnx.merge(graph, weights)))(POINTS)
    return logits, jax.vmap(log_probability)(logits, POINTS), jax.vmap(entropy)(logits)


def test_probabilities_of_all_points_sum_to_one(controller):
    _, logs, _ = everything(*controller)
    assert np.ptp(logs) > 0.5
    np.testing.assert_allclose(np.sum(np.exp(logs)), 1, rtol=1e-12)


def test_entropy_of_the_decisions_is_on_average_that_of_the_points(controller):
    _, logs, entropies = everything(*controller)
    probabilities = np.exp(logs)
    np.testing.assert_allclose(
        np.sum(probabilities * entropies), -np.sum(probabilities * logs), rtol=1e-12
    )


def test_points_are_drawn_with_their_probabilities(controller):
    graph, weights = controller
    noise = np.random.default_rng(1).gumbel(size=(4000, len(OPTIONS), max(OPTIONS)))
    choices, logits = jax.jit(jax.vmap(functools.partial(draw, nnx.merge(graph, weights))))(noise)
    all_logits, logs, _ = everything(graph, weights)
    numbers = np.array(choices) @ [4, 4, 1]
    np.testing.assert_allclose(logits, all_logits[numbers], rtol=1e-12)
    counts = np.bincount(numbers, minlength=len(POINTS))
    assert scipy.stats.chisquare(counts, 4000 * np.exp(logs)).pvalue > 0.01


def test_gradients_are_those_of_finite_differences(controller):
    graph, weights = controller
    random = np.random.default_rng(2)
    direction = jax.tree.map(lambda w: jnp.asarray(random.normal(size=w.shape)), weights)

    @jax.jit
    @jax.value_and_grad
    def loss(step):
        moved = jax.tree.map(lambda w, d: w + step * d, weights, direction)
        return log_probability(read(nnx.merge(graph, moved), POINTS[7]), POINTS[7])

    numerical = (loss(1e-5)[0] - loss(-1e-5)[0]) / 2e-5
    assert abs(numerical) > 0.01
    np.testing.assert_allclose(loss(0.0)[1], numerical, rtol=1e-7)


def test_gradient_of_a_table():
    graph, weights = nnx.split(MAKERS["table"](OPTIONS, rngs=nnx.Rngs(0)))
    weights = jax.tree.map(lambda w: w.astype(float), weights)

    def loss(weights):
        return log_probability(read(nnx.merge(graph, weights), POINTS[7]), POINTS[7])

    found = jax.grad(loss)(weights)["logits"][...]
    for row, choice, number in zip(found, POINTS[7], range(3), strict=True):
        n = OPTIONS[number]
        softmax = scipy.special.softmax(weights["logits"][...][number, :n])
        np.testing.assert_allclose(row[:n], np.eye(n)[choice] - softmax, atol=1e-12)
        np.testing.assert_array_equal(row[n:], 0)


def lstm(weights, layers, point, temperature, bound):
    """Logits of the options that there are, by loops."""
    w = jax.tree.map(np.asarray, nnx.to_pure_dict(weights))
    x = w["start"]
    memories = [(np.zeros(3), np.zeros(3)) for _ in range(layers)]
    found = []
    for t, choice in enumerate(point):
        for layer in range(layers):
            c, h = memories[layer]
            cell = w["layers"][layer]
            gates = x @ cell["dense_i"]["kernel"] + h @ cell["dense_h"]["kernel"]
            i, f, g, o = np.split(gates + cell["dense_h"]["bias"], 4)
            c = scipy.special.expit(f) * c + scipy.special.expit(i) * np.tanh(g)
            x = scipy.special.expit(o) * np.tanh(c)
            memories[layer] = c, x
        logits = (x @ w["readouts"][t] + w["biases"][t]) / temperature
        found.append((logits if bound is None else bound * np.tanh(logits))[: OPTIONS[t]])
        x = w["embeddings"][t][choice]
    return found


@pytest.mark.parametrize(("name", "layers"), [("lstm", 2), ("bounded", 1)])
def test_lstm_is_a_numpy_loop(name, layers):
    maker = MAKERS[name]
    graph, weights = nnx.split(maker(OPTIONS, rngs=nnx.Rngs(1)))
    weights = jax.tree.map(lambda w: w.astype(float), weights)
    logits, _, _ = everything(graph, weights)
    settings = maker.keywords
    for number in (0, 7, 11):
        expected = lstm(
            weights,
            layers,
            POINTS[number].tolist(),
            settings["temperature"],
            settings.get("tanh_constant"),
        )
        for t, row in enumerate(expected):
            np.testing.assert_allclose(logits[number, t, : len(row)], row, rtol=1e-10)
