"""Small data sets on disk: a TFDS folder, written record by record, and an image folder."""

import io
import json

import numpy as np
from PIL import Image


def write_tfds(folder, images, labels, *, splits=("train", "test"), shape=(4, 4, 3), **info):
    """A TFDS folder as TFDS would write it, each split with all the images."""
    # Late, since they are heavy.
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder.mkdir(parents=True)
    for split in splits:
        writer = ArrayRecordWriter(
            str(folder / f"tiny-{split}.array_record-00000-of-00001"), "group_size:1"
        )
        for image, label in zip(images, labels, strict=True):
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(_png(image))
            example.features.feature["label"].int64_list.value.append(label)
            writer.write(example.SerializeToString())
        writer.close()
    described = {
        "name": "tiny",
        "version": folder.name,
        "fileFormat": "array_record",
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": "1",
                "shardLengths": [str(len(images))],
            }
            for split in splits
        ],
    }
    (folder / "dataset_info.json").write_text(json.dumps(described | info))
    features = "tensorflow_datasets.core.features."
    image = {
        "pythonClassName": f"{features}image_feature.Image",
        "image": {
            "dtype": "uint8",
            "encodingFormat": "png",
            "shape": {"dimensions": [str(d) for d in shape]},
        },
    }
    label = {
        "pythonClassName": f"{features}class_label_feature.ClassLabel",
        "classLabel": {"numClasses": "2"},
    }
    (folder / "features.json").write_text(
        json.dumps(
            {
                "pythonClassName": f"{features}features_dict.FeaturesDict",
                "featuresDict": {"features": {"image": image, "label": label}},
            }
        )
    )
    (folder / "label.labels.txt").write_text("cat\ndog\n")


def plain_images(count):
    """Images of different size, each of one colour of its own: [height, width, 3] each."""
    return [
        np.full((12 + 3 * row, 40 - 2 * row, 3), (10 * row, 200 - 7 * row, 99), np.uint8)
        for row in range(count)
    ]


def write_folder(root, *, train=19, test=5):
    """An image folder with plain images, of two classes in turn."""
    for split, count in (("train", train), ("test", test)):
        for row, image in enumerate(plain_images(count)):
            folder = root / split / ("cat", "dog")[row % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{row:02}.png")
    return root


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()
