"""The relaxation of DARTS."""

import jax
import jax.numpy as jnp

from search.relaxation.contract import Relaxation, without_samples
from search.space import Alphas, Mix, Space


def softmax(space: Space) -> Relaxation:
    """``mix[e, k] = exp(alpha[e, k]) / sum_l exp(alpha[e, l])`` over the primitives of edge e
    (arXiv:1806.09055, equation 2)."""

    def decode(alphas: Alphas) -> Mix:
        return {
            kind: jax.nn.softmax(jnp.where(cell.allowed, alphas[kind], -jnp.inf))
            for kind, cell in space.cells.items()
        }

    return Relaxation(space.init_alphas, without_samples(decode), decode)
