"""Pooling and the blocks of arXiv:1409.4842 against PyTorch."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.blocks import Inception, InceptionNaive
from jaxcv.blocks.inception import create_steps
from jaxcv.models import InceptionNetwork
from jaxcv.models.googlenet import NAMES
from jaxcv.models.inception import block

torch = pytest.importorskip("torch")

import torch_inception  # noqa: E402
import torch_parity  # noqa: E402
import torch_weights  # noqa: E402


@pytest.mark.parametrize(
    ("step", "pool", "theirs"),
    [
        ("max2x2C/2", "mean", torch.nn.MaxPool2d(2, 2, ceil_mode=True)),
        ("max3x3C/2", "mean", torch.nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("max3x3V/2", "mean", torch.nn.MaxPool2d(3, 2)),
        ("max3x3", "mean", torch.nn.MaxPool2d(3, 1, 1)),
        ("pool3x3", "max", torch.nn.MaxPool2d(3, 1, 1)),
        ("pool3x3", "mean", torch.nn.AvgPool2d(3, 1, 1)),
        ("pool3x3", "inner_mean", torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    ],
)
def test_pooling_at_the_border(step, pool, theirs):
    pooling = create_steps(2, step, (), pool=pool, rngs=None)
    # Of the smallest, windows that are cut off are all there is.
    sizes = [(1, 2), (2, 1)] if step.startswith("max2") else [(2, 2), (2, 3)] if "C" in step else []
    for height, width in (*sizes, (3, 4), (4, 5), (5, 3), (7, 8)):
        x = np.random.default_rng(0).normal(size=(2, height, width, 2)).astype(np.float32)
        expected = torch_weights.from_torch(theirs(torch_weights.to_torch(x)))
        np.testing.assert_allclose(pooling(jnp.asarray(x)), expected, atol=1e-6)


class One(torch.nn.Module):
    """A block and a classifier."""

    def __init__(self, made, outputs):
        super().__init__()
        self.inception3a = made
        self.fc = torch.nn.Linear(outputs, torch_parity.CLASSES)

    def forward(self, x):
        return self.fc(self.inception3a(x).mean((2, 3)))


def naive():
    made = {
        "branch1": torch_inception.same(3, 4, 1),
        "branch2": torch_inception.same(3, 5, 3),
        "branch3": torch_inception.same(3, 6, 5),
        "branch4": torch.nn.MaxPool2d(3, stride=1, padding=1),
    }
    return torch_inception.Mixed(made, *([name] for name in made))


@pytest.mark.parametrize(
    ("made", "theirs"),
    [
        (block(InceptionNaive, (4,), (5,), (6,), ()), lambda: One(naive(), 18)),
        (
            block(Inception, (4,), (2, 5), (3, 6), (7,)),
            lambda: One(torch_inception.googlenet_block(3, 4, 2, 5, 3, 6, 7, window=5), 22),
        ),
    ],
)
def test_blocks_of_the_first_paper(made, theirs):
    make = functools.partial(InceptionNetwork, {"inception_3a": made})
    torch_parity.compare(make, theirs(), NAMES, (3, 7, 8, 3))
