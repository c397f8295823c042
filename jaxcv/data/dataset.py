"""A data set as a value: arrays, class names, normalisation, augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Images, uint8 [N, height, width, channels], and labels, int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Raises:
        ValueError: for a size that is negative or no int.
    """

    pad: int = 0
    """Zeros around an image, in pixels, before a random crop back to its size."""
    flip: bool = False
    """Whether half of the images are mirrored."""
    cutout: int = 0
    """Side of a square of zeros, in pixels."""
    brightness: float = 0.0
    """Amount of ``jaxcv.functional.color_jitter``, as the next three."""
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("pad", "cutout"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 0:
                raise ValueError(f"{name}={size!r}; allowed is a number of pixels, at least 0")


@dataclass(frozen=True)
class Dataset:
    """A data set for classification.

    Attributes:
        name: what it is called.
        train, test: its splits.
        classes: names, by label.
        mean, std: of each channel, images scaled to 0..1.
        augmentation: that suits it.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation


def check_split(
    images_name: str, labels_name: str, images: np.ndarray, labels: np.ndarray
) -> Split:
    """Images and labels as a ``Split``; grey images [N, height, width] get a channel.

    Raises:
        ValueError: for another type or shape, or a label below 0; it calls the arrays by the names
            given.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise ValueError(f"{images_name} has type {images.dtype}; allowed is uint8, 0 to 255")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        raise ValueError(
            f"{images_name} has shape {images.shape}; allowed is [N, height, width, channels] or "
            "[N, height, width], none of them 0"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{labels_name} has shape {labels.shape} and type {labels.dtype}; allowed is an "
            f"integer for each of the {len(images)} images"
        )
    if labels.min() < 0:
        raise ValueError(f"{labels_name} has {labels.min()}; allowed is at least 0")
    return Split(images, labels.astype(np.int32))


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for images scaled to 0..1.

    A constant channel gets the deviation 1, so that it can be divided by.
    """
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[-1]):
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., 0].size
        mean.append(float(share @ values))
        deviation = float(np.sqrt(share @ (values - mean[-1]) ** 2))
        std.append(deviation if deviation > 0 else 1.0)
    return tuple(mean), tuple(std)


def from_arrays(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    name: str = "arrays",
    classes: Sequence[str] | None = None,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    augmentation: Augmentation | None = None,
) -> Dataset:
    """A data set of one's own arrays.

    Args:
        train_images, test_images: uint8 [N, height, width, channels] or [N, height, width].
        train_labels, test_labels: integers [N], from 0.
        name: what to call it.
        classes: names, by label; by default the labels.
        statistics: mean and std of each channel; by default those of the training images.
        augmentation: by default none.

    Raises:
        ValueError: for arrays of another type or shape, splits of different image size, a label
            beyond the classes, or statistics that do not fit the channels.
    """
    train = check_split("train_images", "train_labels", train_images, train_labels)
    test = check_split("test_images", "test_labels", test_images, test_labels)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"test_images has images of {test.images.shape[1:]}; allowed is "
            f"{train.images.shape[1:]}, as train_images has"
        )
    largest = int(max(train.labels.max(), test.labels.max()))
    names = tuple(map(str, range(largest + 1))) if classes is None else tuple(classes)
    if largest >= len(names):
        raise ValueError(f"classes has {len(names)} names; allowed is at least {largest + 1}")
    mean, std = channel_statistics(train.images) if statistics is None else statistics
    channels = train.images.shape[-1]
    if not len(mean) == len(std) == channels or min(std) <= 0:
        raise ValueError(
            f"statistics={(mean, std)!r}; allowed are a mean and a positive std for each of the "
            f"{channels} channels"
        )
    return Dataset(name, train, test, names, mean, std, augmentation or Augmentation())
