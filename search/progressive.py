"""Searches in stages, from many primitives in a shallow network to few in a deep one (P-DARTS,
arXiv:1904.12760)."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from jaxcv.training.run import Run, write_atomically
from search.config import Config
from search.discretize import Limit, discretize
from search.relaxation import RELAXATIONS
from search.runner import Result, run
from search.space import CellSpace, Space

# Stands for the weight of a primitive that is gone: less than all others together.
_GONE = -1e3


@dataclass(frozen=True)
class Stages:
    """How a search changes from stage to stage; by default it has none."""

    layers: tuple[int, ...] = ()
    """Number of cells in each stage."""
    primitives: tuple[int, ...] = ()
    """How many primitives each edge mixes in each stage, at most."""
    skip_dropout: tuple[float, ...] = ()
    """Dropout on skip connections at the start of each stage."""
    skips: int = 2
    """Skip connections in the normal cell of the genotype, at most, if there are stages."""

    def __post_init__(self) -> None:
        if not len(self.layers) == len(self.primitives) == len(self.skip_dropout):
            raise ValueError(
                f"layers={self.layers!r}, primitives={self.primitives!r} and "
                f"skip_dropout={self.skip_dropout!r}; allowed are as many of each"
            )
        # One of two may be "none", which no genotype has.
        if any(number < 2 for number in self.primitives):
            raise ValueError(f"primitives={self.primitives!r}; allowed is at least 2 in each stage")
        if self.skips < 0:
            raise ValueError(f"skips={self.skips!r}; allowed is at least 0")


def run_stages(
    space: Space,
    images: np.ndarray,
    labels: np.ndarray,
    config: Config,
    key: jax.Array,
    stages: Stages,
    *,
    limits: Sequence[Limit] = (),
    folder: Run | None = None,
    on_epoch: Callable[[dict[str, Any]], object] = lambda row: None,
    **settings: Any,
) -> Result:
    """A search by ``run`` in each stage. Weights and architecture weights start afresh; each edge
    goes on with its primitives of the largest mixing weights, "none" among them.

    The genotype is the best one, by the sum of the last mixing weights, that has no more skip
    connections in its normal cell than allowed. (The published code instead takes out the weakest
    skip connection until few are left, which may end at a smaller sum.)

    Args:
        space, images, labels, key, limits, on_epoch, settings: as for ``run``.
        config: of each stage, its layers and dropout apart.
        stages: at least one.
        folder: a run to write to and to go on with; each stage has a folder in it.

    Returns:
        The genotype; architecture weights and weights of the last stage; a history of all, in
        which epochs and steps count on and mixing weights have the columns of ``space``.

    Raises:
        ValueError, FloatingPointError, KeyboardInterrupt: as ``run``, and without stages.
    """
    if not stages.layers:
        raise ValueError(f"stages={stages!r}; allowed is at least one stage")
    # A stage goes on from the last mixing weights.
    for name, allowed in (("selection", "weights"), ("early_stop", False)):
        if getattr(config, name) != allowed:
            raise ValueError(f"{name}={getattr(config, name)!r}; allowed in stages is {allowed}")
    if folder is not None:
        folder.begin()
        folder.rewind(0)
    mix: Mapping[str, np.ndarray] = {
        kind: np.where(cell.allowed, 0.0, _GONE) for kind, cell in space.cells.items()
    }
    bounds = [*limits, Limit("skip connections", _skips(space), stages.skips)]
    # Before all the work: that some genotype meets them.
    discretize(space, mix, limits=bounds)
    history: list[dict[str, Any]] = []
    for number, (layers, primitives, skip_dropout) in enumerate(
        zip(stages.layers, stages.primitives, stages.skip_dropout, strict=True), 1
    ):
        narrow = shrink(space, mix, primitives)
        before = history[-1] if history else {"epoch": 0, "step": 0}
        counted_on = functools.partial(_counted_on, space, narrow, number, before)

        def report(row: dict[str, Any], of: Any = counted_on) -> None:
            on_epoch(of(row))

        own = replace(config, layers=layers, skip_dropout=skip_dropout)
        result = run(
            narrow,
            images,
            labels,
            own,
            jax.random.fold_in(key, number),
            folder=folder and Run.within(folder.path / f"stage_{number}", "search"),
            on_epoch=report,
            **settings,
        )
        for row in map(counted_on, result.history):
            history.append(row)
            if folder is not None:
                folder.log(row)
        last = jax.device_get(RELAXATIONS[own.relaxation](narrow).decode(result.alphas))  # type: ignore[arg-type]
        mix = _widened(space, narrow, last, _GONE)
    # Primitives that are gone come back only if the limits cannot be met without them.
    genotype = discretize(space, mix, threshold=config.threshold, limits=bounds)
    if folder is not None:
        write_atomically(folder.path / "genotype.json", genotype.to_json())
    return result._replace(genotype=genotype, history=history)


def _counted_on(
    space: Space, narrow: Space, stage: int, before: Mapping[str, Any], row: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of a stage as one of the whole search, which had come to the row before."""
    mix = _widened(space, narrow, row["mix"], 0.0)
    return {
        **row,
        "stage": stage,
        "epoch": before["epoch"] + row["epoch"],
        "step": before["step"] + row["step"],
        "mix": {kind: weights.tolist() for kind, weights in mix.items()},
    }


def shrink(space: Space, mix: Mapping[str, np.ndarray], primitives: int) -> Space:
    """The space of the primitives with the largest mixing weights.

    Args:
        space: to shrink.
        mix: mixing weights [edges, primitives] by cell kind; negative ones are never kept.
        primitives: how many an edge keeps, at most; of equal ones the first.
    """
    return Space(
        {
            kind: replace(
                cell,
                primitives=tuple(_largest(cell, weights, primitives) for weights in mix[kind]),
            )
            for kind, cell in space.cells.items()
        }
    )


def _largest(cell: CellSpace, weights: np.ndarray, primitives: int) -> tuple[str, ...]:
    largest = np.argsort(-weights, kind="stable")[:primitives]
    return tuple(cell.vocabulary[column] for column in sorted(largest) if weights[column] >= 0)


def _widened(
    space: Space, narrow: Space, mix: Mapping[str, Any], missing: float
) -> dict[str, np.ndarray]:
    """Mixing weights of a narrow space in the columns of the whole one."""
    wide = {}
    for kind, cell in space.cells.items():
        inner = narrow.cells[kind]
        columns = [cell.vocabulary.index(name) for name in inner.vocabulary]
        wide[kind] = np.full(cell.allowed.shape, missing)
        wide[kind][:, columns] = np.where(inner.allowed, mix[kind], missing)
    return wide


def _skips(space: Space) -> dict[str, np.ndarray]:
    """1 for each skip connection of the normal cell."""
    return {
        kind: np.where(
            [name == "skip_connect" and kind == "normal" for name in cell.vocabulary],
            cell.allowed.astype(int),
            0,
        )
        for kind, cell in space.cells.items()
    }
