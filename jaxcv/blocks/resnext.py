"""The other two forms of the ResNeXt block (arXiv:1611.05431, figure 3).

``Bottleneck(inputs, channels, groups=32, width=4, rngs=rngs)`` is form (c), one grouped
convolution, and the one to train. The functions here compute the same, moved statistics included,
with the same parameters, in the form from which the paper derives it and in the one between.
"""

import jax
import jax.numpy as jnp

from jaxcv import functional
from jaxcv.blocks.residual import Bottleneck
from jaxcv.layers import BatchNorm


def split_transform_sum(block: Bottleneck, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Form (a): ``relu(norm(sum_i transform_i(x)) + shortcut(x))``, with a whole bottleneck for
    each group.

    Args:
        block: holds the parameters.
        x: images [batch, height, width, inputs].
        train: whether batch norms use and move the statistics of their batch.

    Returns:
        What ``block(x, train=train)`` does, [batch, height', width', outputs].
    """
    paths = _paths(block, x, train)
    kernels = jnp.split(block.convolutions[-1].kernel[...], len(paths), 2)
    ends = [functional.conv2d(y, kernel) for y, kernel in zip(paths, kernels, strict=True)]
    total = sum(ends[1:], ends[0])
    return block.merged(x, block.norms[-1](total, train=train), train=train)


def early_concatenation(block: Bottleneck, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Form (b): two convolutions for each group, whose channels are concatenated before one 1x1
    convolution for all, as in an Inception-ResNet.

    Args:
        block, x, train: as for ``split_transform_sum``.

    Returns:
        As ``split_transform_sum``.
    """
    y = block.convolutions[-1](jnp.concatenate(_paths(block, x, train), -1))
    return block.merged(x, block.norms[-1](y, train=train), train=train)


def _paths(block: Bottleneck, x: jax.Array, train: bool) -> list[jax.Array]:
    """For each group what follows from x on its channels alone, up to the 3x3 convolution."""
    groups = block.convolutions[1].groups
    channels = block.convolutions[1].kernel.shape[-1] // groups
    paths = []
    for group in range(groups):
        own, y = slice(group * channels, (group + 1) * channels), x
        for convolution, norm in zip(block.convolutions[:2], block.norms[:2], strict=True):
            y = functional.conv2d(
                y,
                convolution.kernel[..., own],
                stride=convolution.stride,
                padding=convolution.padding,
                dilation=convolution.dilation,
            )
            y = jax.nn.relu(_normalized(norm, y, own, train))
        paths.append(y)
    return paths


def _normalized(norm: BatchNorm, x: jax.Array, own: slice, train: bool) -> jax.Array:
    """By the part of a batch norm that belongs to some of its channels."""
    scale, offset, mean, variance = norm.scale, norm.offset, norm.mean, norm.variance
    assert scale is not None and offset is not None and mean is not None and variance is not None
    y, moved = functional.batch_norm(
        x,
        scale[own],
        offset[own],
        functional.Statistics(mean[own], variance[own]),
        train=train,
        momentum=norm.momentum,
        epsilon=norm.epsilon,
    )
    if train and moved is not None:
        mean[own], variance[own] = moved
    return y
