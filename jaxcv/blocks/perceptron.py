"""The end of the first convolutional networks."""

import itertools
from collections.abc import Collection, Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.functional._arguments import probability
from jaxcv.layers import Initializer, Linear


class Perceptron(nnx.Module):
    """Linear layers of all pixels and channels of an image, with ReLU between them.

    Args:
        widths: numbers of values before the first layer and after each.
        drop_before: the layers, counted from 0, whose input is dropped out.
        drop_rate: of dropout.
        initialize: of the layers, as for ``Linear``.
        rngs: source of the initial values.

    Raises:
        ValueError: for a rate outside [0, 1).
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        drop_before: Collection[int],
        drop_rate: float,
        initialize: Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        probability(drop_rate=drop_rate)
        self.layers = nnx.List(
            Linear(before, after, initialize=initialize, rngs=rngs)
            for before, after in itertools.pairwise(widths)
        )
        self.drop_before, self.drop_rate = tuple(drop_before), drop_rate

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> Iterator[jax.Array]:
        """What each layer puts out, one after the other: [batch, width], after ReLU but of the
        last, which is computed in float32 at least.

        Args:
            x: [batch, height, width, C].
            key: for dropout; without one there is none.
        """
        # Channels first, which is the order of published weights.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        *hidden, last = self.layers
        for place, layer in enumerate(hidden):
            x = jax.nn.relu(layer(self._dropped(x, place, key)))
            yield x
        x = self._dropped(x, len(hidden), key)
        yield last(x.astype(jnp.promote_types(x.dtype, jnp.float32)))

    def _dropped(self, x: jax.Array, place: int, key: jax.Array | None) -> jax.Array:
        if key is None or place not in self.drop_before:
            return x
        return functional.dropout(jax.random.fold_in(key, place), x, self.drop_rate)
