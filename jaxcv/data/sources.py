"""Where data sets come from: the embedded one, TFDS, image folders, files of arrays."""

import difflib
import json
import logging
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

from jaxcv.data.dataset import Augmentation, Dataset, Split, from_arrays

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

_RANDOM_ACCESS = ("array_record", "parquet")
_TEST_NAMES = ("test", "val", "valid", "validation")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

_OR_STREAM = ", or train on crops of them, with --train.image-size"

# Natural objects keep their meaning in a mirror; digits, letters and house numbers do not.
_AUGMENTATIONS = {
    "cifar10": Augmentation(pad=4, flip=True),
    "cifar100": Augmentation(pad=4, flip=True),
    "fashion_mnist": Augmentation(pad=2, flip=True),
    "kmnist": Augmentation(pad=2),
    "mnist": Augmentation(pad=2),
    "svhn_cropped": Augmentation(pad=4),
}
_STATISTICS = {
    "cifar10": (
        (0.49139968, 0.48215827, 0.44653124),
        (0.24703233, 0.24348505, 0.26158768),
    ),
}


def load(name: str, data_dir: str | None = None) -> Dataset:
    """A data set by name or path.

    Args:
        name: "digits", scikit-learn's handwritten digits, which need no download; the path of an
            image folder, ``train/<class>/<image>`` and ``test/<class>/<image>``; the path of an
            ``.npz`` file with train_images, train_labels, test_images, test_labels; or the name
            of any TFDS data set with image and label.
        data_dir: where TFDS data sets are; by default ``TFDS_DATA_DIR``, else
            ``~/tensorflow_datasets``.

    Raises:
        ValueError: for a name that is none of these, with what to run to get it, and for content
            that is not images of one size with labels.
    """
    if name == "digits":
        return _digits()
    path = Path(name)
    if path.suffix == ".npz":
        return _npz(path)
    if name and path.is_dir():
        return _folder(path)
    return _tfds(name, tfds_dir(data_dir))


def tfds_dir(data_dir: str | None) -> Path:
    """Where TFDS data sets are."""
    default = Path.home() / "tensorflow_datasets"
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or default)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1437], order[1437:]
    return from_arrays(
        images[train],
        labels[train],
        images[test],
        labels[test],
        name="digits",
        augmentation=Augmentation(pad=1),
    )


def _npz(path: Path) -> Dataset:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = [file[name] for name in names]
    except (
        OSError,
        KeyError,
        ValueError,
        EOFError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"name={str(path)!r} cannot be read ({error}); allowed is an .npz file with "
            f"{', '.join(names)}"
        ) from None
    return from_arrays(*arrays, name=path.stem)


def _folder(path: Path) -> Dataset:
    classes, *folders = folder_layout(path)
    train, test = (_read_images(folder, classes) for folder in folders)
    return from_arrays(*train, *test, name=path.name, classes=classes)


def folder_layout(path: Path) -> tuple[list[str], Path, Path]:
    """The classes of an image folder, and the folders of its training and its test images.

    Raises:
        ValueError: if it has another layout.
    """
    tests = [path / name for name in _TEST_NAMES if (path / name).is_dir()]
    if not (path / "train").is_dir() or not tests:
        raise ValueError(
            f"name={str(path)!r} is a folder without train/ and test/; allowed is one with "
            "train/<class>/<image> and test/<class>/<image>"
        )
    classes = sorted(
        entry.name
        for entry in (path / "train").iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not classes:
        raise ValueError(f"name={str(path)!r} has no folder in train/; allowed is one a class")
    return classes, path / "train", tests[0]


def image_files(folder: Path, classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Paths and labels of ``folder/<class>/<image>``, in order.

    Raises:
        ValueError: if there are none, or one is of no known class.
    """
    labels = {name: label for label, name in enumerate(classes)}
    paths, found = [], []
    for entry in sorted(folder.glob("[!.]*")):
        # By names alone, since there may be a million.
        names = sorted(os.listdir(entry)) if entry.is_dir() else []
        names = [name for name in names if name[0] != "." and name.lower().endswith(_SUFFIXES)]
        if names and entry.name not in labels:
            raise ValueError(
                f"{str(entry)!r} is no class of train/; allowed are {', '.join(classes)}"
            )
        for name in names:
            paths.append(os.path.join(entry, name))
            found.append(labels[entry.name])
    if not paths:
        raise ValueError(
            f"{str(folder)!r} has no images; allowed are <class>/<image> with the endings "
            f"{', '.join(_SUFFIXES)}"
        )
    return paths, np.array(found, np.int32)


def open_image(file: str | IO[bytes], name: str) -> "Image.Image":
    """The image in a file, grey or RGB.

    Raises:
        ValueError: for a file, named so in the message, that is no image of 8 bits a channel.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):  # a conversion would clip, not scale
                raise ValueError(
                    f"{name!r} has pixels of mode {image.mode}; allowed are 8-bit images"
                )
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{name!r} is no readable image ({error})") from None


def _read_images(folder: Path, classes: list[str]) -> Split:
    paths, labels = image_files(folder, classes)
    images: list[np.ndarray] = []
    for path in _watched(paths, f"reading {folder.name}"):
        pixels = np.asarray(open_image(path, path))
        images.append(pixels if pixels.ndim == 3 else pixels[..., None])
        if images[-1].shape != images[0].shape:
            raise ValueError(
                f"{path!r} has height, width, channels {images[-1].shape}; allowed is "
                f"{images[0].shape}, as {paths[0]!r} has; bring all images to one size and mode "
                f"(grey or colour) first{_OR_STREAM}"
            )
    return Split(np.stack(images), labels)


def _tfds(name: str, data_dir: Path) -> Dataset:
    builder, test_split = tfds_builder(name, data_dir)
    try:
        splits = [_read_split(builder, split) for split in ("train", test_split)]
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"name={name!r} cannot be read ({error}); allowed is a complete TFDS folder"
        ) from None
    kind = name.split("/")[0]
    return from_arrays(
        *splits[0],
        *splits[1],
        name=name,
        classes=builder.info.features["label"].names,
        statistics=_STATISTICS.get(kind),
        augmentation=_AUGMENTATIONS.get(kind),
    )


def tfds_builder(name: str, data_dir: Path) -> tuple[Any, str]:
    """The TFDS builder of a data set with images and labels, and its split for tests.

    Raises:
        ValueError: if it is not there, or of another kind.
    """
    folder = _tfds_folder(name, data_dir)
    info = json.loads((folder / "dataset_info.json").read_text())
    # TFDS itself takes a missing format for TFRecord.
    formats = [info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", ())]
    if not set(formats) & set(_RANDOM_ACCESS):
        raise ValueError(
            f"{str(folder)!r} is in {', '.join(formats)} format; allowed are "
            f"{', '.join(_RANDOM_ACCESS)}; to add one, in a Python environment of its own: "
            "pip install tensorflow tensorflow-datasets array_record apache-beam mlcroissant "
            f"importlib_resources && tfds convert_format --dataset_version_dir={folder} "
            "--out_file_format=array_record"
        )
    import tensorflow_datasets as tfds

    logging.getLogger("absl").addFilter(_unless_opencv)
    builder = tfds.builder_from_directory(folder)
    features = builder.info.features
    if (
        features is None
        or not {"image", "label"} <= set(features)
        or not isinstance(features["label"], tfds.features.ClassLabel)
    ):
        raise ValueError(
            f"name={name!r} has the features {', '.join(features or ())}; allowed is a data set "
            "with an image and a label that is a class"
        )
    tests = [split for split in _TEST_NAMES if split in builder.info.splits]
    if "train" not in builder.info.splits or not tests:
        raise ValueError(
            f"name={name!r} has the splits {', '.join(builder.info.splits)}; allowed is a data "
            f"set with train and one of {', '.join(_TEST_NAMES)}"
        )
    return builder, tests[0]


def _unless_opencv(record: logging.LogRecord) -> bool:
    return "OpenCV" not in record.getMessage()


def _tfds_folder(name: str, data_dir: Path) -> Path:
    """Where the newest version of a data set is."""
    found = [file.parent for file in (data_dir / name).rglob("dataset_info.json") if name]
    if not found:
        raise ValueError(_missing(name, data_dir))
    configurations = sorted({str(folder.parent.relative_to(data_dir)) for folder in found})
    if len(configurations) > 1:
        raise ValueError(
            f"name={name!r} has several configurations; allowed is one of "
            f"{', '.join(configurations)}"
        )
    return max(found, key=lambda folder: [int(n) for n in re.findall(r"\d+", folder.name)])


def _read_split(builder: Any, split: str) -> Split:
    source = builder.as_data_source(split=split)
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    at_once = 1000
    for start in _watched(range(0, len(source), at_once), f"reading {split}"):
        rows = source.__getitems__(list(range(start, min(start + at_once, len(source)))))
        shapes = {row["image"].shape for row in rows} | {i.shape[1:] for i in images}
        if len(shapes) > 1:
            raise ValueError(
                f"{split} has images of {' and '.join(map(str, sorted(shapes)[:2]))}; allowed is "
                f"one size; bring all images to one size first{_OR_STREAM}"
            )
        images.append(np.stack([row["image"] for row in rows]))
        labels.append(np.array([row["label"] for row in rows], np.int32))
    return Split(np.concatenate(images), np.concatenate(labels))


def _missing(name: str, data_dir: Path) -> str:
    import tensorflow_datasets as tfds

    found = data_dir.rglob("dataset_info.json")
    present = sorted({file.relative_to(data_dir).parts[0] for file in found})
    available = tfds.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(name, sorted({"digits", *present, *available}), n=3)
    if name.split("/")[0] in available:
        hint = (
            '; to get it: pip install tensorflow importlib_resources && python -c "import '
            f"tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{data_dir}', "
            "file_format='array_record').download_and_prepare()\""
        )
    else:
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return (
        f"name={name!r} is not there; allowed are digits, an image folder, an .npz file, and the "
        f"TFDS data sets in {str(data_dir)!r} ({', '.join(present) or 'none so far'}; --data-dir "
        f"or TFDS_DATA_DIR name another place){hint}"
    )


def _watched(items: Sequence[T], description: str) -> Iterable[T]:
    return tqdm(
        items, desc=description, leave=False, file=sys.stderr, disable=not sys.stderr.isatty()
    )
