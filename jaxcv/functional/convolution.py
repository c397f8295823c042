"""Convolutions as pure functions: images [batch, height, width, channels], kernels HWIO."""

import jax

from jaxcv.functional._arguments import (
    IntPair,
    Padding,
    divisor_of_channels,
    explicit_padding,
    float_batch,
    output_size,
    pair,
)
from jaxcv.functional._convolution import convolve
from jaxcv.functional._geometry import Geometry


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> jax.Array:
    """Two-dimensional convolution (a cross-correlation, as in every deep learning library).

    With one group, stride s, dilation d and padding p, ``y[n, i, j, k] = bias[k] +
    sum_{a, b, c} kernel[a, b, c, k] x[n, s i + d a - p, s j + d b - p, c]``. Of G groups, group g
    reads input channels [g C / G, (g + 1) C / G) and writes output channels [g K / G,
    (g + 1) K / G). Height and width become ``(W - d (F - 1) - 1 + 2 p) // s + 1``.

    Args:
        x: images [batch, height, width, C].
        kernel: [F_height, F_width, C / groups, K]; computed with in the dtype of ``x``.
        bias: [K], or none.
        stride: pixels that the window moves; an int, or (vertical, horizontal).
        padding: zeros around the image: an int or (height, width), both symmetric;
            ((top, bottom), (left, right)); or lax's "SAME", "SAME_LOWER" and "VALID".
        dilation: distance of neighbouring kernel elements in pixels (arXiv:1511.07122).
        groups: number of groups (arXiv:1611.05431).

    Returns:
        Images [batch, height', width', K] in the dtype of ``x``.

    Raises:
        ValueError: for an input that is no batch of images, a kernel or bias that does not fit
            it, or a window larger than the padded image.
    """
    geometry = conv_geometry(x, kernel, bias, stride, padding, dilation, groups)
    y = convolve(x, kernel.astype(x.dtype), geometry)
    return y if bias is None else y + bias.astype(y.dtype)


def conv_geometry(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    stride: IntPair,
    padding: Padding,
    dilation: IntPair,
    groups: int,
) -> Geometry:
    """Checks the arguments of a convolution, as ``conv2d`` says, and gives its static part."""
    float_batch("x", x)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    channels = x.shape[-1]
    divisor_of_channels(groups, channels)
    if kernel.ndim != 4 or kernel.shape[2] * groups != channels or kernel.shape[3] % groups:
        raise ValueError(
            f"kernel has shape {kernel.shape}; allowed is [height, width, {channels // groups}, "
            f"a multiple of {groups}] for {channels} input channels in groups={groups}"
        )
    if bias is not None and bias.shape != kernel.shape[3:]:
        raise ValueError(f"bias has shape {bias.shape}; allowed is {kernel.shape[3:]}")
    image, window = (x.shape[1], x.shape[2]), (kernel.shape[0], kernel.shape[1])
    reach = (dilation[0] * (window[0] - 1) + 1, dilation[1] * (window[1] - 1) + 1)
    pads = explicit_padding(padding, image, reach, stride)
    result = output_size("x", image, reach, stride, pads)
    return Geometry(channels, image, result, window, stride, pads, dilation, groups)


def depthwise_conv2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
) -> jax.Array:
    """Convolution of each channel with kernels of its own: ``conv2d`` with a group per channel.

    ``y[n, i, j, c M + m] = sum_{a, b} kernel[a, b, 0, c M + m]
    x[n, s i + d a - p, s j + d b - p, c]`` for channel multiplier M (arXiv:1610.02357).

    Args:
        x: images [batch, height, width, C].
        kernel: [F_height, F_width, 1, C * M].
        bias: [C * M], or none.
        stride, padding, dilation: as for ``conv2d``.

    Returns:
        Images [batch, height', width', C * M] in the dtype of ``x``.

    Raises:
        ValueError: as ``conv2d``.
    """
    float_batch("x", x)
    return conv2d(
        x,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=x.shape[-1],
    )


def pointwise_conv2d(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None, *, stride: IntPair = 1
) -> jax.Array:
    """Convolution with a 1x1 kernel: the same linear map of the channels at every pixel.

    ``y[n, i, j, k] = bias[k] + sum_c kernel[0, 0, c, k] x[n, s i, s j, c]`` (arXiv:1312.4400).

    Args:
        x: images [batch, height, width, C].
        kernel: [1, 1, C, K].
        bias: [K], or none.
        stride: pixels between the pixels that are read; an int, or (vertical, horizontal).

    Returns:
        Images [batch, ceil(height / s), ceil(width / s), K] in the dtype of ``x``.

    Raises:
        ValueError: as ``conv2d``.
    """
    if kernel.ndim != 4 or kernel.shape[:2] != (1, 1):
        raise ValueError(f"kernel has shape {kernel.shape}; allowed is [1, 1, inputs, outputs]")
    return conv2d(x, kernel, bias, stride=stride)


def separable_conv2d(
    x: jax.Array,
    depthwise_kernel: jax.Array,
    pointwise_kernel: jax.Array,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
) -> jax.Array:
    """A depthwise convolution, then a pointwise one (arXiv:1610.02357).

    Args:
        x: images [batch, height, width, C].
        depthwise_kernel: [F_height, F_width, 1, C * M].
        pointwise_kernel: [1, 1, C * M, K].
        stride, padding, dilation: of the depthwise convolution.

    Returns:
        Images [batch, height', width', K] in the dtype of ``x``.

    Raises:
        ValueError: as ``conv2d``.
    """
    y = depthwise_conv2d(x, depthwise_kernel, stride=stride, padding=padding, dilation=dilation)
    return pointwise_conv2d(y, pointwise_kernel)
