"""A convolution with batch norm and activation against the closed form of one pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.blocks import ConvNorm


@pytest.mark.parametrize(
    ("activation", "expected"), [(jax.nn.relu, [3.0, 0.0]), (None, [3.0, -3.0]), (jnp.abs, [3, 3])]
)
def test_the_parts_follow_one_another(activation, expected):
    unit = ConvNorm(1, 2, 1, epsilon=3.0, activation=activation, bias=True, rngs=nnx.Rngs(0))
    unit.convolution.kernel[...] = jnp.array([2.0, -2.0]).reshape(1, 1, 1, 2)
    unit.convolution.bias[...] = jnp.array([1.0, -1.0])
    x = jnp.full((1, 1, 1, 1), 2.5)
    # (2 * 2.5 + 1) / sqrt(1 + 3)
    np.testing.assert_allclose(unit(x)[0, 0, 0], expected)
    assert unit.outputs == 2


def test_statistics_move_only_in_training():
    unit = ConvNorm(3, 4, 3, stride=2, padding=1, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    assert unit(x).shape == (2, 3, 3, 4)
    np.testing.assert_array_equal(unit.norm.mean[...], 0)
    unit(x, train=True)
    assert (unit.norm.mean[...] != 0).all()
