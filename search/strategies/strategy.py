"""What every strategy is."""

from typing import Any, NamedTuple, Protocol

from search.discrete import DiscreteSpace, Point


class Proposal(NamedTuple):
    """What to evaluate.

    Attributes:
        point: of the space.
        budget: how much to spend on it, in units of the evaluator such as epochs; None for all
            that the evaluator usually spends.
    """

    point: Point
    budget: int | None = None


class Strategy(Protocol):
    """A method of search. States are never changed in place."""

    def init(self, space: DiscreteSpace, seed: int) -> Any:
        """A fresh state."""

    def ask(self, state: Any) -> tuple[Proposal, Any]:
        """What to evaluate next, and the state after having asked. It may be asked several times
        before it is told."""

    def tell(self, state: Any, proposal: Proposal, score: float | None) -> Any:
        """The state after the score of a proposal is known, the larger the better; None for one
        that failed. Proposals are told in the order in which they were asked."""
