"""Normalisation as pure functions: statistics go in and come out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


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
) -> tuple[jax.Array, Statistics | None]:
    """Batch normalisation, ``scale * (x - mean) / sqrt(variance + epsilon) + offset``
    (arXiv:1502.03167).

    With ``train=True``, or without running statistics, mean and (biased) variance are those of
    the batch, over all axes but the last; of a batch sharded over devices they are global. The
    new running statistics are ``(1 - momentum) * old + momentum * batch``, with the unbiased
    variance there, as in PyTorch. Statistics are computed in float32 (float64 for such input).

    Args:
        x: [..., C].
        scale, offset: [C], or none.
        statistics: running statistics, or none to keep none.
        train: whether to normalise by the batch and to move the running statistics.
        momentum: share of the batch in the new running statistics.
        epsilon: added to the variance.

    Returns:
        The normalised x in its dtype, and the new statistics (the given ones if not training).

    Raises:
        ValueError: for a scale, offset or statistics that do not have C entries.
    """
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
        mean = precise.mean(axes)
        variance = jnp.square(precise - mean).mean(axes)
        if statistics is not None:
            count = x.size // x.shape[-1]
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
