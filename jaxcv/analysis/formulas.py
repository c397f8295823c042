"""Size, parameters and multiply-adds of a convolution in closed form."""

import math

from jaxcv.functional._arguments import IntPair, Padding, explicit_padding, pair, positive
from jaxcv.functional._arguments import output_size as _output_size


def output_size(
    size: IntPair,
    window: IntPair,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
) -> tuple[int, int]:
    """(height, width) that a convolution or a pool puts out, each ``(W - F' + 2 P) // S + 1`` with
    ``F' = D (F - 1) + 1``.

    Args:
        size: W of the input in pixels; an int, or (height, width).
        window: F, its size in pixels; an int, or (height, width).
        stride, padding, dilation: S, P and D, as for ``functional.conv2d``.

    Raises:
        ValueError: for a window larger than the padded input.
    """
    image, step = pair("size", size), pair("stride", stride)
    spacing = pair("dilation", dilation)
    sizes = zip(pair("window", window), spacing, strict=True)
    height, width = (d * (f - 1) + 1 for f, d in sizes)
    pads = explicit_padding(padding, image, (height, width), step)
    return _output_size("size", image, (height, width), step, pads)


def conv_parameters(
    window: IntPair, inputs: int, outputs: int, *, groups: int = 1, bias: bool = True
) -> int:
    """Number of parameters of a convolution: ``F F (C / G) K`` weights, and K biases.

    Args:
        window: F, its size in pixels; an int, or (height, width).
        inputs, outputs: C and K, numbers of channels.
        groups: G.
        bias: whether it has one.

    Raises:
        ValueError: for groups that do not divide both numbers of channels.
    """
    positive(inputs=inputs, outputs=outputs, groups=groups)
    if inputs % groups or outputs % groups:
        raise ValueError(
            f"groups={groups!r}; allowed is a common divisor of inputs={inputs} and "
            f"outputs={outputs}"
        )
    return math.prod(pair("window", window)) * inputs // groups * outputs + bias * outputs


def conv_multiply_adds(
    size: IntPair,
    window: IntPair,
    inputs: int,
    outputs: int,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> int:
    """Multiply-adds of a convolution of one image: each weight once for each pixel put out. Those
    with the zeros of the padding are counted.

    Args:
        size, window, stride, padding, dilation: as for ``output_size``.
        inputs, outputs, groups: as for ``conv_parameters``.

    Raises:
        ValueError: as ``output_size`` and ``conv_parameters``.
    """
    weights = conv_parameters(window, inputs, outputs, groups=groups, bias=False)
    pixels = output_size(size, window, stride=stride, padding=padding, dilation=dilation)
    return math.prod(pixels) * weights
