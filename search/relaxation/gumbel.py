"""One primitive an edge and step, drawn by the Gumbel-max trick (GDAS)."""

import jax
import jax.numpy as jnp

from search.relaxation.contract import Relaxation
from search.relaxation.softmax import softmax
from search.space import Alphas, Mix, Space

_TEMPERATURE_START, _TEMPERATURE_END = 10.0, 0.1


def gumbel(space: Space) -> Relaxation:
    """A sample of the softmax, one-hot, whose gradient is that of the relaxed sample
    (arXiv:1910.04465).

    With g Gumbel noise, ``soft = softmax((alpha + g) / tau)`` and ``mix = one_hot(argmax soft)``,
    so that each primitive is drawn as often as the softmax of alpha says; the backward pass takes
    ``mix`` for ``soft`` (straight-through). The temperature tau falls from 10 to 0.1 over the
    search, in proportion to the steps taken.

    Primitives that are not drawn are computed too, and so give their exact gradient to ``soft``.
    """

    def relax(alphas: Alphas, key: jax.Array, progress: jax.Array) -> Mix:
        temperature = _TEMPERATURE_START + (_TEMPERATURE_END - _TEMPERATURE_START) * progress
        mix = {}
        for number, (kind, cell) in enumerate(space.cells.items()):
            alpha = alphas[kind]
            noise = jax.random.gumbel(jax.random.fold_in(key, number), alpha.shape, alpha.dtype)
            logits = jnp.where(cell.allowed, alpha + noise, -jnp.inf)
            soft = jax.nn.softmax(logits / temperature)
            hard = jax.nn.one_hot(logits.argmax(1), alpha.shape[1], dtype=alpha.dtype)
            # In this order 0 and 1 are exact: the bracket is 0.
            mix[kind] = hard + (soft - jax.lax.stop_gradient(soft))
        return mix

    return Relaxation(space.init_alphas, relax, softmax(space).decode)
