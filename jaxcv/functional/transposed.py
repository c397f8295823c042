"""Transposed convolution as a pure function: images NHWC, kernels HWIO."""

import jax

from jaxcv.functional._arguments import (
    IntPair,
    SidePadding,
    divisor_of_channels,
    float_batch,
    pair,
    sides,
)
from jaxcv.functional._convolution import convolve_transposed
from jaxcv.functional._geometry import Geometry


def conv_transpose2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: IntPair = 1,
    padding: SidePadding = 0,
    output_padding: IntPair = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> jax.Array:
    """The transpose of ``conv2d`` as a linear map of images: learnable upsampling.

    The output contains copies of the filter, s pixels apart and weighted by the input, summed
    where they overlap; ``padding`` crops the result. With one group, ``y[n, h, w, k] = bias[k] +
    sum kernel[a, b, k, c] x[n, i, j, c]`` over all c, i, j, a, b with ``s i + d a - p = h`` and
    ``s j + d b - p = w``. Height and width become ``(W - 1) s - 2 p + d (F - 1) + 1 +
    output_padding``. A 3x3 filter with stride 2 makes ``2 W + 1`` pixels of W; cropping one, by
    ``padding=((0, 1), (0, 1))`` or ``padding=1, output_padding=1``, gives exactly twice as many
    (arXiv:1603.07285).

    Args:
        x: images [batch, height, width, C].
        kernel: [F_height, F_width, K / groups, C], that of the convolution from K to C channels
            which this one transposes; computed with in the dtype of ``x``.
        bias: [K], or none.
        stride: pixels between neighbouring copies; an int, or (vertical, horizontal).
        padding: pixels cropped, as many as the transposed convolution pads: an int or (height,
            width), both symmetric, or ((top, bottom), (left, right)).
        output_padding: pixels more at the bottom and on the right, which tell apart the sizes
            that a convolution with this stride makes equal; an int, or (height, width).
        dilation: distance of neighbouring kernel elements in pixels.
        groups: number of groups.

    Returns:
        Images [batch, height', width', K] in the dtype of ``x``.

    Raises:
        ValueError: for an input that is no batch of images, a kernel or bias that does not fit
            it, an output padding that is smaller neither than the stride nor than the dilation,
            or a padding that crops everything.
    """
    float_batch("x", x)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    more = pair("output_padding", output_padding, least=0)
    channels = x.shape[-1]
    divisor_of_channels(groups, channels)
    if kernel.ndim != 4 or kernel.shape[3] != channels:
        raise ValueError(
            f"kernel has shape {kernel.shape}; allowed is [height, width, outputs / groups, "
            f"{channels}] for {channels} input channels"
        )
    outputs = kernel.shape[2] * groups
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"bias has shape {bias.shape}; allowed is {(outputs,)}")
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise ValueError(
            f"output_padding={output_padding!r}; allowed is less than stride={stride} or "
            f"dilation={dilation}"
        )
    result, window = (x.shape[1], x.shape[2]), (kernel.shape[0], kernel.shape[1])
    crop = sides(padding)
    height, width = (
        (result[a] - 1) * stride[a] + dilation[a] * (window[a] - 1) + 1 - sum(crop[a]) + more[a]
        for a in range(2)
    )
    if min(height, width) < 1:
        raise ValueError(
            f"padding={padding!r} leaves height and width {(height, width)}; allowed is one that "
            "leaves a pixel"
        )
    # To the convolution that is transposed, pixels more at the end are as much less padding.
    (top, bottom), (left, right) = crop
    pads = ((top, bottom - more[0]), (left, right - more[1]))
    geometry = Geometry(outputs, (height, width), result, window, stride, pads, dilation, groups)
    y = convolve_transposed(x, kernel.astype(x.dtype), geometry)
    return y if bias is None else y + bias.astype(y.dtype)
