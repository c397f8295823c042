"""Zero-cost proxies: what an untrained network promises, from one batch. The larger the better.

They are pure functions of a network function ``apply(weights, images) -> logits``, its weights, and
a batch. ``proxies`` computes all of them.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.blocks.operations import Identity
from jaxcv.layers import BatchNorm
from jaxcv.training.loss import cross_entropy
from search.evaluators.relus import relu_inputs

Apply = Callable[[Any, jax.Array], jax.Array]
# Of ReLUs, each [batch, ...], and how many ReLUs have it.
Inputs = Iterable[tuple[jax.Array, jax.typing.ArrayLike]]
N = TypeVar("N", bound=Any)

PROXIES = ("synflow", "naswot", "snip", "grad_norm", "jacobian_covariance")


def loss_gradient(apply: Apply, weights: Any, images: jax.Array, labels: jax.Array) -> Any:
    """Of the cross-entropy of a batch, in the weights: what ``grad_norm`` and ``snip`` read."""
    return jax.grad(lambda weights: cross_entropy(apply(weights, images), labels))(weights)


def grad_norm(gradient: Any) -> jax.Array:
    """``sum_l ||dL / dk_l||`` over the kernels of all layers (arXiv:2101.08134)."""

    def norms(kernel: jax.Array) -> jax.Array:
        # Layers that are stacked have leading axes.
        return jnp.sqrt(jnp.square(kernel).sum(range(-min(kernel.ndim, 4), 0))).sum()

    return sum(map(norms, _kernels(gradient)), jnp.zeros(()))


def snip(weights: Any, gradient: Any) -> jax.Array:
    """``sum |k dL / dk|`` over all entries of kernels (arXiv:1810.02340, arXiv:2101.08134)."""
    pairs = zip(_kernels(weights), _kernels(gradient), strict=True)
    return sum((jnp.abs(kernel * slope).sum() for kernel, slope in pairs), jnp.zeros(()))


def synflow(apply: Apply, weights: Any, shape: tuple[int, ...]) -> jax.Array:
    """``log sum |k dR / dk|`` over all entries of kernels, where R is the sum of the logits of an
    image of ones, and every weight has its absolute value (arXiv:2006.05467, arXiv:2101.08134).

    None of the terms is negative then, so that their sum is the derivative of R along the kernels.
    R of a deep network is larger than float32 can hold.

    Args:
        apply: a network without batch norms, as of ``without_norms``.
        weights: in the dtype to compute in.
        shape: of an image.
    """
    absolute = jax.tree.map(jnp.abs, weights)
    along = jax.tree.map_with_path(
        lambda path, leaf: leaf if _is_kernel(path) else jnp.zeros_like(leaf), absolute
    )
    ones = jnp.ones((1, *shape), jax.tree.leaves(weights)[0].dtype)
    return jnp.log(jax.jvp(lambda weights: apply(weights, ones).sum(), (absolute,), (along,))[1])


def jacobian_covariance(apply: Apply, weights: Any, images: jax.Array) -> jax.Array:
    """``-sum_i (log(v_i + k) + 1 / (v_i + k))`` with k = 1e-5, where v are the eigenvalues of the
    correlations between the images' gradients of the sum of logits: the larger, the less alike the
    gradients are (arXiv:2006.04647, version 1, arXiv:2101.08134). NaN if a gradient is zero."""
    gradients = jax.grad(lambda images: apply(weights, images).sum())(images)
    rows = gradients.reshape(len(images), -1).astype(_precise())
    # Rounding makes some of those that are zero negative.
    values = jnp.maximum(jnp.linalg.eigvalsh(jnp.corrcoef(rows)), 0) + 1e-5
    return -(jnp.log(values) + 1 / values).sum()


def naswot(inputs: Inputs) -> jax.Array:
    """``log |det K|``, where K[i, j] is the number of ReLUs that are on for both images i and j, or
    off for both (arXiv:2006.04647). Minus infinity if no ReLU tells two images apart.

    Args:
        inputs: of ReLUs, each [batch, ...], and how many ReLUs have it.
    """
    alike: Any = 0
    for values, count in inputs:
        # Exact in any precision of products, since they are 1 and -1.
        signs = jnp.where(values > 0, 1.0, -1.0).astype(jnp.float32).reshape(len(values), -1)
        alike += count * (signs.shape[1] + signs @ signs.T) / 2
    return jnp.linalg.slogdet(alike.astype(_precise()))[1]


def without_norms(network: N) -> N:
    """A copy of a network whose batch norms give back what they get."""
    return jax.tree.map(
        lambda part: Identity() if isinstance(part, BatchNorm) else part,
        network,
        is_leaf=lambda part: isinstance(part, BatchNorm),
    )


def proxies(
    network: N,
    images: jax.Array,
    labels: jax.Array,
    *,
    call: Callable[[N, jax.Array], jax.Array] = lambda network, images: network(images, train=True),
    inputs: Callable[[N, jax.Array], Inputs] | None = None,
) -> dict[str, jax.Array]:
    """All of ``PROXIES`` of a network, by name. Batch norms use the statistics of the batch.

    Synflow, eigenvalues and determinants are computed in float64 where that is enabled.

    Args:
        network: which stays as it is. Its ``dtype`` is what it computes in.
        images: normalised, [batch, height, width, channels].
        labels: integers [batch].
        call: the logits of a network and images.
        inputs: of ReLUs, as for ``naswot``, of a network and images; by default those of all ReLUs
            in ``call``.
    """
    apply, weights = _function(network, call)
    gradient = loss_gradient(apply, weights, images, labels)
    if inputs is None:
        found = relu_inputs(functools.partial(apply, weights), images)
        pairs: Inputs = [(values, 1) for values in found]
    else:
        pairs = inputs(network, images)
    plain = without_norms(network)
    plain.dtype = _precise()
    linear, precise = _function(plain, call)
    precise = jax.tree.map(lambda leaf: leaf.astype(plain.dtype), precise)
    return {
        "synflow": synflow(linear, precise, images.shape[1:]),
        "naswot": naswot(pairs),
        "snip": snip(weights, gradient),
        "grad_norm": grad_norm(gradient),
        "jacobian_covariance": jacobian_covariance(apply, weights, images),
    }


def _function(network: N, call: Callable[[N, jax.Array], jax.Array]) -> tuple[Apply, Any]:
    """A network as a function of its weights and images, and its weights."""
    graph, *states = nnx.split(network, nnx.Param, ...)
    weights, rest = map(nnx.to_pure_dict, states)

    def apply(weights: Any, images: jax.Array) -> jax.Array:
        return call(nnx.merge(graph, weights, rest), images)

    return apply, weights


def _kernels(weights: Any) -> Iterator[jax.Array]:
    for path, leaf in jax.tree.leaves_with_path(weights):
        if _is_kernel(path):
            yield leaf


def _is_kernel(path: Any) -> bool:
    return path[-1].key == "kernel"


def _precise() -> Any:
    """Float64 where it is enabled."""
    return jax.dtypes.canonicalize_dtype(jnp.float64)
