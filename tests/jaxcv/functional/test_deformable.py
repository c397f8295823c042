"""Deformable convolution against a NumPy loop, numerical derivatives and plain convolution."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads

from jaxcv import functional
from jaxcv.analysis import count_multiply_adds

CHANNELS = 4


def draw(seed):
    """Images, offset, kernel, bias and mask or none in float64, and settings, all random."""
    random = np.random.default_rng(seed)
    window, stride, dilation = random.integers(1, [[4], [3], [3]], (3, 2))
    groups, offset_groups = random.choice([1, 2, 4], 2)
    pads = random.integers(0, 3, (2, 2))
    least = dilation * (window - 1) + 1 - pads.sum(1)
    image = np.maximum(least, 1) + random.integers(0, 5, 2)
    result = (image - least) // stride + 1
    outputs = groups * random.integers(1, 3)
    taps = offset_groups * window.prod()
    arrays = {
        "x": random.normal(size=(2, *image, CHANNELS)),
        "offset": random.normal(size=(2, *result, 2 * taps), scale=2),
        "kernel": random.normal(size=(*window, CHANNELS // groups, outputs)),
        "bias": random.normal(size=outputs),
        "mask": random.uniform(size=(2, *result, taps)) if seed % 2 else None,
    }
    settings = {
        "stride": tuple(stride.tolist()),
        "padding": tuple(map(tuple, pads.tolist())),
        "dilation": tuple(dilation.tolist()),
        "groups": int(groups),
    }
    return arrays, settings


def pixel(image, row, column):
    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
    return image[row, column] if inside else 0.0


def loop(x, offset, kernel, bias, mask, stride, padding, dilation, groups):
    """The definition, one sample at a time."""
    height, width, per_group, outputs = kernel.shape
    per_offset = CHANNELS // (offset.shape[3] // (2 * height * width))
    y = np.zeros((*offset.shape[:3], outputs)) + bias
    for n, i, j, a, b, c in itertools.product(
        *map(range, (*offset.shape[:3], height, width, CHANNELS))
    ):
        sample = (c // per_offset * height + a) * width + b
        row = i * stride[0] - padding[0][0] + a * dilation[0] + offset[n, i, j, 2 * sample]
        column = j * stride[1] - padding[1][0] + b * dilation[1] + offset[n, i, j, 2 * sample + 1]
        image = x[n, :, :, c]
        value = 0.0
        for near_row in (math.floor(row), math.floor(row) + 1):
            for near_column in (math.floor(column), math.floor(column) + 1):
                part = (1 - abs(row - near_row)) * (1 - abs(column - near_column))
                value += part * pixel(image, near_row, near_column)
        if mask is not None:
            value *= mask[n, i, j, sample]
        group = c // per_group
        for k in range(outputs):
            if k // (outputs // groups) == group:
                y[n, i, j, k] += kernel[a, b, c % per_group, k] * value
    return y


def compiled(arrays, settings):
    return jax.jit(lambda arrays: functional.deform_conv2d(**arrays, **settings))(arrays)


@pytest.mark.parametrize("seed", range(24))
def test_values(seed):
    arrays, settings = draw(seed)
    with jax.enable_x64(True):
        y = compiled(arrays, settings)
    np.testing.assert_allclose(y, loop(**arrays, **settings), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_without_offsets_it_is_a_convolution(seed):
    arrays, settings = draw(seed)
    arrays |= {"offset": np.zeros_like(arrays["offset"]), "mask": None}
    plain = {name: arrays[name] for name in ("x", "kernel", "bias")}
    with jax.enable_x64(True):
        y = compiled(arrays, settings)
        expected = jax.jit(lambda arrays: functional.conv2d(**arrays, **settings))(plain)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("seed", "order"), [(1, 1), (2, 1), (3, 2), (7, 1)])
def test_derivatives_are_the_numerical_ones(seed, order):
    arrays, settings = draw(seed)
    random = np.random.default_rng(seed)
    # At whole pixels the derivative jumps.
    whole = np.floor(arrays["offset"])
    arrays["offset"] = whole + random.uniform(0.2, 0.8, whole.shape)
    if arrays["mask"] is None:
        del arrays["mask"]

    @jax.jit
    def convolve(arrays):
        return functional.deform_conv2d(**arrays, **settings)

    with jax.enable_x64(True):
        check_grads(convolve, (arrays,), order, atol=1e-6, rtol=1e-6)


def test_at_whole_pixels_an_offset_has_the_derivative_from_the_right():
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 1)).astype(np.float32)

    def total(offset):
        return functional.deform_conv2d(x, offset, jnp.ones((1, 1, 1, 1))).sum()

    gradient = jax.grad(total)(jnp.zeros((1, 4, 5, 2)))
    beyond = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    np.testing.assert_allclose(gradient[..., 0], (beyond[:, 1:, :-1] - x)[..., 0], rtol=1e-6)
    np.testing.assert_allclose(gradient[..., 1], (beyond[:, :-1, 1:] - x)[..., 0], rtol=1e-6)


@pytest.mark.parametrize("far", [-1e30, -1e9, 1e9, 1e30])
def test_far_outside_is_zero(far):
    arrays, settings = draw(3)
    arrays = {
        name: array if array is None else jnp.asarray(array, jnp.float32)
        for name, array in arrays.items()
    }
    arrays["offset"] = jnp.full_like(arrays["offset"], far)
    y, gradient = jax.jit(
        jax.value_and_grad(lambda arrays: functional.deform_conv2d(**arrays, **settings).sum())
    )(arrays)
    places = math.prod(arrays["offset"].shape[:3])
    np.testing.assert_allclose(y, places * arrays["bias"].sum(), rtol=1e-5)
    for name in ("x", "offset", "kernel"):
        assert not gradient[name].any(), name


def test_an_offset_that_is_not_a_number_is_seen():
    offset = jnp.zeros((1, 3, 3, 2)).at[0, 1, 1, 0].set(jnp.nan)
    y = functional.deform_conv2d(jnp.ones((1, 3, 3, 1)), offset, jnp.ones((1, 1, 1, 1)))
    assert np.isnan(y[0, 1, 1]) and np.isnan(y).sum() == 1


def test_vmap_over_every_argument():
    arrays, settings = draw(5)
    several = {name: np.stack([array, 2 * array]) for name, array in arrays.items()}
    with jax.enable_x64(True):
        together = jax.jit(jax.vmap(lambda arrays: functional.deform_conv2d(**arrays, **settings)))(
            several
        )
        for index, y in enumerate(together):
            single = compiled({name: array[index] for name, array in several.items()}, settings)
            np.testing.assert_allclose(y, single, rtol=1e-9, atol=1e-9)


def test_positions_of_bfloat16_offsets_are_exact():
    # Those beyond 256 are no numbers of bfloat16.
    x = jnp.arange(300.0)[None, None, :, None]
    offset = jnp.broadcast_to(jnp.asarray([0, 0.5], jnp.bfloat16), (1, 1, 300, 2))
    y = functional.deform_conv2d(x, offset, jnp.ones((1, 1, 1, 1)))
    np.testing.assert_array_equal(y[:, :, :-1], x[:, :, :-1] + 0.5)


def test_the_gradient_of_a_bfloat16_pixel_is_summed_precisely():
    x = jnp.zeros((1, 1, 300, 1), jnp.bfloat16)
    # All read the first pixel.
    offset = jnp.zeros((1, 1, 300, 2)).at[..., 1].set(-jnp.arange(300))

    def total(x):
        return functional.deform_conv2d(x, offset, jnp.ones((1, 1, 1, 1))).sum()

    # A sum of ones in bfloat16 stays at 256.
    np.testing.assert_array_equal(jax.grad(total)(x)[0, 0, :2, 0].astype(jnp.float32), [300, 0])


def test_bfloat16():
    arrays, settings = draw(5)
    low = {name: jnp.asarray(array, jnp.bfloat16) for name, array in arrays.items()}
    exact = {name: array.astype(jnp.float32) for name, array in low.items()}

    def total(arrays):
        y = functional.deform_conv2d(**arrays, **settings)
        return y.astype(jnp.float32).sum(), y

    (_, y), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(low)
    (_, exact_y), exact_gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(exact)
    assert y.dtype == jnp.bfloat16
    for a, b in zip(
        jax.tree.leaves((y, gradient)), jax.tree.leaves((exact_y, exact_gradient)), strict=True
    ):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, 2**-6, 2**-7 * np.abs(b).max())


def test_the_gradient_exports_for_every_platform():
    arrays, settings = draw(5)
    arrays = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    gradient = jax.jit(
        jax.grad(lambda arrays: functional.deform_conv2d(**arrays, **settings).sum())
    )
    exported = export.export(gradient, platforms=["cpu", "cuda", "tpu"])(arrays)
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_multiply_adds_are_those_of_the_convolution():
    arrays, settings = draw(5)
    plain = {name: arrays[name] for name in ("x", "kernel")}
    assert count_multiply_adds(
        lambda arrays: functional.deform_conv2d(**arrays, **settings), arrays
    ) == count_multiply_adds(lambda arrays: functional.conv2d(**arrays, **settings), plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": jnp.zeros((4, 4, 2))}, r"x has shape \(4, 4, 2\)"),
        ({"kernel": jnp.zeros((3, 3, 3, 2))}, r"kernel has shape \(3, 3, 3, 2\)"),
        ({"stride": 0}, "stride=0"),
        ({"offset": jnp.zeros((2, 2, 18))}, r"offset has shape \(2, 2, 18\)"),
        ({"offset": jnp.zeros((1, 4, 4, 18))}, r"allowed is \(1, 2, 2\) and 18 times a divisor"),
        ({"offset": jnp.zeros((1, 2, 2, 0))}, "18 times a divisor of the 2 channels of x"),
        ({"offset": jnp.zeros((1, 2, 2, 9))}, "18 times a divisor of the 2 channels of x"),
        ({"offset": jnp.zeros((1, 2, 2, 54))}, "18 times a divisor of the 2 channels of x"),
        ({"mask": jnp.zeros((1, 2, 2, 18))}, r"mask has shape \(1, 2, 2, 18\); allowed is .* 9\)"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "x": jnp.zeros((1, 4, 4, 2)),
        "offset": jnp.zeros((1, 2, 2, 18)),
        "kernel": jnp.zeros((3, 3, 2, 2)),
    } | change
    with pytest.raises(ValueError, match=message):
        functional.deform_conv2d(**arguments)
