"""SqueezeNets against PyTorch, in float64: logits, gradients, names."""

import functools

import pytest
from flax import nnx

from jaxcv.models import SqueezeNet, create_model
from jaxcv.models.registry import MODELS
from jaxcv.models.squeezenet import names

torch = pytest.importorskip("torch")

import torch_squeezenet  # noqa: E402
from torch_parity import CLASSES, compare, same_names  # noqa: E402

PLANS = {
    "squeezenet1_0": (96, 7, ((16, 16, 32), (32, 48, 48, 64), (64,))),
    "squeezenet1_1": (64, 3, ((16, 16), (32, 32), (48, 48, 64, 64))),
}


@pytest.mark.parametrize("shape", [(2, 40, 55, 3), (2, 17, 20, 3)])
def test_squeezenet1_1(shape):
    theirs = torch_squeezenet.SqueezeNet(*PLANS["squeezenet1_1"], CLASSES)
    make = functools.partial(create_model, "squeezenet1_1")
    compare(make, theirs, MODELS["squeezenet1_1"].names["torchvision"], shape)


def test_another_stem():
    stages = ((8,), (12, 16))
    theirs = torch_squeezenet.SqueezeNet(10, 7, stages, CLASSES, in_channels=1)
    make = functools.partial(SqueezeNet, (10, 7), stages)
    compare(make, theirs, names(stages), (2, 33, 28, 1))


@pytest.mark.parametrize("name", PLANS)
def test_every_variable_has_its_name_in_torchvision(name):
    with torch.device("meta"):
        theirs = torch_squeezenet.SqueezeNet(*PLANS[name], 1000)
    ours = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    same_names(ours, theirs, MODELS[name].names["torchvision"])
