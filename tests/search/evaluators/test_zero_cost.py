"""Zero-cost proxies: of all cells by one program against networks built one by one, and each proxy
by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.layers import BatchNorm, Conv2d
from jaxcv.models import nasbench201
from jaxcv.models.nasbench201 import OPERATIONS, Cell, NASBench201Network
from search.evaluators import zero_cost
from search.evaluators.relus import relu_inputs
from search.single_path import SinglePathNetwork, Stage

CHANNELS, CLASSES = 2, 3
# Each operation on some edge; nothing but convolutions; the input does not reach the output.
CHOICES = [(3, 4, 2, 0, 1, 3), (3, 3, 2, 3, 2, 3), (2, 3, 0, 0, 0, 0)]


@pytest.fixture(autouse=True, scope="module")
def _small():
    """Two stages, which compile sooner than three."""
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nasbench201, "STAGES", 2)
        yield


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return random.normal(size=(6, 8, 8, 3)), np.array([0, 1, 2, 0, 1, 2], np.int32)


def supernet():
    return SinglePathNetwork(CHANNELS, 1, CLASSES, dtype=jnp.float64, rngs=nnx.Rngs(0))


def built(shared, choice):
    """The network of one cell, with the weights that it has in the supernet."""
    names = [OPERATIONS[number] for number in choice]
    network = NASBench201Network(names, CHANNELS, 1, CLASSES, dtype=jnp.float64, rngs=nnx.Rngs(1))
    nnx.update(network.frame, nnx.state(shared.frame, nnx.Param))
    for own, stage in zip(network.stages, shared.stages, strict=True):
        for number, cell in enumerate(own):
            _copy(stage, number, choice, cell)
    return network


def _copy(stage, number, choice, cell):
    """Gives a cell the weights that a cell of a stage has for what was chosen."""
    for edge, option in enumerate(choice):
        weights = nnx.state(stage.operations[int(option)], nnx.Param)
        taken = jax.tree.map(lambda leaf, at=(number, edge): leaf[at], weights)
        nnx.update(cell.edges[edge], taken)


def test_every_cell_of_a_stage_has_its_own_weights():
    x = np.random.default_rng(7).normal(size=(2, 4, 4, CHANNELS))
    stage = Stage(2, CHANNELS, rngs=nnx.Rngs(0))
    choice = np.array(CHOICES[0], np.int32)
    y = jax.jit(lambda stage, choice: stage(x, choice))(stage, choice)
    for number in range(2):
        cell = Cell([OPERATIONS[option] for option in choice], CHANNELS, rngs=nnx.Rngs(1))
        _copy(stage, number, choice, cell)
        x = cell(x, train=True)
    np.testing.assert_allclose(y, x, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def program(batch):
    """The supernet, and all proxies of a choice, compiled once."""
    images, labels = batch

    @jax.jit
    def run(network, choice):
        return zero_cost.proxies(
            network,
            images,
            labels,
            call=lambda network, images: network(images, choice),
            inputs=lambda network, images: network.relu_inputs(images, choice),
        )

    return supernet(), run


@pytest.mark.parametrize("choice", CHOICES)
def test_a_cell_in_the_common_program_is_its_own_network(choice, program, batch):
    shared, run = program
    found = run(shared, np.array(choice, np.int32))
    expected = jax.jit(zero_cost.proxies)(built(shared, choice), *batch)
    assert set(found) == set(zero_cost.PROXIES)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)
    reaches = choice != CHOICES[2]
    assert np.isfinite(found["synflow"]) == np.isfinite(found["jacobian_covariance"]) == reaches


def test_wrong_shapes():
    shared = nnx.eval_shape(lambda: supernet())
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float64)
    for x, choice, message in [
        (image, (5,), r"choice has shape \(5,\); allowed is \(6,\)"),
        (jax.ShapeDtypeStruct((8, 8, 3), np.float64), (6,), r"x has shape \(8, 8, 3\)"),
    ]:
        choices = jax.ShapeDtypeStruct(choice, np.int32)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda network, x, choice: network(x, choice), shared, x, choices)


def layers(x, weights):
    """Two linear layers with a ReLU between them."""
    return (
        jax.nn.relu(x.reshape(len(x), -1) @ weights["first"]["kernel"]) @ weights["last"]["kernel"]
    )


@pytest.fixture
def weights():
    first, last = np.random.default_rng(1).normal(size=(2, 4, 4))
    return {"first": {"kernel": first}, "last": {"kernel": last, "bias": np.ones(4)}}


def test_synflow_of_layers_one_after_the_other(weights):
    """Each layer gives the whole sum of the logits, of absolute weights."""

    def apply(weights, images):
        return layers(images, weights) + weights["last"]["bias"]

    flow = np.abs(weights["first"]["kernel"]).sum(0) @ np.abs(weights["last"]["kernel"]).sum(1)
    np.testing.assert_allclose(
        zero_cost.synflow(apply, weights, (2, 2, 1)), np.log(2 * flow), rtol=1e-12
    )


def test_snip_and_grad_norm_sum_over_kernels():
    random = np.random.default_rng(2)
    kernel, stacked, bias = random.normal(size=(3, 2)), random.normal(size=(4, 1, 1, 2, 2)), 7.0
    gradient = {"a": {"kernel": kernel, "bias": bias}, "b": {"kernel": stacked}}
    values = jax.tree.map(lambda a: a - 1, gradient)
    norms = np.linalg.norm(kernel) + sum(map(np.linalg.norm, stacked.reshape(4, -1)))
    np.testing.assert_allclose(zero_cost.grad_norm(gradient), norms, rtol=1e-12)
    terms = np.abs(kernel * (kernel - 1)).sum() + np.abs(stacked * (stacked - 1)).sum()
    np.testing.assert_allclose(zero_cost.snip(values, gradient), terms, rtol=1e-12)


def test_the_gradient_is_that_of_the_mean_cross_entropy(weights):
    images, labels = np.random.default_rng(3).normal(size=(3, 2, 2, 1)), np.array([0, 3, 1])

    def loss(last):
        hidden = np.maximum(images.reshape(3, -1) @ weights["first"]["kernel"], 0) @ last
        return np.mean(np.log(np.exp(hidden).sum(1)) - hidden[range(3), labels])

    found = zero_cost.loss_gradient(lambda w, x: layers(x, w), weights, images, labels)
    step, last = 1e-6, weights["last"]["kernel"]
    for entry in [(0, 0), (2, 3)]:
        moved = np.zeros((4, 4))
        moved[entry] = step
        slope = (loss(last + moved) - loss(last - moved)) / (2 * step)
        np.testing.assert_allclose(found["last"]["kernel"][entry], slope, atol=1e-8)


def test_jacobian_covariance():
    images = np.random.default_rng(4).normal(size=(5, 3, 3, 2))
    rows = (3 * images**2 * 2).reshape(5, -1)
    values = np.linalg.eigvalsh(np.corrcoef(rows)) + 1e-5
    found = zero_cost.jacobian_covariance(lambda w, x: w * x**3, 2.0, images)
    np.testing.assert_allclose(found, -np.sum(np.log(values) + 1 / values), rtol=1e-9)


def test_naswot_counts_relus_that_agree():
    random = np.random.default_rng(5)
    one, other = random.normal(size=(4, 3, 2)), random.normal(size=(4, 5))
    alike = np.zeros((4, 4))
    for values, count in [(one.reshape(4, -1), 2), (other, 1)]:
        for i in range(4):
            for j in range(4):
                alike[i, j] += count * np.sum((values[i] > 0) == (values[j] > 0))
    found = zero_cost.naswot([(one, 2.0), (other, 1), (100 * random.normal(size=(4, 2)), 0.0)])
    np.testing.assert_allclose(found, np.linalg.slogdet(alike)[1], rtol=1e-12)
    assert zero_cost.naswot([(one[[0, 0]], 1)]) == -np.inf


class Normed(nnx.Module):
    def __init__(self):
        self.convolution = Conv2d(2, 2, 1, rngs=nnx.Rngs(0))
        self.norms = nnx.List([BatchNorm(2), BatchNorm(2, affine=False, track=False)])

    def __call__(self, x, *, train=False):
        x = self.convolution(x)
        for norm in self.norms:
            x = norm(x, train=train)
        return x


def test_without_norms_is_a_copy_that_normalizes_nothing():
    network, x = Normed(), np.random.default_rng(6).normal(size=(3, 2, 2, 2))
    before = network(x)
    plain = zero_cost.without_norms(network)
    np.testing.assert_array_equal(plain(x, train=True), network.convolution(x))
    np.testing.assert_array_equal(network(x), before)
    assert np.abs(before - network.convolution(x)).max() > 0.1


def test_the_inputs_of_relus_in_order():
    @jax.jit
    def inner(x):
        return jax.nn.relu6(2 * x)

    def function(x):
        return jnp.maximum(inner(jax.nn.relu(x - 1)), 0) + jax.nn.sigmoid(x)

    x = np.linspace(-2, 3, 6)
    first, second = relu_inputs(function, x)
    np.testing.assert_allclose(first, x - 1)
    np.testing.assert_allclose(second, 2 * np.maximum(x - 1, 0))


def test_a_relu_in_a_loop_is_not_left_out():
    def function(x):
        return jax.lax.fori_loop(0, 2, lambda _, x: jax.nn.relu(x), x)

    with pytest.raises(ValueError, match="function has a ReLU inside a"):
        relu_inputs(function, np.ones(2))
