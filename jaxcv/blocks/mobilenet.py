"""The blocks of MobileNets (arXiv:1704.04861, arXiv:1801.04381).

A block maps [batch, height, width, inputs] to [batch, ceil(height / s), ceil(width / s), outputs]
for stride s, and is called as ``block(x, train=...)``. Its activation is ``min(max(x, 0), 6)``.
"""

import functools

import jax
from flax import nnx

from jaxcv.blocks.convolution import ConvNorm
from jaxcv.functional._arguments import positive
from jaxcv.layers import he_fan_out

# Bounded, for which few bits of a fixed-point number are enough.
ConvNormReLU6 = functools.partial(ConvNorm, activation=jax.nn.relu6, initialize=he_fan_out)


class SeparableBlock(nnx.Module):
    """A depthwise 3x3 convolution, then a pointwise one, each with batch norm and ReLU6.

    Args:
        inputs, outputs: numbers of channels.
        stride: of the depthwise convolution, in pixels.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, rngs: nnx.Rngs):
        positive(inputs=inputs, outputs=outputs, stride=stride)
        self.convolutions = nnx.List(
            [
                ConvNormReLU6(
                    inputs, inputs, 3, stride=stride, padding=1, groups=inputs, rngs=rngs
                ),
                ConvNormReLU6(inputs, outputs, 1, rngs=rngs),
            ]
        )
        self.outputs = outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        for convolution in self.convolutions:
            x = convolution(x, train=train)
        return x


class InvertedResidual(nnx.Module):
    """A pointwise convolution to more channels, a depthwise 3x3 one, a pointwise one to few
    channels without an activation; added to x where that has the same shape.

    Args:
        inputs, outputs: numbers of channels.
        stride: of the depthwise convolution, in pixels.
        expansion: channels in the middle for one of the inputs; with 1 there is no first
            convolution.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, expansion: int = 6, rngs: nnx.Rngs
    ):
        positive(inputs=inputs, outputs=outputs, stride=stride, expansion=expansion)
        inside = inputs * expansion
        self.convolutions: nnx.List[ConvNorm] = nnx.List()
        if expansion > 1:
            self.convolutions.append(ConvNormReLU6(inputs, inside, 1, rngs=rngs))
        self.convolutions.append(
            ConvNormReLU6(inside, inside, 3, stride=stride, padding=1, groups=inside, rngs=rngs)
        )
        self.convolutions.append(ConvNormReLU6(inside, outputs, 1, activation=None, rngs=rngs))
        self.adds = stride == 1 and inputs == outputs
        self.outputs = outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = x
        for convolution in self.convolutions:
            y = convolution(y, train=train)
        return x + y if self.adds else y
