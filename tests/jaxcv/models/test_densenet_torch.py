"""Dense networks against PyTorch, in float64: logits, gradients, statistics, names."""

import functools

import pytest
from flax import nnx

from jaxcv.models import DenseNet, create_model
from jaxcv.models.registry import MODELS

torch = pytest.importorskip("torch")

import torch_densenet  # noqa: E402
from torch_parity import CLASSES, compare, same_names, their_name  # noqa: E402


@pytest.mark.parametrize(
    ("name", "depths", "small", "shape"),
    [
        ("densenet121", (2, 1, 2), False, (2, 45, 67, 3)),
        ("densenet_bc_100_k12", (1, 3), True, (3, 9, 8, 3)),
    ],
)
def test_few_layers(name, depths, small, shape):
    compare(
        functools.partial(DenseNet, depths, 5, small_images=small),
        torch_densenet.DenseNet(depths, 5, CLASSES, small),
        next(iter(MODELS[name].names.values())),
        shape,
    )


@pytest.mark.parametrize(
    ("name", "depths", "growth"),
    [
        ("densenet121", (6, 12, 24, 16), 32),
        ("densenet161", (6, 12, 36, 24), 48),
        ("densenet_bc_100_k12", (16, 16, 16), 12),
    ],
)
def test_every_variable_has_its_name_in_other_libraries(name, depths, growth):
    with torch.device("meta"):
        theirs = torch_densenet.DenseNet(depths, growth, CLASSES, len(depths) == 3)
    ours = nnx.eval_shape(lambda: create_model(name, CLASSES, rngs=nnx.Rngs(0)))
    same_names(ours, theirs, next(iter(MODELS[name].names.values())))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("stem", "kernel"), "features.conv0.weight"),
        (
            ("blocks", 0, "layers", 11, "norms", 1, "mean"),
            "features.denseblock1.denselayer12.norm.2.running_mean",
        ),
        (
            ("blocks", 3, "layers", 0, "convolutions", 0, "kernel"),
            "features.denseblock4.denselayer1.conv.1.weight",
        ),
        (("transitions", 2, "norm", "scale"), "features.transition3.norm.weight"),
        (("norm", "offset"), "features.norm5.bias"),
    ],
)
def test_the_files_of_torchvision_have_their_own_names(path, name):
    assert their_name(path, MODELS["densenet121"].names["torchvision, its files"]) == name
