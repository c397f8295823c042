"""MobileNets against PyTorch, in float64: logits, gradients, statistics, names."""

import functools

import pytest
from flax import nnx

from jaxcv.blocks import InvertedResidual, SeparableBlock
from jaxcv.models import MobileNet, create_model
from jaxcv.models.mobilenet import V1_NAMES, V2_NAMES, Stage, torchvision_names
from jaxcv.models.registry import MODELS

torch = pytest.importorskip("torch")

from torch_mobilenet import V1, V2, MobileNetV2, TimmMobileNet  # noqa: E402
from torch_parity import CLASSES, compare, same_names  # noqa: E402


def test_version_1():
    stages = (Stage(SeparableBlock, 40, 1, 1), Stage(SeparableBlock, 72, 2, 2))
    compare(
        functools.partial(MobileNet, stages, None),
        TimmMobileNet(((None, 40, 1, 1), (None, 72, 2, 2)), 32, None, CLASSES),
        V1_NAMES,
        (3, 25, 38, 3),
    )


def test_version_2():
    # Half as wide; stages of one block, and of another that is as wide as the one before.
    stages = (
        Stage(functools.partial(InvertedResidual, expansion=1), 16, 1, 1),
        Stage(InvertedResidual, 24, 2, 2),
        Stage(InvertedResidual, 32, 1, 1),
    )
    theirs = ((1, 8, 1, 1), (6, 16, 2, 2), (6, 16, 1, 1))
    make = functools.partial(MobileNet, stages, 48, width=0.5)
    names = torchvision_names((1, 2, 1))
    compare(make, MobileNetV2(theirs, 16, 48, CLASSES, 1), names, (3, 25, 38, 1))


def test_every_variable_has_its_name():
    for name, library, make in (
        ("mobilenet_v1", "timm", lambda: TimmMobileNet(V1, 32, None, 1000)),
        ("mobilenet_v2", "timm", lambda: TimmMobileNet(V2, 32, 1280, 1000)),
        ("mobilenet_v2", "torchvision", lambda: MobileNetV2(V2, 32, 1280, 1000)),
    ):
        with torch.device("meta"):
            theirs = make()
        ours = nnx.eval_shape(lambda name=name: create_model(name, rngs=nnx.Rngs(0)))
        same_names(ours, theirs, MODELS[name].names[library])
    assert MODELS["mobilenet_v2"].names["timm"] is V2_NAMES
