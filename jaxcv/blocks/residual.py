"""Residual blocks (arXiv:1512.03385).

A block maps [batch, height, width, inputs] to [batch, ceil(height / s), ceil(width / s), outputs]
for stride s, and is called as ``block(x, train=...)``.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.functional._arguments import positive
from jaxcv.layers import BatchNorm, Conv2d, he_fan_out

SHORTCUTS = ("projection", "padding")


class ResidualBlock(nnx.Module):
    """``relu(residual(x) + shortcut(x))``. The residual is convolutions, each with a batch norm,
    and ReLU between them; the shortcut is x itself unless stride or channels change it.

    Args:
        convolutions: of the residual, applied in turn; together of the given stride.
        inputs, outputs: numbers of channels of the block.
        stride: in pixels.
        shortcut: where stride or channels change, "projection" is a 1x1 convolution with a batch
            norm, "padding" every ``stride``-th pixel between as many channels of zeros on both
            sides, without parameters (options B and A of the paper).
        zero_scale: whether the last batch norm begins with a scale of 0 and not 1, so that the
            block begins as its shortcut (arXiv:1706.02677).
        rngs: source of the initial values.

    Raises:
        ValueError: for another shortcut, and one of padding to fewer channels.
    """

    def __init__(
        self,
        convolutions: Iterable[Conv2d],
        inputs: int,
        outputs: int,
        *,
        stride: int,
        shortcut: str = "projection",
        zero_scale: bool = False,
        rngs: nnx.Rngs,
    ):
        if shortcut not in SHORTCUTS or (shortcut == "padding" and outputs < inputs):
            raise ValueError(
                f"shortcut={shortcut!r}; allowed are {' and '.join(SHORTCUTS)}, the latter from "
                f"inputs={inputs} to no fewer than outputs={outputs}"
            )
        self.convolutions = nnx.List(convolutions)
        self.norms = nnx.List(BatchNorm(each.kernel.shape[-1]) for each in self.convolutions)
        if zero_scale:
            self.norms[-1].scale = nnx.Param(jnp.zeros(outputs))
        self.shortcut = self.shortcut_norm = nnx.data(None)
        self.changes = stride != 1 or inputs != outputs
        if self.changes and shortcut == "projection":
            self.shortcut = Conv2d(
                inputs, outputs, 1, stride=stride, initialize=he_fan_out, rngs=rngs
            )
            self.shortcut_norm = BatchNorm(outputs)
        self.stride, self.outputs = stride, outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = x
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            y = norm(convolution(jax.nn.relu(y) if number else y), train=train)
        return self.merged(x, y, train=train)

    def merged(self, x: jax.Array, y: jax.Array, *, train: bool) -> jax.Array:
        """``relu(y + shortcut(x))``, where y is the residual."""
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x), train=train)
        elif self.changes:
            x = x[:, :: self.stride, :: self.stride]
            zeros = self.outputs - x.shape[-1]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (zeros // 2, zeros - zeros // 2)))
        return jax.nn.relu(y + x)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, the first one with the stride.

    Args:
        inputs: channels of the images.
        channels: of both convolutions, and so of what the block puts out.
        stride: in pixels.
        dilation: of the convolutions.
        first_dilation: of the convolution that has the stride, by default as the other. Dilation
            in place of a stride leaves this one as it was.
        shortcut, zero_scale: as for ``ResidualBlock``.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1, and as ``ResidualBlock``.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        shortcut: str = "projection",
        zero_scale: bool = False,
        rngs: nnx.Rngs,
    ):
        convolutions = basic_convolutions(
            inputs,
            channels,
            stride=stride,
            dilation=dilation,
            first_dilation=first_dilation,
            rngs=rngs,
        )
        super().__init__(
            convolutions,
            inputs,
            channels,
            stride=stride,
            shortcut=shortcut,
            zero_scale=zero_scale,
            rngs=rngs,
        )


class Bottleneck(ResidualBlock):
    """A 1x1 convolution to fewer channels, a 3x3 one, and a 1x1 one to ``4 * channels``.

    The 3x3 convolution has ``groups * (channels * width // 64)`` channels, which is ``channels``
    by default; more groups make a ResNeXt (arXiv:1611.05431), more width a wide ResNet
    (arXiv:1605.07146).

    Args:
        inputs: channels of the images.
        channels: a quarter of what the block puts out.
        stride: in pixels.
        groups: of the 3x3 convolution.
        width: channels of each of its groups where ``channels`` is 64.
        stride_first: whether the first convolution has the stride, as in the paper; otherwise it
            is the 3x3 one, which reads every pixel.
        dilation: of the 3x3 convolution.
        first_dilation: of the 3x3 convolution where it has the stride, by default ``dilation``.
        shortcut, zero_scale: as for ``ResidualBlock``.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1, a width that leaves the 3x3 convolution no channels, and
            as ``ResidualBlock``.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        stride: int = 1,
        groups: int = 1,
        width: int = 64,
        stride_first: bool = False,
        dilation: int = 1,
        first_dilation: int | None = None,
        shortcut: str = "projection",
        zero_scale: bool = False,
        rngs: nnx.Rngs,
    ):
        convolutions = bottleneck_convolutions(
            inputs,
            channels,
            stride=stride,
            groups=groups,
            width=width,
            stride_first=stride_first,
            dilation=dilation,
            first_dilation=first_dilation,
            rngs=rngs,
        )
        super().__init__(
            convolutions,
            inputs,
            4 * channels,
            stride=stride,
            shortcut=shortcut,
            zero_scale=zero_scale,
            rngs=rngs,
        )


def basic_convolutions(
    inputs: int,
    channels: int,
    *,
    stride: int,
    dilation: int,
    first_dilation: int | None,
    rngs: nnx.Rngs,
) -> list[Conv2d]:
    """Those of a ``BasicBlock``."""
    first = dilation if first_dilation is None else first_dilation
    positive(inputs=inputs, channels=channels, stride=stride, dilation=dilation)
    positive(first_dilation=first)
    return [
        _conv_3x3(inputs, channels, stride=stride, dilation=first, rngs=rngs),
        _conv_3x3(channels, channels, dilation=dilation, rngs=rngs),
    ]


def bottleneck_convolutions(
    inputs: int,
    channels: int,
    *,
    stride: int,
    groups: int,
    width: int,
    stride_first: bool,
    dilation: int,
    first_dilation: int | None,
    rngs: nnx.Rngs,
) -> list[Conv2d]:
    """Those of a ``Bottleneck``."""
    first = dilation if first_dilation is None else first_dilation
    positive(inputs=inputs, channels=channels, stride=stride, groups=groups, width=width)
    positive(dilation=dilation, first_dilation=first)
    if channels * width < 64:
        raise ValueError(f"width={width!r}; allowed is at least 64 / channels={channels}")
    inside = groups * (channels * width // 64)
    strides = (stride, 1) if stride_first else (1, stride)
    return [
        Conv2d(inputs, inside, 1, stride=strides[0], initialize=he_fan_out, rngs=rngs),
        _conv_3x3(
            inside,
            inside,
            stride=strides[1],
            dilation=dilation if stride_first else first,
            groups=groups,
            rngs=rngs,
        ),
        Conv2d(inside, 4 * channels, 1, initialize=he_fan_out, rngs=rngs),
    ]


def _conv_3x3(
    inputs: int,
    outputs: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    rngs: nnx.Rngs,
) -> Conv2d:
    return Conv2d(
        inputs,
        outputs,
        3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        groups=groups,
        initialize=he_fan_out,
        rngs=rngs,
    )
