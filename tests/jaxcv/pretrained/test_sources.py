"""Files of safetensors, and names of the Hugging Face hub without a network."""

import sys

import huggingface_hub
import jax.numpy as jnp
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.numpy import save_file

from jaxcv.pretrained import read_state_dict


class Hub:
    """In place of the download: gives files that are there, and notes what was asked for."""

    def __init__(self, files=(), *, online=True):
        self.files, self.online, self.asked = dict(files), online, []

    def __call__(self, repo_id, filename, *, revision, local_files_only):
        self.asked.append((repo_id, filename, revision, local_files_only))
        if filename in self.files:
            return str(self.files[filename])
        if not self.online:
            raise LocalEntryNotFoundError("no\nnetwork")
        error = huggingface_hub.errors.EntryNotFoundError
        raise error(f"404: no {filename}")


@pytest.fixture
def hub(monkeypatch):
    def use(*arguments, **options):
        made = Hub(*arguments, **options)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", made)
        return made

    return use


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({"a": np.arange(3, dtype=np.int64)}, path)
    return path


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16", "int64"])
def test_a_file_of_safetensors_by_any_name(tmp_path, kind):
    numbers = {"a": np.arange(6).reshape(2, 3).astype(kind), "b": np.array(7, kind)}
    path = tmp_path / "weights"
    save_file(numbers, path)
    for source in (path, str(path)):
        read = read_state_dict(source)
        assert read.keys() == numbers.keys()
        for name, array in numbers.items():
            np.testing.assert_array_equal(read[name], array, strict=True)
            assert read[name].dtype == jnp.dtype(kind)


def test_damaged_files_are_named(file):
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"'{file}' cannot be read"):
            read_state_dict(file)


@pytest.mark.parametrize("source", ["some.pth", "folder/some.pth", "a b", "", "a/b@", "/x/y.pt"])
def test_what_is_neither_a_file_nor_a_name_of_the_hub(tmp_path, monkeypatch, hub, source):
    monkeypatch.chdir(tmp_path)
    asked = hub().asked
    with pytest.raises(ValueError, match=r"is no file; allowed are files|Is a directory"):
        read_state_dict(source)
    assert not asked


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("owner/some.name", ("owner/some.name", "model.safetensors", None, False)),
        ("owner/name@v1.0", ("owner/name", "model.safetensors", "v1.0", False)),
        ("owner/name/in/some.bin", ("owner/name", "in/some.bin", None, False)),
        ("owner/name@v1/some.bin", ("owner/name", "some.bin", "v1", False)),
    ],
)
def test_names_of_the_hub(hub, file, source, asked):
    made = hub({asked[1]: file})
    np.testing.assert_array_equal(read_state_dict(source)["a"], [0, 1, 2])
    assert made.asked == [asked]


@pytest.mark.parametrize("online", [True, False])
def test_the_second_file_of_the_hub(hub, file, online):
    made = hub({"pytorch_model.bin": file}, online=online)
    np.testing.assert_array_equal(read_state_dict("owner/name")["a"], [0, 1, 2])
    # Asking a hub that does not answer takes long, so only once.
    assert [asked[3] for asked in made.asked] == [False, not online]


def test_a_file_comes_before_a_name_of_the_hub(tmp_path, monkeypatch, hub, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    file.rename(tmp_path / "owner" / "name")
    made = hub()
    assert read_state_dict("owner/name").keys() == {"a"}
    assert not made.asked


def test_what_the_hub_does_not_give_is_one_line(hub):
    for options, reason in (({}, "404: no model.safetensors"), ({"online": False}, "no network")):
        hub(**options)
        with pytest.raises(ValueError) as caught:
            read_state_dict("owner/name")
        assert str(caught.value) == (
            f"'owner/name' is no file, and the Hugging Face hub does not give it ({reason})"
        )


def test_the_hub_itself_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for source, reason in (("owner/name", "local cache"), ("owner/na--me", "repo_id")):
        with pytest.raises(ValueError, match=f"hub does not give it .*{reason}") as caught:
            read_state_dict(source)
        assert "\n" not in str(caught.value)


def test_missing_packages_are_named(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"needs its package: pip install 'jaxcv\[weights\]'"):
        read_state_dict("owner/name")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ValueError, match=r"without safetensors: pip install 'jaxcv\[weights\]'"):
        read_state_dict(file)
