"""ENAS: a controller on scores that shared weights give (arXiv:1802.03268)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax

from search.strategies.controller import LSTM, Controller
from search.strategies.policy_gradient import Batch, PolicyGradient
from search.strategies.reinforce import likelihood

_CONTROLLER = functools.partial(LSTM, hidden=100, tanh_constant=2.5, temperature=5.0)


@dataclass(frozen=True)
class ENAS(PolicyGradient):
    """The controller of ENAS: REINFORCE on an LSTM of one layer of 100 units with bounded logits,
    where the entropy of the decisions is rewarded. It is for an evaluator with shared weights,
    which scores a point on a batch of validation images at little cost.

    The decay is that of the released code. Its other settings there are not the paper's, which
    these are, for convolutional cells; for recurrent ones the weight of the entropy is 1e-4.
    """

    controller: Callable[..., Controller] = _CONTROLLER
    objective: Callable[[Batch], jax.Array] = likelihood
    learning_rate: float = 3.5e-4
    decay: float = 0.99
    entropy: float = 0.1
