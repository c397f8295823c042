"""An evaluator that scores points with the weights of one supernet."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.data import Split
from search.evaluators.evaluator import Outcome
from search.shared import Supernet, accuracies
from search.strategies import Proposal


@dataclass(frozen=True)
class SharedWeights:
    """Scores a point by its accuracy with shared weights.

    Attributes:
        supernet: whose weights.
        weights: of ``search.shared.train_shared``, as arrays of the host
            (``jax.device_get``), so that other processes can have them.
        split: validation images and labels.
        mean, std: of each channel, images scaled to 0..1.
        batch_size: images at once, of which batch norms take their statistics.
        batches: how many batches, drawn by the trial's seed; by default all.
    """

    supernet: Supernet
    weights: Any
    split: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int = 256
    batches: int | None = None

    def __call__(self, proposal: Proposal, seed: int) -> Outcome:
        split = self.split
        if self.batches is not None:
            order = np.random.default_rng(seed).permutation(len(split.labels))
            rows = order[: self.batches * self.batch_size]
            split = Split(split.images[rows], split.labels[rows])
        found = accuracies(
            self.supernet,
            self.weights,
            split,
            (self.mean, self.std),
            [proposal.point],
            batch_size=self.batch_size,
        )
        return Outcome(float(found[0]), {})
