"""From mixing weights to a genotype."""

from collections.abc import Mapping

import jax
import numpy as np

from jaxcv.genotype import Cell, Genotype, Output
from search.space import CellSpace, Space


def discretize(space: Space, mix: Mapping[str, np.ndarray]) -> Genotype:
    """The genotype of the largest mixing weights (arXiv:1806.09055, section 2.4).

    On each edge the primitive with the largest weight, "none" apart, stands for the edge; of the
    edges into a node those ``keep`` stay whose weight is largest; earlier ones win ties. The output
    of a cell is the concatenation of its nodes.

    Args:
        space: that the weights belong to.
        mix: mixing weights [edges, primitives] by cell kind.

    Raises:
        ValueError: for weights of another shape, or that are not finite.
    """
    return Genotype({kind: _cell(kind, cell, mix) for kind, cell in space.cells.items()})


def random_genotype(space: Space, key: jax.Array) -> Genotype:
    """A genotype drawn uniformly: the edges that stay, and the primitive of each, "none" apart."""
    mix = {
        kind: jax.random.uniform(jax.random.fold_in(key, number), cell.allowed.shape)
        for number, (kind, cell) in enumerate(space.cells.items())
    }
    return discretize(space, jax.device_get(mix))


def _cell(kind: str, cell: CellSpace, mix: Mapping[str, np.ndarray]) -> Cell:
    weights = np.asarray(mix[kind])
    if weights.shape != cell.allowed.shape or not np.isfinite(weights).all():
        raise ValueError(
            f"mix[{kind!r}] has shape {weights.shape}; allowed is {cell.allowed.shape}, all finite"
        )
    candidates = cell.allowed & (np.array(cell.vocabulary) != "none")
    weights = np.where(candidates, weights, -np.inf)
    best, strength = weights.argmax(1), weights.max(1)
    nodes = []
    for node in range(2, cell.nodes + 2):
        incoming = [edge for edge, (_, target) in enumerate(cell.edges) if target == node]
        strongest = sorted(incoming, key=lambda edge: -strength[edge])[: cell.keep]
        nodes.append(
            tuple((cell.vocabulary[best[edge]], cell.edges[edge][0]) for edge in sorted(strongest))
        )
    return Cell(tuple(nodes), Output("concat", tuple(range(2, cell.nodes + 2))))
