"""Changes of colour as pure functions, for images of red, green and blue in 0..1."""

import jax
import jax.numpy as jnp
from jax import lax

# Of red, green and blue in what the eye takes for brightness (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def adjust_brightness(images: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """``factor * images``, clipped to 0..1: 0 is black, 1 changes nothing.

    Args:
        images: [..., height, width, 3] in 0..1.
        factor: at least 0, a number or one for each image, [...].

    Returns:
        Images of the same shape.

    Raises:
        ValueError: for images without three channels, or of integers.
    """
    return _blend(_checked(images), jnp.zeros((), images.dtype), factor)


def adjust_contrast(images: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """Each image moved away from the mean of its luma, clipped to 0..1: 0 is grey, 1 changes
    nothing.

    Args, Returns, Raises:
        as for ``adjust_brightness``.
    """
    mean = _luma(_checked(images)).mean((-3, -2), keepdims=True)
    return _blend(images, mean, factor)


def adjust_saturation(images: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """Each pixel moved away from its luma, clipped to 0..1: 0 is a grey image, 1 changes nothing.

    Args, Returns, Raises:
        as for ``adjust_brightness``.
    """
    return _blend(images, _luma(_checked(images)), factor)


def adjust_hue(images: jax.Array, turn: jax.typing.ArrayLike) -> jax.Array:
    """The hue of each pixel turned on the colour circle, its largest and smallest channel kept.

    Args:
        images: [..., height, width, 3] in 0..1.
        turn: part of the whole circle, a number or one for each image, [...]; 0 changes nothing,
            1/3 makes red green.

    Returns, Raises:
        as for ``adjust_brightness``.
    """
    red, green, blue = jnp.moveaxis(_checked(images), -1, 0)
    value = images.max(-1)
    chroma = value - images.min(-1)
    whole = jnp.where(chroma == 0, 1, chroma)
    # In sixths of the circle, from red.
    hue = jnp.select(
        [value == red, value == green],
        [(green - blue) / whole, 2 + (blue - red) / whole],
        4 + (red - green) / whole,
    )
    hue += 6 * jnp.asarray(turn, images.dtype)[..., None, None]
    # How far a channel is below the largest goes by its distance on the circle: not at all within a
    # sixth of its own colour, wholly from two sixths on.
    channels = []
    for place in (5, 3, 1):
        away = (place + hue) % 6
        channels.append(value - chroma * jnp.clip(jnp.minimum(away, 4 - away), 0, 1))
    return jnp.stack(channels, -1)


def color_jitter(
    key: jax.Array,
    images: jax.Array,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> jax.Array:
    """The four changes above for each image, in a random order, by random amounts.

    The factors are uniform in ``[max(0, 1 - amount), 1 + amount]``, the turn of the hue in
    ``[-hue, hue]``.

    Args:
        key: a JAX random key.
        images: [batch, height, width, 3] in 0..1.
        brightness, contrast, saturation, hue: the amounts, at least 0.

    Returns:
        Images of the same shape.

    Raises:
        ValueError: for images without three channels, or of integers, or an amount below 0.
    """
    amounts = {
        "brightness": brightness,
        "contrast": contrast,
        "saturation": saturation,
        "hue": hue,
    }
    for name, amount in amounts.items():
        if amount < 0:
            raise ValueError(f"{name}={amount!r}; allowed is at least 0")
    images = _checked(images)
    changes = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    most = jnp.array([1 + brightness, 1 + contrast, 1 + saturation, hue], images.dtype)
    least = jnp.array(
        [max(0, 1 - brightness), max(0, 1 - contrast), max(0, 1 - saturation), -hue], images.dtype
    )

    def jitter(key: jax.Array, image: jax.Array) -> jax.Array:
        order_key, factor_key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(changes))
        factor = jax.random.uniform(factor_key, least.shape, images.dtype, least, most)

        def change(place: jax.Array, image: jax.Array) -> jax.Array:
            return lax.switch(order[place], changes, image, factor[order[place]])

        return lax.fori_loop(0, len(changes), change, image)

    return jax.vmap(jitter)(jax.random.split(key, len(images)), images)


def _checked(images: jax.Array) -> jax.Array:
    if images.ndim < 3 or images.shape[-1] != 3:
        raise ValueError(f"images has shape {images.shape}; allowed is [..., height, width, 3]")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images has type {images.dtype}; allowed are floats, in 0..1")
    return images


def _luma(images: jax.Array) -> jax.Array:
    return (images * jnp.array(_LUMA, images.dtype)).sum(-1, keepdims=True)


def _blend(images: jax.Array, other: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """From ``other`` at 0 over ``images`` at 1 to beyond them."""
    factor = jnp.asarray(factor, images.dtype)[..., None, None, None]
    return jnp.clip(other + factor * (images - other), 0, 1)
