"""Pooling as pure functions on images [batch, height, width, channels]."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcv.functional._arguments import (
    ExplicitPadding,
    IntPair,
    Padding,
    explicit_padding,
    float_batch,
    output_size,
    pair,
)
from jaxcv.functional._geometry import Geometry
from jaxcv.functional._pooling import pool


def max_pool2d(
    x: jax.Array,
    window: IntPair,
    *,
    stride: IntPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> jax.Array:
    """The largest value in each window. Padding never wins: it counts as minus infinity.

    Args:
        x: images [batch, height, width, C].
        window: size F in pixels; an int, or (height, width).
        stride: pixels that the window moves; by default its size.
        padding: as for ``conv2d``.
        ceil_mode: whether height' and width' are rounded up, so that no pixel is left out: one
            more window at the bottom or on the right reaches beyond the padding, if it still
            starts inside the image or the padding before it.

    Returns:
        Images [batch, height', width', C] with ``height' = (height - F + 2 p) // s + 1``.

    Raises:
        ValueError: for an input that is no batch of images, or a window larger than it; in
            ``ceil_mode`` larger by a stride or more.
    """
    return pool(x, "max", _geometry(x, window, stride, padding, ceil_mode))


def max_pool2d_with_indices(
    x: jax.Array,
    window: IntPair,
    *,
    stride: IntPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """``max_pool2d``, and where in the image each value was, for ``max_unpool2d``.

    Args:
        x, window, stride, padding, ceil_mode: as for ``max_pool2d``.

    Returns:
        The values [batch, height', width', C], and their places ``h width + w``, int32 of the
        same shape. Of equal values the first counts, in the order of rows; what is not a number
        is larger than any.

    Raises:
        ValueError: as ``max_pool2d``.
    """
    geometry = _geometry(x, window, stride, padding, ceil_mode)
    return pool(x, "max", geometry), _places(lax.stop_gradient(x), geometry)


def avg_pool2d(
    x: jax.Array,
    window: IntPair,
    *,
    stride: IntPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of each window.

    Args:
        x, window, stride, padding, ceil_mode: as for ``max_pool2d``.
        count_include_pad: whether zeros of the padding count in the mean; if not, a window at
            the border is divided by the number of its pixels inside the image. What a window
            covers beyond the padding never counts.

    Returns:
        Images [batch, height', width', C].

    Raises:
        ValueError: as ``max_pool2d``.
    """
    geometry = _geometry(x, window, stride, padding, ceil_mode)
    total = pool(x, "sum", geometry)
    counted: ExplicitPadding = ((0, 0), (0, 0))
    if count_include_pad:
        counted = explicit_padding(padding, geometry.image, geometry.window, geometry.stride)
    rows, columns = (_pixels(geometry, axis, counted[axis]) for axis in range(2))
    pixels = rows[:, None, None] * columns[:, None]
    if pixels.min() == pixels.max():
        return total / pixels.item(0)
    return total / jnp.asarray(pixels, x.dtype)


def adaptive_max_pool2d(x: jax.Array, size: IntPair) -> jax.Array:
    """The largest value in each of as many windows as the result has pixels.

    Row i of the result covers rows ``floor(i H / H')`` to ``ceil((i + 1) H / H') - 1`` of the
    image, columns likewise: windows of nearly the same size, which overlap where they must.

    Args:
        x: images [batch, height, width, C].
        size: height and width of the result in pixels; an int, or (height, width).

    Returns:
        Images [batch, height', width', C].

    Raises:
        ValueError: for an input that is no batch of images, or a size that is not positive.
    """
    return _adaptive(max_pool2d, x, size)


def adaptive_avg_pool2d(x: jax.Array, size: IntPair) -> jax.Array:
    """The mean of each of as many windows as the result has pixels.

    Args:
        x, size: as for ``adaptive_max_pool2d``, with the same windows.

    Returns:
        Images [batch, height', width', C].

    Raises:
        ValueError: as ``adaptive_max_pool2d``.
    """
    return _adaptive(avg_pool2d, x, size)


def global_max_pool2d(x: jax.Array) -> jax.Array:
    """The largest value of all pixels: [batch, height, width, C] to [batch, C].

    Equal ones share its gradient.
    """
    float_batch("x", x)
    return x.max((1, 2))


def global_avg_pool2d(x: jax.Array) -> jax.Array:
    """The mean over all pixels: [batch, height, width, C] to [batch, C] (arXiv:1312.4400)."""
    float_batch("x", x)
    return x.mean((1, 2))


def _geometry(
    x: jax.Array, window: IntPair, stride: IntPair | None, padding: Padding, ceil_mode: bool
) -> Geometry:
    float_batch("x", x)
    size = pair("window", window)
    step = size if stride is None else pair("stride", stride)
    image = (x.shape[1], x.shape[2])
    pads = explicit_padding(padding, image, size, step)
    vertical, horizontal = (_up(*axis) for axis in zip(image, size, step, pads, strict=True))
    if ceil_mode and min(vertical[0], horizontal[0]) > 0:
        result, pads = (vertical[0], horizontal[0]), (vertical[1], horizontal[1])
    else:
        result = output_size("x", image, size, step, pads)
    channels = x.shape[-1]
    return Geometry(channels, image, result, size, step, pads, (1, 1), channels)


def _up(length: int, size: int, step: int, padding: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """The number of windows along an axis, rounded up, and the padding that they reach into."""
    low, high = padding
    count = -(-(length + low + high - size) // step) + 1
    if (count - 1) * step >= length + low:
        count -= 1
    return count, (low, max((count - 1) * step + size - length - low, 0))


def _pixels(g: Geometry, axis: int, padding: tuple[int, int]) -> np.ndarray:
    """For each window along an axis, how many of its pixels are in the image or this padding."""
    low, high = padding
    start = np.arange(g.result[axis]) * g.stride[axis] - g.padding[axis][0]
    end = np.minimum(start + g.window[axis], g.image[axis] + high)
    return end - np.maximum(start, -low)


def _places(x: jax.Array, g: Geometry) -> jax.Array:
    """The place of the largest value of each window, as ``max_pool2d_with_indices`` returns it."""
    smallest = jnp.array(-jnp.inf, x.dtype)
    x = lax.pad(x, smallest, ((0, 0, 0), *((*pads, 0) for pads in g.padding), (0, 0, 0)))
    # Padding is the pixel next to it, for windows that see nothing but minus infinity.
    rows, columns = (
        np.clip(np.arange(-low, length + high), 0, length - 1)
        for length, (low, high) in zip(g.image, g.padding, strict=True)
    )
    places = jnp.asarray(rows[:, None, None] * g.image[1] + columns[:, None], jnp.int32)
    found = [x, jnp.broadcast_to(places, x.shape)]
    # Along the rows first: the first of equal values is then that in the order of rows.
    for axis in (1, 0):
        last = (g.result[axis] - 1) * g.stride[axis]
        taps = [
            [lax.slice_in_dim(a, start, start + last + 1, g.stride[axis], axis + 1) for a in found]
            for start in range(g.window[axis])
        ]
        found = functools.reduce(_larger, taps)
    return found[1]


def _larger(first: list[jax.Array], second: list[jax.Array]) -> list[jax.Array]:
    """Of two values with their places the larger."""
    better = (second[0] > first[0]) | jnp.isnan(second[0])
    return [jnp.where(better, b, a) for a, b in zip(first, second, strict=True)]


def _adaptive(pool2d: Callable[..., jax.Array], x: jax.Array, size: IntPair) -> jax.Array:
    """Pools along the rows, then along the columns, for which few windows need be told apart."""
    float_batch("x", x)
    down, across = pair("size", size)
    for axis, count in ((2, across), (1, down)):
        length = x.shape[axis]
        if length % count == 0:
            windows = [(x, length // count)]
        else:
            spans = [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
            windows = [
                (lax.slice_in_dim(x, start, end, axis=axis), end - start) for start, end in spans
            ]
        pooled = [pool2d(part, (1, n) if axis == 2 else (n, 1)) for part, n in windows]
        x = jnp.concatenate(pooled, axis)
    return x
