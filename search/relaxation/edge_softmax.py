"""Edges that compete, beside primitives that do (PC-DARTS)."""

import jax
import jax.numpy as jnp
import numpy as np

from search.relaxation.contract import Relaxation, without_samples
from search.relaxation.softmax import softmax
from search.space import Alphas, CellSpace, Mix, Space


def edge_softmax(space: Space) -> Relaxation:
    """``mix[e, k] = softmax_k(alpha[e]) softmax_e(beta)[e]``, the second softmax over the edges
    into a node (arXiv:1907.05737).

    The edges' weights beta, [edges], stand under the name of the cell kind and "_edges". With
    ``Config.partial`` they also scale the channels that go past the mixed operation.
    """
    primitives = softmax(space)

    def init(key: jax.Array) -> Alphas:
        alphas = space.init_alphas(key)
        for number, (kind, cell) in enumerate(space.cells.items(), len(space.cells)):
            noise = jax.random.normal(jax.random.fold_in(key, number), (len(cell.edges),))
            alphas[f"{kind}_edges"] = 1e-3 * noise
        return alphas

    def decode(alphas: Alphas) -> Mix:
        return {
            kind: mix * _of_nodes(space.cells[kind], alphas[f"{kind}_edges"])[:, None]
            for kind, mix in primitives.decode(alphas).items()
        }

    return Relaxation(init, without_samples(decode), decode)


def _of_nodes(cell: CellSpace, beta: jax.Array) -> jax.Array:
    """[edges] to the softmax among the edges into the same node."""
    targets = np.array([target for _, target in cell.edges])
    enters = targets == np.unique(targets)[:, None]
    return jax.nn.softmax(jnp.where(enters, beta, -jnp.inf)).sum(0)
