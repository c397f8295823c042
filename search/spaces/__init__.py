"""Search spaces by name: continuous ones, of mixed edges, and discrete ones, of decisions."""

import functools
from collections.abc import Callable

from search.discrete import DiscreteSpace
from search.recurrent.space import recurrent
from search.spaces.canonical import canonical_genotype, canonical_graph
from search.spaces.cells import discrete_cells, random_genotype
from search.spaces.continuous import SPACES, create_space
from search.spaces.hierarchical import hierarchical
from search.spaces.macro import macro
from search.spaces.nasbench201 import nasbench201
from search.spaces.pairs import amoebanet, enas_micro, nasnet, pair_cells, pnas


def _discrete_cells(name: str) -> DiscreteSpace:
    return discrete_cells(create_space(name), name)


DISCRETE_SPACES: dict[str, Callable[[], DiscreteSpace]] = {
    **{name: functools.partial(_discrete_cells, name) for name in SPACES},
    "recurrent": lambda: discrete_cells(recurrent(), "recurrent"),
    "nasnet": nasnet,
    "enas_micro": enas_micro,
    "pnas": pnas,
    "amoebanet": amoebanet,
    "nasbench201": nasbench201,
    "hierarchical": hierarchical,
    "macro": macro,
}


def create_discrete(name: str) -> DiscreteSpace:
    """The discrete space called ``name``.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in DISCRETE_SPACES:
        raise ValueError(f"space={name!r}; allowed are {', '.join(DISCRETE_SPACES)}")
    return DISCRETE_SPACES[name]()


__all__ = [
    "DISCRETE_SPACES",
    "SPACES",
    "canonical_genotype",
    "canonical_graph",
    "create_discrete",
    "create_space",
    "discrete_cells",
    "hierarchical",
    "macro",
    "nasbench201",
    "pair_cells",
    "random_genotype",
]
