"""Keys of a run, and what a state carries of them."""

import jax
import numpy as np
import pytest

from jaxcv.training.randomness import Keys, key_data


def test_a_state_carries_the_same_key():
    key = jax.random.key(3)
    carried = Keys(key_data(key))("name", 5)
    np.testing.assert_array_equal(
        jax.random.key_data(carried), jax.random.key_data(Keys(key)("name", 5))
    )


def test_keys_that_their_data_do_not_tell_are_refused():
    with pytest.raises(ValueError, match="key is of rbg; allowed is threefry2x32"):
        key_data(jax.random.key(0, impl="rbg"))
