"""Which rows a batch has: all of them, none twice, and the same for the same key."""

import jax
import numpy as np
import pytest

from jaxcv.data import (
    Split,
    epoch_order,
    halved,
    load,
    padded_batches,
    random_batch,
    split_halves,
)


@pytest.mark.parametrize("count", [2, 7, 1000])
def test_halves_share_no_row_and_miss_none(count):
    first, second = split_halves(jax.random.key(0), count)
    assert (first.size, second.size) == (count // 2, count - count // 2)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(count))


def test_halves_are_random():
    first, _ = split_halves(jax.random.key(0), 1000)
    other, _ = split_halves(jax.random.key(1), 1000)
    # Of 500 rows, about half fall below the middle, and about half are in any other half too.
    assert 200 < (np.asarray(first) < 500).sum() < 300
    assert 200 < np.intersect1d(first, other).size < 300


def test_halves_of_a_data_set_are_of_its_training_images():
    digits = load("digits")
    halves = halved(digits, jax.random.key(0))
    count = len(digits.train.labels)
    assert len(halves.train.labels) == count // 2
    both = np.concatenate([halves.train.images, halves.test.images]).reshape(count, -1)
    whole = digits.train.images.reshape(count, -1)
    np.testing.assert_array_equal(both[np.lexsort(both.T)], whole[np.lexsort(whole.T)])
    assert halves.classes == digits.classes


def test_an_epochs_order_has_every_row_once():
    key = jax.random.key(0)
    compiled = jax.jit(epoch_order, static_argnums=2)
    orders = [np.asarray(compiled(key, epoch, 100)) for epoch in range(3)]
    for epoch, order in enumerate(orders):
        assert sorted(order) == list(range(100))
        np.testing.assert_array_equal(order, epoch_order(key, epoch, 100))
    assert (orders[0] != orders[1]).any()
    assert (orders[1] != orders[2]).any()


def test_a_random_batch_has_no_row_twice_and_every_row_equally_often():
    draws = 2000
    keys = jax.random.split(jax.random.key(0), draws)
    rows = np.asarray(jax.jit(jax.vmap(lambda key: random_batch(key, 20, 5)))(keys))
    assert all(len(set(batch)) == 5 for batch in rows.tolist())
    frequency = np.bincount(rows.ravel(), minlength=20) / draws
    assert frequency.size == 20
    np.testing.assert_allclose(frequency, 5 / 20, atol=5 * np.sqrt(0.25 * 0.75 / draws))


def test_a_random_batch_of_all_rows():
    assert sorted(random_batch(jax.random.key(0), 6, 6).tolist()) == list(range(6))


def test_a_random_batch_larger_than_the_rows():
    with pytest.raises(ValueError):
        random_batch(jax.random.key(0), 6, 7)


@pytest.mark.parametrize(("count", "size", "batches"), [(12, 4, 3), (13, 4, 4), (3, 8, 1)])
def test_padded_batches_count_every_example_once(count, size, batches):
    images = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2, 1)
    labels = np.arange(count, dtype=np.int32)
    found_images, found_labels, mask = padded_batches(Split(images, labels), size)
    assert found_images.shape == (batches, size, 2, 2, 1)
    assert found_images.dtype == np.uint8
    assert found_labels.shape == mask.shape == (batches, size)
    assert set(np.unique(mask)) <= {0, 1}
    np.testing.assert_array_equal(found_images[mask == 1], images)
    np.testing.assert_array_equal(found_labels[mask == 1], labels)
