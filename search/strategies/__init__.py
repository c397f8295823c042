"""Strategies of a black-box search: what to try next, given what was found so far.

A strategy is a frozen dataclass of its settings with three pure functions. All it knows is in its
state, and all that is random in it comes from the seed, so the same answers lead to the same
questions: a search goes on after a stop by being told again what its history holds.
"""

from search.strategies.enas import ENAS
from search.strategies.halving import Halving, hyperband, successive_halving
from search.strategies.hierarchical_evolution import HierarchicalEvolution
from search.strategies.local_search import LocalSearch
from search.strategies.ppo import PPO
from search.strategies.progressive import Progressive
from search.strategies.random_search import RandomSearch
from search.strategies.regularized_evolution import RegularizedEvolution
from search.strategies.reinforce import Reinforce, TabularReinforce
from search.strategies.strategy import Proposal, Strategy
from search.strategies.surrogate import Surrogate

__all__ = [
    "ENAS",
    "PPO",
    "Halving",
    "HierarchicalEvolution",
    "LocalSearch",
    "Progressive",
    "Proposal",
    "RandomSearch",
    "RegularizedEvolution",
    "Reinforce",
    "Strategy",
    "Surrogate",
    "TabularReinforce",
    "hyperband",
    "successive_halving",
]
