"""What every evaluator is."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from search.strategies import Proposal


class Outcome(NamedTuple):
    """What an evaluation found.

    Attributes:
        score: the larger the better, such as the accuracy on a validation half.
        metrics: more numbers by name, such as ``test_accuracy``, ``parameters``,
            ``multiply_adds`` or ``seconds``.
    """

    score: float
    metrics: Mapping[str, float]


class Evaluator(Protocol):
    """Scores proposals. It can be pickled, since trials may run in other processes. Trials that
    cannot be made or diverge raise, and the search goes on."""

    def __call__(self, proposal: Proposal, seed: int) -> Outcome:
        """The worth of a proposal; the seed, of the trial, decides all that is random in it."""
