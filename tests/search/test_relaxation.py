"""The relaxations against closed forms and their distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from search.relaxation import RELAXATIONS
from search.relaxation.dirichlet import _concentration
from search.space import CellSpace, Space

CELL = CellSpace(
    ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)),
    (
        ("skip_connect", "sep_conv_3x3"),
        ("none", "avg_pool_3x3"),
        ("skip_connect", "sep_conv_3x3", "avg_pool_3x3"),
        ("sep_conv_3x3",),
        ("none", "skip_connect", "sep_conv_3x3", "avg_pool_3x3"),
    ),
)
SPACE = Space({"normal": CELL, "reduce": CELL})


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def weights(seed=0, scale=1.0):
    """{"normal": ..., "reduce": ..., "normal_edges": ..., "reduce_edges": ...}"""
    random = np.random.default_rng(seed)
    shapes = {
        kind + end: shape
        for end, shape in (("", CELL.allowed.shape), ("_edges", (5,)))
        for kind in SPACE.cells
    }
    return {name: jnp.asarray(scale * random.normal(size=s)) for name, s in shapes.items()}


def softmax(alpha):
    """Row by row, over the primitives that an edge has."""
    rows = np.exp(np.asarray(alpha)) * CELL.allowed
    return rows / rows.sum(1, keepdims=True)


def samples(name, alphas, count, progress=0.0):
    relax = RELAXATIONS[name](SPACE).relax
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(lambda key: relax(alphas, key, progress)))(keys)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_primitives_that_an_edge_lacks_have_no_part_in_it(name):
    relaxation = RELAXATIONS[name](SPACE)
    alphas = weights(scale=3.0)

    def some(alphas):
        mix = relaxation.relax(alphas, jax.random.key(1), 0.5)
        return sum((w * jnp.arange(w.size).reshape(w.shape)).sum() for w in mix.values()), mix

    (_, mix), gradients = jax.value_and_grad(some, has_aux=True)(alphas)
    penalty_gradients = jax.grad(relaxation.penalty)(alphas)
    assert mix.keys() == SPACE.cells.keys()
    for kind in SPACE.cells:
        for found in (mix[kind], relaxation.decode(alphas)[kind]):
            assert (np.asarray(found)[~CELL.allowed] == 0).all()
            assert (np.asarray(found)[CELL.allowed] >= 0).all()
        for found in (gradients[kind], penalty_gradients[kind]):
            assert (np.asarray(found)[~CELL.allowed] == 0).all()
            assert np.isfinite(found).all()
        assert np.abs(gradients[kind][CELL.allowed.sum(1) > 1]).sum() > 0


@pytest.mark.parametrize("name", ["softmax", "gumbel", "dirichlet"])
def test_the_weights_of_an_edge_sum_to_one(name):
    relaxation = RELAXATIONS[name](SPACE)
    for mix in (
        relaxation.relax(weights(), jax.random.key(2), 0.3),
        relaxation.decode(weights()),
    ):
        for found in mix.values():
            np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_searches_begin_near_zero_and_each_key_elsewhere(name):
    init = RELAXATIONS[name](SPACE).init
    first, second = init(jax.random.key(0)), init(jax.random.key(1))
    for kind in SPACE.cells:
        assert first[kind].shape == CELL.allowed.shape
        assert (np.abs(first[kind]) < 0.01).all()
    drawn = {key for key in first if (np.asarray(first[key]) != np.asarray(second[key])).all()}
    assert drawn == (set() if name == "sigmoid" else set(first))


def test_gumbel_draws_a_primitive_as_often_as_the_softmax_says():
    alphas, count = weights(), 20_000
    drawn = samples("gumbel", alphas, count)
    for kind in SPACE.cells:
        found = np.asarray(drawn[kind])
        assert set(np.unique(found)) == {0.0, 1.0} and (found.sum(2) == 1).all()
        expected = softmax(alphas[kind])
        np.testing.assert_allclose(RELAXATIONS["gumbel"](SPACE).decode(alphas)[kind], expected)
        error = np.sqrt(expected * (1 - expected) / count)
        assert (np.abs(found.mean(0) - expected) <= 4 * error + 1e-12).all()
    # Cells of different kind are drawn independently.
    agree = (np.asarray(drawn["normal"])[:, 0] == np.asarray(drawn["reduce"])[:, 0]).all(1).mean()
    p = softmax(alphas["normal"])[0] @ softmax(alphas["reduce"])[0]
    assert abs(agree - p) < 4 * np.sqrt(p * (1 - p) / count)


@pytest.mark.parametrize(("progress", "temperature"), [(0.0, 10.0), (0.5, 5.05), (1.0, 0.1)])
def test_gumbel_goes_back_through_the_relaxed_sample(progress, temperature):
    alphas, key = weights(), jax.random.key(3)
    relax = RELAXATIONS["gumbel"](SPACE).relax
    weight = np.random.default_rng(1).normal(size=CELL.allowed.shape)
    gradient = jax.grad(lambda a: (relax(a, key, progress)["normal"] * weight).sum())(alphas)
    noise = jax.random.gumbel(jax.random.fold_in(key, 0), CELL.allowed.shape)
    soft = softmax((np.asarray(alphas["normal"]) + np.asarray(noise)) / temperature)
    expected = soft * (weight - (soft * weight).sum(1, keepdims=True)) / temperature
    np.testing.assert_allclose(gradient["normal"], expected, rtol=1e-9, atol=1e-12)


def concentrations(alpha):
    alpha = np.asarray(alpha)
    return np.where(alpha > 0, alpha + 1, np.exp(np.minimum(alpha, 0)))


def test_dirichlet_has_the_moments_of_its_distribution():
    alphas, count = weights(), 8_000
    drawn = samples("dirichlet", alphas, count)
    for kind in SPACE.cells:
        found = np.asarray(drawn[kind])
        c = concentrations(alphas[kind]) * CELL.allowed
        total = c.sum(1, keepdims=True)
        mean = c / total
        variance = mean * (1 - mean) / (total + 1)
        np.testing.assert_allclose(RELAXATIONS["dirichlet"](SPACE).decode(alphas)[kind], mean)
        assert (np.abs(found.mean(0) - mean) <= 4 * np.sqrt(variance / count) + 1e-12).all()
        np.testing.assert_allclose(found.var(0), variance, rtol=0.12, atol=1e-12)


def test_dirichlet_goes_back_through_its_samples():
    """The derivative of a mean of samples is that of the expectation, E[x_0^2]."""
    alphas, count = weights(), 8_000
    relax = RELAXATIONS["dirichlet"](SPACE).relax
    column = CELL.vocabulary.index("skip_connect")
    keys = jax.random.split(jax.random.key(0), count)

    def square(alphas, key):
        return relax(alphas, key, 0.0)["normal"][2, column] ** 2

    gradients = jax.jit(jax.vmap(jax.grad(square), (None, 0)))(alphas, keys)["normal"][:, 2]

    def expectation(alpha):
        c = concentrations(alpha) * CELL.allowed[2]
        return c[column] * (c[column] + 1) / (c.sum() * (c.sum() + 1))

    alpha = np.asarray(alphas["normal"][2])
    for k in np.flatnonzero(CELL.allowed[2]):
        step = 1e-5 * np.eye(len(alpha))[k]
        expected = (expectation(alpha + step) - expectation(alpha - step)) / 2e-5
        found = np.asarray(gradients[:, k])
        assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(count)
        assert abs(expected) > 5 * found.std() / np.sqrt(count)


def test_the_penalty_of_dirichlet_is_the_divergence_from_the_uniform_one():
    relaxation = RELAXATIONS["dirichlet"](SPACE)
    alphas = weights()
    expected = 0.0
    for kind in SPACE.cells:
        for edge, allowed in enumerate(CELL.allowed):
            # Over one primitive all distributions are the same.
            if allowed.sum() > 1:
                c = concentrations(alphas[kind][edge])[allowed]
                entropy = scipy.stats.dirichlet(c).entropy()
                expected -= entropy + scipy.special.gammaln(allowed.sum())
    assert float(relaxation.penalty(alphas)) == pytest.approx(expected, rel=1e-9)
    zeros = jax.tree.map(jnp.zeros_like, alphas)
    assert float(relaxation.penalty(zeros)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("alpha", [-40.0, -1.0, 0.0, 1.0])
def test_concentrations_are_positive_and_smooth(alpha):
    """elu(x) + 1 has derivative exp(x) up to 0, then 1; at -40 the plain form rounds to 0."""
    value, slope = jax.value_and_grad(_concentration)(jnp.float32(alpha))
    expected = alpha + 1 if alpha > 0 else np.exp(alpha)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert float(slope) == pytest.approx(min(np.exp(alpha), 1), rel=1e-6)


def test_sigmoid_and_its_zero_one_loss():
    relaxation = RELAXATIONS["sigmoid"](SPACE)
    alphas = weights()
    expected = {kind: scipy.special.expit(alphas[kind]) * CELL.allowed for kind in SPACE.cells}
    mix = relaxation.relax(alphas, jax.random.key(0), 0.0)
    for kind in SPACE.cells:
        np.testing.assert_allclose(mix[kind], expected[kind], rtol=1e-9)
    values = np.concatenate([expected[kind][CELL.allowed] for kind in SPACE.cells])
    assert len(values) == 24
    loss = -np.mean((values - 0.5) ** 2)
    assert float(relaxation.penalty(alphas)) == pytest.approx(loss, rel=1e-12)


def test_edges_into_a_node_share_its_weight():
    relaxation = RELAXATIONS["edge_softmax"](SPACE)
    alphas = weights()
    mix = relaxation.relax(alphas, jax.random.key(0), 0.0)
    for kind in SPACE.cells:
        beta = np.exp(np.asarray(alphas[f"{kind}_edges"]))
        shares = np.concatenate([beta[:2] / beta[:2].sum(), beta[2:] / beta[2:].sum()])
        expected = softmax(alphas[kind]) * shares[:, None]
        np.testing.assert_allclose(mix[kind], expected, rtol=1e-9, atol=1e-15)
