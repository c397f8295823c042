"""REINFORCE: a controller moves towards what was better than usual."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from search.strategies.controller import LSTM, Controller, Table
from search.strategies.policy_gradient import Batch, PolicyGradient

_CONTROLLER = functools.partial(LSTM, hidden=35, layers=2, scale=0.08)


def likelihood(batch: Batch) -> jax.Array:
    """``-mean(A log p)``, whose gradient estimates that of the expected reward, negated."""
    return -jnp.mean(batch.advantage * batch.log_probability)


@dataclass(frozen=True)
class Reinforce(PolicyGradient):
    """The first search by a controller (arXiv:1611.01578): an LSTM of two layers of 35 units.

    The paper leaves the decay of its baseline open, and takes its scores to the power of three.
    """

    controller: Callable[..., Controller] = _CONTROLLER
    objective: Callable[[Batch], jax.Array] = likelihood
    learning_rate: float = 6e-4
    decay: float = 0.95
    batch: int = 8


@dataclass(frozen=True)
class TabularReinforce(PolicyGradient):
    """REINFORCE on a table of logits, as its authors run it on NAS-Bench-201
    (arXiv:2009.00437)."""

    controller: Callable[..., Controller] = Table
    objective: Callable[[Batch], jax.Array] = likelihood
    learning_rate: float = 0.01
    decay: float = 0.9
