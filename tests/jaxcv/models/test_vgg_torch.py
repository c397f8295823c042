"""VGG networks against PyTorch, in float64: logits, gradients, statistics, names."""

import functools

import pytest
from flax import nnx

from jaxcv.models import VGG, create_model
from jaxcv.models.registry import MODELS
from jaxcv.models.vgg import names

torch = pytest.importorskip("torch")

import torch_vgg  # noqa: E402
from torch_parity import CLASSES, compare, same_names  # noqa: E402


def test_vgg11_bn():
    depths = (1, 1, 2, 2, 2)
    compare(
        functools.partial(create_model, "vgg11_bn", hidden=8),
        torch_vgg.VGG(depths, CLASSES, batch_norm=True, hidden=8),
        names(depths, batch_norm=True),
        (2, 32, 45, 3),
    )


def test_networks_without_batch_norm():
    depths = (2, 1, 3)
    compare(
        functools.partial(VGG, depths, hidden=8),
        torch_vgg.VGG(depths, CLASSES, batch_norm=False, hidden=8, in_channels=1),
        names(depths, batch_norm=False),
        (2, 9, 83, 1),
    )


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("vgg11", (1, 1, 2, 2, 2)),
        ("vgg13", (2, 2, 2, 2, 2)),
        ("vgg16", (2, 2, 3, 3, 3)),
        ("vgg19", (2, 2, 4, 4, 4)),
    ],
)
def test_every_variable_has_its_name_in_torchvision(name, depths, batch_norm):
    name += "_bn" if batch_norm else ""
    with torch.device("meta"):
        theirs = torch_vgg.VGG(depths, 1000, batch_norm, hidden=4096)
    ours = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    same_names(ours, theirs, MODELS[name].names["torchvision"])
