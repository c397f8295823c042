"""Zero-cost proxies: of all cells by one program against networks built one by one, and each proxy
by its definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.layers import BatchNorm, Conv2d, Linear
from jaxcv.models.nasbench201 import EDGES, OPERATIONS, NASBench201Network
from search.evaluators import zero_cost
from search.evaluators.relus import relu_inputs
from search.evaluators.untrained import Untrained, UntrainedNASBench201
from search.single_path import SinglePathNetwork
from search.strategies import Proposal

CHANNELS, CELLS, CLASSES = 2, 2, 3
# Each operation on some edge; nothing but convolutions; the input does not reach the output.
CHOICES = [(3, 4, 2, 0, 1, 3), (3, 3, 2, 3, 2, 3), (2, 3, 0, 0, 0, 0)]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return random.normal(size=(6, 8, 8, 3)), np.array([0, 1, 2, 0, 1, 2], np.int32)


@pytest.fixture(scope="module")
def supernet():
    with jax.enable_x64(True):
        return SinglePathNetwork(CHANNELS, CELLS, CLASSES, dtype=jnp.float64, rngs=nnx.Rngs(0))


def built(supernet, choice):
    """The network of one cell, with the weights that it has in the supernet."""
    names = [OPERATIONS[number] for number in choice]
    network = NASBench201Network(
        names, CHANNELS, CELLS, CLASSES, dtype=jnp.float64, rngs=nnx.Rngs(1)
    )
    nnx.update(network.frame, nnx.state(supernet.frame, nnx.Param))
    for cells, stage in zip(network.stages, supernet.stages, strict=True):
        for number, cell in enumerate(cells):
            for edge, option in enumerate(choice):
                weights = nnx.state(stage.operations[option], nnx.Param)
                own = jax.tree.map(lambda leaf, at=(number, edge): leaf[at], weights)
                nnx.update(cell.edges[edge], own)
    return network


@pytest.fixture(scope="module")
def program():
    @jax.jit
    def run(network, choice, images, labels):
        return network(images, choice), zero_cost.proxies(
            network,
            images,
            labels,
            call=lambda network, images: network(images, choice),
            inputs=lambda network, images: network.relu_inputs(images, choice),
        )

    return run


@pytest.mark.parametrize("choice", CHOICES)
def test_a_cell_in_the_common_program_is_its_own_network(choice, supernet, program, batch):
    images, labels = map(jnp.asarray, batch)
    logits, found = program(supernet, jnp.array(choice), images, labels)
    network = built(supernet, choice)
    expected = jax.jit(zero_cost.proxies)(network, images, labels)
    np.testing.assert_allclose(logits, network(images, train=True), rtol=0, atol=1e-9)
    assert set(found) == set(zero_cost.PROXIES)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)
