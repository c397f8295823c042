"""From mixing weights to a genotype."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import LinearConstraint, milp

from jaxcv.genotype import Cell, Edge, Genotype, first_node, of_all_nodes
from search.space import CellSpace, Space


class Limit(NamedTuple):
    """A bound on what the chosen primitives cost together.

    Attributes:
        name: of the cost.
        costs: of each primitive on each edge, [edges, primitives] by cell kind.
        most: what they may cost at most.
    """

    name: str
    costs: Mapping[str, np.ndarray]
    most: float


# Of a cell kind, [edges, primitives]: the weight of what may be chosen, else minus infinity; and
# whether it is chosen.
_Weights = dict[str, np.ndarray]
_Chosen = dict[str, np.ndarray]


def discretize(
    space: Space,
    mix: Mapping[str, np.ndarray],
    *,
    threshold: float | None = None,
    limits: Sequence[Limit] = (),
) -> Genotype:
    """The genotype of the largest mixing weights (arXiv:1806.09055, section 2.4).

    On each edge the primitive with the largest weight, "none" apart, stands for the edge; of the
    edges into a node those ``keep`` stay whose weight is largest; earlier ones win ties. This makes
    the sum of the weights chosen in all cells as large as it can be. Under limits it is the largest
    of those that respect them, found exactly, by integer programming.

    Of these edges those stay whose weight reaches a threshold (arXiv:1911.12126). Nodes that none
    enters any more are left out, with the edges that leave them; if this leaves no node of a cell,
    the threshold does not count for it. The output of a cell is made of all its nodes.

    Args:
        space: that the weights belong to.
        mix: mixing weights [edges, primitives] by cell kind.
        threshold: least weight of an edge, if any.
        limits: to respect.

    Raises:
        ValueError: for weights of another shape, or that are not finite, and for limits that no
            genotype respects.
    """
    weights = {kind: _candidates(kind, cell, mix) for kind, cell in space.cells.items()}
    chosen = {kind: _strongest(cell, weights[kind]) for kind, cell in space.cells.items()}
    if any(_cost(limit, chosen) > limit.most for limit in limits):
        chosen = _strongest_within(space, weights, limits)
    cells = {}
    for kind, cell in space.cells.items():
        cells[kind] = _cell(kind, cell, chosen[kind])
        if threshold is not None:
            kept = _cell(kind, cell, chosen[kind] & (weights[kind] >= threshold))
            cells[kind] = kept if kept.nodes else cells[kind]
    return Genotype(cells)


def strongest(space: Space, mix: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mixing weights [edges, primitives] by cell kind that make the supernet the network of
    ``discretize(space, mix)``: 1 for what stays, 0 for the rest."""
    return {
        kind: _strongest(cell, _candidates(kind, cell, mix)).astype(np.float32)
        for kind, cell in space.cells.items()
    }


def _candidates(kind: str, cell: CellSpace, mix: Mapping[str, np.ndarray]) -> np.ndarray:
    weights = np.asarray(mix[kind])
    if weights.shape != cell.allowed.shape or not np.isfinite(weights).all():
        raise ValueError(
            f"mix[{kind!r}] has shape {weights.shape}; allowed is {cell.allowed.shape}, all finite"
        )
    return np.where(cell.selectable, weights, -np.inf)


def _strongest(cell: CellSpace, weights: np.ndarray) -> np.ndarray:
    best, strength = weights.argmax(1), weights.max(1)
    chosen = np.zeros(weights.shape, bool)
    for incoming in cell.incoming:
        for edge in sorted(incoming, key=lambda edge: -strength[edge])[: cell.keep]:
            chosen[edge, best[edge]] = True
    return chosen


def _cost(limit: Limit, chosen: _Chosen) -> float:
    return sum(float(limit.costs[kind][picks].sum()) for kind, picks in chosen.items())


def _strongest_within(space: Space, weights: _Weights, limits: Sequence[Limit]) -> _Chosen:
    """Of each node ``keep`` edges and of each of them one primitive, so that the sum of weights is
    largest: a variable, 0 or 1, for each candidate.

    The solver allows itself a tolerance, so that a solution may be over a limit by a little; such a
    one is cut off, and the problem solved again.
    """
    candidates = {kind: np.isfinite(weights[kind]) for kind in space.cells}

    def row(values: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([values[kind][mask] for kind, mask in candidates.items()])

    rows: list[np.ndarray] = []
    bounds: list[tuple[float, float]] = []
    for kind, cell in space.cells.items():
        for incoming in cell.incoming:
            for edges, least, most in [
                *(([edge], 0, 1) for edge in incoming),
                (list(incoming), cell.keep, cell.keep),
            ]:
                values = {other: np.zeros(mask.shape) for other, mask in candidates.items()}
                values[kind][edges] = 1
                rows.append(row(values))
                bounds.append((least, most))
    for limit in limits:
        rows.append(row(limit.costs))
        bounds.append((-np.inf, limit.most))
    ends = np.cumsum([mask.sum() for mask in candidates.values()])
    while True:
        found = milp(
            -row(weights),
            integrality=1,
            bounds=(0, 1),
            constraints=LinearConstraint(np.array(rows), *np.transpose(bounds)),
            options={"mip_rel_gap": 0},
        )
        if found.x is None:
            asked = ", ".join(f"{limit.name} of {limit.most:,.0f}" for limit in limits)
            raise ValueError(
                f"limits of {asked} at most; allowed are those that a genotype can meet"
            )
        picks = found.x > 0.5
        chosen = {kind: np.zeros(mask.shape, bool) for kind, mask in candidates.items()}
        for (kind, mask), part in zip(candidates.items(), np.split(picks, ends[:-1]), strict=True):
            chosen[kind][mask] = part
        if all(_cost(limit, chosen) <= limit.most for limit in limits):
            return chosen
        rows.append(picks.astype(float))
        bounds.append((-np.inf, picks.sum() - 1))


def _cell(kind: str, cell: CellSpace, chosen: np.ndarray) -> Cell:
    """The cell of what is chosen, nodes without edges left out."""
    first = first_node(kind)
    states = {number: number for number in range(first)}
    nodes: list[tuple[Edge, ...]] = []
    for number, incoming in enumerate(cell.incoming, first):
        edges = []
        for edge in incoming:
            source = cell.edges[edge][0]
            if source in states:
                names = itertools.compress(cell.vocabulary, chosen[edge])
                edges += [(name, states[source]) for name in names]
        if edges:
            states[number] = len(nodes) + first
            nodes.append(tuple(edges))
    return Cell(tuple(nodes), of_all_nodes(kind, len(nodes)))
