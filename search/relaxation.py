"""From architecture weights to mixing weights: one function for each relaxation.

A relaxation is made for a space and is called as ``relax(alphas, key, step) -> mix``. Both are
dicts by cell kind of [edges, primitives]; an edge's mixing weights are 0 on primitives that it does
not have. Key and step are for relaxations that sample or change over the search.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from search.space import Alphas, Mix, Space

Relaxation = Callable[[Alphas, jax.Array, jax.Array], Mix]


def softmax(space: Space) -> Relaxation:
    """The relaxation of DARTS (arXiv:1806.09055, equation 2): ``mix[e, k] = exp(alpha[e, k]) /
    sum_l exp(alpha[e, l])`` over the primitives of edge e."""

    def relax(alphas: Alphas, key: jax.Array, step: jax.Array) -> Mix:
        return {
            kind: jax.nn.softmax(jnp.where(cell.allowed, alphas[kind], -jnp.inf))
            for kind, cell in space.cells.items()
        }

    return relax
