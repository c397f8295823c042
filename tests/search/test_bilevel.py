"""Architecture gradients against closed forms and numerical derivatives, and within a search."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import search
from jaxcv.data import Augmentation
from jaxcv.training.loss import cross_entropy
from search import bilevel
from search.step import Images, build
from search.supernet import SearchNetwork

RATE, MOMENTUM, DECAY, DAMPING = 0.1, 0.9, 0.2, 0.3


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# A quadratic: L_train = w'Aw / 2 - w'B alpha^2 and L_valid = |w - c|^2 / 2 + d'alpha.


class Quadratic:
    def __init__(self, seed=0):
        random = np.random.default_rng(seed)
        root = random.normal(size=(5, 5))
        self.a, self.b = root @ root.T / 5 + 0.5 * np.eye(5), random.normal(size=(5, 3))
        self.c, self.d = random.normal(size=5), random.normal(size=3)
        self.w, self.v, self.alpha = (random.normal(size=size) for size in (5, 5, 3))

    def train_slope(self, w):
        return self.a @ w - self.b @ self.alpha**2

    @property
    def mixed(self):
        """``d_alpha d_w L_train``, [weights, architecture weights]."""
        return -self.b * 2 * self.alpha

    def loss(self, weights, alphas, batch):
        w, alpha = flat(weights), alphas["alpha"]
        if batch == "train":
            return w @ self.a @ w / 2 - w @ self.b @ alpha**2, "metrics"
        return jnp.square(w - self.c).sum() / 2 + self.d @ alpha, "metrics"

    def valid_loss(self, w):
        return np.square(w - self.c).sum() / 2 + self.d @ self.alpha

    def gradient(self, name, w=None, momentum=MOMENTUM, steps=1, damping=0.0):
        """The validation loss and the gradient, by ``bilevel``."""
        inner = bilevel.Inner(RATE, momentum, DECAY, tree(self.v), steps, damping)
        (value, metrics), gradient = bilevel.GRADIENTS[name](
            self.loss, inner, tree(self.w if w is None else w), {"alpha": self.alpha},
            "train", "valid",
        )  # fmt: skip
        assert metrics == "metrics"
        return value, gradient["alpha"]


def tree(w):
    return {"first": w[:2], "rest": [w[2:].reshape(3, 1)]}


def flat(weights):
    return jnp.concatenate([weights["first"], weights["rest"][0][:, 0]])


def descend(problem, steps, momentum=MOMENTUM):
    """The weights after so many steps, and their derivative by alpha."""
    w, v = problem.w, problem.v
    by_w, by_v = np.zeros((5, 3)), np.zeros((5, 3))
    for _ in range(steps):
        v = momentum * v + problem.train_slope(w) + DECAY * w
        by_v = momentum * by_v + problem.a @ by_w + problem.mixed + DECAY * by_w
        w, by_w = w - RATE * v, by_w - RATE * by_v
    return w, by_w


def close(found, expected, tolerance=1e-10):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("float64")
def test_first_order_of_a_quadratic():
    problem = Quadratic()
    value, gradient = problem.gradient("first_order")
    close(value, problem.valid_loss(problem.w))
    close(gradient, problem.d)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_unrolled_descent_on_a_quadratic(steps):
    problem = Quadratic()
    value, gradient = problem.gradient("unrolled", steps=steps)
    w, by_alpha = descend(problem, steps)
    close(value, problem.valid_loss(w))
    close(gradient, problem.d + by_alpha.T @ (w - problem.c))


@pytest.mark.usefixtures("float64")
def test_the_finite_difference_is_exact_on_a_quadratic():
    problem = Quadratic()
    for found, expected in zip(
        problem.gradient("second_order"), problem.gradient("unrolled"), strict=True
    ):
        close(found, expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, 4])
def test_neumann_series_of_a_quadratic(steps):
    problem = Quadratic()
    value, gradient = problem.gradient("neumann", steps=steps, damping=DAMPING)
    hessian = problem.a + (DECAY + DAMPING) * np.eye(5)
    powers = [np.linalg.matrix_power(np.eye(5) - RATE * hessian, i) for i in range(steps)]
    inverse = RATE * sum(powers)
    close(value, problem.valid_loss(problem.w))
    close(gradient, problem.d - problem.mixed.T @ inverse @ (problem.w - problem.c))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "steps"), [("neumann", 600), ("conjugate_gradient", 5)])
def test_implicit_gradients_of_a_quadratic(name, steps):
    problem = Quadratic()
    value, gradient = problem.gradient(name, steps=steps, damping=DAMPING)
    hessian = problem.a + (DECAY + DAMPING) * np.eye(5)
    solution = np.linalg.solve(hessian, problem.w - problem.c)
    close(value, problem.valid_loss(problem.w))
    close(gradient, problem.d - problem.mixed.T @ solution)


@pytest.mark.usefixtures("float64")
def test_terms_of_the_series_are_steps_from_the_minimum():
    problem = Quadratic()
    minimum = np.linalg.solve(problem.a + DECAY * np.eye(5), problem.b @ problem.alpha**2)
    series = problem.gradient("neumann", w=minimum, steps=3)
    close(problem.gradient("unrolled", w=minimum, momentum=0.0, steps=3)[1], series[1])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", bilevel.GRADIENTS)
def test_several_problems_at_once(name):
    problem = Quadratic()
    several = np.stack([problem.w, 2 * problem.w, problem.c + 1])

    def gradient(w):
        return problem.gradient(name, w=w, steps=3, damping=DAMPING)[1]

    together = jax.jit(jax.vmap(gradient))(several)
    close(together, np.stack([gradient(w) for w in several]))


# A search network.

PRIMITIVES = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
SPACE = search.darts(1, PRIMITIVES)


def network(dtype, layers=1, batch=8, size=8):
    """Loss, weights, architecture weights and two batches."""
    with jax.enable_x64(False):  # which has other random numbers
        made = SearchNetwork(SPACE, 4, layers, 5, dtype=dtype, rngs=nnx.Rngs(0))
    graph, state = nnx.split(made)
    random = np.random.default_rng(0)

    def loss(weights, alphas, batch):
        images, labels = batch
        logits = nnx.merge(graph, weights)(images, jax.tree.map(jax.nn.softmax, alphas))
        return cross_entropy(logits, labels), ()

    wide = jnp.promote_types(dtype, jnp.float32)
    weights = jax.tree.map(lambda w: jnp.asarray(w, wide), nnx.to_pure_dict(state))
    alphas = {kind: random.normal(size=cell.allowed.shape) for kind, cell in SPACE.cells.items()}
    batches = [
        (random.normal(size=(batch, size, size, 3)), random.integers(5, size=batch))
        for _ in range(2)
    ]
    batches = [(jnp.asarray(images, wide), labels) for images, labels in batches]
    return loss, weights, jax.tree.map(lambda a: jnp.asarray(a, wide), alphas), *batches


def settings(weights, **changes):
    velocity = jax.tree.map(lambda w: jnp.cos(7 * w), weights)
    return bilevel.Inner(
        **{"learning_rate": 0.025, "momentum": 0.9, "weight_decay": 3e-4, "velocity": velocity}
        | changes
    )


def of_network(name, dtype, **changes):
    """The architecture gradient of the search network as one vector, in float64."""
    loss, weights, alphas, train, valid = network(dtype)

    @jax.jit
    def gradient(weights, alphas):
        inner = settings(weights, **changes)
        return bilevel.GRADIENTS[name](loss, inner, weights, alphas, train, valid)[1]

    return vector(gradient(weights, alphas))


def vector(some):
    return np.concatenate([np.ravel(a) for a in jax.tree.leaves(some)]).astype(np.float64)


@pytest.mark.usefixtures("float64")
def test_unrolled_is_the_numerical_derivative():
    loss, weights, alphas, train, valid = network(jnp.float64)
    inner = settings(weights, learning_rate=0.1, weight_decay=0.05)

    @jax.jit
    def loss_ahead(alphas, steps):
        def descend(_, state):
            w, v = state
            slope = jax.grad(lambda w: loss(w, alphas, train)[0])(w)
            v = jax.tree.map(lambda v, g, w: 0.9 * v + g + 0.05 * w, v, slope, w)
            return jax.tree.map(lambda w, v: w - 0.1 * v, w, v), v

        ahead, _ = jax.lax.fori_loop(0, steps, descend, (weights, inner.velocity))
        return loss(ahead, alphas, valid)[0]

    for steps in (1, 3):
        exact = jax.jit(functools.partial(bilevel.unrolled, loss, inner._replace(steps=steps)))
        (value, _), gradient = exact(weights, alphas, train, valid)
        close(value, loss_ahead(alphas, steps))
        shift = 1e-5
        for kind, values in alphas.items():
            expected = np.zeros(values.shape)
            for place in np.ndindex(values.shape):
                ends = [
                    loss_ahead(alphas | {kind: values.at[place].add(sign * shift)}, steps)
                    for sign in (1, -1)
                ]
                expected[place] = (ends[0] - ends[1]) / (2 * shift)
            # Relative to the largest: the numerical derivative has the loss's rounding.
            np.testing.assert_allclose(
                gradient[kind], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max()
            )


@functools.cache
def exact():
    """The architecture gradient of the search network in float64."""
    with jax.enable_x64(True):
        return of_network("unrolled", jnp.float64)


@functools.cache
def direct():
    """What of it comes by the weights ahead, taken as constants."""
    with jax.enable_x64(True):
        loss, weights, alphas, train, valid = network(jnp.float64)

        @jax.jit
        def gradient(weights, alphas):
            inner = settings(weights)
            slope = jax.grad(lambda w: loss(w, alphas, train)[0])(weights)
            ahead, _ = inner.step(weights, inner.velocity, slope)
            return bilevel.first_order(loss, inner, ahead, alphas, train, valid)[1]

        return vector(gradient(weights, alphas))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_error_of_the_finite_difference(dtype):
    """Relative to the term that it stands for, as the docstring of ``second_order`` has it."""
    with jax.enable_x64(dtype == "float64"):
        found = of_network("second_order", jnp.dtype(dtype))
    error = np.linalg.norm(found - exact()) / np.linalg.norm(direct() - exact())
    assert error == pytest.approx(0.033, abs=0.002)


def test_exact_in_float32_and_bfloat16():
    error = {
        dtype: np.linalg.norm(of_network("unrolled", dtype) - exact()) / np.linalg.norm(exact())
        for dtype in (jnp.float32, jnp.bfloat16)
    }
    assert error[jnp.float32] < 1e-4 < error[jnp.bfloat16] < 0.2


def test_exact_needs_the_memory_of_two_gradients():
    loss, weights, alphas, train, valid = network(jnp.float32, layers=3)

    def bytes_of(function):
        compiled = jax.jit(function).lower(weights, alphas, train, valid).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def exact(weights, alphas, train, valid):
        return bilevel.unrolled(loss, settings(weights), weights, alphas, train, valid)

    def one(weights, alphas, train, valid):
        return jax.grad(lambda *both: loss(*both, valid)[0], (0, 1))(weights, alphas)

    assert bytes_of(exact) < 2.5 * bytes_of(one)


# Within a search.


def parts(**changes):
    return build(
        SPACE,
        search.Config(channels=2, layers=1, epochs=2, batch_size=8, **changes),
        count=16,
        image_shape=(8, 8, 3),
        num_classes=4,
        augmentation=Augmentation(),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


IMPLICIT = {"gradient": "conjugate_gradient", "gradient_steps": 3}


@pytest.mark.parametrize(
    "changes",
    [{"gradient": "second_order"}, {"gradient": "unrolled", "gradient_steps": 2}, IMPLICIT],
)
def test_searches_at_once_are_the_single_ones_and_are_traced_once(changes):
    random = np.random.default_rng(0)
    images = jnp.asarray(random.integers(0, 256, (32, 8, 8, 3), np.uint8))
    data = Images(
        images, jnp.asarray(random.integers(0, 4, 32)), jnp.arange(16), jnp.arange(16, 32)
    )
    chex.clear_trace_counter()
    keys = jax.random.split(jax.random.key(3), 2)
    step = parts(**changes)
    advance = jax.jit(chex.assert_max_traces(step.advance.__wrapped__, 1), donate_argnums=0)
    halves = jnp.stack([data.train] * 2), jnp.stack([data.valid] * 2)
    several = step.init(keys)
    for steps in (1, 2):
        several = advance(several, data._replace(train=halves[0], valid=halves[1]), steps)
    single = step.advance(step.init(keys[1]), data, 3)
    for a, b in zip(
        jax.tree.leaves((several.alphas, several.weights, several.sums)),
        jax.tree.leaves((single.alphas, single.weights, single.sums)),
        strict=True,
    ):
        np.testing.assert_allclose(a[1], b, rtol=1e-3, atol=1e-5)


def test_the_logged_loss_is_that_of_the_weights_ahead():
    random = np.random.default_rng(0)
    batches = [(random.normal(size=(8, 8, 8, 3)), random.integers(4, size=8)) for _ in range(2)]
    batches = [(jnp.asarray(images, jnp.float32), labels) for images, labels in batches]
    losses = {}
    for gradient in ("first_order", "second_order", "unrolled"):
        step = parts(gradient=gradient)
        losses[gradient] = float(
            step.update(step.init(jax.random.key(0)), *batches).sums["valid_loss"]
        )
    assert losses["second_order"] == pytest.approx(losses["unrolled"], rel=1e-5)
    assert losses["first_order"] != pytest.approx(losses["unrolled"], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient": "third_order"}, "gradient='third_order'; allowed are first_order, second_"),
        ({"gradient_steps": 0}, "gradient_steps=0; allowed is a positive int"),
        ({"damping": -1.0}, "damping=-1.0; allowed is 0 or more"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0; allowed is 0 or more"),
        ({"momentum": 1.0}, r"momentum=1.0; allowed is a number in \[0, 1\)"),
        ({"alpha_beta1": -0.1}, r"alpha_beta1=-0.1; allowed is a number in \[0, 1\)"),
        ({"dtype": "float16"}, "dtype='float16'; allowed are float32, bfloat16 and"),
        ({"alpha_warmup": 50}, "alpha_warmup=50 with epochs=50; allowed are fewer"),
        ({"threshold": 7.0}, r"threshold=7.0; allowed is a number in \[0, 1\]"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        search.Config(**changes)
