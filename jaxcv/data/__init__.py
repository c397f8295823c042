"""Data sets as arrays on the device, and what happens to them inside the compiled step."""

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

__all__ = [
    "Augmentation",
    "Dataset",
    "Split",
    "augment",
    "channel_statistics",
    "check_split",
    "epoch_order",
    "from_arrays",
    "halved",
    "load",
    "normalize",
    "padded_batches",
    "random_batch",
    "split_halves",
]
