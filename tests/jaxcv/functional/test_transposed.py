"""Transposed convolutions against a NumPy loop, and as transposes of ``conv2d``."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from jaxcv import functional
from jaxcv.layers import ConvTranspose2d

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def copies(x, kernel, stride, crop, more, dilation, groups):
    """A copy of the filter for each pixel of the input, weighted by it, summed and cropped."""
    batch, *image, channels = x.shape
    *window, outputs, _ = kernel.shape
    reach = [d * (f - 1) + 1 for d, f in zip(dilation, window, strict=True)]
    full = [(i - 1) * s + r + m for i, s, r, m in zip(image, stride, reach, more, strict=True)]
    y = np.zeros((batch, *full, outputs * groups))
    for i, j, c in itertools.product(*map(range, image), range(channels)):
        group = c // (channels // groups)
        rows = slice(i * stride[0], i * stride[0] + reach[0], dilation[0])
        columns = slice(j * stride[1], j * stride[1] + reach[1], dilation[1])
        copy = x[:, i, j, c, None, None, None] * kernel[..., c]
        y[:, rows, columns, group * outputs : (group + 1) * outputs] += copy
    (top, bottom), (left, right) = crop
    return y[:, top : full[0] - bottom, left : full[1] - right]


# Images, kernel, stride, crop, output padding, dilation, groups.
CASES = {
    "plain": ((2, 3, 4, 3), (3, 2, 2, 3), (1, 1), ((0, 0), (0, 0)), (0, 0), (1, 1), 1),
    "twice": ((2, 3, 4, 3), (3, 3, 2, 3), (2, 2), ((0, 1), (1, 0)), (0, 0), (1, 1), 1),
    "blocks": ((1, 3, 2, 4), (2, 3, 5, 4), (2, 3), ((0, 0), (0, 0)), (0, 0), (1, 1), 1),
    "gaps": ((1, 3, 3, 2), (2, 1, 2, 2), (3, 2), ((0, 0), (0, 0)), (2, 1), (1, 1), 1),
    "dilation": ((1, 4, 3, 2), (2, 3, 2, 2), (1, 3), ((1, 1), (2, 0)), (1, 2), (2, 2), 1),
    "groups": ((2, 3, 3, 4), (3, 3, 3, 4), (2, 1), ((1, 1), (1, 1)), (1, 0), (1, 1), 2),
    "depthwise": ((2, 3, 4, 6), (4, 4, 1, 6), (2, 2), ((1, 1), (1, 1)), (0, 1), (1, 1), 6),
    "several inputs": ((1, 3, 4, 6), (3, 3, 1, 6), (2, 2), ((0, 1), (0, 1)), (0, 0), (1, 1), 3),
    "many groups": ((1, 2, 3, 70), (3, 3, 2, 70), (2, 2), ((1, 1), (1, 1)), (1, 1), (1, 1), 35),
    "crop beyond": ((1, 4, 4, 2), (2, 2, 1, 2), (2, 2), ((2, 3), (3, 0)), (0, 0), (1, 1), 1),
}


def transposed(case):
    _, _, stride, crop, more, dilation, groups = case
    return lambda x, kernel: functional.conv_transpose2d(
        x,
        kernel,
        stride=stride,
        padding=crop,
        output_padding=more,
        dilation=dilation,
        groups=groups,
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values(case):
    x, kernel = (RANDOM.normal(size=shape) for shape in case[:2])
    expected = copies(x, kernel, *case[2:])
    y = transposed(case)(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    # Of float32 there are other forms.
    y = transposed(case)(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dilation", "groups"])
def test_derivatives(name):
    x, kernel = (jnp.asarray(RANDOM.normal(size=shape)) for shape in CASES[name][:2])
    f = jax.jit(transposed(CASES[name]))
    check_grads(f, (x, kernel), order=2, modes=("fwd", "rev"))
    stacked = jax.vmap(jax.vmap(f, (None, 0)), (0, None))(x[None] * 2, jnp.stack([kernel, -kernel]))
    np.testing.assert_allclose(stacked[0, 1], -2 * f(x, kernel), rtol=1e-12, atol=1e-12)


def test_it_is_the_transpose_of_a_convolution():
    settings = {"stride": 2, "padding": 1, "dilation": (1, 2), "groups": 2}
    kernel = jnp.asarray(RANDOM.normal(size=(3, 2, 3, 4)))
    image = jax.ShapeDtypeStruct((2, 7, 8, 6), jnp.float64)
    y = jax.eval_shape(lambda x: functional.conv2d(x, kernel, **settings), image)
    y = jnp.asarray(RANDOM.normal(size=y.shape))
    (expected,) = jax.linear_transpose(lambda x: functional.conv2d(x, kernel, **settings), image)(y)
    # A convolution makes 4 columns of 8 and of 7.
    result = functional.conv_transpose2d(y, kernel, output_padding=(0, 1), **settings)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_cropping_one_pixel_doubles_the_size():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, ..., None]
    ones = jnp.ones((3, 3, 1, 1))
    full = functional.conv_transpose2d(x, ones, stride=2)
    # Each pixel is a block of three, and neighbours overlap in one row or column.
    line = [[1, 1, 3, 2, 2], [1, 1, 3, 2, 2], [4, 4, 10, 6, 6], [3, 3, 7, 4, 4], [3, 3, 7, 4, 4]]
    np.testing.assert_array_equal(full[0, ..., 0], line)
    cropped = functional.conv_transpose2d(x, ones, stride=2, padding=((0, 1), (0, 1)))
    np.testing.assert_array_equal(cropped, full[:, :4, :4])
    cropped = functional.conv_transpose2d(x, ones, stride=2, padding=1, output_padding=1)
    np.testing.assert_array_equal(cropped, full[:, 1:, 1:])


def test_bias_and_bfloat16():
    x, kernel = jnp.ones((1, 2, 2, 3), jnp.bfloat16), jnp.ones((2, 2, 4, 3))
    y = functional.conv_transpose2d(x, kernel, jnp.arange(4.0), stride=2)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y[0, 0, 0], [3, 4, 5, 6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": jnp.zeros((4, 4, 2))}, r"x has shape \(4, 4, 2\)"),
        ({"kernel": jnp.zeros((3, 3, 2, 3))}, r"kernel has shape \(3, 3, 2, 3\)"),
        ({"bias": jnp.zeros(2)}, r"bias has shape \(2,\); allowed is \(5,\)"),
        ({"stride": 0}, "stride=0"),
        ({"padding": "SAME"}, "padding='SAME'; allowed is an int"),
        ({"padding": 3}, r"padding=3 leaves height and width \(0, 0\)"),
        ({"output_padding": 1}, r"output_padding=1; allowed is less than stride=\(1, 1\)"),
        ({"output_padding": (0, 2), "stride": 2}, r"output_padding=\(0, 2\)"),
        ({"dilation": 0}, "dilation=0"),
        ({"groups": 3}, "groups=3; allowed is a divisor of the 2 channels"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"x": jnp.zeros((1, 4, 4, 2)), "kernel": jnp.zeros((3, 3, 5, 2))} | change
    with pytest.raises(ValueError, match=message):
        functional.conv_transpose2d(**arguments)


def test_the_layer():
    settings = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    layer = ConvTranspose2d(4, 6, (3, 5), **settings, bias=True, rngs=nnx.Rngs(0))
    x = jnp.asarray(RANDOM.normal(size=(2, 3, 3, 4)), jnp.float32)
    assert layer.kernel.shape == (3, 5, 3, 4) and layer.bias.shape == (6,)
    expected = functional.conv_transpose2d(x, layer.kernel[...], layer.bias[...], **settings)
    assert expected.shape == (2, 6, 8, 6)
    np.testing.assert_array_equal(layer(x), expected)
    # As in PyTorch, whose fan-in is that of the convolution which is transposed.
    largest = float(jnp.abs(layer.kernel[...]).max())
    assert 0.9 / np.sqrt(3 * 5 * 3) < largest <= 1 / np.sqrt(3 * 5 * 3)
    with pytest.raises(ValueError, match="groups=4; allowed is a common divisor"):
        ConvTranspose2d(4, 6, 3, groups=4, rngs=nnx.Rngs(0))
