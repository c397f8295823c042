"""The spaces of cells whose nodes are pairs: NASNet, ENAS (micro), PNAS, AmoebaNet."""

import functools

from jaxcv.functional._arguments import positive
from jaxcv.genotype import Cell, Genotype, Output
from search.discrete import DiscreteSpace, Point
from search.spaces.canonical import canonical_graph

# Each in the order of its paper. "skip_connect" is what they call identity. As the networks of
# DARTS have them, dilated convolutions are separable, and 1x7 stands for 1x7 then 7x1.
NASNET = (
    "skip_connect",
    "conv_3x1_1x3",
    "conv_7x1_1x7",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
ENAS = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
PNAS = (
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "conv_7x1_1x7",
    "skip_connect",
    "avg_pool_3x3",
    "max_pool_3x3",
    "dil_conv_3x3",
)
AMOEBANET = (
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "avg_pool_3x3",
    "max_pool_3x3",
    "dil_conv_3x3",
    "conv_7x1_1x7",
)


def pair_cells(
    name: str, operations: tuple[str, ...], *, blocks: int = 5, growing: bool = False
) -> DiscreteSpace:
    """Cells whose nodes are sums of two operations, each on any earlier state.

    There are two kinds of cell, and the output of each is the concatenation of the nodes that no
    other takes. Of each node there are four decisions: both inputs, then both operations. First
    come those of the normal cell, then those of the reduction cell.

    Args:
        name: of the space.
        operations: names of those to choose from.
        blocks: nodes of a cell.
        growing: whether one cell is for both kinds, its output is made of all its nodes, and cells
            of fewer nodes are architectures too: the stages of the space.

    Raises:
        ValueError: for blocks below 1, and without operations.
    """
    positive(blocks=blocks)
    cell: list[tuple[str, ...]] = []
    for node in range(2, blocks + 2):
        cell += [tuple(map(str, range(node)))] * 2 + [tuple(operations)] * 2
    return DiscreteSpace(
        name,
        tuple(cell if growing else 2 * cell),
        functools.partial(_decode, operations, growing),
        functools.partial(_canonical, operations, growing),
        stages=tuple(range(4, len(cell) + 1, 4)) if growing else (),
    )


def nasnet() -> DiscreteSpace:
    """The space of NASNet (arXiv:1707.07012): 5 nodes, 13 operations, two kinds of cell.

    Both results of a node are added. Its other way to combine them, concatenation, which no
    published cell uses, is left out, as in the spaces after it.
    """
    return pair_cells("nasnet", NASNET)


def enas_micro() -> DiscreteSpace:
    """The micro space of ENAS (arXiv:1802.03268): 5 nodes, 5 operations, two kinds of cell."""
    return pair_cells("enas_micro", ENAS)


def pnas() -> DiscreteSpace:
    """The space of PNAS (arXiv:1712.00559): 1 to 5 nodes, 8 operations, one cell for both kinds.

    All nodes make the output, as in the network that its authors published.
    """
    return pair_cells("pnas", PNAS, growing=True)


def amoebanet() -> DiscreteSpace:
    """The space of AmoebaNet (arXiv:1802.01548): 5 nodes, 8 operations, two kinds of cell.

    Its mutations, of an input and of an operation, are those of the decisions. The new input is an
    earlier node, where the paper allows any that makes no circle.
    """
    return pair_cells("amoebanet", AMOEBANET)


def _cells(operations: tuple[str, ...], growing: bool, point: Point) -> list[Cell]:
    """The cell of both kinds, or the normal and the reduction cell."""
    length = len(point) if growing else len(point) // 2
    cells = []
    for start in range(0, len(point), length):
        decisions = iter(point[start : start + length])
        nodes = tuple(
            ((operations[c], a), (operations[d], b))
            for a, b, c, d in zip(*[decisions] * 4, strict=True)
        )
        taken = set() if growing else {source for node in nodes for _, source in node}
        states = (state for state in range(2, len(nodes) + 2) if state not in taken)
        cells.append(Cell(nodes, Output("concat", tuple(states))))
    return cells


def _decode(operations: tuple[str, ...], growing: bool, point: Point) -> Genotype:
    cells = _cells(operations, growing, point)
    return Genotype({"normal": cells[0], "reduce": cells[-1]})


def _canonical(operations: tuple[str, ...], growing: bool, point: Point) -> str:
    return " ".join(
        f"[{canonical_graph(2, cell.nodes, cell.output.states)}]"
        for cell in _cells(operations, growing, point)
    )
