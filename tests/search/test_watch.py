"""The watch: eigenvalues against a dense solver, entropy and skips by hand, the rule to stop."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

import search
from jaxcv.data import Augmentation
from jaxcv.genotype import published
from search import watch
from search.step import Images, build


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def quadratic(eigenvalues, seed=0):
    """A loss of alphas with a Hessian of these eigenvalues, and where to take it."""
    random = np.random.default_rng(seed)
    size = len(eigenvalues)
    turn, _ = np.linalg.qr(random.normal(size=(size, size)))
    hessian = turn @ np.diag(eigenvalues) @ turn.T
    slope, values = random.normal(size=(2, size))

    def loss(alphas):
        flat = jnp.concatenate([alphas["normal"].ravel(), alphas["reduce"].ravel()])
        return flat @ hessian @ flat / 2 + slope @ flat

    half = size // 2
    return loss, {"normal": values[:half].reshape(1, -1), "reduce": values[half:]}


@pytest.mark.parametrize(
    "eigenvalues",
    [
        np.linspace(-1, 2, 12),
        -np.arange(1.0, 13),
        np.r_[np.zeros(9), 0.5, 3, 3],
        np.full(12, 2.0),
        np.r_[np.full(11, -4.0), -1],
    ],
)
def test_eigenvalues_of_a_known_hessian(eigenvalues):
    loss, alphas = quadratic(eigenvalues)
    found = watch.largest_eigenvalue(loss, alphas, jax.random.key(0))
    assert found == pytest.approx(max(eigenvalues), abs=1e-9)
    np.testing.assert_allclose(watch.spectrum(loss, alphas), np.sort(eigenvalues), atol=1e-9)


def test_a_few_products_come_near_from_below():
    loss, alphas = quadratic(np.r_[np.linspace(0, 1, 99), 5])
    found = float(watch.largest_eigenvalue(loss, alphas, jax.random.key(0), steps=12))
    assert 4.999 < found <= 5 + 1e-12


def test_of_several_searches_at_once():
    losses = [quadratic(np.arange(6.0) * scale, seed=scale) for scale in (1, 2)]
    keys = jax.random.split(jax.random.key(0), 2)
    scales = jnp.array([1.0, 2.0])

    def largest(scale, key):
        loss, alphas = losses[0]
        return watch.largest_eigenvalue(lambda a: scale * loss(a), alphas, key)

    np.testing.assert_allclose(jax.vmap(largest)(scales, keys), [5, 10], atol=1e-9)


def test_the_product_is_the_derivative_of_the_gradient():
    def loss(alphas):
        return jnp.sum(jnp.sin(alphas) * jnp.roll(alphas, 1) ** 3)

    random = np.random.default_rng(0)
    alphas, vector = random.normal(size=(2, 7))
    step = 1e-6
    numerical = (
        jax.grad(loss)(alphas + step * vector) - jax.grad(loss)(alphas - step * vector)
    ) / (2 * step)
    np.testing.assert_allclose(
        watch.hessian_product(loss, alphas, vector), numerical, rtol=1e-6, atol=1e-8
    )


def test_entropy_of_equal_certain_and_unscaled_weights():
    assert watch.entropy({"normal": np.full((3, 8), 1 / 8)}) == pytest.approx(math.log(8))
    assert watch.entropy({"normal": np.eye(4)}) == 0
    assert watch.entropy({"normal": np.array([[0.0, 5, 5]])}) == pytest.approx(math.log(2))
    assert watch.entropy({"normal": np.eye(2), "reduce": np.full((2, 2), 0.5)}) == pytest.approx(
        math.log(2) / 2
    )


def test_skip_connections_of_published_cells():
    assert watch.skip_connections(published["DARTS_V1"]) == {"normal": 3, "reduce": 3}
    assert watch.skip_connections(published["DARTS_V2"]) == {"normal": 2, "reduce": 3}


@pytest.mark.parametrize("seed", range(20))
def test_growth_is_found_where_a_plain_loop_finds_it(seed):
    random = np.random.default_rng(seed)
    values = (0.5 + np.cumsum(random.normal(0.01, 0.1, 30))).tolist()
    first = int(random.integers(8))
    expected = None
    for now in range(len(values)):
        middle = now - 2
        before = middle - 4
        if expected is None and before - 2 >= 0 and before >= first:
            recent, old = (
                np.mean(values[now - 4 : now + 1]),
                np.mean(values[before - 2 : before + 3]),
            )
            if recent > 1.3 * max(old, 0):
                expected = before
    assert watch.growth(values, first=first) == expected


def test_no_growth_before_there_is_enough_to_compare():
    assert watch.growth([]) is None
    assert watch.growth([1, 2, 4, 8, 16, 32, 64, 128]) is None
    assert watch.growth([1, 2, 4, 8, 16, 32, 64, 128, 256]) == 2
    assert watch.growth([1.0] * 40) is None
    # What is found does not change as the search goes on.
    assert watch.growth([1, 2, 4, 8, 16, 32, 64, 128, 256, 1, 1, 1]) == 2


def test_steps_below_one_are_refused():
    with pytest.raises(ValueError, match="steps=0; allowed is a positive int"):
        watch.largest_eigenvalue(jnp.sum, jnp.ones(3), jax.random.key(0), steps=0)


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (32, 8, 8, 3), np.uint8), random.integers(0, 4, 32)


CONFIG = search.Config(channels=2, layers=1, epochs=3, batch_size=8, watch_every=2)


def test_each_epoch_is_watched(images):
    with jax.enable_x64(False):
        found = search.run(search.darts(1), *images, CONFIG, jax.random.key(0), progress=False)
    rows = found.history
    assert ["eigenvalue" in row for row in rows] == [False, True, False]
    assert all(0 < row["entropy"] <= math.log(8) for row in rows)
    assert all(row["skip_connections"] in (0, 1, 2) for row in rows)
    assert math.isfinite(rows[1]["eigenvalue"]) and 0 <= rows[1]["discretized_accuracy"] <= 1


def test_the_eigenvalue_of_a_search_is_that_of_its_loss(images):
    step = build(
        search.darts(1),
        dataclasses.replace(CONFIG, dtype="float64"),
        count=16,
        image_shape=(8, 8, 3),
        num_classes=4,
        augmentation=Augmentation(),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    pictures, labels = images
    # All of the second half is one batch's images, so that their choice makes no difference.
    data = Images(jnp.asarray(pictures), jnp.asarray(labels), jnp.arange(16), jnp.arange(16, 24))
    state = step.init(jax.random.key(0))
    network = nnx.eval_shape(
        lambda: search.SearchNetwork(search.darts(1), 2, 1, 4, dtype=jnp.float64, rngs=nnx.Rngs(0))
    )
    graph, _ = nnx.split(network)
    flat, unravel = ravel_pytree(state.alphas)
    x = (pictures[16:24] / 255 - 0.5) / 0.25

    def loss(flat):
        alphas = unravel(flat)
        mix = {kind: jax.nn.softmax(alpha) for kind, alpha in alphas.items()}
        logits = nnx.merge(graph, state.weights)(jnp.asarray(x), mix)
        return -jax.nn.log_softmax(logits)[jnp.arange(8), labels[16:24]].mean()

    gradient, width = jax.jit(jax.grad(loss)), 1e-5
    rows = [
        (gradient(flat + width * unit) - gradient(flat - width * unit)) / (2 * width)
        for unit in np.eye(flat.size)
    ]
    assert float(step.eigenvalue(state, data)) == pytest.approx(
        np.linalg.eigvalsh(np.stack(rows)).max(), rel=1e-5
    )


def test_a_search_stops_and_goes_back_where_the_eigenvalue_grows(images, monkeypatch):
    def second_of_four(eigenvalues, first):
        assert all(math.isfinite(value) for value in eigenvalues) and first == len(eigenvalues)
        return 1 if len(eigenvalues) >= 4 else None

    monkeypatch.setattr(watch, "growth", second_of_four)
    config = dataclasses.replace(CONFIG, epochs=7, watch_every=1, early_stop=True)
    with jax.enable_x64(False):
        found = search.run(search.darts(1), *images, config, jax.random.key(0), progress=False)
    assert [row["epoch"] for row in found.history] == [1, 2, 3, 4]
    mix = {kind: np.array(rows) for kind, rows in found.history[1]["mix"].items()}
    assert found.genotype == search.discretize(search.darts(1), mix)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"watch_every": -1}, "watch_every=-1; allowed is at least 0"),
        ({"early_stop": True}, "early_stop=True with watch_every=0"),
    ],
)
def test_settings_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        search.Config(**options)
