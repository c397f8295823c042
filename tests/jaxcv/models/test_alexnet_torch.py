"""AlexNet against PyTorch, in float64: logits, gradients, names."""

import functools

import pytest
from flax import nnx

from jaxcv.models import create_model
from jaxcv.models.alexnet import NAMES

torch = pytest.importorskip("torch")

from torch_alexnet import AlexNet  # noqa: E402
from torch_parity import CLASSES, compare, same_names  # noqa: E402


@pytest.mark.parametrize("grouped", [False, True])
def test_logits_and_gradients(grouped):
    make = functools.partial(create_model, "alexnet", grouped=grouped, hidden=16)
    compare(make, AlexNet(CLASSES, grouped, hidden=16), NAMES, (2, 63, 95, 3))


@pytest.mark.parametrize("grouped", [False, True])
def test_every_variable_has_its_name_in_torchvision(grouped):
    with torch.device("meta"):
        theirs = AlexNet(1000, grouped, hidden=4096)
    make = functools.partial(create_model, "alexnet", grouped=grouped)
    same_names(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))), theirs, NAMES)
