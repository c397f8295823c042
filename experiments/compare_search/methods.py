"""The methods that find cells, by name: what each changes in the settings that all share."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from search import Config, Stages


def _same(config: Config) -> Config:
    return config


def _no_stages(config: Config) -> Stages:
    return Stages()


@dataclass(frozen=True)
class Method:
    """A way to find cells.

    Attributes:
        title: in tables.
        kind: as the papers' tables call it.
        change: from the settings that all methods share to its own, of the same cost.
        stages: from these settings, how it goes in stages.
        space: the space that it searches in place of "darts", if it must.
    """

    title: str
    kind: str = "gradient-based"
    change: Callable[[Config], Config] = _same
    stages: Callable[[Config], Stages] = _no_stages
    space: str = "darts"


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
    "pdarts": Method("P-DARTS", change=_thirds, stages=_growing),
    "random": Method("Random cell", kind="random"),
}
