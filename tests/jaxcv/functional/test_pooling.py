"""Pools against loops over windows; derivatives, whose CPU form is C++, against those of
``lax.reduce_window``."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxcv import functional


def plain(kind, x, window, stride, padding, beyond=(0, 0)):
    """With pixels beyond the padding, down and across, that windows reach."""
    sizes = ((1, window, window, 1), (1, stride, stride, 1))
    pads = ((0, 0), *((padding, padding + more) for more in beyond), (0, 0))
    if kind == "max":
        return lax.reduce_window(x, -np.inf, lax.max, *sizes, pads)
    total = lax.reduce_window(x, 0.0, lax.add, *sizes, pads)
    return total / lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *sizes, pads)


def fast(kind, x, window, stride, padding, beyond=(0, 0)):
    settings = {"stride": stride, "padding": padding, "ceil_mode": any(beyond)}
    if kind == "max":
        return functional.max_pool2d(x, window, **settings)
    return functional.avg_pool2d(x, window, **settings, count_include_pad=False)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((2, 7, 6, 3), (3, 1, 1)),
        ((3, 8, 9, 20), (3, 2, 1)),
        ((1, 6, 6, 16), (2, 2, 0)),
        ((2, 8, 9, 5), (3, 2, 0, (1, 0))),
    ],
)
def test_derivatives(kind, shape, window):
    random = np.random.default_rng(0)
    # Few different values, so that windows have several largest ones.
    x = jnp.asarray(random.integers(0, 4, shape), jnp.float32)
    tangent = jnp.asarray(random.normal(size=shape), jnp.float32)

    @jax.jit
    def everything(x, tangent):
        results = []
        for form in (fast, plain):

            def loss(x, form=form):
                y = form(kind, x, *window)
                return (jnp.sin(y) * jnp.arange(y.size).reshape(y.shape)).sum() / y.size

            gradient = jax.grad(loss)
            results.append(
                (
                    jax.jvp(loss, (x,), (tangent,)),
                    gradient(x),
                    jax.jvp(gradient, (x,), (tangent,))[1],
                    jax.grad(lambda x: jnp.vdot(gradient(x), tangent))(x),  # noqa: B023
                    jax.vmap(gradient)(jnp.stack([x, tangent])),
                )
            )
        return results

    ours, theirs = everything(x, tangent)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_bfloat16(kind):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 20)), jnp.bfloat16)
    y = fast(kind, x, 3, 2, 1)
    assert y.dtype == jnp.bfloat16
    exact = plain(kind, x.astype(jnp.float32), 3, 2, 1)
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-7, atol=2**-7)


def test_what_is_not_a_number_is_seen():
    x = jnp.ones((1, 4, 4, 16)).at[0, 1, 1, 3].set(jnp.nan)
    y = functional.max_pool2d(x, 2)
    assert np.isnan(y[0, 0, 0, 3]) and np.isnan(y).sum() == 1


def starts(length, window, stride, padding):
    """Where windows start: one more, up to the end of the image, until one reaches the end."""
    found = [-padding]
    while found[-1] + window < length + padding and found[-1] + stride < length:
        found.append(found[-1] + stride)
    return found


def rounded_up(x, window, stride, padding, reduce):
    """``reduce`` of each window, cut off where the padding ends; NaN marks the padding."""
    padded = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)), constant_values=np.nan)
    rows, columns = (starts(length, window, stride, padding) for length in x.shape[1:3])
    y = np.zeros((len(x), len(rows), len(columns), x.shape[-1]))
    for (i, h), (j, w) in itertools.product(enumerate(rows), enumerate(columns)):
        h, w = h + padding, w + padding
        y[:, i, j] = reduce(padded[:, h : h + window, w : w + window], axis=(1, 2))
    return y


@pytest.mark.parametrize(
    "window", [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 3, 1), (3, 4, 1), (1, 3, 0)]
)
@pytest.mark.parametrize("size", [(6, 7), (5, 8)])
def test_rounding_up(window, size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    settings = {"stride": window[1], "padding": window[2], "ceil_mode": True}
    largest = functional.max_pool2d(x, window[0], **settings)
    np.testing.assert_array_equal(largest, rounded_up(x, *window, np.nanmax))
    inside = functional.avg_pool2d(x, window[0], **settings, count_include_pad=False)
    np.testing.assert_allclose(inside, rounded_up(x, *window, np.nanmean), atol=1e-6)
    everything = functional.avg_pool2d(x, window[0], **settings)
    expected = rounded_up(x, *window, lambda x, axis: np.nan_to_num(x).mean(axis))
    np.testing.assert_allclose(everything, expected, atol=1e-6)


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), ((1, 4), (2, 1), (0, 2))])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_places_of_the_largest(window, ceil_mode):
    random = np.random.default_rng(0)
    # Few different values, so that windows have several largest ones, minus infinity among them.
    x = random.choice([-np.inf, 0, 1], (2, 6, 7, 3), p=[0.7, 0.2, 0.1]).astype(np.float32)
    size, stride, padding = window
    settings = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    values, places = functional.max_pool2d_with_indices(jnp.asarray(x), size, **settings)
    np.testing.assert_array_equal(values, functional.max_pool2d(x, size, **settings))
    assert places.dtype == jnp.int32 and places.shape == values.shape
    (down, across), (top, left), (high, wide) = (
        (a, a) if isinstance(a, int) else a for a in (stride, padding, size)
    )
    for n, i, j, c in np.ndindex(places.shape):
        h, w = i * down - top, j * across - left
        rows, columns = slice(max(h, 0), h + high), slice(max(w, 0), w + wide)
        part = x[n, rows, columns, c]
        row, column = np.unravel_index(part.argmax(), part.shape)
        assert places[n, i, j, c] == (rows.start + row) * 7 + columns.start + column


def test_places_of_what_is_not_a_number_and_under_transformations():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, 4, 4, 3)), jnp.float32)
    x = x.at[0, 0, 1, 2, 1].set(jnp.nan)

    def pooled(x):
        return functional.max_pool2d_with_indices(x, 2)

    values, places = jax.jit(jax.vmap(pooled))(x)
    assert places[0, 0, 0, 1, 1] == 1 * 4 + 2 and np.isnan(values[0, 0, 0, 1, 1])
    np.testing.assert_array_equal(places[1], pooled(x[1])[1])
    gradient = jax.grad(lambda x: jnp.square(pooled(x)[0]).sum())(x[1])
    expected = jax.grad(lambda x: jnp.square(functional.max_pool2d(x, 2)).sum())(x[1])
    np.testing.assert_array_equal(gradient, expected)
    largest = functional.max_unpool2d(*pooled(x[1]), 2)
    np.testing.assert_array_equal(largest, gradient / 2)


@pytest.mark.parametrize("size", [1, (2, 3), (6, 7), (4, 5), (7, 9)])
def test_adaptive_pools(size):
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype(np.float32)
    high, wide = (size, size) if isinstance(size, int) else size
    largest, mean = (np.zeros((2, high, wide, 3)) for _ in range(2))
    for i, j in itertools.product(range(high), range(wide)):
        rows = slice(int(np.floor(i * 6 / high)), int(np.ceil((i + 1) * 6 / high)))
        columns = slice(int(np.floor(j * 7 / wide)), int(np.ceil((j + 1) * 7 / wide)))
        largest[:, i, j] = x[:, rows, columns].max((1, 2))
        mean[:, i, j] = x[:, rows, columns].mean((1, 2))
    np.testing.assert_array_equal(functional.adaptive_max_pool2d(x, size), largest)
    np.testing.assert_allclose(functional.adaptive_avg_pool2d(x, size), mean, atol=1e-6)


def test_derivatives_of_adaptive_pools():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).permutation(24).reshape(1, 3, 4, 2), float)
        for pool in (functional.adaptive_max_pool2d, functional.adaptive_avg_pool2d):
            f = jax.jit(lambda x, pool=pool: pool(x, (2, 3)))
            check_grads(f, (x,), order=1, modes=("fwd", "rev"))
            np.testing.assert_array_equal(jax.vmap(f)(jnp.stack([x, -x]))[1], f(-x))
    # Of equal values the first counts, in the order of rows, as in a pool of one window.
    x = jnp.array([[0.0, 1], [1, 0]])[None, ..., None]
    gradient = jax.grad(lambda x: functional.adaptive_max_pool2d(x, 1).sum())(x)
    np.testing.assert_array_equal(gradient[0, ..., 0], [[0, 1], [0, 0]])


def test_global_max_pool():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(functional.global_max_pool2d(x), x.max((1, 2)))


@pytest.mark.parametrize("pool", [functional.adaptive_max_pool2d, functional.adaptive_avg_pool2d])
def test_adaptive_pools_name_wrong_arguments(pool):
    with pytest.raises(ValueError, match=r"x has shape \(3, 3\)"):
        pool(jnp.zeros((3, 3)), 2)
    with pytest.raises(ValueError, match=r"size=\(0, 2\)"):
        pool(jnp.zeros((1, 3, 3, 1)), (0, 2))
