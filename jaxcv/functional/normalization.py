"""Normalisation as pure functions: statistics go in and come out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.functional._arguments import floats, positive

AxisName = str | tuple[str, ...]


class Statistics(NamedTuple):
    """Running mean and variance of a batch norm, each [C], float32."""

    mean: jax.Array
    variance: jax.Array


def batch_norm(
    x: jax.Array,
    scale: jax.Array | None = None,
    offset: jax.Array | None = None,
    statistics: Statistics | None = None,
    *,
    train: bool = True,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    axis_name: AxisName | None = None,
) -> tuple[jax.Array, Statistics | None]:
    """Batch normalisation, ``scale * (x - mean) / sqrt(variance + epsilon) + offset``
    (arXiv:1502.03167).

    With ``train=True``, or without running statistics, mean and (biased) variance are those of
    the batch, over all axes but the last. Of a batch that is sharded over devices they are global
    under ``jit``; under ``shard_map``, ``pmap`` and ``vmap`` they are so with ``axis_name``. The
    new running statistics are ``(1 - momentum) * old + momentum * batch``, with the unbiased
    variance there, as in PyTorch. Statistics are computed in float32 (float64 for such input).

    Args:
        x: [..., C].
        scale, offset: [C], or none.
        statistics: running statistics, or none to keep none.
        train: whether to normalise by the batch and to move the running statistics.
        momentum: share of the batch in the new running statistics.
        epsilon: added to the variance.
        axis_name: name or names of the mapped axes that the batch is spread over, if any.

    Returns:
        The normalised x in its dtype, and the new statistics (the given ones if not training).

    Raises:
        ValueError: for a scale, offset or statistics that do not have C entries.
    """
    floats("x", x)
    channels = x.shape[-1:]
    given = {"scale": scale, "offset": offset}
    if statistics is not None:
        given |= {"statistics.mean": statistics.mean, "statistics.variance": statistics.variance}
    for name, value in given.items():
        if value is not None and value.shape != channels:
            raise ValueError(f"{name} has shape {value.shape}; allowed is {channels}")
    precise = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if statistics is not None and not train:
        mean, variance = statistics
    else:
        axes = tuple(range(x.ndim - 1))

        def average(values: jax.Array) -> jax.Array:
            own = values.mean(axes)
            return own if axis_name is None else lax.pmean(own, axis_name)

        mean = average(precise)
        variance = average(jnp.square(precise - mean))
        if statistics is not None:
            count = x.size // x.shape[-1]
            if axis_name is not None:
                count *= lax.axis_size(axis_name)
            unbiased = variance * (count / max(count - 1, 1))
            statistics = Statistics(
                *(
                    (1 - momentum) * old + momentum * lax.stop_gradient(new).astype(old.dtype)
                    for old, new in zip(statistics, (mean, unbiased), strict=True)
                )
            )
    inverse = lax.rsqrt(variance + epsilon)
    if scale is not None:
        inverse = inverse * scale
    y = (precise - mean) * inverse
    if offset is not None:
        y = y + offset
    return y.astype(x.dtype), statistics


def local_response_norm(
    x: jax.Array, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> jax.Array:
    """Local response normalisation: each channel is divided by a power of the energy of the
    channels around it.

    ``y[..., c] = x[..., c] / (k + alpha / size * sum_j x[..., j]^2)^beta``, with j from
    ``c - size // 2`` to ``c + (size - 1) // 2`` and no channels beyond the first and the last.
    PyTorch and Caffe divide alpha by ``size`` like this, and the defaults are those of Caffe's
    AlexNet. The paper does not: its k = 2, alpha = 1e-4, beta = 0.75 over 5 channels (Krizhevsky et
    al., 2012) are ``k=2, alpha=5e-4`` here. Computed in float32 (float64 for such input).

    Args:
        x: [..., C].
        size: number of channels in the sum.
        alpha, beta, k: as in the formula.

    Returns:
        [..., C] in the dtype of ``x``.

    Raises:
        ValueError: for a size that is no positive int.
    """
    positive(size=size)
    precise = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    ones = (1,) * (x.ndim - 1)
    pads = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    energy = lax.reduce_window(jnp.square(precise), 0.0, lax.add, (*ones, size), (*ones, 1), pads)
    return (precise * (k + alpha / size * energy) ** -beta).astype(x.dtype)
