"""Gradients of the bilevel problem ``min_alpha L_valid(w*(alpha), alpha)`` with ``w*(alpha) =
argmin_w L_train(w, alpha)`` (arXiv:1806.09055, equations 3 and 4).

``gradient(loss, inner, weights, alphas, train, valid)`` is the signature of all of them. They
return the validation loss with its metrics, and a gradient shaped as ``alphas``. The loss is the
one that is differentiated: at the present weights by ``first_order``, ``neumann`` and
``conjugate_gradient``, at the weights ahead by ``second_order`` and ``unrolled``.

With w the present weights, w' those ahead and v' the velocity that leads there:

- ``first_order``: ``d_alpha L_valid(w, alpha)``.
- ``second_order``: ``d_alpha L_valid(w', alpha) - xi d_alpha d_w L_train(w, alpha) . d_w'
  L_valid(w', alpha)``, the product by a finite difference, as published.
- ``unrolled``: the same exactly, and through more steps than one.
- ``neumann``, ``conjugate_gradient``: ``d_alpha L_valid(w, alpha) - d_alpha d_w L_train(w, alpha) .
  H^-1 d_w L_valid(w, alpha)``, where H is the Hessian of the training loss by the weights.

Products with second derivatives are forward over reverse, the tangent of a gradient, so that they
need the memory of about two gradients, whatever the number of steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.scipy.sparse.linalg import cg

# Of weights, architecture weights and a batch: the loss, and metrics beside it.
Loss = Callable[[Any, Any, Any], tuple[jax.Array, Any]]


class Inner(NamedTuple):
    """The inner problem: how the weights learn, and how far a gradient follows them.

    Attributes:
        learning_rate: of the weights, at this step; xi.
        momentum: of the weights' gradients.
        weight_decay: of the weights, added to their gradient.
        velocity: the momentum buffer, shaped as the weights.
        steps: of descent by ``unrolled``, terms by ``neumann``, iterations by
            ``conjugate_gradient``; at least 1.
        damping: added to the diagonal of the Hessian by ``neumann`` and ``conjugate_gradient``.
    """

    learning_rate: jax.Array
    momentum: float
    weight_decay: float
    velocity: Any
    steps: int = 1
    damping: float = 0.0

    def step(self, weights: Any, velocity: Any, gradient: Any) -> tuple[Any, Any]:
        """``v' = momentum v + gradient + weight_decay w`` and ``w' = w - learning_rate v'``."""
        decayed = _add(gradient, self.weight_decay, weights)
        velocity = _add(decayed, self.momentum, velocity)
        return _add(weights, -self.learning_rate, velocity), velocity


Gradient = Callable[[Loss, Inner, Any, Any, Any, Any], tuple[tuple[jax.Array, Any], Any]]


def first_order(
    loss: Loss, inner: object, weights: Any, alphas: Any, train: Any, valid: Any
) -> tuple[tuple[jax.Array, Any], Any]:
    """The architecture gradient with w* taken to be the present weights: equation 7 with xi = 0,
    ``d L_valid(w, alpha) / d alpha``.

    Args:
        loss: of weights, architecture weights and a batch.
        inner: not used here, as this approximation looks no step ahead.
        weights, alphas: present ones.
        train: a training batch; not used here either.
        valid: a validation batch.

    Returns:
        The validation loss with its metrics, and a gradient shaped as ``alphas``.
    """
    return jax.value_and_grad(loss, argnums=1, has_aux=True)(weights, alphas, valid)


def second_order(
    loss: Loss, inner: Inner, weights: Any, alphas: Any, train: Any, valid: Any
) -> tuple[tuple[jax.Array, Any], Any]:
    """The published approximation (arXiv:1806.09055, equations 7 and 8): one step ahead, and the
    product with the second derivative by a central difference, ``(d_alpha L_train(w + R g, alpha) -
    d_alpha L_train(w - R g, alpha)) / 2R`` with ``g = d_w' L_valid(w', alpha)`` and ``R = 0.01 /
    |g|``.

    The difference reaches beyond kinks of ReLU. On a small search network of the tests the product
    is 3 % off, in float32 as in float64.

    Args:
        loss, weights, alphas, train, valid: as for ``first_order``.
        inner: the step ahead.

    Returns:
        As ``first_order``, the loss at w'.
    """
    by_weights = _derivative(loss, 0)(weights, alphas, train)
    ahead, _ = inner.step(weights, inner.velocity, by_weights)
    value, (given, by_alphas) = _value_and_both(loss, ahead, alphas, valid)
    product = central_difference(loss, weights, alphas, train, given)
    return value, _add(by_alphas, -inner.learning_rate, product)


def central_difference(loss: Loss, weights: Any, alphas: Any, batch: Any, given: Any) -> Any:
    """``d_alpha d_w L . given`` as ``(d_alpha L(w + R given, alpha) - d_alpha L(w - R given,
    alpha)) / 2R`` with ``R = 0.01 / |given|``.

    Args:
        loss: of weights, architecture weights and a batch.
        weights, alphas, batch: where it is taken.
        given: shaped as ``weights``.
    """
    radius = 0.01 / optax.tree.norm(given)

    def at(distance: jax.Array) -> Any:
        return _derivative(loss, 1)(_add(weights, distance, given), alphas, batch)

    # One after the other in a loop, which is compiled once.
    ends = lax.map(at, jnp.stack([radius, -radius]))
    return jax.tree.map(lambda end: (end[0] - end[1]) / (2 * radius), ends)


def unrolled(
    loss: Loss, inner: Inner, weights: Any, alphas: Any, train: Any, valid: Any
) -> tuple[tuple[jax.Array, Any], Any]:
    """The exact derivative of ``L_valid(w_T(alpha), alpha)`` after T steps of gradient descent with
    momentum from the present weights and velocity.

    The way back through a step, from the derivatives by w' and v' to those by w, v and alpha, where
    p is all that reaches v'::

        p = d_v' - xi d_w'
        d_w = d_w' + (d_w d_w L_train + weight_decay) p
        d_v = momentum p
        d_alpha += d_alpha d_w L_train . p

    All T steps see the same training batch, which is the one that the weights learn from next. So
    it is one function whose descent is followed, the same whose minimum the implicit gradients
    are about, and a step of the search needs no batches beyond its two. Only the weights on the
    way are kept, T times their size; the rest is computed again on the way back.

    Args:
        loss, weights, alphas, train, valid: as for ``first_order``.
        inner: the steps ahead.

    Returns:
        As ``first_order``, the loss at w_T.
    """

    def forth(state: Any, _: None) -> tuple[Any, Any]:
        weights, velocity = state
        by_weights = _derivative(loss, 0)(weights, alphas, train)
        return inner.step(weights, velocity, by_weights), weights

    start = (weights, inner.velocity)
    (ahead, _), passed = lax.scan(forth, start, length=inner.steps)
    value, (by_weights, by_alphas) = _value_and_both(loss, ahead, alphas, valid)

    def back(derivatives: Any, weights: Any) -> tuple[Any, None]:
        by_weights, by_velocity, by_alphas = derivatives
        given = _add(by_velocity, -inner.learning_rate, by_weights)
        curved, mixed = _product(loss, (0, 1), weights, alphas, train, given)
        by_weights = _add(_add(by_weights, inner.weight_decay, given), 1, curved)
        return (by_weights, _scale(inner.momentum, given), _add(by_alphas, 1, mixed)), None

    by_velocity = jax.tree.map(jnp.zeros_like, weights)
    if inner.steps > 1:
        later = jax.tree.map(lambda weights: weights[1:], passed)
        derivatives = (by_weights, by_velocity, by_alphas)
        (by_weights, by_velocity, by_alphas), _ = lax.scan(back, derivatives, later, reverse=True)
    # Through the first step only the derivative by alpha is wanted.
    given = _add(by_velocity, -inner.learning_rate, by_weights)
    mixed = _product(loss, 1, weights, alphas, train, given)
    return value, _add(by_alphas, 1, mixed)


def neumann(
    loss: Loss, inner: Inner, weights: Any, alphas: Any, train: Any, valid: Any
) -> tuple[tuple[jax.Array, Any], Any]:
    """The implicit gradient with the first terms of a Neumann series (arXiv:1911.02590, equations 2
    and 3), ``H^-1 ~ xi sum_{i < terms} (1 - xi H)^i``.

    It is what ``unrolled`` finds in as many steps without momentum from weights that descent leaves
    where they are. The series converges where xi times the largest eigenvalue is below 2.

    Args:
        loss, weights, alphas, train, valid: as for ``first_order``.
        inner: the step size xi, the number of terms, and what is added to the Hessian.

    Returns:
        As ``first_order``.
    """

    def solve(hessian: Callable[[Any], Any], given: Any) -> Any:
        def following(_: int, state: Any) -> Any:
            term, total = state
            term = _add(term, -inner.learning_rate, hessian(term))
            return term, _add(total, 1, term)

        _, total = lax.fori_loop(1, inner.steps, following, (given, given))
        return _scale(inner.learning_rate, total)

    return _implicit(solve, loss, inner, weights, alphas, train, valid)


def conjugate_gradient(
    loss: Loss, inner: Inner, weights: Any, alphas: Any, train: Any, valid: Any
) -> tuple[tuple[jax.Array, Any], Any]:
    """The implicit gradient by a few iterations of conjugate gradient (arXiv:1602.02355,
    arXiv:1909.04630) on ``(H + damping) p = d_w L_valid(w, alpha)``.

    The method is for positive matrices, which the Hessian of a network is not without damping.

    Args:
        loss, weights, alphas, train, valid: as for ``first_order``.
        inner: the number of iterations, and what is added to the Hessian.

    Returns:
        As ``first_order``.
    """

    def solve(hessian: Callable[[Any], Any], given: Any) -> Any:
        return cg(hessian, given, tol=0.0, maxiter=inner.steps)[0]

    return _implicit(solve, loss, inner, weights, alphas, train, valid)


GRADIENTS: dict[str, Gradient] = {
    "first_order": first_order,
    "second_order": second_order,
    "unrolled": unrolled,
    "neumann": neumann,
    "conjugate_gradient": conjugate_gradient,
}


def _implicit(
    solve: Callable[[Callable[[Any], Any], Any], Any],
    loss: Loss,
    inner: Inner,
    weights: Any,
    alphas: Any,
    train: Any,
    valid: Any,
) -> tuple[tuple[jax.Array, Any], Any]:
    """The implicit function theorem at the present weights, where ``solve`` inverts the Hessian."""
    value, (by_weights, by_alphas) = _value_and_both(loss, weights, alphas, valid)

    def hessian(given: Any) -> Any:
        curved = _product(loss, 0, weights, alphas, train, given)
        return _add(curved, inner.weight_decay + inner.damping, given)

    given = solve(hessian, by_weights)
    return value, _add(by_alphas, -1, _product(loss, 1, weights, alphas, train, given))


def _derivative(loss: Loss, by: int | tuple[int, int]) -> Callable[..., Any]:
    return jax.grad(lambda *arguments: loss(*arguments)[0], by)


def _value_and_both(loss: Loss, weights: Any, alphas: Any, batch: Any) -> Any:
    return jax.value_and_grad(loss, (0, 1), has_aux=True)(weights, alphas, batch)


def _product(
    loss: Loss, by: int | tuple[int, int], weights: Any, alphas: Any, batch: Any, given: Any
) -> Any:
    """``d_by d_w L . given``: how the derivative changes as the weights move by ``given``."""
    derivative = _derivative(loss, by)
    return jax.jvp(lambda weights: derivative(weights, alphas, batch), (weights,), (given,))[1]


def _add(a: Any, factor: Any, b: Any) -> Any:
    return jax.tree.map(lambda a, b: a + factor * b, a, b)


def _scale(factor: Any, a: Any) -> Any:
    return jax.tree.map(lambda a: factor * a, a)
