"""Dense blocks (arXiv:1608.06993): every layer reads what all earlier ones put out.

Blocks map images [batch, height, width, inputs] and are called as
``block(x, train=..., key=...)``. Dropout, of their ``drop_rate``, is only where there is a key.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.functional._arguments import positive
from jaxcv.layers import BatchNorm, Conv2d, he_fan_out


class DenseLayer(nnx.Module):
    """Batch norm, ReLU and a 1x1 convolution to ``4 * growth`` channels, then batch norm, ReLU and
    a 3x3 convolution to ``growth`` channels: a layer of a DenseNet-B.

    Args:
        inputs: channels of the images.
        growth: channels that it puts out.
        drop_rate: of dropout after each convolution.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(self, inputs: int, growth: int, *, drop_rate: float = 0.0, rngs: nnx.Rngs):
        positive(inputs=inputs, growth=growth)
        inside = 4 * growth
        self.norms = nnx.List([BatchNorm(inputs), BatchNorm(inside)])
        self.convolutions = nnx.List(
            [
                Conv2d(inputs, inside, 1, initialize=he_fan_out, rngs=rngs),
                Conv2d(inside, growth, 3, padding=1, initialize=he_fan_out, rngs=rngs),
            ]
        )
        self.drop_rate = drop_rate

    def __call__(
        self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        for number, (norm, convolution) in enumerate(
            zip(self.norms, self.convolutions, strict=True)
        ):
            x = convolution(jax.nn.relu(norm(x, train=train)))
            x = _dropped(x, self.drop_rate, key, number)
        return x


class DenseBlock(nnx.Module):
    """Layers whose outputs are concatenated, behind the input: ``inputs + depth * growth``
    channels.

    Args:
        depth: number of layers.
        inputs: channels of the images.
        growth, drop_rate: as for ``DenseLayer``.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(
        self, depth: int, inputs: int, growth: int, *, drop_rate: float = 0.0, rngs: nnx.Rngs
    ):
        positive(depth=depth, inputs=inputs, growth=growth)
        self.layers = nnx.List(
            DenseLayer(inputs + place * growth, growth, drop_rate=drop_rate, rngs=rngs)
            for place in range(depth)
        )
        self.outputs = inputs + depth * growth

    def __call__(
        self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        for number, layer in enumerate(self.layers):
            own_key = None if key is None else jax.random.fold_in(key, number)
            x = jnp.concatenate([x, layer(x, train=train, key=own_key)], -1)
        return x


class Transition(nnx.Module):
    """Between two dense blocks: batch norm, ReLU, a 1x1 convolution and 2x2 average pooling, which
    leaves away the last row or column of an odd size.

    Args:
        inputs, outputs: numbers of channels; half as many outputs make a DenseNet-C.
        drop_rate: of dropout after the convolution.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(self, inputs: int, outputs: int, *, drop_rate: float = 0.0, rngs: nnx.Rngs):
        self.norm = BatchNorm(inputs)
        self.convolution = Conv2d(inputs, outputs, 1, initialize=he_fan_out, rngs=rngs)
        self.drop_rate = drop_rate

    def __call__(
        self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        x = self.convolution(jax.nn.relu(self.norm(x, train=train)))
        return functional.avg_pool2d(_dropped(x, self.drop_rate, key, 0), 2)


def _dropped(x: jax.Array, rate: float, key: jax.Array | None, number: int) -> jax.Array:
    if key is None or not rate:
        return x
    return functional.dropout(jax.random.fold_in(key, number), x, rate)
