"""REINFORCE: a controller moves towards what was better than usual (arXiv:1611.01578)."""

import functools

import jax
import jax.numpy as jnp

from search.strategies.controller import LSTM, Table
from search.strategies.policy_gradient import Batch, PolicyGradient


def likelihood(batch: Batch) -> jax.Array:
    """``-mean(A log p)``, whose gradient is that of the expected reward (REINFORCE)."""
    return -jnp.mean(batch.advantage * batch.log_probability)


def reinforce() -> PolicyGradient:
    """REINFORCE as published with NAS-Bench-201 (arXiv:2001.00326): a table of logits, an update
    after each evaluation."""
    return PolicyGradient(Table, likelihood, learning_rate=0.01, decay=0.9)


def nas() -> PolicyGradient:
    """The first controller for architectures (arXiv:1611.01578): two layers of 35 units, updates
    from eight architectures. The paper leaves the decay of its baseline open, and cubes its scores.
    """
    controller = functools.partial(LSTM, hidden=35, layers=2, scale=0.08)
    return PolicyGradient(controller, likelihood, learning_rate=6e-4, decay=0.95, batch=8)
