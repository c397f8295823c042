"""Batches of device-resident arrays, drawn inside the compiled step."""

from dataclasses import replace

import jax
import numpy as np
from jax import lax

from jaxcv.data.dataset import Dataset, Split


def split_halves(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Two random halves of the rows 0 to count - 1; of an odd count the second has one more."""
    order = jax.random.permutation(key, count)
    return order[: count // 2], order[count // 2 :]


def halved(dataset: Dataset, key: jax.Array) -> Dataset:
    """The training images of a data set in two random halves, the second in place of the test
    images: a search then trains on the one and scores on the other."""
    halves = split_halves(key, len(dataset.train.labels))
    first, second = (
        Split(dataset.train.images[rows], dataset.train.labels[rows])
        for rows in map(np.asarray, jax.device_get(halves))
    )
    return replace(dataset, train=first, test=second)


def epoch_order(key: jax.Array, epoch: jax.typing.ArrayLike, count: int) -> jax.Array:
    """A random order of ``count`` rows for an epoch: [count], each row once."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), count)


def random_batch(key: jax.Array, count: int, size: int) -> jax.Array:
    """``size`` different rows out of ``count``, at random: [size]."""
    # The places of the largest of random numbers: far cheaper than sorting all rows at each step.
    return lax.top_k(jax.random.uniform(key, (count,)), size)[1]


def padded_batches(split: Split, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A split as batches of one size, for evaluation.

    Args:
        split: N images and labels.
        size: of a batch.

    Returns:
        Images [batches, size, height, width, channels], labels [batches, size], and a mask
        [batches, size] that is 0 where the last batch was filled up.
    """
    count = len(split.labels)
    extra = -count % size
    rows = np.concatenate([np.arange(count), np.zeros(extra, int)]).reshape(-1, size)
    mask = (np.arange(rows.size) < count).reshape(rows.shape).astype(np.float32)
    return split.images[rows], split.labels[rows], mask
