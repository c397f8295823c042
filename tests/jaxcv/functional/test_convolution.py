"""Convolutions against a NumPy loop, and every derivative against lax."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from jaxcv import functional
from jaxcv.functional import _convolution
from jaxcv.functional._geometry import Geometry

RANDOM = np.random.default_rng(0)


def arrays(image, kernel):
    return (
        jnp.asarray(RANDOM.normal(size=image), jnp.float32),
        jnp.asarray(RANDOM.normal(size=kernel), jnp.float32),
    )


def loop(x, kernel, stride, pads, dilation, groups):
    """The definition, one output pixel at a time, in float64."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *pads, (0, 0)))
    kernel = np.asarray(kernel, np.float64)
    height, width, per_group, outputs = kernel.shape
    reach = [dilation[0] * (height - 1) + 1, dilation[1] * (width - 1) + 1]
    size = [(x.shape[1 + a] - reach[a]) // stride[a] + 1 for a in range(2)]
    y = np.zeros((len(x), *size, outputs))
    for i, j, k in itertools.product(*map(range, size), range(outputs)):
        first = k // (outputs // groups) * per_group
        patch = x[
            :,
            i * stride[0] : i * stride[0] + reach[0] : dilation[0],
            j * stride[1] : j * stride[1] + reach[1] : dilation[1],
            first : first + per_group,
        ]
        y[:, i, j, k] = (patch * kernel[..., k]).sum((1, 2, 3))
    return y


CASES = {
    "plain": ((2, 7, 6, 3), (3, 3, 3, 4), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "stride": ((2, 8, 7, 3), (3, 3, 3, 4), (2, 3), ((1, 1), (1, 1)), (1, 1), 1),
    "dilation": ((1, 9, 9, 2), (3, 2, 2, 3), (1, 1), ((2, 2), (1, 1)), (2, 3), 1),
    "uneven padding": ((2, 5, 6, 2), (3, 3, 2, 2), (2, 1), ((0, 2), (3, 1)), (1, 2), 1),
    "groups": ((2, 6, 6, 6), (3, 3, 2, 9), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    "depthwise": ((2, 6, 7, 4), (3, 3, 1, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), 4),
    "depthwise, stride, dilation": ((2, 9, 8, 4), (3, 3, 1, 8), (2, 2), ((2, 2),) * 2, (2, 2), 4),
    "window larger than the image": ((2, 2, 2, 3), (5, 5, 1, 3), (1, 1), ((2, 2),) * 2, (1, 1), 3),
    "pointwise": ((2, 5, 5, 3), (1, 1, 3, 4), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "pointwise, stride": ((2, 5, 6, 3), (1, 1, 3, 4), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    "many channels": ((1, 4, 4, 72), (3, 3, 1, 72), (1, 1), ((1, 1), (1, 1)), (1, 1), 72),
    "unused border": ((1, 6, 6, 2), (2, 2, 1, 2), (3, 3), ((0, 0), (0, 0)), (1, 1), 2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values(case):
    image, shape, stride, pads, dilation, groups = case
    x, kernel = arrays(image, shape)
    y = functional.conv2d(x, kernel, stride=stride, padding=pads, dilation=dilation, groups=groups)
    np.testing.assert_allclose(y, loop(x, kernel, *case[2:]), rtol=1e-5, atol=1e-5)


def both(case):
    """Ours and lax's form of one case, as functions of images and kernel, made non-linear."""
    _, _, stride, pads, dilation, groups = case

    def ours(x, kernel):
        return jnp.sin(
            functional.conv2d(
                x, kernel, stride=stride, padding=pads, dilation=dilation, groups=groups
            )
        )

    def defined(x, kernel):
        return jnp.sin(
            lax.conv_general_dilated(
                x,
                kernel,
                stride,
                pads,
                rhs_dilation=dilation,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )
        )

    return ours, defined


def derivatives(f, x, kernel):
    """Both gradients, their jvp, the gradient of the gradient, and the same under vmap."""

    def total(x, kernel):
        return f(x, kernel).sum()

    gradient = jax.grad(total, (0, 1))
    tangent = (jnp.cos(x), jnp.cos(kernel))

    def twice(x, kernel):
        return sum(jnp.sum(jnp.square(g)) for g in gradient(x, kernel))

    kernels, images = jnp.stack([kernel, 2 * kernel]), jnp.stack([x, x + 1, x - 1])

    def many(images, kernels):
        shared = jax.vmap(f, (None, 0))(x, kernels).sum()
        other = jax.vmap(f, (0, None))(images, kernel).sum()
        paired = jax.vmap(f)(images[:2], kernels).sum()
        nested = jax.vmap(jax.vmap(f, (None, 0)), (0, None))(images, kernels)
        return shared + other + paired + jnp.square(nested).sum()

    def looped(n, x, kernel):
        def body(_, state):
            return tuple(a - 0.1 * g for a, g in zip(state, gradient(*state), strict=True))

        return lax.fori_loop(0, n, body, (x, kernel))

    return (
        gradient(x, kernel),
        jax.jvp(gradient, (x, kernel), tangent),
        jax.grad(twice, (0, 1))(x, kernel),
        jax.grad(many, (0, 1))(images, kernels),
        looped(2, x, kernel),
    )


@pytest.mark.parametrize("name", [name for name in CASES if name != "plain"])
def test_every_derivative(name):
    case = CASES[name]
    x, kernel = arrays(*case[:2])
    ours, defined = (jax.jit(lambda x, k, f=f: derivatives(f, x, k))(x, kernel) for f in both(case))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(defined), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4 * (1 + np.abs(b).max()))


def test_the_gradient_where_a_window_is_wider_than_the_result():
    # That of lax ends the process here: XLA fails as it exchanges the operands.
    x, kernel = arrays((2, 6, 4, 4), (2, 3, 4, 4))

    def f(x):
        return functional.conv2d(x, kernel, stride=2, padding=1)

    y = f(x)
    assert y.shape == (2, 4, 2, 4)
    tangent = jnp.cos(x)
    along = jnp.vdot(jax.jit(jax.grad(lambda x: jnp.vdot(f(x), y)))(x), tangent)
    np.testing.assert_allclose(along, jnp.vdot(f(tangent), y), rtol=1e-4)


def test_the_gradient_exports_for_every_platform():
    case = CASES["depthwise"]
    ours, _ = both(case)
    gradient = jax.jit(jax.grad(lambda x, k: jax.vmap(ours, (None, 0))(x, k).sum(), 1))
    x, kernel = arrays(*case[:2])
    exported = export.export(gradient, platforms=["cpu", "cuda", "tpu"])(x, kernel[None])
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding", "dilation"),
    [
        ((7, 6, 4), (3, 3, 1, 4), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((8, 7, 3), (5, 3, 1, 6), (2, 1), ((2, 1), (0, 1)), (1, 1)),
        ((9, 8, 3), (3, 3, 1, 3), (1, 1), ((2, 2), (2, 2)), (2, 2)),
        ((9, 8, 3), (3, 5, 1, 6), (2, 2), ((2, 2), (4, 4)), (2, 2)),
        ((7, 10, 2), (3, 3, 1, 2), (1, 2), ((3, 0), (2, 5)), (3, 1)),
        ((9, 9, 2), (3, 3, 1, 2), (3, 2), ((1, 1), (1, 1)), (2, 2)),
        ((5, 6, 3), (1, 1, 3, 4), (2, 1), ((0, 0), (0, 0)), (1, 1)),
    ],
)
def test_forms_of_gpus(image, kernel, stride, padding, dilation):
    size, window = image[:2], kernel[:2]
    result = tuple(
        (size[n] + sum(padding[n]) - dilation[n] * (window[n] - 1) - 1) // stride[n] + 1
        for n in range(2)
    )
    groups = image[2] // kernel[2]
    geometry = Geometry(image[2], size, result, window, stride, padding, dilation, groups)
    for edges in ((), (2,)):
        x, k = arrays((*edges, 3, *image), (*edges, *kernel))
        y = jnp.cos(_convolution._everywhere(x, k, to="result", geometry=geometry))
        for to, pair in {"result": (x, k), "images": (y, k), "kernel": (x, y)}.items():
            ours, defined = (
                jax.jit(functools.partial(form, to=to, geometry=geometry))(*pair)
                for form in (_convolution._on_gpu, _convolution._everywhere)
            )
            np.testing.assert_allclose(ours, defined, rtol=1e-5, atol=1e-5 * np.abs(defined).max())


def test_dilated_kernels_gradients_have_no_dilation_on_gpus():
    geometry = Geometry(4, (9, 9), (9, 9), (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 4)
    x, _ = arrays((2, 9, 9, 4), (1,))
    jaxpr = jax.make_jaxpr(lambda x, y: _convolution._on_gpu(x, y, to="kernel", geometry=geometry))(
        x, x
    )
    (convolution,) = (e for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated")
    # In the gradient by a kernel a dilation is the stride.
    for name in ("window_strides", "lhs_dilation", "rhs_dilation"):
        assert convolution.params[name] == (1, 1)


def test_forms_of_padding():
    x, kernel = arrays((1, 5, 6, 2), (3, 3, 2, 2))

    def padded(padding, stride=1):
        return functional.conv2d(x, kernel, stride=stride, padding=padding)

    np.testing.assert_array_equal(padded(1), padded(((1, 1), (1, 1))))
    np.testing.assert_array_equal(padded((2, 0)), padded(((2, 2), (0, 0))))
    for name in ("SAME", "VALID", "SAME_LOWER"):
        expected = lax.conv_general_dilated(
            x, kernel, (2, 2), name, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        np.testing.assert_allclose(padded(name, 2), expected, rtol=1e-5, atol=1e-5)


def test_depthwise_pointwise_and_separable_are_cases_of_conv2d():
    x, depthwise = arrays((2, 6, 6, 3), (3, 3, 1, 6))
    _, pointwise = arrays((1,), (1, 1, 6, 5))
    bias = jnp.arange(6.0)
    first = functional.depthwise_conv2d(x, depthwise, bias, stride=2, padding=1)
    expected = functional.conv2d(x, depthwise, bias, stride=2, padding=1, groups=3)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_allclose(
        functional.separable_conv2d(x, depthwise, pointwise, stride=2, padding=1),
        functional.conv2d(expected - bias, pointwise),
        rtol=1e-4,
        atol=1e-5,
    )


def test_bfloat16_stays_bfloat16():
    x, kernel = arrays((1, 4, 4, 2), (3, 3, 1, 2))
    y = functional.depthwise_conv2d(x.astype(jnp.bfloat16), kernel, padding=1)
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": jnp.zeros((4, 4, 2))}, r"x has shape \(4, 4, 2\)"),
        ({"kernel": jnp.zeros((3, 3, 3, 2))}, r"kernel has shape \(3, 3, 3, 2\)"),
        ({"bias": jnp.zeros(3)}, r"bias has shape \(3,\); allowed is \(2,\)"),
        ({"stride": 0}, "stride=0"),
        ({"stride": (1, 2, 3)}, r"stride=\(1, 2, 3\)"),
        ({"stride": 1.5}, "stride=1.5"),
        ({"padding": -1}, "padding=-1"),
        ({"padding": "FULL"}, "padding='FULL'"),
        ({"padding": ((1, 1), (1,))}, "padding="),
        ({"padding": (1, 1.5)}, r"padding=\(1, 1.5\)"),
        ({"padding": 0.5}, "padding=0.5"),
        ({"dilation": 0}, "dilation=0"),
        ({"dilation": 3}, "x has height and width"),
        ({"groups": 3}, "groups=3; allowed is a divisor of the 2 channels"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"x": jnp.zeros((1, 4, 4, 2)), "kernel": jnp.zeros((3, 3, 2, 2))} | change
    with pytest.raises(ValueError, match=message):
        functional.conv2d(**arguments)
