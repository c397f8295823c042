"""Steps of training a discovered network against PyTorch, in float64: weights, statistics,
momentum, learning rate."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxcv.data import Augmentation
from jaxcv.genotype import published
from jaxcv.models import CIFAR, CellNetwork
from jaxcv.training import classification

torch = pytest.importorskip("torch")

import torch_reference  # noqa: E402
import torch_weights  # noqa: E402

GENOTYPE = published["DARTS_V1"]
CLASSES, BATCH, SIZE = 5, 4, (32, 32)
STEPS, STEPS_PER_EPOCH = 4, 2
CONFIG = classification.Config(
    channels=4,
    layers=3,
    epochs=3,
    batch_size=BATCH,
    drop_path=0.0,
    cutout=0,
    dtype="float64",
)
# PyTorch divides by the norm plus 1e-6 to clip, so no closer than to 2e-7 of the gradient.
TOLERANCE = 1e-6


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def build():
    """A state of zeros and the compiled ``update`` of a training in float64."""
    training = classification.build(
        GENOTYPE,
        CONFIG,
        count=STEPS_PER_EPOCH * BATCH,
        image_shape=(*SIZE, 3),
        num_classes=CLASSES,
        augmentation=Augmentation(),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    shapes = jax.eval_shape(training.init, jax.random.key(0))
    batch = (jnp.zeros((BATCH, *SIZE, 3)), jnp.zeros((BATCH,), jnp.int32))
    lowered = training.update.lower(shapes, batch)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return zeros, lowered.compile(torch_weights.QUICK)


def test_steps(monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda *args: norms.append(float(clip(*args)))
    )
    state, update = build()
    compare(state, update, scale=0.1)
    assert len(norms) == STEPS and max(norms) < 5, norms
    compare(state, update, scale=1.0)
    assert len(norms) == 2 * STEPS and min(norms[STEPS:]) > 5, norms


def compare(state, update, *, scale):
    """Takes the same steps with both; the scale is that of the features and of the gradient."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    cells = {
        kind: ([edge for node in cell.nodes for edge in node], cell.output.states)
        for kind, cell in GENOTYPE.cells.items()
    }
    theirs = torch_reference.CellNetwork(
        cells, "cifar", CONFIG.channels, CONFIG.layers, CLASSES, auxiliary=True
    ).double()
    torch_weights.randomize(theirs, seed=1)
    with torch.no_grad():
        for layer in torch_reference.leaves(theirs):
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight *= scale
                layer.bias *= scale
    optimizer = torch_reference.train_optimizer(theirs)
    ours = nnx.eval_shape(
        lambda: CellNetwork(
            GENOTYPE,
            CIFAR,
            CONFIG.channels,
            CONFIG.layers,
            CLASSES,
            auxiliary=True,
            rngs=nnx.Rngs(0),
        )
    )
    state = state._replace(
        weights=torch_weights.tree(ours, theirs),
        statistics=torch_weights.tree(ours, theirs, nnx.BatchStat),
    )
    close = functools.partial(torch_weights.close, tolerance=TOLERANCE)
    loss = np.float64(0)
    for number in range(STEPS):
        images = random.normal(size=(BATCH, *SIZE, 3))
        labels = random.integers(CLASSES, size=BATCH)
        epoch = number // STEPS_PER_EPOCH
        learning_rate = 0.025 * (1 + math.cos(math.pi * epoch / CONFIG.epochs)) / 2
        if number % STEPS_PER_EPOCH == 0:
            loss = np.float64(0)
        loss += torch_reference.train_step(
            theirs,
            optimizer,
            torch_weights.to_torch(images),
            torch.from_numpy(labels),
            learning_rate,
        ).numpy()

        state = update(state, (jnp.asarray(images), jnp.asarray(labels, jnp.int32)))
        close(state.sums["loss"], loss)
        close(state.weights, torch_weights.tree(ours, theirs))
        close(state.statistics, torch_weights.tree(ours, theirs, nnx.BatchStat))
        close(
            optax.tree_utils.tree_get(state.optimizer, "trace"),
            torch_weights.tree(
                ours, theirs, of=lambda weight: optimizer.state[weight]["momentum_buffer"]
            ),
        )
