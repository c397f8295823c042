"""The block of SqueezeNets (arXiv:1602.07360)."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.functional._arguments import positive
from jaxcv.layers import Conv2d


class Fire(nnx.Module):
    """A 1x1 convolution to few channels, then a 1x1 and a 3x3 one side by side, each with ReLU.

    Args:
        inputs: channels of the images.
        squeezed: of the first convolution.
        expanded: of each of the two others; together the block puts out twice as many.
        rngs: source of the initial values, uniform with variance ``2 / fan-in``, of biases 0.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int, *, rngs: nnx.Rngs):
        positive(inputs=inputs, squeezed=squeezed, expanded=expanded)
        initialize = jax.nn.initializers.he_uniform()
        self.squeeze = Conv2d(inputs, squeezed, 1, bias=True, initialize=initialize, rngs=rngs)
        self.expand1x1 = Conv2d(squeezed, expanded, 1, bias=True, initialize=initialize, rngs=rngs)
        self.expand3x3 = Conv2d(
            squeezed, expanded, 3, padding=1, bias=True, initialize=initialize, rngs=rngs
        )
        self.outputs = 2 * expanded

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, inputs] to [batch, height, width, 2 * expanded]."""
        x = jax.nn.relu(self.squeeze(x))
        return jax.nn.relu(jnp.concatenate((self.expand1x1(x), self.expand3x3(x)), -1))
