"""Data sets, as arrays on the device or as streams of files, and what happens to their images."""

from jaxcv.data.augment import augment, normalize
from jaxcv.data.batches import epoch_order, halved, padded_batches, random_batch, split_halves
from jaxcv.data.dataset import (
    Augmentation,
    Dataset,
    Split,
    channel_statistics,
    check_split,
    from_arrays,
)
from jaxcv.data.sources import load
from jaxcv.data.streams import Stream, evaluation_batches, stream, training_batches

__all__ = [
    "Augmentation",
    "Dataset",
    "Split",
    "Stream",
    "augment",
    "channel_statistics",
    "check_split",
    "epoch_order",
    "evaluation_batches",
    "from_arrays",
    "halved",
    "load",
    "normalize",
    "padded_batches",
    "random_batch",
    "split_halves",
    "stream",
    "training_batches",
]
