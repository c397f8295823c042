"""The space of recurrent cells as a value."""

from dataclasses import dataclass

from jaxcv.blocks.operations import ACTIVATIONS
from jaxcv.functional._arguments import positive
from jaxcv.genotype import RECURRENT, Cell, Genotype
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
        self._check_primitives({"none": None, **ACTIVATIONS})

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
