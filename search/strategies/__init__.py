"""Strategies of a black-box search: what to try next, given what was found so far.

A strategy is a frozen dataclass of its settings with three pure functions. All it knows is in its
state, and all that is random in it comes from the seed, so the same answers lead to the same
questions: a search goes on after a stop by being told again what its history holds.
"""

from search.strategies.strategy import Proposal, Strategy

__all__ = ["Proposal", "Strategy"]
