"""The space of NAS-Bench-201 (arXiv:2001.00326)."""

import functools

from jaxcv.genotype import SINGLE, Cell, Edge, Genotype, Output
from search.discrete import DiscreteSpace, Point
from search.spaces.canonical import canonical_graph

# (source, target), in the order of the decisions. State 0 is the input, 3 the output.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
PRIMITIVES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def nasbench201() -> DiscreteSpace:
    """15,625 cells of an input and three nodes: on each edge between two states one of five
    operations.

    Equal are two cells that compute the same, with the same parameters under other names: sums of
    operations on sums of operations on the input, where a skip connection is what it skips, and
    "none" nothing. What only zeros enter counts as nothing too; it adds a constant at most, the
    offset of a batch norm. Poolings, which have no parameters, are one if their inputs are.

    Of these 5,260 differ. The paper counts 6,466, by texts that keep zeros and the order of sums in
    sums, and that do not tell two operations from one that is used twice.
    """
    return DiscreteSpace("nasbench201", (PRIMITIVES,) * len(EDGES), decode, canonical)


def decode(point: Point) -> Genotype:
    """The cell of a point, all edges in it."""
    edges: dict[int, tuple[Edge, ...]] = {1: (), 2: (), 3: ()}
    for (source, target), choice in zip(EDGES, point, strict=True):
        edges[target] += ((PRIMITIVES[choice], source),)
    return Genotype({SINGLE: Cell(tuple(edges.values()), Output("concat", (3,)))})


@functools.cache
def canonical(point: Point) -> str:
    """The text of a point that its equals share."""
    # A state is a sum of terms. Term 0 is the input, each of the others the result of an operation.
    states: dict[int, tuple[int, ...]] = {0: (0,), 1: (), 2: (), 3: ()}
    terms: list[tuple[Edge, ...]] = []
    for (source, target), choice in zip(EDGES, point, strict=True):
        operation = PRIMITIVES[choice]
        if operation == "skip_connect":
            states[target] += states[source]
        elif operation != "none" and states[source]:
            term = tuple((operation, number) for number in states[source])
            if operation != "avg_pool_3x3" or term not in terms:
                terms.append(term)
                states[target] += (len(terms),)
            else:
                states[target] += (1 + terms.index(term),)
    total = tuple(("", number) for number in states[3])
    return canonical_graph(1, (*terms, total), (1 + len(terms),))
