"""Proximal policy optimization (arXiv:1707.06347), by which NASNet was found."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from search.strategies.controller import LSTM, Controller
from search.strategies.policy_gradient import Batch, PolicyGradient


@dataclass(frozen=True)
class Clipped:
    """The clipped objective (equation 7) with a bonus for entropy (equation 9), to be minimised:
    ``-mean(min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) + entropy * H)``, where r is the
    probability of a point over that with which it was drawn.

    Attributes:
        epsilon: how far the probability of a point may move before it counts no more.
        entropy: weight of the bonus.
    """

    epsilon: float = 0.2
    entropy: float = 1e-5

    def __call__(self, batch: Batch) -> jax.Array:
        """Of a batch."""
        ratio = jnp.exp(batch.log_probability - batch.drawn_log_probability)
        near = jnp.clip(ratio, 1 - self.epsilon, 1 + self.epsilon)
        gain = jnp.minimum(ratio * batch.advantage, near * batch.advantage)
        return -jnp.mean(gain + self.entropy * batch.entropy)


_OBJECTIVE = Clipped()


@dataclass(frozen=True)
class PPO(PolicyGradient):
    """The search for NASNet (arXiv:1707.07012): an LSTM of one layer of 100 units, and updates from
    twenty architectures. The steps of an update and epsilon, which it leaves open, are PPO's own.
    """

    controller: Callable[..., Controller] = LSTM
    objective: Callable[[Batch], jax.Array] = _OBJECTIVE
    learning_rate: float = 3.5e-4
    decay: float = 0.95
    batch: int = 20
    steps: int = 10
