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


class ResidualBlock(nnx.Module):
    """``relu(residual(x) + shortcut(x))``. The residual is convolutions, each with a batch norm,
    and ReLU between them; the shortcut is x itself or, where stride or channels change it, a 1x1
    convolution with a batch norm.

    Args:
        convolutions: of the residual, applied in turn; together of the given stride.
        inputs, outputs: numbers of channels of the block.
        stride: in pixels.
        zero_scale: whether the last batch norm begins with a scale of 0 and not 1, so that the
            block begins as its shortcut (arXiv:1706.02677).
        rngs: source of the initial values.
    """

    def __init__(
        self,
        convolutions: Iterable[Conv2d],
        inputs: int,
        outputs: int,
        *,
        stride: int,
        zero_scale: bool,
        rngs: nnx.Rngs,
    ):
        self.convolutions = nnx.List(convolutions)
        self.norms = nnx.List(BatchNorm(each.kernel.shape[-1]) for each in self.convolutions)
        if zero_scale:
            self.norms[-1].scale = nnx.Param(jnp.zeros(outputs))
        self.shortcut = self.shortcut_norm = nnx.data(None)
        if stride != 1 or inputs != outputs:
            self.shortcut = Conv2d(
                inputs, outputs, 1, stride=stride, initialize=he_fan_out, rngs=rngs
            )
            self.shortcut_norm = BatchNorm(outputs)
        self.outputs = outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = x
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            y = norm(convolution(jax.nn.relu(y) if number else y), train=train)
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x), train=train)
        return jax.nn.relu(y + x)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, the first one with the stride.

    Args:
        inputs: channels of the images.
        channels: of both convolutions, and so of what the block puts out.
        stride: in pixels.
        zero_scale: as for ``ResidualBlock``.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        stride: int = 1,
        zero_scale: bool = False,
        rngs: nnx.Rngs,
    ):
        positive(inputs=inputs, channels=channels, stride=stride)
        convolutions = [
            Conv2d(inputs, channels, 3, stride=stride, padding=1, initialize=he_fan_out, rngs=rngs),
            Conv2d(channels, channels, 3, padding=1, initialize=he_fan_out, rngs=rngs),
        ]
        super().__init__(
            convolutions, inputs, channels, stride=stride, zero_scale=zero_scale, rngs=rngs
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
        zero_scale: as for ``ResidualBlock``.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1, and a width that leaves the 3x3 convolution no channels.
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
        zero_scale: bool = False,
        rngs: nnx.Rngs,
    ):
        positive(inputs=inputs, channels=channels, stride=stride, groups=groups, width=width)
        if channels * width < 64:
            raise ValueError(f"width={width!r}; allowed is at least 64 / channels={channels}")
        inside, outputs = groups * (channels * width // 64), 4 * channels
        strides = (stride, 1) if stride_first else (1, stride)
        convolutions = [
            Conv2d(inputs, inside, 1, stride=strides[0], initialize=he_fan_out, rngs=rngs),
            Conv2d(
                inside,
                inside,
                3,
                stride=strides[1],
                padding=1,
                groups=groups,
                initialize=he_fan_out,
                rngs=rngs,
            ),
            Conv2d(inside, outputs, 1, initialize=he_fan_out, rngs=rngs),
        ]
        super().__init__(
            convolutions, inputs, outputs, stride=stride, zero_scale=zero_scale, rngs=rngs
        )
