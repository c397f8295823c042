"""Evaluators: what a point of a discrete space is worth."""

from search.evaluators.evaluator import Evaluator, Outcome
from search.evaluators.tabular import Tabular, tabular

__all__ = ["Evaluator", "Outcome", "Tabular", "tabular"]
