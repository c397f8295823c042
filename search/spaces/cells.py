"""The genotypes that a continuous space leads to, as a discrete one."""

import functools
import itertools

import jax
import numpy as np

from jaxcv.genotype import Cell, Edge, Genotype, of_all_nodes
from search.discrete import DiscreteSpace, Point
from search.space import CellSpace, Space
from search.spaces.canonical import canonical_genotype


def discrete_cells(space: Space, name: str) -> DiscreteSpace:
    """The space of all genotypes that discretization of a continuous one may lead to.

    Of each node one decision says which of its edges stay, then one for each of these, in the
    order of their sources, the primitive on it, "none" apart. So every point is a genotype of its
    own, and all are drawn with the same probability. The output is made of all nodes.

    Where the edges into a node do not have the same primitives, an option stands for the one of
    that rank on whichever edge stays, and points with a rank that it has not are not allowed.
    """
    options: list[tuple[str, ...]] = []
    for cell in space.cells.values():
        for incoming in cell.incoming:
            kept = itertools.combinations((cell.edges[edge][0] for edge in incoming), cell.keep)
            options.append(tuple(",".join(map(str, sources)) for sources in kept))
            ranks = itertools.zip_longest(*(_primitives(cell, edge) for edge in incoming))
            names = tuple("/".join(dict.fromkeys(filter(None, rank))) for rank in ranks)
            options += [names] * cell.keep
    return DiscreteSpace(
        name,
        tuple(options),
        functools.partial(_decode, space),
        functools.partial(_canonical, space),
        allowed=functools.partial(_allowed, space),
    )


def random_genotype(space: Space, key: jax.Array) -> Genotype:
    """A genotype of a continuous space, all drawn with the same probability."""
    points = discrete_cells(space, "random")
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return points.decode(points.sample(random))


def _primitives(cell: CellSpace, edge: int) -> tuple[str, ...]:
    return tuple(name for name in cell.primitives[edge] if name != "none")


def _nodes(cell: CellSpace, taken: list[int]) -> list[list[tuple[int, int]]]:
    """Takes the decisions of a cell: for each node the edges that stay, with their ranks."""
    nodes = []
    for incoming in cell.incoming:
        combination, *ranks = (taken.pop(0) for _ in range(1 + cell.keep))
        kept = next(
            itertools.islice(itertools.combinations(incoming, cell.keep), combination, None)
        )
        nodes.append(list(zip(kept, ranks, strict=True)))
    return nodes


def _decode(space: Space, point: Point) -> Genotype:
    taken, cells = list(point), {}
    for kind, cell in space.cells.items():
        nodes: list[tuple[Edge, ...]] = [
            tuple((_primitives(cell, edge)[rank], cell.edges[edge][0]) for edge, rank in node)
            for node in _nodes(cell, taken)
        ]
        cells[kind] = Cell(tuple(nodes), of_all_nodes(kind, len(nodes)))
    return Genotype(cells)


def _canonical(space: Space, point: Point) -> str:
    return canonical_genotype(_decode(space, point))


def _allowed(space: Space, point: Point) -> bool:
    taken = list(point)
    return all(
        rank < len(_primitives(cell, edge))
        for cell in space.cells.values()
        for node in _nodes(cell, taken)
        for edge, rank in node
    )
