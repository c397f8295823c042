"""Watching a search for collapse (arXiv:1909.09656): the curvature of the validation loss in the
architecture weights, what the cells are made of, and when to stop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from jaxcv.functional._arguments import positive
from jaxcv.genotype import Genotype

Loss = Callable[[Any], jax.Array]

FIRST_EPOCH = 10
"""Earlier growth of the eigenvalue is no reason to stop: a search begins with it."""
WINDOW, DELTA, FACTOR = 5, 4, 1.3
"""Of the rule by which the eigenvalue grew; see ``growth``."""
MANY_SKIPS = 4
"""Skip connections of a normal cell of 8 edges that DARTS collapsed to."""


def hessian_product(loss: Loss, alphas: Any, vector: Any) -> Any:
    """``d^2 L / d alpha^2 v``, exactly: the derivative of the gradient along v.

    Args:
        loss: of architecture weights, a scalar.
        alphas: where the Hessian is taken.
        vector: shaped as ``alphas``.
    """
    return jax.jvp(jax.grad(loss), (alphas,), (vector,))[1]


def largest_eigenvalue(loss: Loss, alphas: Any, key: jax.Array, steps: int = 24) -> jax.Array:
    """The largest eigenvalue of ``d^2 L / d alpha^2``, by Lanczos' method.

    From a random start, each step multiplies the last of the vectors found by the Hessian and
    orthogonalizes the product against all of them. The largest eigenvalue of the tridiagonal matrix
    of the coefficients is a lower bound, and after as many steps as there are architecture weights
    exact.

    Args:
        loss: of architecture weights, a scalar.
        alphas: where the Hessian is taken.
        key: of the start.
        steps: products to compute, at most the number of architecture weights.

    Returns:
        A scalar.

    Raises:
        ValueError: for steps below 1.
    """
    positive(steps=steps)
    flat, unravel = ravel_pytree(alphas)
    steps = min(steps, flat.size)
    first = jax.random.normal(key, flat.shape, flat.dtype)
    basis = jnp.zeros((steps + 1, flat.size), flat.dtype).at[0].set(first / jnp.linalg.norm(first))

    def step(basis: jax.Array, number: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        vector = basis[number]
        product, _ = ravel_pytree(hessian_product(loss, alphas, unravel(vector)))
        scale = jnp.linalg.norm(product)
        diagonal = vector @ product
        # Once leaves errors of rounding that grow from step to step; twice does not.
        for _ in range(2):
            product = product - (basis @ product) @ basis
        beside = jnp.linalg.norm(product)
        # Where nothing is left the vectors found span all that the start can reach.
        left = beside > 1e3 * jnp.finfo(flat.dtype).eps * scale
        following = jnp.where(left, product / jnp.where(left, beside, 1), 0)
        return basis.at[number + 1].set(following), (diagonal, jnp.where(left, beside, 0))

    basis, (diagonal, beside) = lax.scan(step, basis, jnp.arange(steps))
    # A vector of zeros stands for none, and its zero is no eigenvalue.
    diagonal = jnp.where(jnp.any(basis[:-1] != 0, 1), diagonal, diagonal[0])
    tridiagonal = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    return jnp.linalg.eigvalsh(tridiagonal)[-1]


def spectrum(loss: Loss, alphas: Any) -> jax.Array:
    """All eigenvalues of ``d^2 L / d alpha^2``, ascending, one for each architecture weight.

    Args:
        loss: of architecture weights, a scalar.
        alphas: where the Hessian is taken.
    """
    flat, unravel = ravel_pytree(alphas)

    def row(vector: jax.Array) -> jax.Array:
        return ravel_pytree(hessian_product(loss, alphas, unravel(vector)))[0]

    # One after another, so that it needs no more memory than one product.
    hessian = lax.map(row, jnp.eye(flat.size, dtype=flat.dtype))
    return jnp.linalg.eigvalsh((hessian + hessian.T) / 2)


def entropy(mix: Mapping[str, np.ndarray]) -> float:
    """The mean entropy of an edge's mixing weights, in nats: ``- sum_k p_k log p_k``, where p is
    scaled to the sum 1. Edges whose weights are all 0 do not count."""
    rows = [row for weights in mix.values() for row in np.asarray(weights, float) if row.any()]
    edges = [row / row.sum() for row in rows]
    return float(np.mean([-(p[p > 0] * np.log(p[p > 0])).sum() for p in edges]))


def skip_connections(genotype: Genotype) -> dict[str, int]:
    """How many edges of each cell are skip connections."""
    return {
        kind: sum(operation == "skip_connect" for node in cell.nodes for operation, _ in node)
        for kind, cell in genotype.cells.items()
    }


def growth(
    eigenvalues: Sequence[float],
    *,
    first: int = 0,
    window: int = WINDOW,
    delta: int = DELTA,
    factor: float = FACTOR,
) -> int | None:
    """From where on the largest eigenvalue grew as it does before a collapse (arXiv:1909.09656,
    section 4.3).

    Eigenvalues are smoothed by the mean of ``window`` of them, which stands for the middle one, and
    compared with those of ``delta`` evaluations before.

    Args:
        eigenvalues: in the order of the search.
        first: the first evaluation that may be given back.
        window, delta: in evaluations.
        factor: of growth.

    Returns:
        The number of the first evaluation, from ``first`` on, within ``delta`` of which the
        smoothed eigenvalue grew by more than ``factor``; None if there is none. There the search
        stops, and the genotype of that evaluation is its result.
    """
    ends = range(window, len(eigenvalues) + 1)
    smoothed = [float(np.mean(eigenvalues[end - window : end])) for end in ends]
    for before, after in enumerate(range(delta, len(smoothed))):
        found = before + window // 2
        # Written as a product, since a quotient of negative ones says nothing.
        if found >= first and smoothed[after] > factor * max(smoothed[before], 0.0):
            return found
    return None


def before_growth(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row of metrics of one search after which its eigenvalue grew, if there is one."""
    watched, first = _watched(rows)
    found = growth([row["eigenvalue"] for row in watched], first=first)
    return None if found is None else watched[found]


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the watch says of a search, in words: whether it collapsed, and by which sign.

    Signs are an eigenvalue that grew as ``growth`` has it, and a normal cell that has
    ``MANY_SKIPS`` skip connections or more after the last epoch.

    Args:
        rows: of metrics of one search, at least one. Of a search in stages those of the last count,
            since each has another supernet.
    """
    rows = [row for row in rows if row.get("stage") == rows[-1].get("stage")]
    watched, first = _watched(rows)
    grew, skips = before_growth(rows), rows[-1]["skip_connections"]
    signs, others = [], []
    if grew is not None:
        signs.append(
            f"the largest eigenvalue grew more than {FACTOR} times after epoch {grew['epoch']}"
        )
    elif not watched:
        others.append("the largest eigenvalue was not watched")
    elif len(watched) < max(first - WINDOW // 2, 0) + WINDOW + DELTA:
        others.append("too few eigenvalues to say whether they grew")
    else:
        others.append(f"the largest eigenvalue did not grow {FACTOR} times")
    counted = f"{skips} skip connection{'' if skips == 1 else 's'} in the normal cell"
    (signs if skips >= MANY_SKIPS else others).append(counted)
    said = [
        f"Collapsed: {', '.join(signs)}" if signs else f"No sign of a collapse: {', '.join(others)}"
    ]
    if signs and others:
        said.append(f"Beside that: {', '.join(others)}")
    if watched:
        start, end = watched[0], watched[-1]
        said.append(
            f"From epoch {start['epoch']} to {end['epoch']} the largest eigenvalue went from "
            f"{start['eigenvalue']:.3g} to {end['eigenvalue']:.3g}"
        )
        said.append(
            f"In epoch {end['epoch']} the supernet had {100 * end['valid_accuracy']:.1f} % accuracy"
            f" on the second half, discretized {100 * end['discretized_accuracy']:.1f} %"
        )
    return ". ".join(said) + "."


def _watched(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], int]:
    """The rows with an eigenvalue, and how many of them are from before ``FIRST_EPOCH``."""
    watched = [row for row in rows if "eigenvalue" in row]
    return watched, sum(row["epoch"] < FIRST_EPOCH for row in watched)
