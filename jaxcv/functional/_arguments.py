"""Checks and normal forms of the arguments that the functions of this package share."""

from collections.abc import Sequence
from numbers import Integral

import jax
import jax.numpy as jnp

IntPair = int | tuple[int, int]
SidePadding = int | tuple[int, int] | Sequence[tuple[int, int]]
Padding = SidePadding | str
ExplicitPadding = tuple[tuple[int, int], tuple[int, int]]


def image_batch(name: str, x: jax.Array) -> None:
    if x.ndim != 4:
        raise ValueError(f"{name} has shape {x.shape}; allowed is [batch, height, width, channels]")


def float_batch(name: str, x: jax.Array) -> None:
    """Raises a ValueError unless it is a batch of images in floats, which weights can multiply."""
    image_batch(name, x)
    floats(name, x)


def floats(name: str, x: jax.Array) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name} has type {x.dtype}; allowed are floats")


def probability(**rates: float) -> None:
    """Raises a ValueError for a rate, named by its keyword, that is not in [0, 1)."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name}={rate!r}; allowed is a probability in [0, 1)")


def divisor_of_channels(groups: int, channels: int) -> None:
    if not isinstance(groups, int) or groups < 1 or channels % groups:
        raise ValueError(f"groups={groups!r}; allowed is a divisor of the {channels} channels of x")


def positive(**sizes: int) -> None:
    """Raises a ValueError for a size, named by its keyword, that is no positive int."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name}={size!r}; allowed is a positive int")


def pair(name: str, value: IntPair, *, least: int = 1) -> tuple[int, int]:
    """An int or a pair as (height, width)."""
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) != 2 or any(not isinstance(v, Integral) or v < least for v in both):
        raise ValueError(f"{name}={value!r}; allowed is an int or a pair of ints, at least {least}")
    return int(both[0]), int(both[1])


def explicit_padding(
    padding: Padding,
    size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
) -> ExplicitPadding:
    """Any form of ``padding`` as ((top, bottom), (left, right)) in pixels.

    Args:
        padding: an int or a (height, width) pair, both symmetric; explicit pairs
            ((top, bottom), (left, right)); or "SAME", "SAME_LOWER", "VALID" as in lax.
        size: (height, width) of the input.
        window: (height, width) that the window covers, dilation included.
        stride: (vertical, horizontal).
    """
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "SAME_LOWER", "VALID"):
            raise ValueError(
                f"padding={padding!r}; allowed are 'SAME', 'SAME_LOWER', 'VALID', an int, a pair "
                "(height, width) or ((top, bottom), (left, right))"
            )
        vertical, horizontal = jax.lax.padtype_to_pads(size, window, stride, padding.upper())
        return ((vertical[0], vertical[1]), (horizontal[0], horizontal[1]))
    return sides(padding)


def sides(padding: SidePadding) -> ExplicitPadding:
    """An int, a pair or explicit pairs as ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        raise ValueError(
            f"padding={padding!r}; allowed is an int, a pair (height, width) or ((top, bottom), "
            "(left, right))"
        )
    if isinstance(padding, Sequence) and any(not isinstance(p, int) for p in padding):
        both = tuple(tuple(p) if isinstance(p, Sequence) else () for p in padding)
        if len(both) != 2 or any(
            len(p) != 2 or any(not isinstance(v, int) or v < 0 for v in p) for p in both
        ):
            raise ValueError(
                f"padding={padding!r}; allowed is ((top, bottom), (left, right)), each at least 0"
            )
        return both  # type: ignore[return-value]
    high, wide = pair("padding", padding, least=0)  # type: ignore[arg-type]
    return ((high, high), (wide, wide))


def output_size(
    name: str,
    size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: ExplicitPadding,
) -> tuple[int, int]:
    """(height, width) after a window slides: (W - F + P_before + P_after) // S + 1."""
    padded = tuple(s + sum(p) for s, p in zip(size, padding, strict=True))
    if any(p < w for p, w in zip(padded, window, strict=True)):
        raise ValueError(
            f"{name} has height and width {size}, {padded} with padding; allowed is at least the "
            f"window's {window}"
        )
    height, width = ((p - w) // s + 1 for p, w, s in zip(padded, window, stride, strict=True))
    return height, width
