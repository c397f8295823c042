"""Pools against NumPy; derivatives, whose CPU form is C++, against ``lax.reduce_window``."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

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


def plain(kind, x, window, stride, padding):
    sizes = ((1, window, window, 1), (1, stride, stride, 1))
    pads = ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0))
    if kind == "max":
        return lax.reduce_window(x, -np.inf, lax.max, *sizes, pads)
    total = lax.reduce_window(x, 0.0, lax.add, *sizes, pads)
    return total / lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *sizes, pads)


def fast(kind, x, window, stride, padding):
    if kind == "max":
        return functional.max_pool2d(x, window, stride=stride, padding=padding)
    return functional.avg_pool2d(x, window, stride=stride, padding=padding, count_include_pad=False)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    ("shape", "window"),
    [((2, 7, 6, 3), (3, 1, 1)), ((3, 8, 9, 20), (3, 2, 1)), ((1, 6, 6, 16), (2, 2, 0))],
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
