"""Closed forms of the lecture against the layers that they are of."""

import itertools

import jax
import pytest
from flax import nnx

from jaxcv import functional
from jaxcv.analysis import (
    conv_multiply_adds,
    conv_parameters,
    count_multiply_adds,
    count_parameters,
    output_size,
)
from jaxcv.layers import Conv2d


def images(height, width, channels):
    return jax.ShapeDtypeStruct((1, height, width, channels), "float32")


@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"),
    [
        (1, 1, 0, 1),
        (3, 2, 1, 1),
        ((3, 5), (2, 1), (0, 2), (2, 1)),
        (2, 3, ((0, 1), (2, 0)), 2),
        *itertools.product([3], [1, 2], ["SAME", "SAME_LOWER", "VALID"], [2]),
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_agree_with_a_layer(window, stride, padding, dilation, groups, bias):
    how = {"stride": stride, "padding": padding, "dilation": dilation}

    def make():
        return Conv2d(4, 6, window, **how, groups=groups, bias=bias, rngs=nnx.Rngs(0))

    layer = nnx.eval_shape(make)
    assert conv_parameters(window, 4, 6, groups=groups, bias=bias) == count_parameters(layer)
    x = images(9, 12, 4)
    kernel = jax.ShapeDtypeStruct(layer.kernel.shape, "float32")

    def convolve(x, kernel):
        return functional.conv2d(x, kernel, **how, groups=groups)

    size = jax.eval_shape(convolve, x, kernel).shape[1:3]
    assert output_size((9, 12), window, **how) == size
    counted = count_multiply_adds(convolve, x, kernel)
    assert conv_multiply_adds((9, 12), window, 4, 6, **how, groups=groups) == counted


def test_the_lecture():
    assert output_size(5, 3, stride=2, padding=1) == (3, 3)
    assert output_size(3, 3, stride=2, padding=1) == (2, 2)
    assert output_size(7, 3, dilation=2) == (3, 3)
    assert conv_parameters(3, 64, 128) == 3 * 3 * 64 * 128 + 128


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"size has height and width \(2, 2\)"):
        output_size(2, 3)
    with pytest.raises(ValueError, match="window=0"):
        conv_multiply_adds(8, 0, 1, 1)
    with pytest.raises(ValueError, match="groups=2"):
        conv_parameters(3, 4, 5, groups=2)
    with pytest.raises(ValueError, match="inputs=0"):
        conv_parameters(3, 0, 5)
