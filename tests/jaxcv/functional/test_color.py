"""Changes of colour against Pillow and matplotlib."""

import functools
import itertools

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from jaxcv import functional
from jaxcv.functional import color


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize(
    ("change", "pillow"),
    [
        (functional.adjust_brightness, ImageEnhance.Brightness),
        (functional.adjust_contrast, ImageEnhance.Contrast),
        (functional.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_blends_are_pillows(change, pillow):
    images, factors = pixels(3, 7, 5), (0.3, 1.0, 1.7)
    found = change(jnp.asarray(images, jnp.float32) / 255, jnp.array(factors))
    expected = [
        np.asarray(pillow(Image.fromarray(image)).enhance(factor))
        for image, factor in zip(images, factors, strict=True)
    ]
    # Pillow rounds the luma, or its mean, and the result.
    np.testing.assert_allclose(255 * found, expected, atol=1.4)


# Compiled, since one program is made faster than each operation by itself.
hue = jax.jit(functional.adjust_hue)


def jitter(seed, images, **amounts):
    """Compiled anew, as the changes may be other ones."""
    compiled = jax.jit(functools.partial(functional.color_jitter, **amounts))
    return np.asarray(compiled(jax.random.key(seed), images))


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.1, 1 / 3])
def test_hue_is_matplotlibs(turn):
    with jax.enable_x64(True):
        # Grey, black and white pixels, and equal largest channels, among them.
        images = pixels(6, 6) / 255
        images[0, :4] = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [0.7, 0.7, 0.2]]
        hsv = matplotlib.colors.rgb_to_hsv(images)
        hsv[..., 0] = (hsv[..., 0] + turn) % 1
        found = hue(images, turn)
        np.testing.assert_allclose(found, matplotlib.colors.hsv_to_rgb(hsv), atol=1e-12)


def test_a_turn_for_each_image():
    images = pixels(2, 6, 6) / 255
    turns = np.array([0.1, -0.3])
    with jax.enable_x64(True):
        expected = [hue(*each) for each in zip(images, turns, strict=True)]
        np.testing.assert_allclose(hue(images, turns), expected, atol=1e-12)


CHANGES = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")


def test_jitter_comes_in_every_order_equally_often(monkeypatch):
    for number, name in enumerate(CHANGES):
        # What has happened to an image is written in its pixels, a digit for each change.
        write = functools.partial(lambda number, image, factor: 10 * image + number, number)
        monkeypatch.setattr(color, name, write)
    found = jitter(0, np.zeros((2400, 1, 1, 3), np.float32))
    orders, frequency = np.unique(found[:, 0, 0, 0], return_counts=True)
    digits = {"".join(order) for order in itertools.permutations("0123")}
    assert {f"{int(order):04}" for order in orders} == digits
    np.testing.assert_allclose(frequency, 100, atol=5 * 10)


def test_factors_are_uniform_in_their_ranges_and_independent(monkeypatch):
    for row, name in enumerate(CHANGES):
        write = functools.partial(lambda row, image, factor: image.at[row].add(factor), row)
        monkeypatch.setattr(color, name, write)
    amounts = {"brightness": 0.4, "contrast": 3.0, "saturation": 0.1, "hue": 0.2}
    factors = jitter(0, np.zeros((2000, 4, 1, 3), np.float32), **amounts)[:, :, 0, 0].T
    for each, (least, largest) in zip(
        factors, [(0.6, 1.4), (0.0, 4.0), (0.9, 1.1), (-0.2, 0.2)], strict=True
    ):
        uniform = (each - least) / (largest - least)
        assert uniform.min() >= -1e-6 and uniform.max() <= 1 + 1e-6
        np.testing.assert_allclose(np.histogram(uniform, 5, (0, 1))[0], 400, atol=5 * 18)
    np.testing.assert_allclose(np.corrcoef(factors), np.eye(4), atol=5 / np.sqrt(2000))


def test_no_amounts_change_nothing_and_the_key_is_all_that_counts():
    images = np.float32(pixels(3, 4, 4)) / 255
    amounts = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}
    np.testing.assert_allclose(jitter(0, images), images, atol=1e-6)
    first, again, other = (jitter(seed, images, **amounts) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-2)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"images has shape \(2, 4, 4, 1\); allowed is"):
        functional.adjust_hue(jnp.zeros((2, 4, 4, 1)), 0.1)
    with pytest.raises(ValueError, match="images has type uint8; allowed are floats"):
        functional.adjust_brightness(jnp.zeros((2, 4, 4, 3), jnp.uint8), 0.5)
    with pytest.raises(ValueError, match="hue=-1; allowed is at least 0"):
        functional.color_jitter(jax.random.key(0), jnp.zeros((2, 4, 4, 3)), hue=-1)
