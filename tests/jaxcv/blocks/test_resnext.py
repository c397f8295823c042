"""The ResNeXt block in its three forms: equal values, gradients and moved statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.blocks import Bottleneck, early_concatenation, split_transform_sum


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("inputs", "options", "train"),
    [
        (12, {"stride": 2, "stride_first": True}, True),
        (32, {"stride": 2, "dilation": 2, "shortcut": "padding"}, False),
    ],
)
def test_the_forms_are_equal(inputs, options, train):
    graph, weights, statistics = nnx.split(
        Bottleneck(inputs, 8, groups=3, width=16, rngs=nnx.Rngs(0), **options),
        nnx.Param,
        nnx.BatchStat,
    )
    keys = iter(jax.random.split(jax.random.key(0), 64))

    def around_one(leaf):
        return jax.random.uniform(next(keys), leaf.shape, jnp.float64, 0.5, 1.5) * (leaf + 0.1)

    # Every channel with values of its own.
    weights, statistics = jax.tree.map(
        around_one, (nnx.to_pure_dict(weights), nnx.to_pure_dict(statistics))
    )
    x = jax.random.normal(next(keys), (3, 7, 6, inputs), jnp.float64)

    @functools.partial(jax.jit, static_argnums=0)
    def run(form, weights, x):
        def call(weights, x):
            block = nnx.merge(graph, weights, statistics)
            y = form(block, x, train=train)
            return y, nnx.to_pure_dict(nnx.state(block, nnx.BatchStat))

        y, pull, moved = jax.vjp(call, weights, x, has_aux=True)
        return y, moved, pull(jnp.cos(jnp.arange(y.size)).reshape(y.shape))

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * np.abs(b).max(initial=1))

    expected = run(Bottleneck.__call__, weights, x)
    for form in (split_transform_sum, early_concatenation):
        jax.tree.map(close, run(form, weights, x), expected)
