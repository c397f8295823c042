"""Residual blocks that activate before each convolution (arXiv:1603.05027).

A block maps [batch, height, width, inputs] to [batch, ceil(height / s), ceil(width / s), outputs]
for stride s, and is called as ``block(x, train=...)``.
"""

from collections.abc import Iterable

import jax
from flax import nnx

from jaxcv.blocks.residual import basic_convolutions, bottleneck_convolutions
from jaxcv.layers import BatchNorm, Conv2d, he_fan_out


class PreActivationBlock(nnx.Module):
    """``residual(x) + shortcut(x)``. The residual is batch norm, ReLU and a convolution, once for
    each of them. The shortcut is x itself, so that what one block puts out reaches all later ones
    unchanged; where stride or channels change, it is a 1x1 convolution of the first activation.
    Without a convolution it is that activation if ``activate_shortcut`` is set, as the first block
    of a network has it.

    Args:
        convolutions: of the residual, applied in turn; together of the given stride.
        inputs, outputs: numbers of channels of the block.
        stride: in pixels.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        convolutions: Iterable[Conv2d],
        inputs: int,
        outputs: int,
        *,
        stride: int,
        rngs: nnx.Rngs,
    ):
        self.convolutions = nnx.List(convolutions)
        # Of a kernel [height, width, inputs / groups, outputs].
        self.norms = nnx.List(
            BatchNorm(each.kernel.shape[2] * each.groups) for each in self.convolutions
        )
        self.shortcut = nnx.data(None)
        self.activate_shortcut = stride != 1 or inputs != outputs
        if self.activate_shortcut:
            self.shortcut = Conv2d(
                inputs, outputs, 1, stride=stride, initialize=he_fan_out, rngs=rngs
            )
        self.outputs = outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = x
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            y = jax.nn.relu(norm(y, train=train))
            if not number and self.activate_shortcut:
                x = y
            y = convolution(y)
        return y + (x if self.shortcut is None else self.shortcut(x))


class PreActivationBasicBlock(PreActivationBlock):
    """The convolutions of a ``BasicBlock``.

    Args:
        inputs, channels, stride, dilation, first_dilation: as for ``BasicBlock``.
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
        dilation: int = 1,
        first_dilation: int | None = None,
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
        super().__init__(convolutions, inputs, channels, stride=stride, rngs=rngs)


class PreActivationBottleneck(PreActivationBlock):
    """The convolutions of a ``Bottleneck``.

    Args:
        inputs, channels, stride, groups, width, stride_first, dilation, first_dilation: as for
            ``Bottleneck``.
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
        dilation: int = 1,
        first_dilation: int | None = None,
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
        super().__init__(convolutions, inputs, 4 * channels, stride=stride, rngs=rngs)
