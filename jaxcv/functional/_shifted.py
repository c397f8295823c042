"""Depthwise convolutions as sums of shifted images, and pointwise ones as matrix products.

XLA on a GPU fuses the sum over a window into one kernel that reads the images once, where the
grouped convolutions of cuDNN, backward above all, take many times as long.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def depthwise(a: jax.Array, b: jax.Array, to: str, g: Any) -> jax.Array:
    """A member of the family of ``_convolution`` with as many groups as channels, and any leading
    axes on both arguments.

    Args:
        a, b: as the member takes them.
        to: the member: "result", "images" or "kernel".
        g: its geometry.
    """
    wide = jnp.promote_types(a.dtype, jnp.float32)
    if to == "result":
        x = _spread(a, g.padding)[..., None, :, :, :, :]
        taps = _by_output(b, g).astype(wide)
        terms = [_tap(taps, at) * _at(x, at, g.stride, g) for at in _window(g)]
        return _joined(functools.reduce(jnp.add, terms)).astype(a.dtype)
    if to == "images":
        # x[h] = sum over taps t of k[t] y[i], s i + d t - p = h: y spread by the stride.
        taps = _by_output(b, g).astype(wide)
        pads = []
        for axis in range(2):
            reach = g.dilation[axis] * (g.window[axis] - 1)
            low = reach - g.padding[axis][0]
            spread = g.stride[axis] * (g.result[axis] - 1) + 1
            pads.append((low, g.image[axis] + reach - spread - low))
        y = _spread(_parted(a, g), pads, g.stride)
        last = tuple(size - 1 for size in g.window)
        terms = [
            _tap(taps, at) * _at(y, (last[0] - at[0], last[1] - at[1]), (1, 1), g, size=g.image)
            for at in _window(g)
        ]
        return functools.reduce(jnp.add, terms).sum(-5).astype(a.dtype)
    x = _spread(a, g.padding)[..., None, :, :, :, :]
    y = _parted(b, g)
    sums = [jnp.sum(_at(x, at, g.stride, g).astype(wide) * y, (-4, -3, -2)) for at in _window(g)]
    kernel = jnp.stack(sums, -3)  # [..., taps, M, C]
    kernel = jnp.swapaxes(kernel, -1, -2)
    return kernel.reshape(*kernel.shape[:-3], *g.window, 1, -1).astype(a.dtype)


def _window(g: Any) -> Iterator[tuple[int, int]]:
    return itertools.product(range(g.window[0]), range(g.window[1]))


def _spread(x: jax.Array, padding: Any, stride: tuple[int, int] = (1, 1)) -> jax.Array:
    """Images with their padding, and zeros between their pixels for a stride. Kept out of what
    follows, which would compute again in every tap what it is made of."""
    rest = [(0, 0, 0)] * (x.ndim - 3)
    rows, columns = (
        (low, high, step - 1) for (low, high), step in zip(padding, stride, strict=True)
    )
    return lax.optimization_barrier(
        lax.pad(x, jnp.zeros((), x.dtype), [*rest, rows, columns, (0, 0, 0)])
    )


def _at(
    x: jax.Array,
    at: tuple[int, int],
    stride: tuple[int, int],
    g: Any,
    size: tuple[int, int] | None = None,
) -> jax.Array:
    """The pixels that a tap of the window meets, one for each of the result."""
    size = size or g.result
    for axis, (tap, step) in enumerate(zip(at, stride, strict=True)):
        first = g.dilation[axis] * tap
        x = lax.slice_in_dim(
            x, first, first + step * (size[axis] - 1) + 1, step, axis=x.ndim - 3 + axis
        )
    return x


def _tap(taps: jax.Array, at: tuple[int, int]) -> jax.Array:
    """[..., M, F, F, C] to [..., M, 1, 1, 1, C]."""
    return taps[..., at[0], at[1], :][..., None, None, None, :]


def _by_output(kernel: jax.Array, g: Any) -> jax.Array:
    """[..., F, F, 1, C M] to [..., M, F, F, C]."""
    split = kernel.reshape(*kernel.shape[:-2], g.channels, -1)
    return jnp.moveaxis(split, -1, -4)


def _parted(y: jax.Array, g: Any) -> jax.Array:
    """[..., N, H, W, C M] to [..., M, N, H, W, C]."""
    return jnp.moveaxis(y.reshape(*y.shape[:-1], g.channels, -1), -1, -5)


def _joined(y: jax.Array) -> jax.Array:
    """The other way."""
    y = jnp.moveaxis(y, -5, -1)
    return y.reshape(*y.shape[:-2], -1)
