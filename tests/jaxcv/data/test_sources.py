"""Every kind of source, right and wrong. A small TFDS folder is written here, record by record."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_data import write_tfds

from jaxcv.data import Augmentation, load

REAL = Path(__file__).parents[4] / "shared" / "data" / "tfds"


def numbered(count, shape):
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


class TestDigits:
    def test_split(self):
        from sklearn.datasets import load_digits

        dataset = load("digits")
        assert dataset.name == "digits"
        assert dataset.classes == tuple("0123456789")
        assert dataset.augmentation == Augmentation(pad=1)
        assert dataset.train.images.shape == (1437, 8, 8, 1)
        assert dataset.test.images.shape == (360, 8, 8, 1)
        # Together the splits are scikit-learn's digits, none missing and none in both.
        images, labels = load_digits(return_X_y=True)
        expected = sorted(
            (label, *np.round(image / 16 * 255))
            for image, label in zip(images, labels, strict=True)
        )
        found = sorted(
            (label, *image.ravel())
            for split in (dataset.train, dataset.test)
            for image, label in zip(*split, strict=True)
        )
        assert found == expected

    def test_every_class_is_in_both_splits_and_the_split_is_fixed(self):
        first, second = load("digits"), load("digits")
        assert np.bincount(first.test.labels, minlength=10).min() > 20
        assert np.bincount(first.train.labels, minlength=10).min() > 100
        np.testing.assert_array_equal(first.test.images, second.test.images)


ARRAYS = {
    "train_images": numbered(6, (4, 4, 3)),
    "train_labels": np.arange(6) % 2,
    "test_images": numbered(4, (4, 4, 3)),
    "test_labels": np.arange(4) % 2,
}


class TestNpz:
    def test_round_trip(self, tmp_path):
        np.savez_compressed(tmp_path / "mine.npz", **ARRAYS)
        dataset = load(str(tmp_path / "mine.npz"))
        assert dataset.name == "mine"
        for name, array in ARRAYS.items():
            split, part = name.split("_")
            np.testing.assert_array_equal(getattr(getattr(dataset, split), part), array)

    def test_missing_array(self, tmp_path):
        np.savez(tmp_path / "mine.npz", train_images=ARRAYS["train_images"])
        with pytest.raises(ValueError, match=r"mine\.npz.*train_labels.*allowed"):
            load(str(tmp_path / "mine.npz"))

    def test_pickled_array(self, tmp_path):
        np.savez(tmp_path / "mine.npz", **ARRAYS | {"test_labels": np.array([None] * 4)})
        with pytest.raises(ValueError, match=r"mine\.npz.*allow_pickle"):
            load(str(tmp_path / "mine.npz"))

    def test_wrong_array_is_called_by_its_name(self, tmp_path):
        np.savez(tmp_path / "mine.npz", **ARRAYS | {"test_images": np.zeros((4, 4, 4, 3))})
        with pytest.raises(ValueError, match="test_images has type float64"):
            load(str(tmp_path / "mine.npz"))

    @pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and no more", b"text", "array"])
    def test_no_such_file_or_a_damaged_one(self, tmp_path, content):
        path = tmp_path / "mine.npz"
        if content == "array":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"name='.*mine\.npz' cannot be read.*allowed"):
            load(str(path))


class TestFolder:
    @staticmethod
    def write(root, files):
        for name, pixels in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name)

    @pytest.mark.parametrize("test_name", ["test", "val", "valid", "validation"])
    def test_images_and_labels(self, tmp_path, test_name):
        pixels = numbered(4, (5, 6, 3))
        names = ["train/cat/1.png", "train/dog/1.png", "train/dog/2.PNG", f"{test_name}/dog/3.png"]
        self.write(tmp_path / "pets", dict(zip(names, pixels, strict=True)))
        self.write(tmp_path / "pets", {"train/.cache/1.png": pixels[0]})
        (tmp_path / "pets/train/dog/notes.txt").write_text("no image")
        dataset = load(str(tmp_path / "pets"))
        assert dataset.name == "pets"
        assert dataset.classes == ("cat", "dog")
        np.testing.assert_array_equal(dataset.train.images, pixels[:3])
        assert dataset.train.labels.tolist() == [0, 1, 1]
        np.testing.assert_array_equal(dataset.test.images, pixels[3:])
        assert dataset.test.labels.tolist() == [1]

    def test_grey_images_have_one_channel(self, tmp_path):
        pixels = numbered(2, (5, 6))
        self.write(tmp_path, {"train/a/1.png": pixels[0], "test/a/1.png": pixels[1]})
        np.testing.assert_array_equal(load(str(tmp_path)).train.images[0, ..., 0], pixels[0])

    def test_the_file_of_another_size_is_named(self, tmp_path):
        files = {
            f"{s}/a/{i}.png": np.zeros((4, 4, 3), np.uint8)
            for s in ("train", "test")
            for i in range(3)
        }
        self.write(tmp_path, files | {"train/a/1.png": np.zeros((4, 5, 3), np.uint8)})
        with pytest.raises(ValueError, match=r"1\.png'.*\(4, 5, 3\).*\(4, 4, 3\).*0\.png.*size"):
            load(str(tmp_path))

    def test_splits_of_different_size(self, tmp_path):
        self.write(
            tmp_path,
            {
                "train/a/1.png": np.zeros((4, 4, 3), np.uint8),
                "test/a/1.png": np.zeros((5, 4, 3), np.uint8),
            },
        )
        with pytest.raises(ValueError, match="test_images has images of"):
            load(str(tmp_path))

    def test_damaged_image(self, tmp_path):
        self.write(tmp_path, {"train/a/1.png": np.zeros((4, 4, 3), np.uint8)})
        (tmp_path / "test/a").mkdir(parents=True)
        (tmp_path / "test/a/bad.png").write_bytes(b"no image")
        with pytest.raises(ValueError, match=r"bad\.png' is no readable image"):
            load(str(tmp_path))

    def test_16_bit_images_are_refused_not_clipped(self, tmp_path):
        self.write(
            tmp_path,
            {
                "train/a/1.png": np.full((4, 4), 1000, np.uint16),
                "test/a/1.png": np.full((4, 4), 1000, np.uint16),
            },
        )
        with pytest.raises(ValueError, match=r"1\.png' has pixels of mode I.*allowed are 8-bit"):
            load(str(tmp_path))

    def test_unknown_class_in_test(self, tmp_path):
        self.write(
            tmp_path,
            {
                "train/a/1.png": np.zeros((4, 4), np.uint8),
                "test/b/1.png": np.zeros((4, 4), np.uint8),
            },
        )
        with pytest.raises(ValueError, match="b' is no class of train/; allowed are a"):
            load(str(tmp_path))

    @pytest.mark.parametrize(
        ("folders", "message"),
        [
            ([], "is a folder without train/ and test/"),
            (["train/a"], "is a folder without train/ and test/"),
            (["train", "test"], "has no folder in train/"),
            (["train/a", "test/a"], "has no images; allowed are"),
        ],
    )
    def test_other_layouts(self, tmp_path, folders, message):
        for folder in folders:
            (tmp_path / folder).mkdir(parents=True)
        with pytest.raises(ValueError, match=message):
            load(str(tmp_path))


class TestTfds:
    images = numbered(5, (4, 4, 3))
    labels = (0, 1, 1, 0, 1)

    @pytest.mark.parametrize("test_name", ["test", "validation"])
    def test_images_and_labels(self, tmp_path, test_name):
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels, splits=("train", test_name))
        dataset = load("tiny", str(tmp_path))
        assert dataset.name == "tiny"
        assert dataset.classes == ("cat", "dog")
        for split in (dataset.train, dataset.test):
            np.testing.assert_array_equal(split.images, self.images)
            assert split.labels.tolist() == list(self.labels)

    def test_data_dir_from_the_environment(self, tmp_path, monkeypatch):
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels)
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        assert len(load("tiny").train.labels) == 5

    def test_the_newest_version(self, tmp_path):
        for version, count in (("1.9.0", 2), ("1.10.0", 3)):
            write_tfds(tmp_path / "tiny" / version, self.images[:count], self.labels[:count])
        assert len(load("tiny", str(tmp_path)).train.labels) == 3
        assert len(load("tiny/1.9.0", str(tmp_path)).train.labels) == 2

    def test_one_of_several_configurations_must_be_named(self, tmp_path):
        for configuration, count in (("large", 2), ("small", 3)):
            folder = tmp_path / "tiny" / configuration / "1.0.0"
            write_tfds(folder, self.images[:count], self.labels[:count])
        with pytest.raises(ValueError, match=r"several configurations.*tiny/large, tiny/small"):
            load("tiny", str(tmp_path))
        assert len(load("tiny/large", str(tmp_path)).train.labels) == 2

    def test_tfrecord_with_the_command_that_converts(self, tmp_path):
        folder = tmp_path / "tiny/1.0.0"
        write_tfds(folder, self.images, self.labels, fileFormat="tfrecord")
        command = (
            f"tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
        )
        with pytest.raises(ValueError, match=f"tfrecord format; allowed.*{re.escape(command)}"):
            load("tiny", str(tmp_path))

    def test_after_that_command(self, tmp_path):
        """It leaves the records of both formats side by side and says so in this way."""
        formats = {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels, **formats)
        np.testing.assert_array_equal(load("tiny", str(tmp_path)).train.images, self.images)

    def test_images_of_different_size(self, tmp_path):
        images = [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]
        write_tfds(tmp_path / "tiny/1.0.0", images, (0, 1), shape=(-1, -1, 3))
        with pytest.raises(ValueError, match=r"\(4, 4, 3\) and \(5, 4, 3\); allowed is one size"):
            load("tiny", str(tmp_path))

    def test_records_missing(self, tmp_path):
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels)
        next((tmp_path / "tiny/1.0.0").glob("tiny-test*")).unlink()
        with pytest.raises(ValueError, match=r"name='tiny' cannot be read.*allowed is a complete"):
            load("tiny", str(tmp_path))

    def test_no_test_split(self, tmp_path):
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels, splits=("train", "extra"))
        with pytest.raises(ValueError, match="has the splits train, extra; allowed"):
            load("tiny", str(tmp_path))

    @pytest.mark.parametrize("change", ["no label", "label is text"])
    def test_no_class_labels(self, tmp_path, change):
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels)
        file = tmp_path / "tiny/1.0.0/features.json"
        features = json.loads(file.read_text())
        if change == "no label":
            del features["featuresDict"]["features"]["label"]
        else:
            features["featuresDict"]["features"]["label"] = {
                "pythonClassName": "tensorflow_datasets.core.features.text_feature.Text",
                "text": {},
            }
        file.write_text(json.dumps(features))
        with pytest.raises(ValueError, match=r"has the features .*image.*allowed"):
            load("tiny", str(tmp_path))

    def test_not_there_with_the_command_that_gets_it(self, tmp_path):
        with pytest.raises(ValueError, match="name='mnist' is not there") as caught:
            load("mnist", str(tmp_path))
        message = str(caught.value)
        command = f"tfds.builder('mnist', data_dir='{tmp_path}', file_format='array_record')"
        assert f"{command}.download_and_prepare()" in message
        assert "TFDS_DATA_DIR" in message
        assert "--data-dir" in message
        assert "did you mean" not in message
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("cifr10", "cifar10"),
            ("imagenete", "imagenette"),
            ("digit", "digits"),
            ("tinny", "tiny"),
        ],
    )
    def test_unknown_name_with_the_nearest(self, tmp_path, name, near):
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels)
        with pytest.raises(ValueError, match=f"name='{name}' is not there.*did you mean.*{near}"):
            load(name, str(tmp_path))

    @pytest.mark.parametrize("name", ["", "**", "/no/such/folder", "../x", "huggingface:mnist"])
    def test_no_name_at_all(self, tmp_path, monkeypatch, name):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels)
        with pytest.raises(ValueError, match=f"name={re.escape(repr(name))} is not there; allowed"):
            load(name, str(tmp_path))

    def test_imports_are_late_and_reading_is_silent(self, tmp_path):
        write_tfds(tmp_path / "tiny/1.0.0", self.images, self.labels)
        script = """
import sys
import jaxcv.data
heavy = {"tensorflow_datasets", "sklearn", "PIL", "array_record"} & set(sys.modules)
assert not heavy, heavy
assert len(jaxcv.data.load("tiny", sys.argv[1]).train.labels) == 5
assert "tensorflow" not in sys.modules
"""
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not (REAL / "cifar10").is_dir(), reason="CIFAR-10 is not here")
def test_real_cifar10():
    from jaxcv.data import channel_statistics

    dataset = load("cifar10", str(REAL))
    assert dataset.train.images.shape == (50_000, 32, 32, 3)
    assert dataset.test.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert dataset.classes[0] == "airplane"
    assert dataset.classes[9] == "truck"
    assert dataset.augmentation == Augmentation(pad=4, flip=True)
    assert dataset.mean == (0.49139968, 0.48215827, 0.44653124)
    assert dataset.std == (0.24703233, 0.24348505, 0.26158768)
    mean, std = channel_statistics(dataset.train.images)
    np.testing.assert_allclose(mean, dataset.mean, atol=0.01)
    np.testing.assert_allclose(std, dataset.std, atol=0.01)
