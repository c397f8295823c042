"""A convolution with what follows it."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxcv.functional._arguments import IntPair
from jaxcv.layers import BatchNorm, Conv2d


class ConvNorm(nnx.Module):
    """A convolution, batch norm, an activation.

    Args:
        inputs, outputs, window: as for ``Conv2d``.
        epsilon: of the batch norm.
        activation: of the result; by default ReLU, None for none.
        rngs: source of the initial values.
        options: more of ``Conv2d``, such as ``stride``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: IntPair,
        *,
        epsilon: float = 1e-5,
        activation: Callable[[jax.Array], jax.Array] | None = jax.nn.relu,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.convolution = Conv2d(inputs, outputs, window, rngs=rngs, **options)
        self.norm = BatchNorm(outputs, epsilon=epsilon)
        self.activation = activation
        self.outputs = outputs

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = self.norm(self.convolution(x), train=train)
        return x if self.activation is None else self.activation(x)
