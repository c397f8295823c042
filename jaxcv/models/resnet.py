"""Residual networks (arXiv:1512.03385)."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import BasicBlock, Bottleneck, ResidualBlock
from jaxcv.functional._arguments import positive
from jaxcv.layers import BatchNorm, Conv2d, Linear, he_fan_out
from jaxcv.models.skeleton import classify

_STEM_CHANNELS = 64


class ResNet(nnx.Module):
    """A stem that divides height and width by 4, stages of residual blocks, a linear classifier.

    The stem is a 7x7 convolution of stride 2 to 64 channels, batch norm, ReLU and 3x3 max pooling
    of stride 2. Each stage but the first begins with stride 2 and doubles the channels.

    Args:
        block: makes one, as ``block(inputs, channels, stride=stride, rngs=rngs)``: ``BasicBlock``,
            ``Bottleneck``, or a partial of them with other arguments.
        depths: for each stage, how many blocks it has.
        num_classes: number of logits.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values: of the convolutions normal with variance
            ``2 / fan-out``.

    Raises:
        ValueError: for numbers below 1, and no stages.
    """

    def __init__(
        self,
        block: Callable[..., ResidualBlock],
        depths: Sequence[int],
        num_classes: int,
        *,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        positive(num_classes=num_classes, inputs=inputs)
        if not depths or any(not isinstance(depth, int) or depth < 1 for depth in depths):
            raise ValueError(f"depths={depths!r}; allowed are positive ints, at least one")
        channels = last = _STEM_CHANNELS
        self.stem = Conv2d(
            inputs, channels, 7, stride=2, padding=3, initialize=he_fan_out, rngs=rngs
        )
        self.stem_norm = BatchNorm(channels)
        self.stages: nnx.List[nnx.List[ResidualBlock]] = nnx.List()
        for number, depth in enumerate(depths):
            stage: nnx.List[ResidualBlock] = nnx.List()
            for place in range(depth):
                stride = 2 if number and not place else 1
                stage.append(block(last, channels * 2**number, stride=stride, rngs=rngs))
                last = stage[-1].outputs
            self.stages.append(stage)
        self.classifier = Linear(last, num_classes, rngs=rngs)
        self.image_channels, self.dtype = inputs, dtype

    def __call__(
        self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, inputs].

        Args:
            x: the images, normalised as in training.
            train: whether batch norms use and move their statistics.
            key: not used: nothing here is random.

        Raises:
            ValueError: for another shape.
        """
        if x.ndim != 4 or x.shape[-1] != self.image_channels:
            raise ValueError(
                f"x has shape {x.shape}; allowed is [batch, height, width, {self.image_channels}]"
            )
        x = jax.nn.relu(self.stem_norm(self.stem(x.astype(self.dtype)), train=train))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for stage in self.stages:
            for block in stage:
                x = block(x, train=train)
        return classify(x, self.classifier)


resnet18 = functools.partial(ResNet, BasicBlock, (2, 2, 2, 2))
resnet34 = functools.partial(ResNet, BasicBlock, (3, 4, 6, 3))
resnet50 = functools.partial(ResNet, Bottleneck, (3, 4, 6, 3))
resnet101 = functools.partial(ResNet, Bottleneck, (3, 4, 23, 3))
resnet152 = functools.partial(ResNet, Bottleneck, (3, 8, 36, 3))
