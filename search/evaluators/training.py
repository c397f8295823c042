"""An evaluator that trains the network of a point from scratch."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax

from jaxcv.analysis import count_parameters
from jaxcv.data import Dataset
from jaxcv.models import Architecture
from jaxcv.training import train
from jaxcv.training.classification import Config
from search.discrete import Point
from search.evaluators.evaluator import Outcome
from search.strategies import Proposal


@dataclass(frozen=True)
class FromScratch:
    """Scores a point by the accuracy of its network after training. A budget is in epochs, over
    which the schedules then run; by default there are those of the configuration.

    Attributes:
        decode: the architecture of a point, as of a ``DiscreteSpace``.
        dataset: whose training images train and whose test images score, so that these are a part
            of the training images, as of ``jaxcv.data.halved``.
        config: of the trainings.
    """

    decode: Callable[[Point], Architecture]
    dataset: Dataset
    config: Config

    def __call__(self, proposal: Proposal, seed: int) -> Outcome:
        """
        Raises:
            ValueError: for a network that the images are too small for, an auxiliary head that it
            cannot have, or a budget below 1.
            FloatingPointError: for a training that diverges.
        """
        epochs = self.config.epochs if proposal.budget is None else proposal.budget
        result = train.run(
            self.decode(proposal.point),
            self.dataset,
            replace(self.config, epochs=epochs, evaluate_every=epochs),
            jax.random.key(seed),
            progress=False,
        )
        return Outcome(
            result.history[-1]["test_accuracy"],
            {
                "loss": result.history[-1]["test_loss"],
                "parameters": count_parameters(result.model),
                "seconds": sum(epoch["seconds"] for epoch in result.history),
            },
        )
