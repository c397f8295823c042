"""Streams: which images a batch has, how they are cropped, from folders and from TFDS.

The images are each of one colour, so that a crop tells which one it is from.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small_data import write_folder, write_tfds

from jaxcv.data import Augmentation, evaluation_batches, stream, training_batches
from jaxcv.data.streams import center_crop, random_box

SETTINGS = {"size": 4, "image_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stream(str(write_folder(tmp_path_factory.mktemp("pets"))))


def taken(batches, count):
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def rows(images):
    """Which of ``plain_images`` the images are."""
    assert (images == images[:, :1, :1]).all()
    return (images[:, 0, 0, 0] // 10).tolist()


def test_an_epoch_has_whole_batches_of_different_images_in_an_order_of_its_own(folder):
    assert (len(folder.train), len(folder.test), folder.classes) == (19, 5, ("cat", "dog"))
    batches = taken(training_batches(folder.train, seed=0, **SETTINGS), 12)
    epochs = []
    for epoch in range(3):
        found = [rows(batch.images) for batch in batches[4 * epoch : 4 * epoch + 4]]
        assert len({*itertools.chain(*found)}) == 16
        epochs.append(found)
    assert epochs[0] != epochs[1] != epochs[2]
    for batch in batches:
        assert batch.images.shape == (4, 8, 8, 3) and batch.images.dtype == np.uint8
        assert batch.labels.tolist() == [row % 2 for row in rows(batch.images)]
        assert batch.labels.dtype == np.int32


def noisy(count):
    """Images whose crops differ from each other."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (20, 30 + row, 3), np.uint8) for row in range(count)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    write_tfds(root / "tiny/1.0.0", noisy(7), [row % 2 for row in range(7)], shape=(-1, -1, 3))
    return stream("tiny", str(root))


def test_seed_and_step_alone_say_what_a_batch_is(records):
    batches = taken(training_batches(records.train, seed=3, **SETTINGS), 5)
    again = taken(training_batches(records.train, seed=3, start=2, **SETTINGS), 3)
    for first, second in zip(batches[2:], again, strict=True):
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, second.labels)
    other = taken(training_batches(records.train, seed=4, **SETTINGS), 1)[0]
    assert not np.array_equal(batches[0].images, other.images)


def test_an_image_is_cropped_anew_at_each_step_and_in_each_place(tmp_path):
    path = str(tmp_path / "noise.png")
    Image.fromarray(noisy(1)[0]).save(path)
    files = [(path, path, 0)] * 2
    batches = taken(training_batches(files, seed=0, size=2, image_size=8), 2)
    crops = {crop.tobytes() for batch in batches for crop in batch.images}
    assert len(crops) == 4


def test_parts_of_batches_make_up_the_whole(records):
    whole = taken(training_batches(records.train, seed=3, **SETTINGS), 2)
    parts = [
        taken(training_batches(records.train, seed=3, part=(i, 2), **SETTINGS), 2) for i in range(2)
    ]
    for step in range(2):
        together = np.concatenate([part[step].images for part in parts])
        np.testing.assert_array_equal(together, whole[step].images)
    evaluated = list(evaluation_batches(records.test, **SETTINGS))
    parts = [list(evaluation_batches(records.test, part=(i, 2), **SETTINGS)) for i in range(2)]
    for step, batch in enumerate(evaluated):
        for kind, array in enumerate(batch):
            together = np.concatenate([part[step][kind] for part in parts])
            np.testing.assert_array_equal(together, array)


def test_evaluation_takes_each_image_once_in_order(folder):
    found = list(evaluation_batches(folder.test, **SETTINGS))
    assert [batch[0].shape for batch in found] == [(4, 8, 8, 3)] * 2
    images, labels, mask = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    assert mask.tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    # In a folder the classes come one after the other.
    assert rows(images)[:5] == [0, 2, 4, 1, 3]
    assert labels[:5].tolist() == [0, 0, 0, 1, 1]


def test_tfds_records_are_decoded_and_labelled(records):
    assert records.classes == ("cat", "dog")
    images, labels, _ = next(iter(evaluation_batches(records.test, size=7, image_size=8)))
    assert labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    expected = [center_crop(Image.fromarray(image), 8) for image in noisy(7)]
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (40, 41)])
def test_the_center_crop_is_jaxs_antialiased_resize(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    # 37 of 32 as 256 of 224, rounded.
    height, width = (side * 37 // min(shape) for side in shape)
    resized = jax.image.resize(jnp.asarray(image, jnp.float32), (height, width, 3), "linear")
    top, left = (height - 32) // 2, (width - 32) // 2
    expected = resized[top : top + 32, left : left + 32]
    found = center_crop(Image.fromarray(image), 32)
    # Pillow rounds after each of the two axes.
    np.testing.assert_allclose(found, expected, atol=1.01)


def test_random_boxes_have_uniform_areas_and_log_uniform_ratios_and_lie_within():
    random = np.random.default_rng(0)
    # So large that every box fits and rounding is no matter.
    size = 10_000
    boxes = np.array([random_box(random, 2 * size, 2 * size) for _ in range(4000)])
    left, upper, right, lower = boxes.T
    assert boxes.min() >= 0 and boxes.max() <= 2 * size
    small = (right - left) * (lower - upper) / (2 * size) ** 2
    ratio = np.log((right - left) / (lower - upper)) / np.log(4 / 3)
    assert 0.08 <= small.min() < 0.09 and small.max() <= 1
    assert -1.001 <= ratio.min() < -0.99 and 0.99 < ratio.max() <= 1.001
    # Boxes of at most three quarters of the area fit whatever their ratio.
    certain = small < 0.75
    counts = np.histogram(small[certain], 4, (0.08, 0.75))[0]
    np.testing.assert_allclose(counts, certain.sum() / 4, rtol=0.15)
    np.testing.assert_allclose(
        np.histogram(ratio[certain], 4, (-1, 1))[0], certain.sum() / 4, rtol=0.15
    )
    # Where there is much room the place is uniform.
    room = small < 0.3
    place = (left / (2 * size - (right - left)))[room]
    np.testing.assert_allclose(np.histogram(place, 4, (0, 1))[0], room.sum() / 4, rtol=0.2)


@pytest.mark.parametrize(
    ("size", "box"),
    [((1000, 10), (493, 0, 506, 10)), ((9, 1000), (0, 494, 9, 506))],
)
def test_where_no_box_fits_it_is_the_largest_in_the_middle(size, box):
    assert random_box(np.random.default_rng(0), *size) == box


def test_what_is_not_there_or_damaged_is_named(tmp_path, folder):
    assert folder.augmentation == Augmentation(
        flip=True, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2
    )
    with pytest.raises(ValueError, match=r"name='imagenet2012' is not there.*download_and_prepare"):
        stream("imagenet2012", str(tmp_path))
    root = write_folder(tmp_path / "pets", train=2, test=1)
    (root / "train/cat/00.png").write_bytes(b"no image")
    batches = training_batches(stream(str(root)).train, seed=0, size=2, image_size=8)
    with pytest.raises(ValueError, match=r"cat/00\.png' is no readable image"):
        next(batches)
