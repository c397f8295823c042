"""The space of recurrent cells as a value, and from mixing weights to one of its cells."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from jaxcv.blocks.operations import ACTIVATIONS, check_operation
from jaxcv.functional._arguments import positive
from jaxcv.genotype import RECURRENT, Cell, Genotype, Output
from search.space import CellSpace, Space

# The five of arXiv:1806.09055, in the order of its reference implementation.
PRIMITIVES = ("none", "tanh", "relu", "sigmoid", "identity")


@dataclass(frozen=True)
class RecurrentCellSpace(CellSpace):
    """The recurrent cells that one may become.

    State 0 is made of the word and the hidden state, state i is node i. Every node takes an edge
    from each earlier state; one of them stays.

    Attributes:
        edges: (source, node) states of each edge, ordered node by node, source by source.
        primitives: for each edge the names of the activations that it mixes.

    Raises:
        ValueError: for other edges, an unknown activation, or an edge without one.
    """

    keep: int = 1

    def __post_init__(self) -> None:
        if self.edges != _edges(self.nodes) or self.keep != 1:
            raise ValueError(
                f"edges={self.edges!r} of which {self.keep} stay; allowed is one from each earlier "
                "state to each node, node by node, of which 1 stays"
            )
        if len(self.edges) != len(self.primitives):
            raise ValueError(
                f"primitives has {len(self.primitives)} entries; allowed is one for each of the "
                f"{len(self.edges)} edges"
            )
        for names in self.primitives:
            if not set(names) - {"none"}:
                raise ValueError(f"primitives has {names}; allowed is at least one besides 'none'")
            for name in names:
                check_operation(name, {"none": None, **ACTIVATIONS})

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return max((node for _, node in self.edges), default=1)


def _edges(nodes: int) -> tuple[tuple[int, int], ...]:
    return tuple((source, node) for node in range(1, nodes + 1) for source in range(node))


def recurrent(nodes: int = 8, activations: tuple[str, ...] = PRIMITIVES) -> Space:
    """The space of arXiv:1806.09055: every node takes an edge from each earlier state, every edge
    mixes all activations, and one edge of each node stays.

    Raises:
        ValueError: for nodes below 1 or an unknown activation.
    """
    positive(nodes=nodes)
    edges = _edges(nodes)
    return Space({RECURRENT: RecurrentCellSpace(edges, (tuple(activations),) * len(edges))})


def cell_of(space: Space) -> RecurrentCellSpace:
    """The recurrent cell's part of a space.

    Raises:
        ValueError: for a space of other cells.
    """
    cell = space.cells.get(RECURRENT)
    if len(space.cells) != 1 or not isinstance(cell, RecurrentCellSpace):
        raise ValueError(f"space has cells of kind {', '.join(space.cells)}; allowed is recurrent")
    return cell


def discretize(space: Space, mix: Mapping[str, np.ndarray]) -> Genotype:
    """The genotype of the largest mixing weights (arXiv:1806.09055, section 2.4).

    On each edge the activation with the largest weight, "none" apart, stands for the edge; of the
    edges into a node the one stays whose weight is largest; earlier ones win ties. The output is
    the mean of all nodes.

    Args:
        space: that the weights belong to.
        mix: mixing weights [edges, activations] under "recurrent".

    Raises:
        ValueError: for weights of another shape, or that are not finite.
    """
    cell = cell_of(space)
    weights = np.asarray(mix[RECURRENT])
    if weights.shape != cell.allowed.shape or not np.isfinite(weights).all():
        raise ValueError(
            f"mix[{RECURRENT!r}] has shape {weights.shape}; allowed is {cell.allowed.shape}, all "
            "finite"
        )
    candidates = cell.allowed & (np.array(cell.vocabulary) != "none")
    weights = np.where(candidates, weights.astype(float), -np.inf)
    nodes, start = [], 0
    for node in range(1, cell.nodes + 1):
        own = weights[start : start + node]
        source, column = np.unravel_index(int(np.argmax(own)), own.shape)
        nodes.append(((cell.vocabulary[column], int(source)),))
        start += node
    return Genotype(
        {RECURRENT: Cell(tuple(nodes), Output("mean", tuple(range(1, cell.nodes + 1))))}
    )


def random_genotype(space: Space, key: jax.Array) -> Genotype:
    """A genotype drawn uniformly: the source of each node, and its activation, "none" apart."""
    weights = jax.random.uniform(key, cell_of(space).allowed.shape)
    return discretize(space, {RECURRENT: jax.device_get(weights)})


def recurrent_cell(genotype: Genotype) -> Cell:
    """The cell of a recurrent genotype.

    Raises:
        ValueError: for a genotype of other cells.
    """
    if set(genotype.cells) != {RECURRENT}:
        raise ValueError(
            f"genotype has cells of kind {', '.join(genotype.cells)}; allowed is recurrent"
        )
    return genotype.cells[RECURRENT]
