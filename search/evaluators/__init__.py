"""Evaluators: what a point of a discrete space is worth."""

from search.evaluators.evaluator import Evaluator, Outcome

__all__ = ["Evaluator", "Outcome"]
