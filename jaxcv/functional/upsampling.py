"""Upsampling without parameters, as pure functions on images [batch, height, width, channels]."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcv.functional._arguments import IntPair, floats, image_batch, pair
from jaxcv.functional._resampling import Resampling, interpolate


def upsample_nearest(
    x: jax.Array, scale: IntPair | None = None, *, size: IntPair | None = None
) -> jax.Array:
    """Each pixel of the result is one of the image: with an integer scale s, every pixel becomes a
    block of s x s equal ones.

    ``y[n, i, j, c] = x[n, floor(i H / H'), floor(j W / W'), c]`` for images of H x W pixels that
    become H' x W'.

    Args:
        x: images [batch, height, width, C].
        scale: how many times as high and wide the result is; an int, or (vertical, horizontal).
        size: instead of a scale, height and width of the result, which may also be smaller than
            the image; an int, or (height, width).

    Returns:
        Images [batch, height', width', C].

    Raises:
        ValueError: for an input that is no batch of images, neither or both of scale and size,
            or one that is not positive.
    """
    target = _target(x, scale, size)
    for axis, length in enumerate(target, 1):
        before = x.shape[axis]
        if length % before == 0:
            x = jnp.repeat(x, length // before, axis)
        else:
            x = jnp.take(x, np.arange(length) * before // length, axis)
    return x


def upsample_bilinear(
    x: jax.Array,
    scale: IntPair | None = None,
    *,
    size: IntPair | None = None,
    align_corners: bool = False,
) -> jax.Array:
    """Each pixel of the result is interpolated between the four around its place in the image.

    The place of row i is ``(i + 1/2) H / H' - 1/2``: the borders of image and result coincide.
    With ``align_corners=True`` it is ``i (H - 1) / (H' - 1)``: the centres of the corner pixels
    do. Columns likewise. Beyond the outermost centres the image goes on as it is there. A result
    that is smaller than the image is interpolated in the same way, without smoothing.

    Args:
        x, scale, size: as for ``upsample_nearest``.
        align_corners: which points of image and result coincide.

    Returns:
        Images [batch, height', width', C] in the dtype of ``x``, computed in float32 (float64 for
        such input).

    Raises:
        ValueError: as ``upsample_nearest``.
    """
    target = _target(x, scale, size)
    floats("x", x)
    return interpolate(x, Resampling((x.shape[1], x.shape[2]), target, align_corners))


def unpool_bed_of_nails(x: jax.Array, scale: IntPair) -> jax.Array:
    """Each pixel becomes the top left one of a block of s x s, whose others are zero.

    Args:
        x: images [batch, height, width, C].
        scale: height and width of the blocks in pixels; an int, or (height, width).

    Returns:
        Images [batch, s height, s width, C].

    Raises:
        ValueError: for an input that is no batch of images, or a scale that is not positive.
    """
    image_batch("x", x)
    rows, columns = ((0, s - 1, s - 1) for s in pair("scale", scale))
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), rows, columns, (0, 0, 0)))


def max_unpool2d(
    x: jax.Array,
    indices: jax.Array,
    scale: IntPair | None = None,
    *,
    size: IntPair | None = None,
) -> jax.Array:
    """Puts each value back at the place where ``max_pool2d_with_indices`` found it, among zeros
    (arXiv:1511.00561).

    Args:
        x: values [batch, height, width, C].
        indices: of the same shape, ints: place ``h width' + w`` in the plane of the result. Of
            several values for one place, which can only differ where they are not those of one
            pooling, one counts; a place outside the plane gets none.
        scale, size: as for ``upsample_nearest``; where pooling left a border unused, size.

    Returns:
        Images [batch, height', width', C].

    Raises:
        ValueError: as ``upsample_nearest``, and for indices of another shape, or no ints.
    """
    height, width = _target(x, scale, size)
    if indices.shape != x.shape or not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(
            f"indices has shape {indices.shape} and dtype {indices.dtype}; allowed are ints of "
            f"shape {x.shape}"
        )
    batch, _, _, channels = x.shape
    plane = jnp.zeros((batch, height * width, channels), x.dtype)
    values, places = (a.reshape(batch, -1, channels) for a in (x, indices))
    # Else the index -1 were that of the last place.
    places = jnp.where(places < 0, height * width, places)
    plane = jnp.put_along_axis(plane, places, values, axis=1, inplace=False, mode="drop")
    return plane.reshape(batch, height, width, channels)


def _target(x: jax.Array, scale: IntPair | None, size: IntPair | None) -> tuple[int, int]:
    """Height and width of the result."""
    image_batch("x", x)
    if size is not None and scale is None:
        return pair("size", size)
    if scale is None or size is not None:
        raise ValueError(f"scale={scale!r}, size={size!r}; allowed is exactly one of them")
    down, across = pair("scale", scale)
    return x.shape[1] * down, x.shape[2] * across
