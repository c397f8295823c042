"""What the mixed operation of all edges that leave one state is, in plain JAX."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv import functional


class Stage(NamedTuple):
    """ReLU, depthwise convolution, pointwise convolution, batch norm: the static part."""

    stride: int
    padding: int
    dilation: int


class Static(NamedTuple):
    """What is known of a call before it is compiled.

    Attributes:
        edges: number of edges E.
        normalized: of each shared term, whether it goes through a batch norm.
        branches: the stages of each branch.
    """

    edges: int
    normalized: tuple[bool, ...]
    branches: tuple[tuple[Stage, ...], ...]

    @property
    def stages(self) -> int:
        return sum(map(len, self.branches))


@jax.custom_jvp
def _known(computed: jax.Array, known: jax.Array) -> jax.Array:
    """A value that need not be computed again, with the derivatives of the computation."""
    return known


_known.defjvp(lambda primals, tangents: (primals[1], tangents[0]))


def by_definition(
    static: Static, arguments: Sequence[jax.Array], known: Sequence[jax.Array] | None = None
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The edges' results, and those of all pointwise convolutions [E, batch, height, width, C].

    Args:
        static: of the call.
        arguments: of the primitive, for one search.
        known: the second result, if it has been computed before.
    """
    x, mix, *rest = arguments
    mix = mix.astype(x.dtype)
    number = len(static.normalized)
    terms, flat_kernels = list(rest[:number]), rest[number:]
    pairs = iter(zip(flat_kernels[::2], flat_kernels[1::2], strict=True))
    kernels = [[next(pairs) for _ in branch] for branch in static.branches]
    starts = np.cumsum([0, *map(len, static.branches)])
    results: list[Any] = [None] * static.stages
    states: list[Any] = [None] * len(static.branches)
    # All branches together, stage after stage: an accelerator takes less time for few large
    # products and sums than for many small ones, and far less to compile them.
    for depth in range(max(map(len, static.branches), default=0)):
        going = [k for k, branch in enumerate(static.branches) if depth < len(branch)]
        images = [
            _depthwise(states[k], x, kernels[k][depth][0], static.branches[k][depth]) for k in going
        ]
        pointwise = jnp.stack([kernels[k][depth][1] for k in going])
        y = jax.vmap(jax.vmap(functional.pointwise_conv2d))(jnp.stack(images), pointwise)
        if known is not None:
            y = _known(y, jnp.stack([known[starts[k] + depth] for k in going]))
        normal = jax.vmap(jax.vmap(_normal))(y)
        for place, k in enumerate(going):
            results[starts[k] + depth], states[k] = y[place], normal[place]
    if any(static.normalized):
        pooled = [q for q, normalized in enumerate(static.normalized) if normalized]
        normal = jax.vmap(_normal)(jnp.stack([terms[q] for q in pooled]))
        for q, term in zip(pooled, normal, strict=True):
            terms[q] = term
    total = jnp.zeros((static.edges, 1, 1, 1, 1), x.dtype)
    if terms:
        total += _weighted(mix[:, :number], jnp.stack(terms)[:, None])
    if states:
        total += _weighted(mix[:, number:], jnp.stack(states))
    return list(total), results


def _normal(y: jax.Array) -> jax.Array:
    return functional.batch_norm(y)[0]


def _weighted(mix: jax.Array, terms: jax.Array) -> jax.Array:
    """``y[e] = sum_q mix[e, q] terms[q, e]``, or with terms that are the same on all edges."""
    return (mix.T[..., None, None, None, None] * terms).sum(0)


def _depthwise(state: jax.Array | None, x: jax.Array, kernel: jax.Array, stage: Stage) -> jax.Array:
    """[E, batch, height', width', C] of a state of each edge, or of x, which all edges share."""
    stride, padding, dilation = stage

    def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return functional.depthwise_conv2d(
            jax.nn.relu(images), kernel, stride=stride, padding=padding, dilation=dilation
        )

    if state is None:
        return jax.vmap(convolve, (None, 0))(x, kernel)
    return jax.vmap(convolve)(state, kernel)
