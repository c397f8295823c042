"""Pooling as pure functions on images [batch, height, width, channels]."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.functional._arguments import (
    IntPair,
    Padding,
    explicit_padding,
    image_batch,
    output_size,
    pair,
)
from jaxcv.functional._convolution import Geometry
from jaxcv.functional._pooling import pool


def max_pool2d(
    x: jax.Array, window: IntPair, *, stride: IntPair | None = None, padding: Padding = 0
) -> jax.Array:
    """The largest value in each window. Padding never wins: it counts as minus infinity.

    Args:
        x: images [batch, height, width, C].
        window: size F in pixels; an int, or (height, width).
        stride: pixels that the window moves; by default its size.
        padding: as for ``conv2d``.

    Returns:
        Images [batch, height', width', C] with ``height' = (height - F + 2 p) // s + 1``.

    Raises:
        ValueError: for an input that is no batch of images, or a window larger than it.
    """
    return pool(x, "max", _geometry(x, window, stride, padding))


def avg_pool2d(
    x: jax.Array,
    window: IntPair,
    *,
    stride: IntPair | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of each window.

    Args:
        x, window, stride, padding: as for ``max_pool2d``.
        count_include_pad: whether zeros of the padding count in the mean; if not, a window at
            the border is divided by the number of its pixels inside the image.

    Returns:
        Images [batch, height', width', C].

    Raises:
        ValueError: as ``max_pool2d``.
    """
    geometry = _geometry(x, window, stride, padding)
    total = pool(x, "sum", geometry)
    if count_include_pad:
        return total / math.prod(geometry.window)
    rows, columns = (_pixels_inside(geometry, axis) for axis in range(2))
    return total / jnp.asarray(rows[:, None, None] * columns[:, None], x.dtype)


def global_avg_pool2d(x: jax.Array) -> jax.Array:
    """The mean over all pixels: [batch, height, width, C] to [batch, C] (arXiv:1312.4400)."""
    image_batch("x", x)
    return x.mean((1, 2))


def _geometry(x: jax.Array, window: IntPair, stride: IntPair | None, padding: Padding) -> Geometry:
    image_batch("x", x)
    size = pair("window", window)
    step = size if stride is None else pair("stride", stride)
    image = (x.shape[1], x.shape[2])
    pads = explicit_padding(padding, image, size, step)
    result = output_size("x", image, size, step, pads)
    channels = x.shape[-1]
    return Geometry(channels, image, result, size, step, pads, (1, 1), channels)


def _pixels_inside(g: Geometry, axis: int) -> np.ndarray:
    """For each window along an axis, how many of its pixels are not padding."""
    start = np.arange(g.result[axis]) * g.stride[axis] - g.padding[axis][0]
    end = np.minimum(start + g.window[axis], g.image[axis])
    return end - np.maximum(start, 0)
