"""Pools, batch norm and random regularisers against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import functional

RANDOM = np.random.default_rng(0)


def pooled(x, window, stride, padding, reduce):
    """Windows one by one; NaN marks the padding."""
    x = np.pad(x.astype(float), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)),
               constant_values=np.nan)  # fmt: skip
    size = [(x.shape[a] - window) // stride + 1 for a in (1, 2)]
    y = np.zeros((len(x), *size, x.shape[-1]))
    for i, j in itertools.product(*map(range, size)):
        rows, columns = i * stride, j * stride
        y[:, i, j] = reduce(x[:, rows : rows + window, columns : columns + window], axis=(1, 2))
    return y


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 2, 0)])
def test_pools(window, stride, padding):
    x = RANDOM.normal(size=(2, 7, 6, 3)).astype(np.float32)
    settings = {"stride": stride, "padding": padding}
    largest = functional.max_pool2d(x, window, **settings)
    np.testing.assert_array_equal(largest, pooled(x, window, stride, padding, np.nanmax))
    inside = functional.avg_pool2d(x, window, **settings, count_include_pad=False)
    np.testing.assert_allclose(inside, pooled(x, window, stride, padding, np.nanmean), atol=1e-6)
    everything = functional.avg_pool2d(x, window, **settings)
    total = pooled(x, window, stride, padding, np.nansum)
    np.testing.assert_allclose(everything, total / window**2, atol=1e-6)


def test_global_avg_pool():
    x = RANDOM.normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(functional.global_avg_pool2d(x), x.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("pool", [functional.max_pool2d, functional.avg_pool2d])
def test_pools_name_wrong_arguments(pool):
    with pytest.raises(ValueError, match=r"x has shape \(3, 3\)"):
        pool(jnp.zeros((3, 3)), 2)
    with pytest.raises(ValueError, match="window=0"):
        pool(jnp.zeros((1, 3, 3, 1)), 0)
    with pytest.raises(ValueError, match="allowed is at least the window's"):
        pool(jnp.zeros((1, 3, 3, 1)), 4)


def test_batch_norm_in_training_and_inference():
    x = RANDOM.normal(2, 3, size=(4, 5, 6, 3)).astype(np.float32)
    scale, offset, mean, variance = RANDOM.normal(size=(4, 3)).astype(np.float32)
    old = functional.Statistics(mean, variance**2)
    y, new = functional.batch_norm(x, scale, offset, old, momentum=0.3)
    flat = x.reshape(-1, 3).astype(float)
    expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5) * scale + offset
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(new.mean, 0.7 * old.mean + 0.3 * flat.mean(0), rtol=1e-4)
    unbiased = flat.var(0, ddof=1)
    np.testing.assert_allclose(new.variance, 0.7 * old.variance + 0.3 * unbiased, rtol=1e-4)

    y, same = functional.batch_norm(x, scale, offset, old, train=False)
    expected = (x - old.mean) / np.sqrt(old.variance + 1e-5) * scale + offset
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert same is old


def test_batch_norm_of_bfloat16_computes_statistics_in_float32():
    x = (100 + RANDOM.normal(size=(64, 8, 8, 2))).astype(jnp.bfloat16)
    old = functional.Statistics(jnp.zeros(2), jnp.ones(2))
    y, new = functional.batch_norm(x, statistics=old, momentum=1.0)
    assert y.dtype == jnp.bfloat16 and new.mean.dtype == jnp.float32
    exact = np.asarray(x, np.float64).reshape(-1, 2)
    np.testing.assert_allclose(new.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(new.variance, exact.var(0, ddof=1), rtol=1e-3)


def test_batch_norm_names_wrong_arguments():
    with pytest.raises(ValueError, match=r"offset has shape \(2,\); allowed is \(3,\)"):
        functional.batch_norm(jnp.zeros((2, 3)), offset=jnp.zeros(2))


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    x = jnp.ones((4000, 2, 2, 3))
    y = np.asarray(functional.drop_path(jax.random.key(0), x, 0.25)).reshape(4000, -1)
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y == y[:, :1]).all()
    # Four standard deviations of a mean of 4,000 draws.
    assert abs((y[:, 0] == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    with pytest.raises(ValueError, match="rate=1"):
        functional.drop_path(jax.random.key(0), x, 1.0)


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
