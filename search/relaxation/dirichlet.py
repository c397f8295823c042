"""Mixing weights drawn from a Dirichlet distribution (DrNAS)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from search.relaxation.contract import Relaxation
from search.space import Alphas, Mix, Space


def dirichlet(space: Space) -> Relaxation:
    """``mix[e] ~ Dir(c[e])`` with concentrations ``c = elu(alpha) + 1`` (arXiv:2006.10355).

    A sample is differentiated by its concentrations as an implicit function of them. What is
    discretized is the mean, ``c[e, k] / sum_l c[e, l]``.

    The distance to Dir(1), to which alpha = 0 belongs, is held small by the decay of alpha (the
    published default, ``Config.alpha_weight_decay``) or by the penalty, the divergence
    ``KL(Dir(c) || Dir(1))`` summed over edges; then the decay is to be 0.
    """

    def relax(alphas: Alphas, key: jax.Array, progress: jax.Array) -> Mix:
        mix = {}
        for number, (kind, cell) in enumerate(space.cells.items()):
            # In logarithms, as a gamma variate of a small concentration underflows.
            variates = jax.random.loggamma(
                jax.random.fold_in(key, number), _concentration(alphas[kind])
            )
            mix[kind] = jax.nn.softmax(jnp.where(cell.allowed, variates, -jnp.inf))
        return mix

    def decode(alphas: Alphas) -> Mix:
        mix = {}
        for kind, cell in space.cells.items():
            concentration = jnp.where(cell.allowed, _concentration(alphas[kind]), 0)
            mix[kind] = concentration / concentration.sum(1, keepdims=True)
        return mix

    def penalty(alphas: Alphas) -> jax.Array:
        divergences = [
            _divergence(_concentration(alphas[kind]), cell.allowed).sum()
            for kind, cell in space.cells.items()
        ]
        return jnp.stack(divergences).sum()

    return Relaxation(space.init_alphas, relax, decode, penalty)


def _concentration(alpha: jax.Array) -> jax.Array:
    """``elu(alpha) + 1``, which for large negative alpha does not round to 0."""
    return jnp.where(alpha > 0, alpha + 1, jnp.exp(jnp.where(alpha > 0, 0, alpha)))


def _divergence(concentration: jax.Array, allowed: np.ndarray) -> jax.Array:
    """``KL(Dir(c) || Dir(1))`` of each edge over its primitives."""
    total = jnp.where(allowed, concentration, 0).sum(1)
    terms = (concentration - 1) * (digamma(concentration) - digamma(total)[:, None])
    terms -= gammaln(concentration)
    return gammaln(total) - gammaln(allowed.sum(1)) + jnp.where(allowed, terms, 0).sum(1)
