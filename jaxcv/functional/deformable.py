"""Deformable convolution: the window's pixels move to where learned offsets say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcv.functional._arguments import IntPair, Padding
from jaxcv.functional._geometry import Geometry
from jaxcv.functional.convolution import conv_geometry


def deform_conv2d(
    x: jax.Array,
    offset: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    mask: jax.Array | None = None,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> jax.Array:
    """Deformable convolution (arXiv:1703.06211), with a mask its version 2 (arXiv:1811.11168).

    A convolution samples the image on a regular grid around each pixel. Here every sampling
    location of that grid is augmented by an offset, usually one that another convolution predicts
    from the image, so that the receptive field takes the shape of what it sees. With one group,
    stride s, dilation d and padding p, ``y[n, i, j, k] = bias[k] + sum_{a, b, c} kernel[a, b, c, k]
    mask[n, i, j, a, b] x[n, s i + d a - p + dy[n, i, j, a, b], s j + d b - p + dx[n, i, j, a, b],
    c]``, where x between pixels is their bilinear interpolation, and zero outside the image. With
    zero offsets and no mask it is ``conv2d``.

    Channels of ``offset`` and ``mask`` are in the order of torchvision, so published weights of
    the layer that predicts them carry over: by offset group, then by kernel element row by row,
    of offsets then dy and dx. Of G offset groups, group g moves input channels
    [g C / G, (g + 1) C / G).

    Args:
        x: images [batch, height, width, C].
        offset: [batch, height', width', 2 * G * F_height * F_width], in pixels; G is derived from
            it. Sampling positions are computed in float32 (float64 for such offsets).
        kernel: [F_height, F_width, C / groups, K]; computed with in the dtype of ``x``.
        bias: [K], or none.
        mask: factors of the samples [batch, height', width', G * F_height * F_width], or none.
        stride, padding, dilation, groups: as for ``conv2d``.

    Returns:
        Images [batch, height', width', K] in the dtype of ``x``, with height' and width' as of
        ``conv2d``.

    Raises:
        ValueError: as ``conv2d``, and for an offset or mask that does not fit.
    """
    geometry = conv_geometry(x, kernel, bias, stride, padding, dilation, groups)
    taps = geometry.window[0] * geometry.window[1]
    places = (x.shape[0], *geometry.result)
    channels = geometry.channels
    if (
        offset.ndim != 4
        or offset.shape[:3] != places
        or offset.shape[3] == 0
        or offset.shape[3] % (2 * taps)
        or channels % (offset.shape[3] // (2 * taps))
    ):
        raise ValueError(
            f"offset has shape {offset.shape}; allowed is {places} and {2 * taps} times a divisor "
            f"of the {channels} channels of x"
        )
    if mask is not None and mask.shape != (*places, offset.shape[3] // 2):
        raise ValueError(
            f"mask has shape {mask.shape}; allowed is {(*places, offset.shape[3] // 2)}, half as "
            "many channels as offset has"
        )
    y = _convolve(x, offset, kernel.astype(x.dtype), mask, geometry)
    return y if bias is None else y + bias.astype(y.dtype)


# A derivative needs the four neighbours of every sample, many times the memory of the images: they
# are read again rather than kept.
@functools.partial(jax.checkpoint, static_argnums=4)
def _convolve(
    x: jax.Array, offset: jax.Array, kernel: jax.Array, mask: jax.Array | None, g: Geometry
) -> jax.Array:
    batch, taps = len(x), g.window[0] * g.window[1]
    groups = offset.shape[3] // (2 * taps)

    def by_tap(values: jax.Array, *rest: int) -> jax.Array:
        """The channels of an offset or mask as [batch, height', width', taps, groups, ...]."""
        return jnp.swapaxes(values.reshape(batch, *g.result, groups, taps, *rest), 3, 4)

    moved = by_tap(offset.astype(jnp.promote_types(offset.dtype, jnp.float32)), 2)
    rows, columns = (_grid(g, axis).astype(moved.dtype) for axis in range(2))
    positions = (moved[..., 0] + rows[:, None, :, None], moved[..., 1] + columns[:, :, None])
    # Or the gradient of a bfloat16 pixel, a sum over many samples, would be summed in bfloat16.
    images = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    images = images.reshape(batch, *g.image, groups, -1)
    flat = (position.reshape(batch, -1, groups) for position in positions)
    samples = jax.vmap(jax.vmap(_sample, (2, 1, 1), 1))(images, *flat)
    if mask is not None:
        samples = samples * by_tap(mask).reshape(batch, -1, groups, 1)
    samples = samples.astype(x.dtype).reshape(batch, -1, taps, g.groups, g.channels // g.groups)
    kernel = kernel.reshape(taps, g.channels // g.groups, g.groups, -1)
    return jnp.einsum("nptgc,tcgk->npgk", samples, kernel).reshape(batch, *g.result, -1)


def _grid(g: Geometry, axis: int) -> np.ndarray:
    """Where a convolution reads along an axis: [places, taps]."""
    place = np.arange(g.result[axis]) * g.stride[axis] - g.padding[axis][0]
    tap = np.indices(g.window)[axis].ravel() * g.dilation[axis]
    return place[:, None] + tap


def _sample(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear interpolation of an image, zero outside.

    Args:
        image: [height, width, C].
        rows, columns: positions [P] in pixels.

    Returns:
        [P, C].
    """
    # With two zeros around it, the neighbours of a place far outside are zeros after clipping too.
    padded = jnp.pad(image, ((2, 2), (2, 2), (0, 0)))

    def neighbours(row: jax.Array, column: jax.Array) -> jax.Array:
        return lax.dynamic_slice(padded, (row, column, 0), (2, 2, image.shape[2]))

    row, column = jnp.floor(rows), jnp.floor(columns)
    corners = (
        jnp.clip(corner + 2, 0, size + 2).astype(int)
        for corner, size in zip((row, column), image.shape[:2], strict=True)
    )
    near = jax.vmap(neighbours)(*corners)
    down, right = (rows - row)[:, None], (columns - column)[:, None]
    upper = (1 - right) * near[:, 0, 0] + right * near[:, 0, 1]
    lower = (1 - right) * near[:, 1, 0] + right * near[:, 1, 1]
    return (1 - down) * upper + down * lower
