"""Files that PyTorch writes, into our networks and back into its own."""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.models import create_model
from jaxcv.pretrained import read_state_dict, save_weights

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
import torch_resnet  # noqa: E402
import torch_weights  # noqa: E402

CLASSES = 5
SAVES = {
    "zip": {},
    "zip, protocol 4": {"pickle_protocol": 4},
    "legacy": {"_use_new_zipfile_serialization": False},
    "legacy, protocol 4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
}


def numbers(tensor):
    """Of a tensor of any dtype and layout; bfloat16, which NumPy lacks, by its bits."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


def assert_read(path, tensors):
    read = read_state_dict(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], numbers(tensor), err_msg=name, strict=True)


def tensors_of_every_kind():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, 5, 3, generator=generator)
    kinds = ["float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    return {kind: (base * 9).to(getattr(torch, kind)) for kind in kinds} | {
        "whole": base,
        "row": base[2],
        "transposed": base.transpose(0, 3),
        "stepped": base[::2, 1::3],
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "expanded": base[0, 0, 0].expand(7, 3),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(base[1].clone()),
    }


@pytest.mark.parametrize("save", SAVES)
def test_tensors_of_every_kind_and_layout(tmp_path, save):
    tensors = tensors_of_every_kind()
    torch.save(tensors, tmp_path / "file", **SAVES[save])
    assert_read(tmp_path / "file", tensors)


def test_safetensors(tmp_path):
    tensors = {name: each.contiguous().clone() for name, each in tensors_of_every_kind().items()}
    safetensors.torch.save_file(tensors, tmp_path / "file")
    assert_read(tmp_path / "file", tensors)


@pytest.mark.parametrize("save", SAVES)
def test_a_checkpoint_of_a_training(tmp_path, save):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "best": torch.tensor(0.5),
        "args": argparse.Namespace(lr=0.1, name="some"),
        "optimizer": optimizer.state_dict(),
        "model": model.state_dict(),
    }
    torch.save(checkpoint, tmp_path / "file", **SAVES[save])
    assert_read(tmp_path / "file", model.state_dict())


@pytest.mark.parametrize("save", SAVES)
def test_a_whole_module_is_not_made(tmp_path, save):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "file", **SAVES[save])
    with pytest.raises(ValueError, match=r"it asks for torch\.nn\.modules\.linear\.Linear"):
        read_state_dict(tmp_path / "file")


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    model = torch_resnet.ResNet(torch_resnet.BasicBlock, (2, 2, 2, 2), CLASSES)
    torch_weights.randomize(model, seed=1)
    return model.eval()


@pytest.mark.parametrize("save", ["zip", "legacy"])
def test_logits(tmp_path, theirs, save):
    path = tmp_path / "some.pth"
    torch.save(torch.nn.DataParallel(theirs).state_dict(), path, **SAVES[save])
    x = np.random.default_rng(0).normal(size=(2, 33, 40, 3))
    with torch.no_grad():
        expected = theirs.double()(torch_weights.to_torch(x)).numpy()
    theirs.float()
    with jax.enable_x64(True):
        ours = create_model("resnet18", CLASSES, pretrained=path, dtype=jnp.float64)
        graph, state = nnx.split(ours)
        run = torch_weights.quick_jit(lambda state, x: nnx.merge(graph, state)(x))
        torch_weights.close(run(state, jnp.asarray(x)), expected)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_back_into_pytorch(tmp_path, theirs, library):
    ours = create_model("resnet18", CLASSES, pretrained=_saved(theirs, tmp_path / "some.pth"))
    path = tmp_path / "ours.safetensors"
    save_weights(ours, path, "resnet18", library=library)
    tensors = safetensors.torch.load_file(path)
    other = torch_resnet.ResNet(torch_resnet.BasicBlock, (2, 2, 2, 2), CLASSES)
    other.load_state_dict(tensors, strict=True)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def _saved(model, path):
    torch.save(model.state_dict(), path)
    return path
