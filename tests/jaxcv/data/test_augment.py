"""Augmentation against plain NumPy: every image must be one of those that NumPy can make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.data import Augmentation, augment, normalize
from jaxcv.data.augment import shift

MEAN, STD = (0.4, 0.5), (0.2, 0.3)


def numpy_normalize(images):
    return (images / 255.0 - np.array(MEAN)) / np.array(STD)


def random_images(*shape):
    return np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)


def test_normalize():
    images = random_images(3, 4, 5, 2)
    result = normalize(jnp.asarray(images), MEAN, STD)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, numpy_normalize(images), atol=1e-6)


def test_shift_reads_from_the_offset_on_and_black_beyond_the_border():
    images = random_images(5, 6, 4, 3)
    offsets = np.array([[0, 0], [-2, 1], [2, -2], [-2, -2], [1, 2]])
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = [
        image[2 + row : 8 + row, 2 + column : 6 + column]
        for image, (row, column) in zip(padded, offsets, strict=True)
    ]
    np.testing.assert_array_equal(shift(jnp.asarray(images), jnp.asarray(offsets)), expected)


def test_crops_and_mirrors_are_all_of_numpys_and_equally_frequent():
    image, count = random_images(4, 5, 2), 3600
    # The padding is black before normalisation, so it is not zero after it.
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    crops = [padded[r : r + 4, c : c + 5] for r in range(3) for c in range(3)]
    possible = numpy_normalize(np.stack([*crops, *(crop[:, ::-1] for crop in crops)]))

    images = jnp.broadcast_to(image, (count, *image.shape))
    result = augment(jax.random.key(0), images, Augmentation(pad=1, flip=True), MEAN, STD)

    distance = np.abs(np.asarray(result)[:, None] - possible).max((2, 3, 4))
    assert distance.min(1).max() < 1e-5
    frequency = np.bincount(distance.argmin(1), minlength=18) / count
    np.testing.assert_allclose(frequency, 1 / 18, atol=5 * np.sqrt(1 / 18 / count))


def test_cutout_zeroes_a_clipped_square_of_the_normalised_image():
    images = jnp.asarray(random_images(300, 8, 8, 2))
    plain = Augmentation(pad=1, flip=True)
    key = jax.random.key(1)
    whole = np.asarray(augment(key, images, plain, MEAN, STD))
    cut = np.asarray(augment(key, images, Augmentation(pad=1, flip=True, cutout=4), MEAN, STD))
    hole = (cut == 0).all(-1) & (whole != 0).any(-1)
    np.testing.assert_array_equal(cut, np.where(hole[..., None], 0, whole))
    height, width = hole.any(2).sum(1), hole.any(1).sum(1)
    # A centre at pixel 0 leaves two of four rows, one at pixel 7 three.
    assert set(height) == set(width) == {2, 3, 4}
    np.testing.assert_array_equal(hole.sum((1, 2)), height * width)


def test_without_augmentation_only_normalised():
    images = random_images(2, 3, 3, 2)
    result = augment(jax.random.key(0), jnp.asarray(images), Augmentation(), MEAN, STD)
    np.testing.assert_allclose(result, numpy_normalize(images), atol=1e-6)


def test_depends_on_the_key_alone():
    images = jnp.asarray(random_images(8, 6, 6, 2))
    augmentation = Augmentation(pad=2, flip=True, cutout=2)

    @jax.jit
    def compiled(key):
        return augment(key, images, augmentation, MEAN, STD)

    eager = augment(jax.random.key(3), images, augmentation, MEAN, STD)
    np.testing.assert_allclose(compiled(jax.random.key(3)), eager, atol=1e-6)
    assert not np.allclose(compiled(jax.random.key(4)), eager)


@pytest.mark.parametrize("name", ["pad", "cutout"])
@pytest.mark.parametrize("value", [-1, 1.5, "4"])
def test_wrong_augmentation(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}; allowed"):
        Augmentation(**{name: value})
