"""Depthwise convolutions as sums of shifted images, for GPUs.

XLA makes one kernel of such a sum, which reads the images once; cuDNN's grouped convolutions were
measured slower on an H200, many times so with a dilation. Only the gradient by a kernel is theirs,
which they are quicker at without a dilation.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.functional._geometry import Geometry

Pads = tuple[tuple[int, int], ...]


def depthwise(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """``y[i] = sum_a k[a] x[s i + d a - p]``: [..., N, H, W, C] and [..., F, F, 1, C M] to
    [..., N, H', W', C M]."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    images = _spread(x, g.padding, (1, 1))[..., None, :, :, :, :]
    taps = _by_output(kernel, g).astype(wide)
    y = _sum(
        g, lambda a: _tap(taps, a) * _shifted(images, a, g.dilation, g.stride, g.result)
    )  # [..., M, N, H', W', C]
    y = jnp.moveaxis(y, -5, -1)
    return y.reshape(*y.shape[:-2], -1).astype(x.dtype)


def depthwise_transposed(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """``x[h] = sum_{i, a: s i + d a - p = h} k[a] y[i]``: y spread by the stride meets k turned;
    [..., N, H', W', C M] and [..., F, F, 1, C M] to [..., N, H, W, C]."""
    wide = jnp.promote_types(y.dtype, jnp.float32)
    parted = jnp.moveaxis(y.reshape(*y.shape[:-1], g.channels, -1), -1, -5)
    images = _spread(parted, g.transposed_padding, g.stride)
    taps = _by_output(jnp.flip(kernel, (-4, -3)), g).astype(wide)
    x = _sum(g, lambda a: _tap(taps, a) * _shifted(images, a, g.dilation, (1, 1), g.image))
    return x.sum(-5).astype(y.dtype)


def undilated(
    x: jax.Array, y: jax.Array, g: Geometry
) -> tuple[jax.Array, jax.Array, Geometry] | None:
    """Images, results and geometry of a convolution without dilation that has the same gradient
    by its kernel, if there is one.

    Pixels whose places differ by multiples of the dilation d meet in windows, no others, so that
    each such phase becomes an image of its own; of a stride that is a multiple of d only the first
    phase is ever read.
    """
    for axis in range(2):
        d, s, (low, _) = g.dilation[axis], g.stride[axis], g.padding[axis]
        if d == 1:
            continue
        if low % d or not (s == 1 or s % d == 0):
            return None
        if s == 1:
            x, y = _phases(x, axis - 3, d), _phases(y, axis - 3, d)
        else:
            x = lax.slice_in_dim(x, 0, x.shape[axis - 3], d, axis=x.ndim + axis - 3)
        image, result = x.shape[axis - 3], y.shape[axis - 3]
        stride = max(s // d, 1)
        high = stride * (result - 1) + g.window[axis] - image - low // d
        g = g._replace(
            image=_with(g.image, axis, image),
            result=_with(g.result, axis, result),
            stride=_with(g.stride, axis, stride),
            padding=_with(g.padding, axis, (low // d, high)),
            dilation=_with(g.dilation, axis, 1),
        )
    return x, y, g


def _phases(a: jax.Array, axis: int, d: int) -> jax.Array:
    """Every d-th pixel along an axis as an image of its own, with zeros where they end."""
    at = a.ndim + axis
    a = jnp.pad(a, [(0, -a.shape[n] % d if n == at else 0) for n in range(a.ndim)])
    a = a.reshape(*a.shape[:at], -1, d, *a.shape[at + 1 :])
    a = jnp.moveaxis(a, at + 1, -5)
    return a.reshape(*a.shape[:-5], -1, *a.shape[-3:])


def _with(pair: tuple, axis: int, value: object) -> tuple:
    return tuple(value if n == axis else old for n, old in enumerate(pair))


def _sum(g: Geometry, term: Callable[[tuple[int, ...]], jax.Array]) -> jax.Array:
    window = itertools.product(*map(range, g.window))
    return functools.reduce(jnp.add, map(term, window))


def _spread(x: jax.Array, padding: Pads, stride: tuple[int, int]) -> jax.Array:
    """Images with their padding, and zeros between their pixels for a stride. Kept out of what
    follows, every tap of which would compute again what it is made of."""
    spaces = [(low, high, step - 1) for (low, high), step in zip(padding, stride, strict=True)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), [*[(0, 0, 0)] * (x.ndim - 3), *spaces, (0, 0, 0)])
    return lax.optimization_barrier(padded)


def _shifted(
    x: jax.Array,
    at: tuple[int, ...],
    dilation: tuple[int, int],
    stride: tuple[int, int],
    size: tuple[int, int],
) -> jax.Array:
    """The pixels that a tap of the window meets, one for each of the result."""
    for axis in range(2):
        first = dilation[axis] * at[axis]
        last = first + stride[axis] * (size[axis] - 1) + 1
        x = lax.slice_in_dim(x, first, last, stride[axis], axis=x.ndim - 3 + axis)
    return x


def _tap(taps: jax.Array, at: tuple[int, ...]) -> jax.Array:
    """[..., M, F, F, C] to [..., M, 1, 1, 1, C]."""
    return taps[..., at[0], at[1], None, None, None, :]


def _by_output(kernel: jax.Array, g: Geometry) -> jax.Array:
    """[..., F, F, 1, C M] to [..., M, F, F, C]."""
    split = kernel.reshape(*kernel.shape[:-2], g.channels, -1)
    return jnp.moveaxis(split, -1, -4)
