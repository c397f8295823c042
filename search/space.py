"""A search space as a value: for each kind of cell its nodes, edges and primitives."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxcv.blocks.operations import OPERATIONS, check_operation
from jaxcv.functional._arguments import positive

Alphas = dict[str, jax.Array]
Mix = dict[str, jax.Array]

# The eight of arXiv:1806.09055, in the order of its reference implementation.
PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


@dataclass(frozen=True)
class CellSpace:
    """The cells that one kind of cell may become.

    States 0 and 1 are the cell's inputs, state ``2 + i`` is node i, the sum of its mixed edges.

    Attributes:
        edges: (source, node) states of each edge, ordered node by node, source by source.
        primitives: for each edge the names of the operations that it mixes.
        keep: how many edges of a node stay in the genotype.

    Raises:
        ValueError: for an edge that does not lead forward, a node with fewer than ``keep`` edges
            or an unknown operation.
    """

    edges: tuple[tuple[int, int], ...]
    primitives: tuple[tuple[str, ...], ...]
    keep: int = 2

    def __post_init__(self) -> None:
        if not self.edges:
            raise ValueError("edges=(); allowed is at least one")
        self._check_primitives(OPERATIONS)
        for edge in self.edges:
            if not 0 <= edge[0] < edge[1] or edge[1] < 2:
                raise ValueError(f"edges has {edge}; allowed is (source, node), source < node >= 2")
        for node in range(2, self.nodes + 2):
            incoming = sum(edge[1] == node for edge in self.edges)
            if not 1 <= self.keep <= incoming:
                raise ValueError(
                    f"keep={self.keep!r}; allowed are 1 to {incoming}, the edges of node {node}"
                )

    def _check_primitives(self, known: Mapping[str, Any]) -> None:
        if len(self.edges) != len(self.primitives):
            raise ValueError(
                f"primitives has {len(self.primitives)} entries; allowed is one for each of the "
                f"{len(self.edges)} edges"
            )
        for names in self.primitives:
            if not set(names) - {"none"}:
                raise ValueError(f"primitives has {names}; allowed is at least one besides 'none'")
            for name in names:
                check_operation(name, known)

    @property
    def nodes(self) -> int:
        """Number of intermediate nodes."""
        return max(node for _, node in self.edges) - 1

    @functools.cached_property
    def incoming(self) -> tuple[tuple[int, ...], ...]:
        """For each node the edges that enter it."""
        return tuple(
            tuple(edge for edge, (_, target) in enumerate(self.edges) if target == node)
            for node in sorted({node for _, node in self.edges})
        )

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The primitives of all edges: the columns of architecture and mixing weights."""
        return tuple(dict.fromkeys(name for names in self.primitives for name in names))

    @functools.cached_property
    def allowed(self) -> np.ndarray:
        """[edges, primitives], whether an edge has a primitive."""
        return np.array([[name in names for name in self.vocabulary] for names in self.primitives])

    @functools.cached_property
    def selectable(self) -> np.ndarray:
        """[edges, primitives], whether a genotype may have it: what is allowed, "none" apart."""
        return self.allowed & (np.array(self.vocabulary) != "none")


@dataclass(frozen=True)
class Space:
    """A search space: the possible cells by kind ("normal", "reduce")."""

    cells: Mapping[str, CellSpace]

    def init_alphas(self, key: jax.Array) -> Alphas:
        """Architecture weights by cell kind, each [edges, primitives], 1e-3 times normal."""
        return {
            kind: 1e-3 * jax.random.normal(jax.random.fold_in(key, number), cell.allowed.shape)
            for number, (kind, cell) in enumerate(self.cells.items())
        }


def darts(nodes: int = 4, primitives: tuple[str, ...] = PRIMITIVES) -> Space:
    """The space of arXiv:1806.09055: every node takes an edge from each earlier state, every edge
    mixes all primitives, and two edges of each node stay.

    Raises:
        ValueError: for nodes below 1 or an unknown operation.
    """
    positive(nodes=nodes)
    edges = tuple((source, node) for node in range(2, nodes + 2) for source in range(node))
    cell = CellSpace(edges, (tuple(primitives),) * len(edges))
    return Space({"normal": cell, "reduce": cell})
