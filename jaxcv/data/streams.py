"""Data sets too large for the memory: images of any size, read and cropped as they are needed.

Which images a batch has, and how they are cropped, is a function of a seed and the step alone, so
a stream starts at any step.
"""

import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from jaxcv.data.dataset import Augmentation, Split
from jaxcv.data.sources import folder_layout, image_files, open_image, tfds_builder, tfds_dir

if TYPE_CHECKING:
    import grain
    from PIL import Image

# Of random crops: share of the image's area, width over height, how often to try (arXiv:1409.4842).
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10
# Test images are resized so that the shorter side is this much longer than the crop: 256 for 224.
_MARGIN = 256 / 224
# ``PIL.Image.Resampling.BILINEAR``, without an import of PIL for all who read no images.
_BILINEAR = 2
_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_AUGMENTATION = Augmentation(flip=True, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)

Box = tuple[int, int, int, int]


class Files(Protocol):
    """A split: the file of each image, a path or an open one, a name for it, and its label."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> tuple[str | IO[bytes], str, int]: ...


@dataclass(frozen=True)
class Stream:
    """A data set for classification whose images are read as they are needed.

    Attributes:
        name: what it is called.
        train, test: its splits.
        classes: names, by label.
        mean, std: of each channel, images scaled to 0..1.
        augmentation: of random crops.
    """

    name: str
    train: Files
    test: Files
    classes: tuple[str, ...]
    mean: tuple[float, ...] = _STATISTICS[0]
    std: tuple[float, ...] = _STATISTICS[1]
    augmentation: Augmentation = _AUGMENTATION


def stream(name: str, data_dir: str | None = None) -> Stream:
    """A data set of photographs by name or path, none of them read yet.

    Mean, deviation and augmentation are those of arXiv:1806.09055 for ImageNet.

    Args:
        name: the path of an image folder, ``train/<class>/<image>`` and ``test/<class>/<image>``,
            or the name of any TFDS data set with image and label, such as imagenet2012.
        data_dir: as of ``load``.

    Raises:
        ValueError: for a name that is neither, with what to run to get it.
    """
    if name == "digits" or name.endswith(".npz"):
        raise ValueError(
            f"name={name!r} is held in memory, with images of one size; allowed with crops of an "
            "image size are an image folder, and a TFDS data set such as imagenet2012"
        )
    if name and Path(name).is_dir():
        classes, *folders = folder_layout(Path(name))
        train, test = (_Folder(*image_files(folder, classes)) for folder in folders)
        return Stream(Path(name).name, train, test, tuple(classes))
    builder, test_split = tfds_builder(name, tfds_dir(data_dir))
    classes = builder.info.features["label"].names
    try:
        records = [_Records(builder, split) for split in ("train", test_split)]
        return Stream(name, records[0], records[1], tuple(classes))
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"name={name!r} cannot be read ({error}); allowed is a complete TFDS folder"
        ) from None


def training_batches(
    files: Files,
    *,
    size: int,
    image_size: int,
    seed: int,
    start: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Split]:
    """Batches of random crops, without end, each image at most once an epoch.

    An epoch has as many whole batches as there are, in an order of its own.

    Args:
        files: of a stream.
        size: of a batch.
        image_size: height and width to resize the crops to, in pixels.
        seed: of order and crops, 0 to 2**32 - 1.
        start: step of the first batch.
        part: (i, n) for the i-th of n equal parts of each batch.

    Returns:
        An iterator, of which each batch is a ``Split``. Threads read ahead until it is closed.
    """
    import grain

    def read(step: int, rows: np.ndarray) -> Split:
        images, labels = [], []
        for place in _places(size, part):
            random = np.random.default_rng((seed, step, place))
            image, label = _read(files, int(rows[place]))
            box = random_box(random, *image.size)
            crop = image.crop(box).resize((image_size, image_size), _BILINEAR)
            images.append(np.asarray(crop.convert("RGB")))
            labels.append(label)
        return Split(np.stack(images), np.array(labels, np.int32))

    steps = grain.MapDataset.range(len(files)).shuffle(seed).batch(size, drop_remainder=True)
    return _ahead(steps.repeat().map_with_index(read)[start:])


def evaluation_batches(
    files: Files, *, size: int, image_size: int, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All images once, in order, resized and cropped in the middle, in batches of one size.

    Args:
        files, size, image_size, part: as of ``training_batches``.

    Returns:
        An iterator of images, labels, and a mask that is 0 where the last batch was filled up.
    """
    import grain

    def read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mine = rows[_places(size, part)]
        images, labels = [], []
        for row in mine:
            image, label = _read(files, int(row) % len(files))
            images.append(center_crop(image, image_size))
            labels.append(label)
        mask = (mine < len(files)).astype(np.float32)
        return np.stack(images), np.array(labels, np.int32), mask

    whole = -(-len(files) // size) * size
    return _ahead(grain.MapDataset.range(whole).batch(size).map(read))


def random_box(random: np.random.Generator, width: int, height: int) -> Box:
    """A part of an image at random (arXiv:1409.4842).

    Its area is uniform in 8 % to 100 % of the image's, its ratio of width to height log-uniform in
    3/4 to 4/3, its place uniform. Where ten such boxes did not fit in the image, the largest one
    in its middle is taken whose ratio is in that range.

    Returns:
        (left, upper, right, lower) in pixels.
    """
    for _ in range(_TRIES):
        area = width * height * random.uniform(*_AREA)
        ratio = math.exp(random.uniform(*np.log(_RATIO)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left = int(random.integers(width - wide + 1))
            upper = int(random.integers(height - high + 1))
            return left, upper, left + wide, upper + high
    wide = min(width, round(height * _RATIO[1]))
    high = min(height, round(width / _RATIO[0]))
    return _middle(width, height, wide, high)


def center_crop(image: "Image.Image", size: int) -> np.ndarray:
    """The middle square of an image, 224 / 256 as long as its shorter side, brought to a size.

    Returns:
        uint8 [size, size, 3].
    """
    shorter = round(size * _MARGIN)
    width, height = (side * shorter // min(image.size) for side in image.size)
    resized = image.resize((width, height), _BILINEAR)
    return np.asarray(resized.crop(_middle(width, height, size, size)).convert("RGB"))


def _middle(width: int, height: int, wide: int, high: int) -> Box:
    left, upper = (width - wide) // 2, (height - high) // 2
    return left, upper, left + wide, upper + high


def _places(size: int, part: tuple[int, int]) -> range:
    """The places in a batch that are a part's."""
    index, count = part
    return range(index * size // count, (index + 1) * size // count)


def _read(files: Files, row: int) -> tuple["Image.Image", int]:
    file, name, label = files[row]
    return open_image(file, name), label


def _ahead(batches: "grain.MapDataset[Any]") -> Iterator[Any]:
    """Batches in order, while threads read the next ones: a thread reads a batch, and Pillow lets
    other threads run while it decodes and resizes."""
    import grain

    threads = min(16, os.cpu_count() or 1)
    return iter(
        batches.to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        )
    )


class _Folder:
    def __init__(self, paths: list[str], labels: np.ndarray):
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[str, str, int]:
        return self.paths[row], self.paths[row], int(self.labels[row])


class _Records:
    def __init__(self, builder: Any, split: str):
        import tensorflow_datasets as tfds

        # Bytes, so that Pillow decodes them outside of Python's lock.
        decoders = {"image": tfds.decode.SkipDecoding()}
        self.source = builder.as_data_source(split=split, decoders=decoders)
        self.split = split

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> tuple[IO[bytes], str, int]:
        record = self.source[row]
        return io.BytesIO(record["image"]), f"{self.split} record {row}", int(record["label"])
