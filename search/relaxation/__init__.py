"""From architecture weights to mixing weights: a file for each relaxation.

A relaxation is a function of a space, and makes a ``Relaxation``. A new one is a file and an entry
in ``RELAXATIONS``.
"""

from collections.abc import Callable

from search.relaxation.contract import Relaxation
from search.relaxation.dirichlet import dirichlet
from search.relaxation.edge_softmax import edge_softmax
from search.relaxation.gumbel import gumbel
from search.relaxation.sigmoid import sigmoid
from search.relaxation.softmax import softmax
from search.space import Space

__all__ = [
    "RELAXATIONS",
    "Relaxation",
    "dirichlet",
    "edge_softmax",
    "gumbel",
    "sigmoid",
    "softmax",
]

RELAXATIONS: dict[str, Callable[[Space], Relaxation]] = {
    "softmax": softmax,
    "gumbel": gumbel,
    "dirichlet": dirichlet,
    "sigmoid": sigmoid,
    "edge_softmax": edge_softmax,
}
