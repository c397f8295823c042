"""Residual networks against PyTorch, in float64: logits, gradients, statistics, names."""

import functools

import pytest
from flax import nnx

from jaxcv.blocks import BasicBlock, Bottleneck, PreActivationBasicBlock, PreActivationBottleneck
from jaxcv.models import PreActivationResNet, ResNet, create_model
from jaxcv.models.registry import MODELS
from jaxcv.models.resnet import NAMES

torch = pytest.importorskip("torch")

import torch_resnet  # noqa: E402
from torch_parity import CLASSES, compare, same_names  # noqa: E402

WIDE = functools.partial(torch_resnet.Bottleneck, width=128)
RESNEXT50 = functools.partial(torch_resnet.Bottleneck, groups=32, width=4)
RESNEXT101 = functools.partial(torch_resnet.Bottleneck, groups=32, width=8)
PADDED = functools.partial(torch_resnet.BasicBlock, zero_padding=True)


@pytest.mark.parametrize("shape", [(2, 64, 64, 3), (3, 45, 67, 1)])
def test_resnet18(shape):
    theirs = torch_resnet.ResNet(torch_resnet.BasicBlock, (2, 2, 2, 2), CLASSES, shape[-1])
    compare(functools.partial(create_model, "resnet18"), theirs, NAMES, shape)


def test_resnet50():
    theirs = torch_resnet.ResNet(torch_resnet.Bottleneck, (3, 4, 6, 3), CLASSES)
    compare(functools.partial(create_model, "resnet50"), theirs, NAMES, (2, 64, 64, 3))


@pytest.mark.parametrize(
    ("options", "output_stride", "dilated"),
    [
        ({"stride_first": True}, 32, (False, False)),
        ({"groups": 4, "width": 9}, 32, (False, False)),
        ({"groups": 2, "width": 32}, 8, (False, True)),
        ({}, 4, (True, True)),
    ],
)
def test_bottlenecks_of_other_form_and_dilated_ones(options, output_stride, dilated):
    depths = (1, 1, 2) if any(dilated) else (1, 2)
    compare(
        functools.partial(
            ResNet,
            functools.partial(Bottleneck, **options),
            depths,
            output_stride=output_stride,
        ),
        torch_resnet.ResNet(
            functools.partial(torch_resnet.Bottleneck, **options), depths, CLASSES, dilated=dilated
        ),
        NAMES,
        (2, 21, 30, 3),
    )


@pytest.mark.parametrize("shortcut", ["padding", "projection"])
def test_small_images(shortcut):
    depths = (1, 2)
    block = PADDED if shortcut == "padding" else torch_resnet.BasicBlock
    compare(
        functools.partial(ResNet, BasicBlock, depths, small_images=True, shortcut=shortcut),
        torch_resnet.ResNet(block, depths, CLASSES, small_images=True),
        NAMES,
        (3, 13, 16, 3),
    )


@pytest.mark.parametrize("form", ["basic", "bottleneck"])
def test_preactivation(form):
    depths = (2, 1)
    block = getattr(torch_resnet, f"preactivation_{form}")
    if form == "basic":
        make = functools.partial(PreActivationResNet, PreActivationBasicBlock, depths)
    else:
        make = functools.partial(
            PreActivationResNet, PreActivationBottleneck, depths, stride_first=True
        )
    theirs = torch_resnet.PreActivationResNet(block, depths, CLASSES)
    # No library of PyTorch defines them as the authors did.
    compare(make, theirs, (*NAMES, (r"^norm\.", "bn.")), (3, 13, 16, 3))


@pytest.mark.parametrize(
    ("name", "block", "depths"),
    [
        ("resnet18", torch_resnet.BasicBlock, (2, 2, 2, 2)),
        ("resnet34", torch_resnet.BasicBlock, (3, 4, 6, 3)),
        ("resnet50", torch_resnet.Bottleneck, (3, 4, 6, 3)),
        ("resnet101", torch_resnet.Bottleneck, (3, 4, 23, 3)),
        ("resnet152", torch_resnet.Bottleneck, (3, 8, 36, 3)),
        ("wide_resnet50_2", WIDE, (3, 4, 6, 3)),
        ("resnext50_32x4d", RESNEXT50, (3, 4, 6, 3)),
        ("resnext101_32x8d", RESNEXT101, (3, 4, 23, 3)),
        ("resnet20_cifar", PADDED, (3, 3, 3)),
        ("resnet110_cifar", PADDED, (18, 18, 18)),
    ],
)
def test_every_variable_has_its_name_in_other_libraries(name, block, depths):
    small = {"small_images": True, "head": "linear"} if block is PADDED else {}
    with torch.device("meta"):
        theirs = torch_resnet.ResNet(block, depths, CLASSES, **small)
    ours = nnx.eval_shape(lambda: create_model(name, CLASSES, rngs=nnx.Rngs(0)))
    same_names(ours, theirs, next(iter(MODELS[name].names.values())))
