"""Random regularisers: what they drop, how often, and what they keep."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import functional


@pytest.mark.parametrize(
    ("drop", "mask"),
    [
        (functional.dropout, (1200, 2, 3, 4)),
        (functional.spatial_dropout, (1200, 1, 1, 4)),
        (functional.drop_path, (1200, 1, 1, 1)),
    ],
)
def test_what_is_dropped_how_often_and_the_scale_of_the_rest(drop, mask):
    x = np.random.default_rng(0).normal(size=(1200, 2, 3, 4)).astype(np.float32)
    y = np.asarray(drop(jax.random.key(0), x, 0.25))
    dropped = y == 0
    np.testing.assert_allclose(y, np.where(dropped, 0, x / 0.75), rtol=1e-6)
    # All that shares an entry of the mask is dropped together.
    single = dropped[tuple(slice(size) for size in mask)]
    np.testing.assert_array_equal(dropped, np.broadcast_to(single, x.shape))
    # Four standard deviations of a mean of so many draws, of all, and of pairs of neighbours.
    for draws, rate in (
        (single, 0.25),
        (single[1::2] & single[::2], 0.25**2),
        (single[..., 1::2] & single[..., ::2], 0.25**2),
    ):
        if draws.size:
            assert abs(draws.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / draws.size)


DROPS = [functional.dropout, functional.spatial_dropout, functional.drop_path]


@pytest.mark.parametrize("drop", DROPS)
def test_drops_by_key_and_rate(drop):
    x = jnp.ones((16, 4, 4, 8), jnp.bfloat16)
    key, other = jax.random.split(jax.random.key(0))
    y = drop(key, x, 0.5)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, drop(key, x, 0.5))
    # A rate may be traced.
    np.testing.assert_array_equal(y, jax.jit(drop)(key, x, jnp.float32(0.5)))
    assert (y != drop(other, x, 0.5)).any()
    np.testing.assert_array_equal(drop(key, x, 0.0), x)


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("rate", [1, 1.0, -0.1, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(drop, rate):
    with pytest.raises(ValueError, match=f"rate={rate}; allowed is a probability"):
        drop(jax.random.key(0), jnp.ones((2, 3)), rate)


def test_spatial_dropout_needs_channels():
    with pytest.raises(ValueError, match=r"x has shape \(3,\); allowed is \[batch, ..., chan"):
        functional.spatial_dropout(jax.random.key(0), jnp.ones(3), 0.5)


def test_cutout_is_a_clipped_square_around_any_pixel():
    count, size, length = 3000, 4, 6
    y = np.asarray(functional.cutout(jax.random.key(0), jnp.ones((count, length, length, 2)), size))
    np.testing.assert_array_equal(y[..., 0], y[..., 1])
    seen = {}
    for hole in y[..., 0] == 0:
        seen[hole.tobytes()] = seen.get(hole.tobytes(), 0) + 1
    expected = set()
    for row, column in itertools.product(range(length), repeat=2):
        hole = np.zeros((length, length), bool)
        hole[max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = True
        expected.add(hole.tobytes())
    assert set(seen) == expected
    assert max(seen.values()) < 2 * count / length**2
    with pytest.raises(ValueError, match="size=-1"):
        functional.cutout(jax.random.key(0), y, -1)
