"""The methods that find architectures, by name: what each changes in the settings that all share,
or the strategy of black-box search that it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from search import SPACES, Config, Stages
from search.strategies import (
    ENAS,
    PPO,
    HierarchicalEvolution,
    LocalSearch,
    Progressive,
    RandomSearch,
    RegularizedEvolution,
    Strategy,
    Surrogate,
    TabularReinforce,
    successive_halving,
)


def _same(config: Config) -> Config:
    return config


def _no_stages(config: Config) -> Stages:
    return Stages()


@dataclass(frozen=True)
class Method:
    """A way to find architectures.

    Attributes:
        title: in tables.
        kind: as the papers' tables call it.
        change: from the settings that all methods share to its own, of the same cost.
        stages: from these settings, how it goes in stages.
        space: the space that it searches in place of "darts", if it must.
        strategy: of black-box search, at a size for some hundred trials.
        evaluator: what scores the trials of a strategy: training, briefly and from scratch, or
            shared weights, which the strategy's paths train, or uniform ones.
        tabular: whether it can be told the scores of a table.
    """

    title: str
    kind: str = "gradient-based"
    change: Callable[[Config], Config] = _same
    stages: Callable[[Config], Stages] = _no_stages
    space: str = "darts"
    strategy: Strategy | None = None
    evaluator: Literal["training", "shared", "shared_uniform"] = "training"
    tabular: bool = False

    def needs(self, space: str) -> str:
        """What it needs in place of a space by name, if it cannot search that; else nothing."""
        drawn = self.strategy is None and self.kind == "random"
        if space in SPACES or space == self.space or (drawn and self.space == "darts"):
            return ""
        if self.strategy is None:
            return f"a continuous space, of {', '.join(SPACES)}"
        if self.evaluator != "training":
            return f"a space with a supernet, of {', '.join(SPACES)}"
        return "" if self.space == "darts" else f"the space {self.space}"

    @property
    def trains_trials(self) -> bool:
        """Whether it trains every network that it tries."""
        return self.strategy is not None and self.evaluator == "training"

    @property
    def scored_by(self) -> str:
        """What scores the trials of its strategy, in words."""
        return "brief training" if self.evaluator == "training" else "shared weights"


def _changed(**changes: object) -> Callable[[Config], Config]:
    return lambda config: replace(config, **changes)  # type: ignore[arg-type]


def _thirds(config: Config) -> Config:
    """The epochs of each of three stages."""
    return replace(config, epochs=max(config.epochs // 3, 1))


def _growing(config: Config) -> Stages:
    """Stages that are on average as deep as the other methods' network, as published otherwise."""
    layers = config.layers
    return Stages((layers - 1, layers, layers + 1), (8, 5, 3), (0.1, 0.4, 0.7))


METHODS = {
    "first_order": Method("DARTS (first order)"),
    "second_order": Method("DARTS (second order)", change=_changed(gradient="second_order")),
    "unrolled": Method("DARTS (exact unrolled)", change=_changed(gradient="unrolled")),
    "gdas": Method("GDAS", change=_changed(relaxation="gumbel")),
    "drnas": Method("DrNAS", change=_changed(relaxation="dirichlet")),
    "fairdarts": Method(
        "FairDARTS",
        change=_changed(relaxation="sigmoid", penalty_weight=10.0),
        space="darts_without_none",
    ),
    "pcdarts": Method("PC-DARTS", change=_changed(relaxation="edge_softmax", partial=4)),
    "darts_pt": Method(
        "DARTS+PT",
        # Without tuning between the decisions, which would cost many times the search.
        change=_changed(selection="perturbation", selection_epochs=0),
        space="darts_without_none",
    ),
    "pdarts": Method("P-DARTS", change=_thirds, stages=_growing),
    "random": Method("Random cell", "random"),
    "random_search": Method("Random search", "random", strategy=RandomSearch(), tabular=True),
    "regularized_evolution": Method(
        "Regularized evolution",
        "evolution",
        # As NAS-Bench-201 has it.
        strategy=RegularizedEvolution(population=10, sample=3),
        tabular=True,
    ),
    "hierarchical_evolution": Method(
        "Evolution by tournament",
        "evolution",
        strategy=HierarchicalEvolution(initial=10),
        tabular=True,
    ),
    "local_search": Method("Local search", "local search", strategy=LocalSearch(), tabular=True),
    "reinforce": Method("REINFORCE", "RL", strategy=TabularReinforce(), tabular=True),
    "ppo": Method("Controller (PPO)", "RL", strategy=PPO(batch=10)),
    "surrogate": Method("Surrogate", "SMBO", strategy=Surrogate(), tabular=True),
    "progressive": Method("PNAS", "SMBO", space="pnas", strategy=Progressive(beam=16)),
    "halving": Method("Successive halving", "random", strategy=successive_halving(count=9, most=3)),
    "random_shared": Method(
        "Random search, shared weights",
        "random",
        strategy=RandomSearch(),
        evaluator="shared_uniform",
    ),
    "enas": Method("ENAS", "RL", strategy=ENAS(), evaluator="shared"),
}
