"""ENAS: REINFORCE on scores that shared weights give (arXiv:1802.03268)."""

import functools

from search.strategies.controller import LSTM
from search.strategies.policy_gradient import PolicyGradient
from search.strategies.reinforce import likelihood


def enas() -> PolicyGradient:
    """The controller of ENAS for cells: one layer of 100 units with bounded logits, and the entropy
    of its decisions rewarded. To be asked and told over an evaluator with shared weights, which
    scores a point on a batch of validation images.

    The decay is the released code's; its other settings there differ from the paper's, which are
    taken here. Recurrent cells have an entropy weight of 1e-4 in the paper instead of 0.1.
    """
    controller = functools.partial(LSTM, hidden=100, tanh_constant=2.5, temperature=5.0)
    return PolicyGradient(controller, likelihood, learning_rate=3.5e-4, decay=0.99, entropy=0.1)
