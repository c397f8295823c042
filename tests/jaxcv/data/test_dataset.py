"""Data sets of one's own arrays, and what is refused."""

import re

import numpy as np
import pytest

from jaxcv.data import Augmentation, channel_statistics, check_split, from_arrays


def arrays(**changes):
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (12, 4, 5, 3), dtype=np.uint8),
        "train_labels": np.arange(12) % 3,
        "test_images": rng.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8),
        "test_labels": np.arange(6) % 3,
    } | changes


def test_from_arrays():
    given = arrays()
    dataset = from_arrays(**given, name="mine", augmentation=Augmentation(pad=1))
    assert dataset.name == "mine"
    assert dataset.classes == ("0", "1", "2")
    assert dataset.augmentation == Augmentation(pad=1)
    for split, name in ((dataset.train, "train"), (dataset.test, "test")):
        np.testing.assert_array_equal(split.images, given[f"{name}_images"])
        np.testing.assert_array_equal(split.labels, given[f"{name}_labels"])
        assert split.labels.dtype == np.int32
    scaled = given["train_images"] / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, scaled.std((0, 1, 2)), rtol=1e-12)


def test_grey_images_get_a_channel():
    dataset = from_arrays(
        **arrays(
            train_images=np.eye(4, dtype=np.uint8)[None].repeat(12, 0),
            test_images=np.eye(4, dtype=np.uint8)[None].repeat(6, 0),
        )
    )
    assert dataset.train.images.shape == (12, 4, 4, 1)
    assert dataset.test.images.shape == (6, 4, 4, 1)
    assert len(dataset.mean) == len(dataset.std) == 1


def test_given_classes_and_statistics():
    statistics = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    dataset = from_arrays(**arrays(), classes=["a", "b", "c", "never"], statistics=statistics)
    assert dataset.classes == ("a", "b", "c", "never")
    assert (dataset.mean, dataset.std) == statistics


def test_a_constant_channel_can_be_divided_by():
    images = np.zeros((2, 3, 3, 2), np.uint8)
    images[0, ..., 1] = 255
    assert channel_statistics(images) == ((0.0, 0.5), (1.0, 0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((12, 4, 5, 3))}, "train_images has type float64; allowed"),
        ({"test_images": np.zeros((6, 4, 5, 3), int)}, "test_images has type int64; allowed"),
        ({"train_images": np.zeros((12, 4), np.uint8)}, "train_images has shape (12, 4); allowed"),
        ({"train_images": np.zeros((0, 4, 5, 3), np.uint8)}, "train_images has shape (0, 4, 5, 3)"),
        ({"train_labels": np.zeros(11, int)}, "train_labels has shape (11,)"),
        ({"train_labels": np.zeros((12, 3), int)}, "train_labels has shape (12, 3)"),
        ({"test_labels": np.zeros(6)}, "test_labels has shape (6,) and type float64; allowed"),
        ({"test_labels": np.arange(6) - 1}, "test_labels has -1; allowed"),
        (
            {"test_images": np.zeros((6, 4, 4, 3), np.uint8)},
            "test_images has images of (4, 4, 3); allowed is (4, 5, 3)",
        ),
        ({"classes": ["a", "b"]}, "classes has 2 names; allowed is at least 3"),
        ({"statistics": ((0.5,), (0.5,))}, "statistics=((0.5,), (0.5,)); allowed"),
        ({"statistics": ((0, 0, 0), (1, 0, 1))}, "statistics=((0, 0, 0), (1, 0, 1)); allowed"),
    ],
)
def test_wrong_arrays(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        from_arrays(**arrays(**changes))
    assert "\n" not in str(caught.value)


def test_check_split_calls_the_arrays_by_the_names_given():
    with pytest.raises(ValueError, match="pictures has type float64"):
        check_split("pictures", "kinds", np.zeros((2, 3, 3)), np.zeros(2, int))
    with pytest.raises(ValueError, match="kinds has shape"):
        check_split("pictures", "kinds", np.zeros((2, 3, 3), np.uint8), np.zeros(3, int))
