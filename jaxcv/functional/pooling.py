"""Pooling as pure functions on images [batch, height, width, channels]."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.functional._arguments import (
    ExplicitPadding,
    IntPair,
    Padding,
    explicit_padding,
    image_batch,
    output_size,
    pair,
)


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
    size, step, pads = _geometry(x, window, stride, padding)
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *size, 1), (1, *step, 1), _full(pads))


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
    size, step, pads = _geometry(x, window, stride, padding)
    window_, step_ = (1, *size, 1), (1, *step, 1)
    total = lax.reduce_window(x, 0.0, lax.add, window_, step_, _full(pads))
    if count_include_pad:
        return total / (size[0] * size[1])
    inside = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / lax.reduce_window(inside, 0.0, lax.add, window_, step_, _full(pads))


def global_avg_pool2d(x: jax.Array) -> jax.Array:
    """The mean over all pixels: [batch, height, width, C] to [batch, C] (arXiv:1312.4400)."""
    image_batch("x", x)
    return x.mean((1, 2))


def _geometry(
    x: jax.Array, window: IntPair, stride: IntPair | None, padding: Padding
) -> tuple[tuple[int, int], tuple[int, int], ExplicitPadding]:
    image_batch("x", x)
    size = pair("window", window)
    step = size if stride is None else pair("stride", stride)
    image = (x.shape[1], x.shape[2])
    pads = explicit_padding(padding, image, size, step)
    output_size("x", image, size, step, pads)
    return size, step, pads


def _full(pads: ExplicitPadding) -> tuple[tuple[int, int], ...]:
    return ((0, 0), *pads, (0, 0))
