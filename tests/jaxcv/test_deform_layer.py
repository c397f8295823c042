"""The deformable layer: a plain convolution at first, then one of moved samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.layers import Conv2d, DeformConv2d

CASES = [
    {"window": 3, "padding": 1},
    {"window": (1, 3), "stride": (2, 1), "padding": "SAME", "offset_groups": 2},
    {"window": 3, "dilation": 2, "padding": 2, "groups": 2, "offset_groups": 4, "bias": True},
]


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (2, 7, 6, 4))


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_starts_as_a_convolution_of_halved_samples_if_modulated(x, case, modulated):
    ours = DeformConv2d(4, 6, **case, modulated=modulated, rngs=nnx.Rngs(0))
    case = {name: value for name, value in case.items() if name != "offset_groups"}
    plain = Conv2d(4, 6, **case, rngs=nnx.Rngs(0))
    factor = 0.5 if modulated else 1.0
    np.testing.assert_allclose(ours(x), plain(factor * x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modulated", [False, True])
def test_predicted_offsets_move_samples(x, modulated):
    ours = DeformConv2d(4, 6, 3, padding=1, offset_groups=2, modulated=modulated, rngs=nnx.Rngs(0))
    # Two pixels down and one to the left; a mask of one.
    bias = [2.0, -1.0] * 18 + [40.0] * 18 * modulated
    ours.prediction.bias[...] = jnp.asarray(bias)
    plain = Conv2d(4, 6, 3, padding=((0, 3), (2, 0)), rngs=nnx.Rngs(0))
    # Windows start at row 1 and column -2 instead of -1 and -1.
    np.testing.assert_allclose(ours(x), plain(x[:, 1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modulated", [False, True])
def test_every_parameter_has_a_gradient_from_the_start(x, modulated):
    layer = DeformConv2d(4, 6, 3, padding=1, modulated=modulated, bias=True, rngs=nnx.Rngs(0))
    graph, weights = nnx.split(layer)

    @jax.jit
    def gradient(weights):
        return jax.grad(lambda weights: jnp.square(nnx.merge(graph, weights)(x)).sum())(weights)

    for path, values in nnx.to_flat_state(gradient(weights)):
        assert np.asarray(values[...]).any(), path


def test_bfloat16_stays_bfloat16(x):
    layer = DeformConv2d(4, 6, 3, modulated=True, bias=True, rngs=nnx.Rngs(0))
    assert layer(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(nnx.state(layer)))


@pytest.mark.parametrize("value", [0, 3])
def test_wrong_offset_groups_are_named(value):
    with pytest.raises(ValueError, match=f"offset_groups={value}; allowed is a"):
        DeformConv2d(4, 6, 3, offset_groups=value, rngs=nnx.Rngs(0))
