"""The units of ShuffleNets (arXiv:1707.01083, arXiv:1807.11164).

A unit maps [batch, height, width, inputs] to [batch, ceil(height / s), ceil(width / s), outputs]
for stride s of 1 or 2, and is called as ``unit(x, train=...)``. With stride 1 there are as many
inputs as outputs.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks.convolution import ConvNorm
from jaxcv.functional._arguments import positive


class ShuffleUnit(nnx.Module):
    """A bottleneck of grouped pointwise convolutions to a quarter of the outputs and back, with the
    channels shuffled and a depthwise 3x3 convolution in between.

    It is added to x, and ReLU follows; with stride 2 it is put beside the 3x3 average pooling of
    x.

    Args:
        inputs, outputs: numbers of channels.
        groups: of the pointwise convolutions.
        first_groups: of the first of them, by default as many.
        stride: in pixels.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1, a stride above 2, inputs and outputs that do not fit each
            other or the stride, and groups that do not divide the channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        groups: int = 3,
        first_groups: int | None = None,
        stride: int = 1,
        rngs: nnx.Rngs,
    ):
        _check(inputs, outputs, stride)
        if stride == 2 and outputs <= inputs:
            raise ValueError(f"outputs={outputs!r}; allowed is more than inputs={inputs}")
        if outputs % 4:
            raise ValueError(f"outputs={outputs!r}; allowed is a multiple of 4")
        inside = outputs // 4
        added = outputs if stride == 1 else outputs - inputs
        first_groups = groups if first_groups is None else first_groups
        self.reduce = ConvNorm(inputs, inside, 1, groups=first_groups, rngs=rngs)
        self.depthwise = ConvNorm(
            inside, inside, 3, stride=stride, padding=1, groups=inside, activation=None, rngs=rngs
        )
        self.expand = ConvNorm(inside, added, 1, groups=groups, activation=None, rngs=rngs)
        self.groups, self.stride, self.outputs = groups, stride, outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = functional.channel_shuffle(self.reduce(x, train=train), self.groups)
        y = self.expand(self.depthwise(y, train=train), train=train)
        if self.stride == 1:
            return jax.nn.relu(x + y)
        pooled = functional.avg_pool2d(x, 3, stride=2, padding=1)
        return jax.nn.relu(jnp.concatenate((pooled, y), -1))


class ShuffleUnitV2(nnx.Module):
    """Half of the channels as they are, the other half through a pointwise, a depthwise 3x3 and a
    pointwise convolution of as many channels; then the halves are shuffled.

    With stride 2 all channels are read by both branches, and the first one is a depthwise and a
    pointwise convolution.

    Args:
        inputs, outputs: numbers of channels.
        stride: in pixels.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1, a stride above 2, inputs and outputs that do not fit each
            other or the stride, and odd outputs.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, rngs: nnx.Rngs):
        _check(inputs, outputs, stride)
        if outputs % 2:
            raise ValueError(f"outputs={outputs!r}; allowed is an even number")
        half = outputs // 2
        read = half if stride == 1 else inputs

        def depthwise(channels: int) -> ConvNorm:
            return ConvNorm(
                channels,
                channels,
                3,
                stride=stride,
                padding=1,
                groups=channels,
                activation=None,
                rngs=rngs,
            )

        self.first: nnx.List[ConvNorm] = nnx.List()
        if stride == 2:
            self.first = nnx.List([depthwise(read), ConvNorm(read, half, 1, rngs=rngs)])
        self.second = nnx.List(
            [
                ConvNorm(read, half, 1, rngs=rngs),
                depthwise(half),
                ConvNorm(half, half, 1, rngs=rngs),
            ]
        )
        self.outputs = outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        first, second = (x, x) if self.first else jnp.split(x, 2, -1)
        for convolution in self.first:
            first = convolution(first, train=train)
        for convolution in self.second:
            second = convolution(second, train=train)
        return functional.channel_shuffle(jnp.concatenate((first, second), -1), 2)


def _check(inputs: int, outputs: int, stride: int) -> None:
    positive(inputs=inputs, outputs=outputs)
    if stride not in (1, 2):
        raise ValueError(f"stride={stride!r}; allowed are 1 and 2")
    if stride == 1 and inputs != outputs:
        raise ValueError(f"outputs={outputs!r}; allowed is inputs={inputs} with stride=1")
