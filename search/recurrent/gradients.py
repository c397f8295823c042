"""The gradients of a recurrent search, and the step that the weights take.

Losses are those of ``search.bilevel``. The weights' step has no momentum, and clips its gradient:
``w' = w - rate (c d_w L_train + decay w)`` with ``c = min(1, clip / |d_w L_train|)``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from search.bilevel import Loss, central_difference, first_order


class Descent(NamedTuple):
    """The step of the weights: its rate, the largest norm of a gradient, the weight decay."""

    rate: jax.typing.ArrayLike
    clip: float
    weight_decay: float

    def share(self, gradient: Any) -> jax.Array:
        """What a gradient is multiplied by, so that its norm is at most ``clip``."""
        return jnp.minimum(1, self.clip / optax.tree.norm(gradient))

    def step(self, weights: Any, gradient: Any) -> Any:
        """The weights after it."""
        share = self.share(gradient)
        return jax.tree.map(
            lambda w, g: w - self.rate * (share * g + self.weight_decay * w), weights, gradient
        )


def second_order(
    loss: Loss, descent: Descent, weights: Any, alphas: Any, train: Any, valid: Any
) -> tuple[tuple[jax.Array, Any], Any]:
    """The published approximation for the recurrent search (arXiv:1806.09055, equations 7 and 8),
    ``d_alpha L_valid(w', alpha) - rate c d_alpha d_w L_train(w, alpha) . v``, where v is the
    gradient ``d_w' L_valid(w', alpha)``, clipped as well, and the product a central difference.

    The published code takes for c what is greater than 1 where the gradient is smaller than
    ``clip``; here it never is.

    Args:
        loss: of weights, architecture weights and a segment.
        descent: the step ahead.
        weights, alphas: present ones.
        train, valid: a training and a validation segment.

    Returns:
        The validation loss at w' with what stands beside it, and a gradient shaped as ``alphas``.
    """
    by_weights, _ = jax.grad(loss, has_aux=True)(weights, alphas, train)
    ahead = descent.step(weights, by_weights)
    value, (vector, by_alphas) = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        ahead, alphas, valid
    )
    share = descent.share(vector)
    clipped = jax.tree.map(lambda v: share * v, vector)
    product = central_difference(loss, weights, alphas, train, clipped)
    rate = descent.rate * descent.share(by_weights)
    return value, jax.tree.map(lambda g, p: g - rate * p, by_alphas, product)


GRADIENTS: dict[str, Callable[[Loss, Descent, Any, Any, Any, Any], Any]] = {
    "first_order": first_order,
    "second_order": second_order,
}
