"""Primitives that do not compete (FairDARTS)."""

import jax
import jax.numpy as jnp

from search.relaxation.contract import Relaxation, without_samples
from search.space import Alphas, Mix, Space


def sigmoid(space: Space) -> Relaxation:
    """``mix[e, k] = 1 / (1 + exp(-alpha[e, k]))``, from alpha = 0 on (arXiv:1911.12126).

    The penalty is the zero-one loss, minus the mean of ``(mix - 1/2)^2`` over all primitives of
    all edges; its published weight is 10. The genotype leaves out edges below a
    threshold, ``Config.threshold``, published as 0.85.
    """

    def init(key: jax.Array) -> Alphas:
        return {kind: jnp.zeros(cell.allowed.shape) for kind, cell in space.cells.items()}

    def decode(alphas: Alphas) -> Mix:
        return {
            kind: jnp.where(cell.allowed, jax.nn.sigmoid(alphas[kind]), 0)
            for kind, cell in space.cells.items()
        }

    def penalty(alphas: Alphas) -> jax.Array:
        squares = [
            jnp.where(cell.allowed, (jax.nn.sigmoid(alphas[kind]) - 0.5) ** 2, 0).sum()
            for kind, cell in space.cells.items()
        ]
        return -jnp.stack(squares).sum() / sum(cell.allowed.sum() for cell in space.cells.values())

    return Relaxation(init, without_samples(decode), decode, penalty)
