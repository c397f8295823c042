"""Shuffled channels against a loop; wrong input."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import functional


@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (6, 3), (12, 4), (5, 1), (5, 5)])
def test_groups_take_turns(channels, groups):
    x = np.random.default_rng(0).normal(size=(2, 3, channels)).astype(np.float32)
    y = np.zeros_like(x)
    size = channels // groups
    for place in range(channels):
        index, group = divmod(place, groups)
        y[..., place] = x[..., group * size + index]
    np.testing.assert_array_equal(functional.channel_shuffle(jnp.asarray(x), groups), y)


@pytest.mark.parametrize("groups", [0, 4, 2.0])
def test_wrong_groups_are_named(groups):
    with pytest.raises(ValueError, match=f"groups={groups}; allowed is a divisor of the 6 channel"):
        functional.channel_shuffle(jnp.zeros((1, 1, 1, 6)), groups)
