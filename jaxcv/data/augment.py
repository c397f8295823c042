"""Augmentation inside the compiled step, from keys."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcv import functional
from jaxcv.data.dataset import Augmentation


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """``(images / 255 - mean) / std``: uint8 [..., channels] to float32."""
    return (images.astype(jnp.float32) / 255 - jnp.array(mean)) / jnp.array(std)


def augment(
    key: jax.Array,
    images: jax.Array,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
) -> jax.Array:
    """Random crops of the padded images, mirroring, changes of colour, normalisation, cutout.

    Args:
        key: a JAX random key.
        images: uint8 [batch, height, width, channels].
        augmentation: which of these, and how much.
        mean, std: of each channel, images scaled to 0..1.

    Returns:
        float32 [batch, height, width, channels].
    """
    crop_key, flip_key, cutout_key, color_key = jax.random.split(key, 4)
    batch = images.shape[0]
    if augmentation.pad:
        offsets = jax.random.randint(crop_key, (batch, 2), 0, 2 * augmentation.pad + 1)
        images = shift(images, offsets - augmentation.pad)
    if augmentation.flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(batch, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    amounts = {
        name: getattr(augmentation, name)
        for name in ("brightness", "contrast", "saturation", "hue")
    }
    if any(amounts.values()):
        images = 255 * functional.color_jitter(
            color_key, images.astype(jnp.float32) / 255, **amounts
        )
    return functional.cutout(cutout_key, normalize(images, mean, std), augmentation.cutout)


def shift(images: jax.Array, offsets: jax.Array) -> jax.Array:
    """Each image read from ``offset`` (down, right; negative is up, left) on, black beyond it.

    Args:
        images: [batch, height, width, channels].
        offsets: integers [batch, 2], in pixels.
    """

    def one(image: jax.Array, offset: jax.Array) -> jax.Array:
        rows = jnp.arange(image.shape[0]) + offset[0]
        columns = jnp.arange(image.shape[1]) + offset[1]
        # Explicitly out of range, since a negative index would count from the end.
        rows = jnp.where(rows < 0, image.shape[0], rows)
        columns = jnp.where(columns < 0, image.shape[1], columns)
        return image.at[rows[:, None], columns].get(mode="fill", fill_value=0)

    return jax.vmap(one)(images, offsets)
