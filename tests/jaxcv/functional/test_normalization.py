"""Batch norm against NumPy, also where the batch is spread; local response norm."""

import functools
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forced_devices import check_equal

from jaxcv import functional
from jaxcv.layers import BatchNorm

RANDOM = np.random.default_rng(0)


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


@pytest.mark.parametrize("names", ["rows", ("rows", "columns")])
def test_batch_norm_of_parts_is_that_of_the_whole(names):
    # Parts with means of their own, so that the mean of their variances is not the variance.
    x = RANDOM.normal(size=(2, 3, 4, 3)) + 10 * np.arange(6).reshape(2, 3, 1, 1)
    weights = RANDOM.normal(size=x.shape)
    old = functional.Statistics(*RANDOM.uniform(1, 2, (2, 3)))

    def whole(x, **settings):
        return functional.batch_norm(x, None, None, old, momentum=0.3, **settings)

    def parts(x):
        mapped = functools.partial(whole, axis_name=names)
        for name in ["rows"] if names == "rows" else reversed(names):
            mapped = jax.vmap(mapped, axis_name=name)
        y, new = mapped(x)
        return y, jax.tree.map(lambda a: a.reshape(-1, 3), new)

    with jax.enable_x64(True):
        (y, new), (y_parts, new_parts) = whole(x), parts(x)
        gradient, gradient_parts = (
            jax.grad(lambda x, f=f: jnp.vdot(f(x)[0], weights))(x) for f in (whole, parts)
        )
    np.testing.assert_allclose(y_parts, y, rtol=1e-9)
    np.testing.assert_allclose(gradient_parts, gradient, rtol=1e-9, atol=1e-12)
    for a, b in zip(new_parts, new, strict=True):
        np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), rtol=1e-9)


DEVICES = textwrap.dedent(
    """
    import functools, jax, jax.numpy as jnp, numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    from jaxcv import functional

    random = np.random.default_rng(0)
    x = random.normal(size=(8, 3, 3, 4)) + np.arange(8)[:, None, None, None]
    weights = random.normal(size=x.shape)
    scale, offset, mean, variance = random.uniform(1, 2, (4, 4))
    old = functional.Statistics(mean, variance)

    def loss(x, scale, offset, weights, **settings):
        y, new = functional.batch_norm(x, scale, offset, old, **settings)
        return jnp.vdot(y, weights), new

    def parts(x, scale, offset, weights):
        total, new = loss(x, scale, offset, weights, axis_name="data")
        return jax.lax.psum(total, "data"), new

    def run(loss, x, weights):
        gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
        return gradient(x, scale, offset, weights)

    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    with jax.enable_x64(True):
        alone = run(loss, x, weights)
        spread = jax.device_put((x, weights), NamedSharding(mesh, P("data")))
        assert len(spread[0].sharding.device_set) == 4
        specs = (P("data"), P(), P(), P("data"))
        mapped = jax.shard_map(parts, mesh=mesh, in_specs=specs, out_specs=P())
        for form in (loss, mapped):
            together = run(form, *spread)
            for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    print("equal")
    """
)


def test_batch_norm_on_four_devices_is_that_on_one():
    check_equal(DEVICES, 4)


def test_batch_norm_module_passes_its_settings_on():
    x = RANDOM.normal(2, 3, size=(2, 4, 3)).astype(np.float32)
    evaluated = BatchNorm(3, epsilon=0.5)(x)
    np.testing.assert_allclose(evaluated, x / np.sqrt(1.5), rtol=1e-5)
    norm = BatchNorm(3, track=False, epsilon=0.5, axis_name="parts")
    expected, _ = functional.batch_norm(x, epsilon=0.5)
    parts = jax.vmap(norm, axis_name="parts")(x)
    np.testing.assert_allclose(parts, expected, rtol=1e-4, atol=1e-5)


def test_local_response_norm_of_bfloat16_computes_in_float32():
    x = jnp.full((1, 300), 8, jnp.bfloat16)
    y = functional.local_response_norm(x, 299, alpha=299.0, beta=1.0, k=0.0)
    assert y.dtype == jnp.bfloat16
    # 299 ones cannot be counted in bfloat16.
    np.testing.assert_allclose(y[0, 149].astype(jnp.float32), 1 / (8 * 299), rtol=2**-8)


def test_local_response_norm_names_wrong_arguments():
    with pytest.raises(ValueError, match="size=0; allowed is a positive int"):
        functional.local_response_norm(jnp.zeros((1, 3)), 0)
