"""Gradients of the bilevel problem ``min_alpha L_valid(w*(alpha), alpha)`` with ``w*(alpha) =
argmin_w L_train(w, alpha)`` (arXiv:1806.09055, equations 3 and 4)."""

from collections.abc import Callable
from typing import Any

import jax

# Of weights, architecture weights and a batch: the loss, and metrics beside it.
Loss = Callable[[Any, Any, Any], tuple[jax.Array, Any]]


def first_order(
    loss: Loss, weights: Any, alphas: Any, train: Any, valid: Any
) -> tuple[tuple[jax.Array, Any], Any]:
    """The architecture gradient with w* taken to be the present weights: equation 7 with xi = 0,
    ``d L_valid(w, alpha) / d alpha``.

    Args:
        loss: of weights, architecture weights and a batch.
        weights, alphas: present ones.
        train: a training batch; not used here, as this approximation looks no step ahead.
        valid: a validation batch.

    Returns:
        The validation loss with its metrics, and a gradient shaped as ``alphas``.
    """
    return jax.value_and_grad(loss, argnums=1, has_aux=True)(weights, alphas, valid)
