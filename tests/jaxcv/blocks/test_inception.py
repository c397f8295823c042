"""Inception blocks: channels and sizes, initial values, residuals, wrong arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.blocks import (
    Branches,
    Inception,
    InceptionA,
    InceptionA5,
    InceptionB,
    InceptionC,
    InceptionC4,
    InceptionNaive,
    InceptionResidualA,
    InceptionResidualB,
    InceptionResidualC,
    Reduction,
    ReductionA,
    ReductionB,
    ResidualReductionB,
)
from jaxcv.blocks.inception import create_steps, he_truncated

INPUTS = 3


def keep(n):
    return n


def half_up(n):
    return -(-n // 2)


def half_valid(n):
    return (n - 3) // 2 + 1


@pytest.mark.parametrize(
    ("block", "widths", "outputs", "size"),
    [
        (InceptionNaive, ((4,), (5,), (6,), ()), 15 + INPUTS, keep),
        (Inception, ((4,), (2, 5), (2, 6), (7,)), 22, keep),
        (InceptionA, ((4,), (2, 5), (2, 3, 6), (7,)), 22, keep),
        (InceptionA5, ((4,), (2, 5), (2, 3, 6), (7,)), 22, keep),
        (InceptionB, ((4,), (2, 3, 5), (2, 3, 4, 5, 6), (7,)), 22, keep),
        (InceptionC, ((4,), (2, 5), (2, 3, 6), (7,)), 4 + 2 * 5 + 2 * 6 + 7, keep),
        (InceptionC4, ((4,), (2, 5), (2, 3, 4, 6), (7,)), 4 + 2 * 5 + 2 * 6 + 7, keep),
        (InceptionResidualA, ((4,), (2, 5), (2, 3, 6)), INPUTS, keep),
        (InceptionResidualB, ((4,), (2, 3, 5)), INPUTS, keep),
        (InceptionResidualC, ((4,), (2, 3, 5)), INPUTS, keep),
        (Reduction, ((2, 4), (2, 3, 5), ()), 9 + INPUTS, half_up),
        (ReductionA, ((4,), (2, 3, 5), ()), 9 + INPUTS, half_valid),
        (ReductionB, ((2, 4), (2, 3, 4, 5), ()), 9 + INPUTS, half_valid),
        (ResidualReductionB, ((2, 4), (2, 5), (2, 3, 6), ()), 15 + INPUTS, half_valid),
    ],
)
def test_channels_and_sizes(block, widths, outputs, size):
    made = nnx.eval_shape(lambda: block(INPUTS, widths, rngs=nnx.Rngs(0)))
    assert made.outputs == outputs
    graph, state = nnx.split(made)
    for height, width in ((7, 8), (8, 9)):
        y = jax.eval_shape(
            lambda s, x: nnx.merge(graph, s)(x), state, jnp.zeros((2, height, width, INPUTS))
        )
        assert y.shape == (2, size(height), size(width), outputs)


def test_the_residual_is_scaled_and_projected_and_a_linear_block_keeps_its_sign():
    x = jax.random.normal(jax.random.key(0), (2, 4, 5, INPUTS))
    make = functools.partial(InceptionResidualC, INPUTS, ((4,), (2, 3, 5)))
    zero = make(scale=0.0, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(zero(x), jax.nn.relu(x))
    plain, half = (make(scale=scale, linear=True, rngs=nnx.Rngs(0)) for scale in (1.0, 0.5))
    np.testing.assert_allclose(half(x) - x, (plain(x) - x) / 2, atol=1e-6)
    plain.projection.kernel[...] = jnp.zeros_like(plain.projection.kernel[...])
    np.testing.assert_allclose(
        plain(x) - x, plain.projection.bias[...] + jnp.zeros_like(x), atol=1e-6
    )


def test_kernels_begin_as_a_truncated_normal_with_variance_two_over_fan_in():
    shape = (3, 5, 40, 50)
    kernel = np.asarray(he_truncated(jax.random.key(0), shape))
    expected = np.sqrt(2 / (3 * 5 * 40))
    np.testing.assert_allclose(kernel.std(), expected, rtol=0.02)
    # Of a standard normal between -2 and 2 the deviation is 0.8796.
    np.testing.assert_allclose(np.abs(kernel).max(), 2 / 0.8796 * expected, rtol=0.01)
    block = Inception(8, ((64,), (8, 8), (8, 8), (8,)), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(block.branches[0].convolution.kernel[...].std(), 0.5, rtol=0.1)
    assert block.branches[0].norm.epsilon == 1e-3


class Strange(Branches):
    template = ("3y3",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(Inception, 0, ((4,), (2, 5), (2, 6), (7,))), "inputs=0; allowed is a"),
        (functools.partial(Inception, 3, ((4,), (2, 5))), r"widths=\(\(4,\), \(2, 5\)\); allowed"),
        (
            functools.partial(Inception, 3, ((4,), (2,), (2, 6), (7,))),
            r"widths=\(2,\); allowed is one for each convolution of '1x1 3x3'",
        ),
        (functools.partial(Inception, 3, ((0,), (2, 5), (2, 6), (7,))), "outputs=0; allowed is a"),
        (
            functools.partial(InceptionA, 3, ((4,), (2, 5), (2, 3, 6), (7,)), pool="sum"),
            "pool='sum'; allowed are max, mean, inner_mean",
        ),
        (functools.partial(Strange, 3, ((4,),)), "step='3y3'; allowed are steps such as 3x3"),
        (functools.partial(create_steps, 3, "3x3C", (4,)), "step='3x3C'; allowed are steps such"),
        (functools.partial(create_steps, 3, "pool3x3C", ()), "step='pool3x3C'; allowed are steps"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(rngs=nnx.Rngs(0))
