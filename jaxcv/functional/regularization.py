"""Random regularisers as pure functions of a key."""

import jax
import jax.numpy as jnp

from jaxcv.functional._arguments import image_batch, probability


def dropout(key: jax.Array, x: jax.Array, rate: float | jax.Array) -> jax.Array:
    """Zeroes entries, each with probability ``rate``, and scales the others by
    ``1 / (1 - rate)`` (arXiv:1207.0580).

    Args:
        key: a JAX random key.
        x: of any shape.
        rate: probability in [0, 1), a number or a scalar array (so it may change over a run).

    Returns:
        An array of the same shape, with the mean of ``x`` over draws.

    Raises:
        ValueError: for a rate, given as a number, outside [0, 1).
    """
    return _drop(key, x, rate, x.shape)


def spatial_dropout(key: jax.Array, x: jax.Array, rate: float | jax.Array) -> jax.Array:
    """``dropout`` of whole channels of an example, since neighbouring pixels say the same
    (arXiv:1411.4280).

    Args:
        key, rate: as for ``dropout``.
        x: [batch, ..., C].

    Returns:
        [batch, ..., C], with the mean of ``x`` over draws.

    Raises:
        ValueError: as ``dropout``, and for an input without a batch axis and a channel axis.
    """
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}; allowed is [batch, ..., channels]")
    return _drop(key, x, rate, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]))


def drop_path(key: jax.Array, x: jax.Array, rate: float | jax.Array) -> jax.Array:
    """``dropout`` of whole examples, which skips a path of a network for them
    (arXiv:1605.07648).

    Args:
        key, rate: as for ``dropout``.
        x: [batch, ...].

    Returns:
        [batch, ...], with the mean of ``x`` over draws.

    Raises:
        ValueError: as ``dropout``.
    """
    return _drop(key, x, rate, (x.shape[0], *(1,) * (x.ndim - 1)))


def _drop(
    key: jax.Array, x: jax.Array, rate: float | jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """Drops by a mask of a shape that broadcasts to that of ``x``."""
    if isinstance(rate, (int, float)):
        probability(rate=rate)
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return x * (kept / (1 - rate)).astype(x.dtype)


def cutout(key: jax.Array, images: jax.Array, size: int) -> jax.Array:
    """Zeroes one square of each image (arXiv:1708.04552).

    The square's centre is uniform over the pixels, and the square is clipped at the border.

    Args:
        key: a JAX random key.
        images: [batch, height, width, C].
        size: side of the square in pixels; 0 changes nothing.

    Returns:
        Images of the same shape.

    Raises:
        ValueError: for an input that is no batch of images, or a negative size.
    """
    image_batch("images", images)
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"size={size!r}; allowed is a number of pixels, at least 0")
    if size == 0:
        return images
    batch, height, width, _ = images.shape
    row_key, column_key = jax.random.split(key)

    def covered(key: jax.Array, length: int) -> jax.Array:
        first = jax.random.randint(key, (batch, 1), 0, length) - size // 2
        position = jnp.arange(length)
        return (position >= first) & (position < first + size)

    hole = covered(row_key, height)[:, :, None] & covered(column_key, width)[:, None, :]
    return jnp.where(hole[..., None], jnp.zeros((), images.dtype), images)
