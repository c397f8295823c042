"""The hierarchical space: motifs of motifs (arXiv:1711.00436)."""

import functools
from typing import NamedTuple

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace, Point
from search.spaces.canonical import canonical_graph

PRIMITIVES = (
    "identity",
    "conv_1x1",
    "depthwise_conv_3x3",
    "sep_conv_3x3",
    "max_pool_3x3",
    "avg_pool_3x3",
)


class Motif(NamedTuple):
    """A directed acyclic graph of nodes 0, 1, ...: the first is its input, the last its output.

    Attributes:
        nodes: number of nodes.
        edges: (operation, source, target) in the order of the targets, then of the sources. An
            operation is the name of a primitive, or a motif of the level below.
    """

    nodes: int
    edges: tuple[tuple["str | Motif", int, int], ...]


def hierarchical(
    levels: tuple[tuple[int, int], ...] = ((6, 4), (1, 5)),
    primitives: tuple[str, ...] = PRIMITIVES,
) -> DiscreteSpace:
    """On the first level there are primitives, on each further one motifs whose edges are what is
    on the level below, or none. The one motif of the last level is the architecture.

    Each use of a motif has parameters of its own. Equal are motifs if some renaming of the nodes
    between input and output turns one into the other, with edges that are equal in turn. Before,
    what lies on no path from the input to the output is left out, and a motif without a path is
    "none". How motifs of a level are numbered, and those that are not used, do not count. Identity
    is an operation as any other.

    Args:
        levels: of each level after the first the numbers of its motifs and of their nodes.
        primitives: names of those on the first level.

    Raises:
        ValueError: for motifs of less than two nodes, and more than one on the last level.
    """
    options: list[tuple[str, ...]] = []
    below = primitives
    for motifs, nodes in levels:
        positive(motifs=motifs)
        if nodes < 2:
            raise ValueError(f"levels={levels!r}; allowed are motifs of at least two nodes")
        options += [("none", *below)] * (motifs * nodes * (nodes - 1) // 2)
        below = tuple(f"motif{number}" for number in range(motifs))
    if len(below) != 1 or not levels:
        raise ValueError(f"levels={levels!r}; allowed is one motif on the last level")
    return DiscreteSpace(
        "hierarchical",
        tuple(options),
        functools.partial(_decode, levels, primitives),
        functools.partial(_canonical, levels, primitives),
    )


def canonical_motif(motif: Motif) -> str:
    """The text of a motif that its equals share."""
    reached: dict[int, list[tuple[str, int]]] = {0: []}
    for operation, source, target in motif.edges:
        label = operation if isinstance(operation, str) else canonical_motif(operation)
        if label != "none" and source in reached:
            reached.setdefault(target, []).append((label, source))
    output = motif.nodes - 1
    if output not in reached:
        return "none"
    nodes = [reached.get(node, []) for node in range(1, motif.nodes)]
    return f"({canonical_graph(1, nodes, {output})})"


def _decode(
    levels: tuple[tuple[int, int], ...], primitives: tuple[str, ...], point: Point
) -> Motif:
    taken = iter(point)
    below: list[str | Motif] = list(primitives)
    for motifs, nodes in levels:
        level: list[str | Motif] = []
        for _ in range(motifs):
            edges = []
            for target in range(1, nodes):
                for source in range(target):
                    if choice := next(taken):
                        edges.append((below[choice - 1], source, target))
            level.append(Motif(nodes, tuple(edges)))
        below = level
    (motif,) = below
    assert isinstance(motif, Motif)
    return motif


def _canonical(
    levels: tuple[tuple[int, int], ...], primitives: tuple[str, ...], point: Point
) -> str:
    return canonical_motif(_decode(levels, primitives, point))
