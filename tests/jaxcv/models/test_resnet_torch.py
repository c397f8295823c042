"""Residual networks against PyTorch, in float64: logits, gradients, statistics, names."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

from jaxcv.blocks import Bottleneck
from jaxcv.models import ResNet, create_model
from jaxcv.models.resnet import NAMES

torch = pytest.importorskip("torch")

import torch_resnet  # noqa: E402
import torch_weights  # noqa: E402

CLASSES = 5


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


# Parts of names of ours, joined by dots, to torchvision's.
NAMES = [
    *NAMES,
    (r"(kernel|scale)$", "weight"),
    (r"offset$", "bias"),
    (r"mean$", "running_mean"),
    (r"variance$", "running_var"),
]
AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def their_name(path):
    name = ".".join(map(str, path))
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def tree(ours, theirs, kind=nnx.Param, of=torch.clone):
    """The pure dict of our variables of a kind, with what is taken of their tensors."""
    tensors = dict(theirs.named_parameters()) | dict(theirs.named_buffers())

    def read(path, variable):
        array = of(tensors[their_name(path)]).detach().numpy()
        array = array.transpose(AXES[array.ndim])
        assert array.shape == variable.shape, (path, array.shape, variable.shape)
        return jnp.asarray(array)

    flat = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(ours, kind)))
    return traverse_util.unflatten_dict({path: read(path, each) for path, each in flat.items()})


def compare(make, block, depths, shape):
    """Training, with all gradients and moved statistics, then evaluation with these."""
    torch.manual_seed(0)
    theirs = torch_resnet.ResNet(block, depths, CLASSES, shape[-1]).double()
    torch_weights.randomize(theirs, seed=1)
    ours = nnx.eval_shape(
        lambda: make(CLASSES, inputs=shape[-1], dtype=jnp.float64, rngs=nnx.Rngs(0))
    )
    graph, _ = nnx.split(ours)
    weights, statistics = tree(ours, theirs), tree(ours, theirs, nnx.BatchStat)
    random = np.random.default_rng(0)
    x = random.normal(size=shape)
    pull_with = random.normal(size=(shape[0], CLASSES))
    their_x = torch_weights.to_torch(x).requires_grad_()
    their_logits = theirs.train()(their_x)
    their_logits.backward(torch.from_numpy(pull_with))

    @torch_weights.quick_jit
    def run(weights, statistics, x, pull_with):
        def call(weights, x):
            network = nnx.merge(graph, weights, statistics)
            logits = network(x, train=True)
            return logits, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

        logits, pull, moved = jax.vjp(call, weights, x, has_aux=True)
        return logits, moved, pull(pull_with), nnx.merge(graph, weights, moved)(x)

    logits, moved, (weight_gradients, x_gradient), evaluated = run(
        weights, statistics, jnp.asarray(x), jnp.asarray(pull_with)
    )
    torch_weights.close(logits, their_logits.detach().numpy())
    torch_weights.close(moved, tree(ours, theirs, nnx.BatchStat))
    torch_weights.close(weight_gradients, tree(ours, theirs, of=torch_weights.gradient))
    torch_weights.close(x_gradient, torch_weights.from_torch(their_x.grad))
    with torch.no_grad():
        torch_weights.close(evaluated, theirs.eval()(their_x).numpy())


@pytest.mark.parametrize("shape", [(2, 64, 64, 3), (3, 45, 67, 1)])
def test_resnet18(shape):
    compare(
        functools.partial(create_model, "resnet18"), torch_resnet.BasicBlock, (2, 2, 2, 2), shape
    )


def test_resnet50():
    compare(
        functools.partial(create_model, "resnet50"),
        torch_resnet.Bottleneck,
        (3, 4, 6, 3),
        (2, 64, 64, 3),
    )


@pytest.mark.parametrize("options", [{"stride_first": True}, {"groups": 4, "width": 9}])
def test_bottlenecks_of_other_form(options):
    depths = (1, 2)
    compare(
        functools.partial(ResNet, functools.partial(Bottleneck, **options), depths),
        functools.partial(torch_resnet.Bottleneck, **options),
        depths,
        (2, 21, 30, 3),
    )


@pytest.mark.parametrize(
    ("name", "block", "depths"),
    [
        ("resnet18", torch_resnet.BasicBlock, (2, 2, 2, 2)),
        ("resnet34", torch_resnet.BasicBlock, (3, 4, 6, 3)),
        ("resnet50", torch_resnet.Bottleneck, (3, 4, 6, 3)),
        ("resnet101", torch_resnet.Bottleneck, (3, 4, 23, 3)),
        ("resnet152", torch_resnet.Bottleneck, (3, 8, 36, 3)),
    ],
)
def test_every_variable_has_its_name_in_torchvision(name, block, depths):
    with torch.device("meta"):
        theirs = torch_resnet.ResNet(block, depths, CLASSES)
    ours = nnx.state(nnx.eval_shape(lambda: create_model(name, CLASSES, rngs=nnx.Rngs(0))))
    found = [their_name(path) for path in traverse_util.flatten_dict(nnx.to_pure_dict(ours))]
    expected = [name for name in theirs.state_dict() if not name.endswith("num_batches_tracked")]
    assert sorted(found) == sorted(expected)
