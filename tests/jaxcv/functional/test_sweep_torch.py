"""A thousand random layers against PyTorch, in float64: values and the gradients of all inputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv import functional

torch = pytest.importorskip("torch")

import torch_weights  # noqa: E402
from torch.nn import functional as theirs  # noqa: E402

# Layers that are compiled as one program, which takes a third of the time.
TOGETHER = 10


class Layer(NamedTuple):
    """A layer in both libraries: functions of arrays of these shapes, in our layout, to a result
    that is differentiated and others that are not."""

    ours: Callable[..., tuple[Any, Any]]
    theirs: Callable[..., tuple[Any, Any]]
    shapes: tuple[tuple[int, ...], ...]
    settings: dict[str, Any]


def sweep(layers, examples):
    """A test of ``examples * TOGETHER`` layers that a strategy draws."""

    @settings(max_examples=examples)
    @given(st.lists(layers, min_size=TOGETHER, max_size=TOGETHER))
    def test(layers):
        agree(layers)

    return test


def agree(layers):
    random = np.random.default_rng(0)
    arrays = [[random.normal(size=shape) for shape in layer.shapes] for layer in layers]
    expected, cotangents = [], []
    for layer, inputs in zip(layers, arrays, strict=True):
        tensors = [torch.from_numpy(array).requires_grad_() for array in inputs]
        y, rest = layer.theirs(*tensors, **layer.settings)
        cotangents.append(random.normal(size=y.shape))
        gradients = torch.autograd.grad(y, tensors, torch.from_numpy(cotangents[-1]))
        expected.append(jax.tree.map(lambda a: a.detach().numpy(), (y, rest, gradients)))

    @torch_weights.quick_jit
    def everything(arrays, cotangents):
        results = []
        for layer, inputs, cotangent in zip(layers, arrays, cotangents, strict=True):
            y, back, rest = jax.vjp(
                lambda *inputs, layer=layer: layer.ours(*inputs, **layer.settings),
                *inputs,
                has_aux=True,
            )
            results.append((y, rest, back(cotangent)))
        return results

    with jax.enable_x64(True):
        torch_weights.close(everything(arrays, cotangents), expected)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def oihw(kernel):
    # Of others their transposed convolution has no gradient.
    return kernel.permute(3, 2, 0, 1).contiguous()


def alone(function):
    """Of a layer that returns nothing but what is differentiated."""
    return lambda *inputs, **settings: (function(*inputs, **settings), ())


def on_images(function):
    """Theirs, of images alone, in our layout."""
    return alone(lambda x, **settings: nhwc(function(nchw(x), **settings)))


def ints(least, most):
    return st.integers(least, most)


def pairs(least, most):
    return st.tuples(ints(least, most), ints(least, most))


def images(draw, height, width, channels=None):
    return (draw(ints(1, 2)), height, width, draw(ints(1, 4)) if channels is None else channels)


def their_convolution(x, kernel, bias=None, **settings):
    return nhwc(theirs.conv2d(nchw(x), oihw(kernel), bias, **settings))


def their_depthwise(x, kernel, bias=None, **settings):
    return their_convolution(x, kernel, bias, groups=x.shape[-1], **settings)


def their_transposed(x, kernel, bias=None, **settings):
    return nhwc(theirs.conv_transpose2d(nchw(x), oihw(kernel), bias, **settings))


def drawn_window(draw):
    """Window, stride, dilation, and what the window covers."""
    window, stride, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(1, 3))
    reach = [d * (f - 1) + 1 for d, f in zip(dilation, window, strict=True)]
    return window, stride, dilation, reach


@st.composite
def convolutions(draw, depthwise=False):
    window, stride, dilation, reach = drawn_window(draw)
    padding = draw(pairs(0, 3))
    height, width = (
        max(1, r - 2 * p) + draw(ints(0, 5)) for r, p in zip(reach, padding, strict=True)
    )
    groups = draw(ints(1, 4 if depthwise else 3))
    inputs, outputs = 1 if depthwise else draw(ints(1, 2)), draw(ints(1, 3))
    x = images(draw, height, width, groups * inputs)
    shapes = (x, (*window, inputs, groups * outputs), (groups * outputs,))[: draw(ints(2, 3))]
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    if depthwise:
        return Layer(alone(functional.depthwise_conv2d), alone(their_depthwise), shapes, settings)
    settings["groups"] = groups
    return Layer(alone(functional.conv2d), alone(their_convolution), shapes, settings)


@st.composite
def transposed_convolutions(draw):
    window, stride, dilation, reach = drawn_window(draw)
    image = draw(pairs(1, 5))
    more = tuple(draw(ints(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    full = [(image[a] - 1) * stride[a] + reach[a] + more[a] for a in range(2)]
    padding = tuple(draw(ints(0, min(3, (size - 1) // 2))) for size in full)
    groups, inputs, outputs = draw(ints(1, 3)), draw(ints(1, 2)), draw(ints(1, 3))
    x = images(draw, *image, groups * inputs)
    shapes = (x, (*window, outputs, groups * inputs), (groups * outputs,))[: draw(ints(2, 3))]
    settings = {
        "stride": stride,
        "padding": padding,
        "output_padding": more,
        "dilation": dilation,
        "groups": groups,
    }
    return Layer(alone(functional.conv_transpose2d), alone(their_transposed), shapes, settings)


def our_max_pool(x, window, **settings):
    y, indices = functional.max_pool2d_with_indices(x, window, **settings)
    # Which are of one and the same function.
    return functional.max_pool2d(x, window, **settings), (y, indices)


def their_max_pool(x, window, **settings):
    y, indices = theirs.max_pool2d(nchw(x), window, return_indices=True, **settings)
    return nhwc(y), (nhwc(y), nhwc(indices).int())


def our_unpooled(x, window, size, **settings):
    y, indices = functional.max_pool2d_with_indices(x, window, **settings)
    return functional.max_unpool2d(y, indices, size=size), ()


def their_unpooled(x, window, size, **settings):
    y, indices = theirs.max_pool2d(nchw(x), window, return_indices=True, **settings)
    return nhwc(theirs.max_unpool2d(y, indices, window, output_size=size, **settings)), ()


def their_avg_pool(x, window, **settings):
    return nhwc(theirs.avg_pool2d(nchw(x), window, **settings))


def drawn_pool(draw, least_stride=lambda window: 1):
    """Shape of images, and settings that both libraries know."""
    window = draw(pairs(1, 4))
    padding = tuple(draw(ints(0, size // 2)) for size in window)
    stride = tuple(draw(ints(least_stride(size), 4)) for size in window)
    size = [max(1, f - 2 * p) + draw(ints(0, 5)) for f, p in zip(window, padding, strict=True)]
    return images(draw, *size), {"window": window, "stride": stride, "padding": padding}


@st.composite
def max_pools(draw):
    x, settings = drawn_pool(draw)
    settings["ceil_mode"] = draw(st.booleans())
    return Layer(our_max_pool, their_max_pool, (x,), settings)


@st.composite
def avg_pools(draw):
    x, settings = drawn_pool(draw)
    settings |= {"ceil_mode": draw(st.booleans()), "count_include_pad": draw(st.booleans())}
    return Layer(alone(functional.avg_pool2d), alone(their_avg_pool), (x,), settings)


@st.composite
def adaptive_pools(draw):
    x = images(draw, *draw(pairs(1, 7)))
    ours, their = draw(
        st.sampled_from(
            [
                (functional.adaptive_max_pool2d, theirs.adaptive_max_pool2d),
                (functional.adaptive_avg_pool2d, theirs.adaptive_avg_pool2d),
            ]
        )
    )
    size = draw(pairs(1, 5))
    return Layer(
        alone(lambda x, size: ours(x, size)),
        on_images(lambda x, size: their(x, size)),
        (x,),
        {"size": size},
    )


@st.composite
def unpoolings(draw):
    # Where windows overlap, two values for one place have no derivative that PyTorch would know.
    x, settings = drawn_pool(draw, least_stride=lambda window: window)
    settings["size"] = x[1:3]
    return Layer(our_unpooled, their_unpooled, (x,), settings)


@st.composite
def upsamplings(draw):
    x = images(draw, *draw(pairs(1, 7)))
    size = draw(pairs(1, 12))
    scale = draw(ints(1, 4))
    sizes = draw(st.sampled_from([{"size": size}, {"scale": scale}]))
    target = sizes.get("size", (x[1] * scale, x[2] * scale))
    kind = draw(st.sampled_from(["nearest", "centres", "corners"]))
    if kind == "nearest":
        ours, settings = functional.upsample_nearest, {}
        their = {"mode": "nearest"}
    else:
        ours, settings = functional.upsample_bilinear, {"align_corners": kind == "corners"}
        their = {"mode": "bilinear", **settings}
    return Layer(
        alone(lambda x, **_: ours(x, **sizes, **settings)),
        on_images(lambda x, **_: theirs.interpolate(x, target, **their)),
        (x,),
        {"kind": kind, **sizes},
    )


def our_batch_norm(x, scale=None, offset=None, *, running, **settings):
    statistics = None if running is None else functional.Statistics(*running)
    y, new = functional.batch_norm(x, scale, offset, statistics, **settings)
    return y, () if new is None else tuple(new)


def their_batch_norm(x, scale=None, offset=None, *, running, train, momentum, epsilon):
    new = () if running is None else tuple(torch.tensor(value) for value in running)
    y = theirs.batch_norm(
        nchw(x),
        *(new or (None, None)),
        scale,
        offset,
        training=train or running is None,
        momentum=momentum,
        eps=epsilon,
    )
    return nhwc(y), new


@st.composite
def batch_norms(draw):
    x = images(draw, draw(ints(1, 5)), draw(ints(2, 5)))
    channels = x[-1:]
    running = None
    if draw(st.booleans()):
        random = np.random.default_rng(draw(ints(0, 100)))
        running = (random.normal(size=channels), random.uniform(0.5, 2, channels))
    settings = {
        "running": running,
        "train": draw(st.booleans()),
        "momentum": draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        "epsilon": draw(st.sampled_from([1e-5, 1e-3])),
    }
    shapes = (x, channels, channels) if draw(st.booleans()) else (x,)
    return Layer(our_batch_norm, their_batch_norm, shapes, settings)


test_convolutions = sweep(convolutions(), 24)
test_depthwise_convolutions = sweep(convolutions(depthwise=True), 12)
test_transposed_convolutions = sweep(transposed_convolutions(), 22)
test_max_pools = sweep(max_pools(), 12)
test_avg_pools = sweep(avg_pools(), 12)
test_adaptive_pools = sweep(adaptive_pools(), 9)
test_unpoolings = sweep(unpoolings(), 6)
test_upsamplings = sweep(upsamplings(), 14)
test_batch_norms = sweep(batch_norms(), 10)
