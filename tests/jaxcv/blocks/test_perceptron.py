"""Linear layers of images: where they drop, what they compute in, wrong input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.blocks import Perceptron

WIDTH = 400


def identities(drop_before, drop_rate=0.25):
    made = Perceptron((WIDTH,) * 4, drop_before=drop_before, drop_rate=drop_rate, rngs=nnx.Rngs(0))
    for layer in made.layers:
        layer.kernel[...], layer.bias[...] = jnp.eye(WIDTH), jnp.zeros(WIDTH)
    return made


@pytest.mark.parametrize("drop_before", [(0, 1), (1, 2), ()])
def test_drops_before_the_given_layers_and_only_with_a_key(drop_before):
    made, x = identities(drop_before), jnp.ones((3, 2, 2, WIDTH // 4))
    for y in made(x):
        np.testing.assert_array_equal(y, jnp.ones((3, WIDTH)))
    before = np.ones((3, WIDTH))
    for place, y in enumerate(made(x, key=jax.random.key(0))):
        if place not in drop_before:
            np.testing.assert_array_equal(y, before)
        else:
            kept = np.asarray(y) > 0
            assert abs(kept[before > 0].mean() - 0.75) < 0.06
            np.testing.assert_allclose(y[kept], before[kept] / 0.75, rtol=1e-6)
        before = np.asarray(y)


def test_hidden_layers_have_relu_and_the_last_one_computes_in_float32():
    made = identities(())
    x = jax.random.normal(jax.random.key(0), (2, 2, 2, WIDTH // 4), jnp.bfloat16)
    # Channels first, as in published weights.
    flat = x.transpose(0, 3, 1, 2).reshape(2, WIDTH)
    first, second, last = made(x)
    np.testing.assert_array_equal(first, np.maximum(flat, 0))
    assert first.dtype == second.dtype == jnp.bfloat16
    assert last.dtype == jnp.float32
    made.layers[-1].kernel[...] = -jnp.eye(WIDTH)
    *_, last = made(x)
    np.testing.assert_array_equal(last, -np.maximum(flat, 0).astype(np.float32))


@pytest.mark.parametrize("rate", [-0.1, 1, float("nan")])
def test_wrong_rates_are_named(rate):
    with pytest.raises(ValueError, match=f"drop_rate={rate}; allowed is a probability in"):
        identities((), rate)
