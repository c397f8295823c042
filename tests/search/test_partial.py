"""Mixed operations on a part of the channels, dropout on skip connections, and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_supernet
import pytest
from flax import nnx

import search
from jaxcv.analysis import count_parameters
from jaxcv.blocks import create_operation
from jaxcv.genotype import Cell, Genotype, Output
from jaxcv.models import CIFAR, CellNetwork
from jaxcv.training.schedule import falling_by_epoch
from search.space import PRIMITIVES
from search.supernet import MixedEdges, SearchNetwork


@pytest.mark.parametrize(("stride", "partial"), [(1, 4), (2, 2)])
def test_a_partial_mixed_edge_is_the_plain_form(stride, partial):
    """Channel by channel as in the paper: mixed, or past it, then shuffled."""
    channels = 8
    share = channels // partial
    mixed = MixedEdges(2, PRIMITIVES, channels, stride, partial=partial, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, 6, 4, channels)), jnp.float32)
    mix = jnp.asarray(random.random((2, len(PRIMITIVES))), jnp.float32)

    def plain(x, mix):
        edges = []
        for edge in range(2):
            operations = jax.tree.map(lambda leaf, at=edge: leaf[at], list(mixed.operations))
            inside = plain_supernet.mixed_operation(operations, mix[edge], x[..., :share])
            past = x[..., share:]
            if stride == 2:
                past = past.reshape(2, 3, 2, 2, 2, channels - share).max((2, 4))
            joined = jnp.concatenate([inside, mix[edge].sum() * past], -1)
            # Channel i of group g comes to place i * groups + g.
            order = [g * share + i for i in range(share) for g in range(partial)]
            edges.append(joined[..., jnp.array(order)])
        return jnp.stack(edges)

    def ours(x, mix):
        return jnp.stack(mixed(x, mix))

    def run(form):
        y, pull = jax.vjp(form, x, mix)
        return y, pull(jnp.cos(jnp.arange(y.size)).reshape(y.shape))

    for a, b in zip(
        jax.tree.leaves(jax.jit(lambda: run(ours))()),
        jax.tree.leaves(jax.jit(lambda: run(plain))()),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4 * np.abs(b).max())


def test_odd_images_are_rounded_up():
    mixed = MixedEdges(1, ("max_pool_3x3",), 4, 2, partial=2, rngs=nnx.Rngs(0))
    (y,) = mixed(jnp.zeros((1, 5, 7, 4)), jnp.ones((1, 1)))
    assert y.shape == (1, 3, 4, 4)


def test_the_edges_of_a_quarter_of_the_channels_have_their_parameters():
    """Of one cell of kind reduce, 16 channels, and 2 edges of stride 2: separable convolutions
    twice k^2 c + c^2, dilated ones once, a skip connection c^2."""
    c = 16 // 4
    edge = sum(2 * (k * k * c + c * c) + k * k * c + c * c for k in (3, 5)) + c * c

    def count(partial):
        return count_parameters(
            nnx.eval_shape(
                lambda: MixedEdges(2, PRIMITIVES, 16, 2, partial=partial, rngs=nnx.Rngs(0))
            )
        )

    assert count(4) == 2 * edge
    assert count(1) > 8 * edge


def test_channels_that_a_part_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="partial=3; allowed are divisors of channels=16"):
        SearchNetwork(search.darts(1), 16, 3, 10, partial=3, rngs=nnx.Rngs(0))


def test_dropout_on_skip_connections():
    mixed = MixedEdges(2, ("skip_connect",), 4, 1, rngs=nnx.Rngs(0))
    x = jnp.full((8, 8, 8, 4), 3.0)
    mix = jnp.array([[1.0], [0.5]])
    first, second = mixed(x, mix, key=jax.random.key(0), skip_dropout=jnp.float32(0.25))
    np.testing.assert_allclose(np.unique(first), [0, 4])
    np.testing.assert_allclose(np.unique(second), [0, 2])
    assert 0.2 < np.mean(first == 0) < 0.3
    assert ((first == 0) != (second == 0)).any()
    for options in ({"key": jax.random.key(0)}, {"skip_dropout": jnp.float32(0.25)}):
        np.testing.assert_array_equal(mixed(x, mix, **options)[0], x)
    # With stride 2 it is no identity.
    reduce = MixedEdges(1, ("skip_connect",), 4, 2, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(
        reduce(x, mix[:1], key=jax.random.key(0), skip_dropout=jnp.float32(0.25))[0],
        reduce(x, mix[:1])[0],
    )


def test_dropout_falls_as_published():
    schedule = falling_by_epoch(0.4, 25, 10, steps_per_epoch=3)
    rates = [float(schedule(3 * epoch + epoch % 3)) for epoch in range(25)]
    expected = [
        0.4 * (25 - e - 1) / 25 if e < 10 else 0.4 * np.exp(-(e - 10) * 0.2) for e in range(25)
    ]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_noise_needs_a_key():
    noise = create_operation("noise", 3, 2, rngs=nnx.Rngs(0))
    x = jnp.ones((64, 8, 6, 3), jnp.bfloat16)
    y = noise(x, key=jax.random.key(0))
    assert y.shape == (64, 4, 3, 3) and y.dtype == jnp.bfloat16
    assert abs(float(y.mean())) < 0.1 and 0.9 < float(y.astype(jnp.float32).std()) < 1.1
    np.testing.assert_array_equal(noise(x, train=True), jnp.zeros_like(y))


def test_noise_in_the_search_network_differs_between_edges_and_cells():
    mixed = MixedEdges(2, ("noise", "skip_connect"), 4, 1, rngs=nnx.Rngs(0))
    x = jnp.ones((1, 4, 4, 4))
    mix = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    first, second = mixed(x, mix, key=jax.random.key(0))
    assert (first != second).all()
    np.testing.assert_array_equal(mixed(x, mix)[0], jnp.zeros_like(x))

    space = search.darts(1, ("noise", "skip_connect"))
    network = SearchNetwork(space, 2, 2, 3, rngs=nnx.Rngs(0))
    mix = {kind: jnp.array([[1.0, 0.1]] * 2) for kind in space.cells}
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    run = jax.jit(lambda key: network(x, mix, key=key))
    one, again, other = (run(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def test_noise_in_a_discovered_network():
    cell = Cell(((("noise", 0), ("sep_conv_3x3", 1)),), Output("concat", (2,)))
    network = CellNetwork(
        Genotype({"normal": cell, "reduce": cell}), CIFAR, 2, 1, 3, rngs=nnx.Rngs(0)
    )
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    graph, state = nnx.split(network)
    run = jax.jit(lambda key: nnx.merge(graph, state)(x, key=key))
    still = jax.jit(lambda: nnx.merge(graph, state)(x))()
    one, again, other = (run(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and (one != still).any()
