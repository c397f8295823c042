"""The block of VGG networks (arXiv:1409.1556)."""

import jax
from flax import nnx

from jaxcv.functional._arguments import positive
from jaxcv.layers import BatchNorm, Conv2d, he_fan_out


class VGGBlock(nnx.Module):
    """3x3 convolutions of stride 1 one after the other, each with ReLU. Two of them see as far as
    one of 5x5, three as far as one of 7x7, with fewer weights and more ReLU.

    Args:
        inputs: channels of the images.
        outputs: of each convolution.
        depth: number of convolutions.
        batch_norm: whether to have one before each ReLU.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(
        self, inputs: int, outputs: int, depth: int, *, batch_norm: bool = False, rngs: nnx.Rngs
    ):
        positive(inputs=inputs, outputs=outputs, depth=depth)
        self.convolutions = nnx.List(
            Conv2d(
                outputs if place else inputs,
                outputs,
                3,
                padding=1,
                bias=True,
                initialize=he_fan_out,
                rngs=rngs,
            )
            for place in range(depth)
        )
        self.norms = nnx.List(BatchNorm(outputs) for _ in range(depth if batch_norm else 0))
        self.outputs = outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[batch, height, width, inputs] to [batch, height, width, outputs]."""
        for place, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if self.norms:
                x = self.norms[place](x, train=train)
            x = jax.nn.relu(x)
        return x
