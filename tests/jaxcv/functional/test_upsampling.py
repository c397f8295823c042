"""Upsampling and unpooling: the lecture's examples, NumPy, jax.image, numerical derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads

from jaxcv import functional
from jaxcv.functional import _resampling

RANDOM = np.random.default_rng(0)
SQUARE = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, ..., None]


def plane(images):
    assert images.shape[0] == images.shape[3] == 1
    return np.asarray(images)[0, ..., 0]


def test_nearest_repeats():
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(plane(functional.upsample_nearest(SQUARE, 2)), expected)
    wide = [[1, 1, 1, 2, 2, 2], [3, 3, 3, 4, 4, 4]]
    np.testing.assert_array_equal(plane(functional.upsample_nearest(SQUARE, (1, 3))), wide)


def test_bilinear_interpolates_between_centres():
    expected = [
        [1.00, 1.25, 1.75, 2.00],
        [1.50, 1.75, 2.25, 2.50],
        [2.50, 2.75, 3.25, 3.50],
        [3.00, 3.25, 3.75, 4.00],
    ]
    np.testing.assert_array_equal(plane(functional.upsample_bilinear(SQUARE, 2)), expected)


def test_bilinear_between_corners():
    y = functional.upsample_bilinear(SQUARE, size=(3, 4), align_corners=True)
    expected = np.arange(3)[:, None] + np.arange(4) / 3 + 1
    np.testing.assert_allclose(plane(y), expected, rtol=1e-6)


def test_bed_of_nails():
    expected = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(plane(functional.unpool_bed_of_nails(SQUARE, 2)), expected)
    uneven = functional.unpool_bed_of_nails(SQUARE, (1, 3))
    np.testing.assert_array_equal(plane(uneven), [[1, 0, 0, 2, 0, 0], [3, 0, 0, 4, 0, 0]])


def test_max_unpooling_remembers_the_places():
    image = jnp.array([[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8.0]])[None, ..., None]
    largest, places = functional.max_pool2d_with_indices(image, 2)
    np.testing.assert_array_equal(plane(largest), [[5, 6], [7, 8]])
    np.testing.assert_array_equal(plane(places), [[5, 2], [12, 15]])
    expected = [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    np.testing.assert_array_equal(plane(functional.max_unpool2d(SQUARE, places, 2)), expected)
    larger = functional.max_unpool2d(SQUARE, places, size=(4, 5))
    np.testing.assert_array_equal(np.flatnonzero(larger), [2, 5, 12, 15])


@pytest.mark.parametrize("size", [(7, 3), (4, 5), (1, 20), (3, 1), (12, 10)])
def test_nearest_to_any_size(size):
    x = RANDOM.normal(size=(2, 4, 5, 3)).astype(np.float32)
    rows, columns = (np.arange(n) * old // n for n, old in zip(size, (4, 5), strict=True))
    expected = x[:, rows][:, :, columns]
    np.testing.assert_array_equal(functional.upsample_nearest(jnp.asarray(x), size=size), expected)


# The last two read more pixels than are read one by one.
@pytest.mark.parametrize("size", [(4, 5), (7, 3), (8, 10), (1, 11), (3, 100), (100, 1)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_to_any_size(size, align_corners):
    x = RANDOM.normal(size=(2, 4, 5, 3)).astype(np.float32)

    def line(length, result):
        """Places of the result, in pixels of the image."""
        if align_corners:
            return np.linspace(0, length - 1, result)
        return np.clip((np.arange(result) + 0.5) * length / result - 0.5, 0, length - 1)

    def interpolated(x, places):
        """Along the first axis."""
        return np.stack(
            [np.interp(places, np.arange(len(x)), column) for column in x.reshape(len(x), -1).T], 1
        ).reshape(len(places), *x.shape[1:])

    expected = np.moveaxis(interpolated(np.moveaxis(x, 1, 0), line(4, size[0])), 0, 1)
    expected = np.moveaxis(interpolated(np.moveaxis(expected, 2, 0), line(5, size[1])), 0, 2)
    y = functional.upsample_bilinear(jnp.asarray(x), size=size, align_corners=align_corners)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    if not align_corners:
        expected = jax.image.resize(x, y.shape, "linear", antialias=False)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


FUNCTIONS = {
    "nearest": lambda x: functional.upsample_nearest(x, 2),
    "nearest, uneven": lambda x: functional.upsample_nearest(x, size=(4, 3)),
    "bilinear": lambda x: functional.upsample_bilinear(x, (2, 3)),
    "bilinear, smaller": lambda x: functional.upsample_bilinear(x, size=2),
    "corners": lambda x: functional.upsample_bilinear(x, size=(5, 4), align_corners=True),
    "nails": lambda x: functional.unpool_bed_of_nails(x, 2),
    "unpooling": lambda x: functional.max_unpool2d(
        *functional.max_pool2d_with_indices(x, 2), size=(3, 2)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_and_vmap(name):
    f = jax.jit(FUNCTIONS[name])
    with jax.enable_x64(True):
        images = jnp.asarray(RANDOM.normal(size=(2, 1, 3, 2, 2)))
        check_grads(f, (images[0],), order=1, modes=("fwd", "rev"))

        def energy(x):
            return (f(x) ** 3).sum()

        along = jax.jvp(jax.grad(energy), (images[0],), (images[1],))[1]
        step = 1e-5
        up, down = (jax.grad(energy)(images[0] + s * images[1]) for s in (step, -step))
        np.testing.assert_allclose(along, (up - down) / (2 * step), rtol=1e-7, atol=1e-7)
        for a, b in zip(jax.vmap(jax.grad(energy), 1)(images.swapaxes(0, 1)), images, strict=True):
            np.testing.assert_allclose(a, jax.grad(energy)(b), rtol=1e-12)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("back", [False, True])
def test_both_forms_of_bilinear_agree(align_corners, back):
    resampling = _resampling.Resampling((5, 6), (12, 4), align_corners)
    x = jnp.asarray(RANDOM.normal(size=(2, *(resampling.result if back else (5, 6)), 3)))
    defined = _resampling._defined(x, back=back, resampling=resampling)
    on_cpu = _resampling._on_cpu(x, back=back, resampling=resampling)
    np.testing.assert_allclose(on_cpu, defined, rtol=1e-5, atol=1e-6)


def test_what_is_not_a_number_stays_between_its_neighbours():
    x = jnp.ones((1, 3, 3, 1)).at[0, 0, 0, 0].set(jnp.nan)
    seen = np.isnan(plane(functional.upsample_bilinear(x, 2)))
    np.testing.assert_array_equal(np.argwhere(seen), list(np.ndindex(3, 3)))


def test_bilinear_exports_for_every_platform():
    gradient = jax.jit(jax.grad(lambda x: jnp.square(functional.upsample_bilinear(x, 2)).sum()))
    exported = export.export(gradient, platforms=["cpu", "cuda", "tpu"])(SQUARE)
    np.testing.assert_allclose(exported.call(SQUARE), gradient(SQUARE), rtol=1e-6)


def test_bfloat16_is_computed_in_float32():
    x = jnp.asarray(RANDOM.normal(size=(1, 5, 5, 2)), jnp.bfloat16)
    y = functional.upsample_bilinear(x, size=7)
    assert y.dtype == jnp.bfloat16
    exact = functional.upsample_bilinear(x.astype(jnp.float32), size=7)
    np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))
    for f in (functional.upsample_nearest, functional.unpool_bed_of_nails):
        assert f(x, 2).dtype == jnp.bfloat16


@pytest.mark.parametrize("f", [functional.upsample_nearest, functional.upsample_bilinear])
def test_wrong_sizes_are_named(f):
    with pytest.raises(ValueError, match=r"x has shape \(2, 2\)"):
        f(jnp.zeros((2, 2)), 2)
    with pytest.raises(ValueError, match="scale=None, size=None; allowed is exactly one"):
        f(SQUARE)
    with pytest.raises(ValueError, match="scale=2, size=4; allowed is exactly one"):
        f(SQUARE, 2, size=4)
    with pytest.raises(ValueError, match=r"scale=1\.5"):
        f(SQUARE, 1.5)
    with pytest.raises(ValueError, match=r"size=\(4, 0\)"):
        f(SQUARE, size=(4, 0))


def test_places_outside_the_plane_get_nothing():
    x, places = jnp.ones((1, 1, 3, 1)), jnp.array([-1, 0, 4]).reshape(1, 1, 3, 1)
    y = functional.max_unpool2d(x, places, size=2)
    np.testing.assert_array_equal(y[0, ..., 0], [[1, 0], [0, 0]])


def test_wrong_arguments_of_unpooling_are_named():
    with pytest.raises(ValueError, match="scale=0"):
        functional.unpool_bed_of_nails(SQUARE, 0)
    with pytest.raises(ValueError, match=r"indices has shape \(2, 2\)"):
        functional.max_unpool2d(SQUARE, jnp.zeros((2, 2), jnp.int32), 2)
    with pytest.raises(ValueError, match="dtype float32; allowed are ints"):
        functional.max_unpool2d(SQUARE, SQUARE, 2)
