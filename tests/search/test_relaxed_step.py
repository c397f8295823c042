"""What a relaxation and its settings change in the step of a search."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import search
from jaxcv.data import Augmentation
from search.relaxation import RELAXATIONS
from search.step import build

SPACE = search.darts(1, ("none", "skip_connect", "sep_conv_3x3"))
CONFIG = search.Config(channels=2, layers=1, epochs=3, batch_size=4)


def parts(config):
    return build(
        SPACE,
        config,
        count=8,
        image_shape=(8, 8, 3),
        num_classes=4,
        augmentation=Augmentation(),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


@pytest.fixture(scope="module")
def batches():
    random = np.random.default_rng(0)
    return [
        (
            jnp.asarray(random.normal(size=(4, 8, 8, 3)), jnp.float32),
            jnp.asarray(random.integers(0, 4, 4)),
        )
        for _ in range(2)
    ]


def test_architecture_weights_rest_in_the_warm_up(batches):
    step = parts(replace(CONFIG, alpha_warmup=1))
    start = state = step.init(jax.random.key(0))
    for _ in range(2):  # the steps of an epoch
        state = step.update(state, *batches)
        chex.assert_trees_all_equal(state.alphas, start.alphas)
        chex.assert_trees_all_equal(state.alpha_optimizer, start.alpha_optimizer)
    assert float(state.sums["valid_loss"]) > 0
    moved = step.update(state, *batches)
    # The first step of Adam is as long as its rate. Only reductions are in so short a network.
    change = np.abs(moved.alphas["reduce"] - start.alphas["reduce"])
    np.testing.assert_allclose(change, CONFIG.alpha_learning_rate, rtol=0.2)


@pytest.mark.parametrize("name", ["sigmoid", "dirichlet"])
def test_the_penalty_adds_to_the_architecture_gradient_alone(name, batches):
    """With so large a weight all else in the gradient counts for nothing."""
    step = parts(replace(CONFIG, relaxation=name, penalty_weight=1e7))
    state = step.init(jax.random.key(0))
    state = state._replace(alphas=jax.tree.map(lambda a: a + 0.3, state.alphas))
    after = step.update(state, *batches)
    found = optax.tree_utils.tree_get(after.alpha_optimizer, "mu")
    expected = jax.grad(RELAXATIONS[name](SPACE).penalty)(state.alphas)
    for kind in SPACE.cells:
        gradient = found[kind] / (1 - CONFIG.alpha_beta1) / 1e7
        np.testing.assert_allclose(gradient, expected[kind], rtol=1e-4, atol=1e-6)
    # The metrics are of the cross-entropy alone.
    assert 0 < float(after.sums["valid_loss"]) < 20


def test_each_step_draws_anew_and_both_passes_of_it_the_same(batches):
    """Weights hardly move and the batch is the same, so that the loss shows what is drawn."""
    step = parts(replace(CONFIG, relaxation="gumbel", learning_rate=1e-9, alpha_learning_rate=1e-9))
    state = step.init(jax.random.key(0))
    losses = []
    for _ in range(6):
        state = step.update(state, batches[0], batches[0])
        sums = jax.device_get(state.sums)
        losses.append(float(sums["loss"]))
        assert sums["loss"] == pytest.approx(sums["valid_loss"], rel=1e-4)
    # Sums start anew with each of three epochs.
    first = np.array(losses[::2])
    assert len({round(float(loss), 4) for loss in (*first, *(losses[1::2] - first))}) > 1


@pytest.mark.parametrize("name", ["gumbel", "edge_softmax"])
def test_several_searches_relax_as_single_ones_do(name):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (32, 8, 8, 3), np.uint8), random.integers(0, 4, 32)
    keys = jax.random.split(jax.random.key(3), 2)
    config = replace(CONFIG, epochs=1, relaxation=name)
    _, several = search.run_many(SPACE, images, labels, config, keys, progress=False)
    single = search.run(SPACE, images, labels, config, keys[1], progress=False)
    assert several.genotype == single.genotype
    chex.assert_trees_all_close(several.alphas, single.alphas, rtol=1e-3, atol=1e-5)
    mixes = [np.array(r.history[0]["mix"]["normal"]) for r in (several, single)]
    assert mixes[0].shape == SPACE.cells["normal"].allowed.shape
    np.testing.assert_allclose(*mixes, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"relaxation": "hard"}, "relaxation='hard'; allowed are softmax, gumbel, dirichlet"),
        ({"partial": 0}, "partial=0; allowed is a positive int"),
        ({"alpha_warmup": -1}, "alpha_warmup=-1; allowed is at least 0"),
        ({"penalty_weight": -1.0}, "penalty_weight=-1.0; allowed is at least 0"),
        ({"skip_dropout": 1.0}, r"skip_dropout=1.0; allowed is a number in \[0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        search.Config(**setting)
