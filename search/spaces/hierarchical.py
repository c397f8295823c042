"""The hierarchical space: motifs of motifs (arXiv:1711.00436)."""

import functools

from jaxcv.functional._arguments import positive
from jaxcv.models.motif import PRIMITIVES, Motif, live_edges
from search.discrete import DiscreteSpace, Point
from search.spaces.canonical import canonical_graph


def hierarchical(
    levels: tuple[tuple[int, int], ...] = ((6, 4), (1, 5)),
    primitives: tuple[str, ...] = tuple(PRIMITIVES),
) -> DiscreteSpace:
    """On the first level there are primitives, on each further one motifs whose edges are what is
    on the level below, or none. The one motif of the last level is the architecture; points in
    which no path leads from its input to its output are not allowed.

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
        allowed=functools.partial(_allowed, levels, primitives),
    )


def canonical_motif(motif: Motif) -> str:
    """The text of a motif that its equals share."""
    nodes: list[list[tuple[str, int]]] = [[] for _ in range(1, motif.nodes)]
    for operation, source, target in live_edges(motif):
        label = canonical_motif(operation) if isinstance(operation, Motif) else operation
        nodes[target - 1].append((label, source))
    return f"({canonical_graph(1, nodes, {motif.nodes - 1})})"


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


def _allowed(
    levels: tuple[tuple[int, int], ...], primitives: tuple[str, ...], point: Point
) -> bool:
    return bool(live_edges(_decode(levels, primitives, point)))
