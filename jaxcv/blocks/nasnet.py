"""The operations of architecture search as NASNet's family has them (arXiv:1707.07012,
arXiv:1712.00559, arXiv:1802.01548), by the names of ``jaxcv.blocks.operations``.

They differ from those in that

- they may read another number of channels than they put out,
- of the padding that a stride of 2 needs, more is at the bottom and on the right ("SAME" of lax),
- an identity that changes anything is ReLU, 1x1 convolution, batch norm,
- a full convolution stands between two of 1x1, which leave it a quarter of the channels.

A new one is a factory in ``NASNET_OPERATIONS``.
"""

import functools
from collections.abc import Callable, Mapping

from flax import nnx

from jaxcv.blocks.convolution import ConvNorm
from jaxcv.blocks.operations import (
    FactorizedReduce,
    Identity,
    Pool,
    ReLUConvBN,
    Sequence,
    create_operation,
)
from jaxcv.functional._arguments import IntPair, pair, positive
from jaxcv.layers import Conv2d

Factory = Callable[..., nnx.Module]


def _pointwise(inputs: int, channels: int, stride: int, *, rngs: nnx.Rngs) -> ReLUConvBN:
    return ReLUConvBN([Conv2d(inputs, channels, 1, stride=stride, rngs=rngs)], channels)


def _identity(inputs: int, channels: int, stride: int, *, rngs: nnx.Rngs) -> nnx.Module:
    if stride == 1 and inputs == channels:
        return Identity()
    return _pointwise(inputs, channels, stride, rngs=rngs)


def _enas_identity(inputs: int, channels: int, stride: int, *, rngs: nnx.Rngs) -> nnx.Module:
    if stride == 2:
        return FactorizedReduce(inputs, channels, activate=False, rngs=rngs)
    return _identity(inputs, channels, stride, rngs=rngs)


def _separable(
    inputs: int,
    channels: int,
    stride: int,
    *,
    window: int,
    dilation: int = 1,
    rngs: nnx.Rngs,
) -> nnx.Module:
    def layer(inputs: int, stride: int) -> ReLUConvBN:
        depthwise = Conv2d(
            inputs,
            inputs,
            window,
            stride=stride,
            padding="SAME",
            dilation=dilation,
            groups=inputs,
            rngs=rngs,
        )
        return ReLUConvBN([depthwise, Conv2d(inputs, channels, 1, rngs=rngs)], channels)

    return Sequence([layer(inputs, stride), layer(channels, 1)])


def _full(
    inputs: int, channels: int, stride: int, *, windows: tuple[IntPair, ...], rngs: nnx.Rngs
) -> nnx.Module:
    inner = max(1, channels // 4)
    layers = [_pointwise(inputs, inner, 1, rngs=rngs)]
    for window in windows:
        # A window of one pixel along an axis leaves its stride to the other one.
        height, width = (stride if side > 1 else 1 for side in pair("window", window))
        convolution = Conv2d(
            inner, inner, window, stride=(height, width), padding="SAME", rngs=rngs
        )
        layers.append(ReLUConvBN([convolution], inner))
    return Sequence([*layers, _pointwise(inner, channels, 1, rngs=rngs)])


def _pool(
    inputs: int, channels: int, stride: int, *, kind: str, window: int = 3, rngs: nnx.Rngs
) -> nnx.Module:
    pool = Pool(kind, stride, window, "SAME")
    if inputs == channels:
        return pool
    return Sequence([pool, ConvNorm(inputs, channels, 1, activation=None, rngs=rngs)])


NASNET_OPERATIONS: dict[str, Factory] = {
    "max_pool_2x2": functools.partial(_pool, kind="max", window=2),
    "max_pool_3x3": functools.partial(_pool, kind="max"),
    "max_pool_5x5": functools.partial(_pool, kind="max", window=5),
    "max_pool_7x7": functools.partial(_pool, kind="max", window=7),
    "avg_pool_3x3": functools.partial(_pool, kind="avg"),
    "skip_connect": _identity,
    "sep_conv_3x3": functools.partial(_separable, window=3),
    "sep_conv_5x5": functools.partial(_separable, window=5),
    "sep_conv_7x7": functools.partial(_separable, window=7),
    "dil_sep_conv_5x5": functools.partial(_separable, window=5, dilation=2),
    "nor_conv_1x1": _pointwise,
    "nor_conv_3x3": functools.partial(_full, windows=(3,)),
    "conv_7x1_1x7": functools.partial(_full, windows=((1, 7), (7, 1))),
}

# ENAS (arXiv:1802.03268) halves an identity's size without a ReLU and sees every pixel.
ENAS_OPERATIONS: dict[str, Factory] = {**NASNET_OPERATIONS, "skip_connect": _enas_identity}


def create_nasnet_operation(
    name: str,
    inputs: int,
    channels: int,
    stride: int = 1,
    *,
    operations: Mapping[str, Factory] = NASNET_OPERATIONS,
    rngs: nnx.Rngs,
) -> nnx.Module:
    """The operation called ``name``, from [batch, height, width, inputs] to
    [batch, ceil(height / s), ceil(width / s), channels] for stride s.

    Args:
        name: a key of ``operations``, or of ``OPERATIONS``, whose form then holds, behind ReLU,
            1x1 convolution and batch norm where the numbers of channels differ.
        inputs, channels: of what it reads and puts out.
        stride: 1 or 2.
        operations: ``NASNET_OPERATIONS`` or ``ENAS_OPERATIONS``.
        rngs: source of its initial values.

    Raises:
        ValueError: for an unknown name (with the nearest ones), channels below 1, another stride.
    """
    positive(inputs=inputs, channels=channels)
    if stride not in (1, 2):
        raise ValueError(f"stride={stride!r}; allowed are 1 and 2")
    if name in operations:
        return operations[name](inputs, channels, stride, rngs=rngs)
    operation = create_operation(name, channels, stride, rngs=rngs)
    if inputs == channels:
        return operation
    return Sequence([_pointwise(inputs, channels, 1, rngs=rngs), operation])
