"""The operations against PyTorch, in float64: values, gradients, batch norm statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.blocks import OPERATIONS, FactorizedReduce, create_operation

torch = pytest.importorskip("torch")

import torch_reference  # noqa: E402
import torch_weights  # noqa: E402

CHANNELS = 4
# Not square, so that exchanged axes show.
SIZE = (8, 6)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def compare(make, theirs, size=SIZE, channels=CHANNELS):
    """Our module and theirs, in training and then in evaluation with the new statistics."""
    theirs = theirs.double().train()
    torch_weights.randomize(theirs, seed=1)
    ours = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    graph, _ = nnx.split(ours)
    weights = torch_weights.tree(ours, theirs)
    statistics = torch_weights.tree(ours, theirs, nnx.BatchStat)
    random = np.random.default_rng(0)
    x = random.normal(size=(3, *size, channels))
    their_x = torch_weights.to_torch(x).requires_grad_()
    their_y = theirs(their_x)
    y_gradient = random.normal(size=torch_weights.from_torch(their_y).shape)
    if their_y.requires_grad:
        their_y.backward(torch_weights.to_torch(y_gradient))
    their_gradients = [
        torch_weights.tree(ours, theirs, of=torch_weights.gradient),
        torch_weights.from_torch(torch_weights.gradient(their_x)),
    ]
    new_statistics = torch_weights.tree(ours, theirs, nnx.BatchStat)
    their_evaluated = theirs.eval()(their_x)

    @torch_weights.quick_jit
    def run(weights, statistics, x, y_gradient):
        def call(weights, x):
            module = nnx.merge(graph, weights, statistics)
            y = module(x, train=True)
            return y, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

        y, pull, statistics_ = jax.vjp(call, weights, x, has_aux=True)
        evaluated = nnx.merge(graph, weights, statistics_)(x, train=False)
        return y, pull(y_gradient), statistics_, evaluated

    y, gradients, moved, evaluated = run(weights, statistics, jnp.asarray(x), y_gradient)
    torch_weights.close(y, torch_weights.from_torch(their_y))
    torch_weights.close(list(gradients), their_gradients)
    torch_weights.close(moved, new_statistics)
    torch_weights.close(evaluated, torch_weights.from_torch(their_evaluated))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"noise"}))
def test_discovered_form(name, stride):
    compare(
        functools.partial(create_operation, name, CHANNELS, stride),
        torch_reference.operation(name, CHANNELS, stride, affine=True, search=False),
    )


# Those with a batch norm of their own; the one behind the pools belongs to the supernet.
@pytest.mark.parametrize(
    ("name", "stride"),
    [
        (name, stride)
        for name in OPERATIONS
        for stride in (1, 2)
        if "conv" in name or (name, stride) == ("skip_connect", 2)
    ],
)
def test_search_form(name, stride):
    compare(
        functools.partial(create_operation, name, CHANNELS, stride, affine=False, track=False),
        torch_reference.operation(name, CHANNELS, stride, affine=False, search=True),
    )


@pytest.mark.parametrize("name", ["sep_conv_5x5", "dil_conv_5x5"])
def test_images_smaller_than_the_window(name):
    compare(
        functools.partial(create_operation, name, CHANNELS, 2),
        torch_reference.operation(name, CHANNELS, 2, affine=True, search=False),
        size=(4, 2),
    )


@pytest.mark.parametrize("search", [False, True])
def test_factorized_reduce(search):
    compare(
        functools.partial(FactorizedReduce, 6, 4, affine=not search, track=not search),
        torch_reference.FactorizedReduce(6, 4, affine=not search, search=search),
        channels=6,
    )


def test_factorized_reduce_of_an_odd_size_reads_zeros_beyond_the_border():
    reduce = torch_reference.FactorizedReduce(4, 4, affine=True, search=False)
    # A layer of zeros makes the odd size even.
    padded = torch.nn.Sequential(torch.nn.ZeroPad2d((0, 1, 0, 1)), reduce)
    compare(functools.partial(FactorizedReduce, 4, 4), padded, size=(7, 5))
