"""The order of channels, as a pure function."""

import jax

from jaxcv.functional._arguments import divisor_of_channels


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Interleaves groups of channels, so that a next grouped convolution reads of each
    (arXiv:1707.01083).

    ``y[..., i G + g] = x[..., g C / G + i]`` for G groups of C channels.

    Args:
        x: [..., C].
        groups: number of groups.

    Returns:
        [..., C].

    Raises:
        ValueError: for a number that does not divide C.
    """
    channels = x.shape[-1]
    divisor_of_channels(groups, channels)
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape)
