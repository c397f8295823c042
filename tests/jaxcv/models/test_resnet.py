"""Residual networks: published sizes, initial values, wrong input, what a call changes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_parameters
from jaxcv.blocks import BasicBlock, Bottleneck
from jaxcv.models import ResNet, create_model

CLASSES = 4


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (functools.partial(create_model, "resnet18"), 11_689_512),
        (functools.partial(create_model, "resnet34"), 21_797_672),
        (functools.partial(create_model, "resnet50"), 25_557_032),
        (functools.partial(create_model, "resnet101"), 44_549_160),
        (functools.partial(create_model, "resnet152"), 60_192_808),
        # ResNeXt-50 32x4d and Wide ResNet-50-2, as torchvision counts them.
        (
            functools.partial(
                ResNet, functools.partial(Bottleneck, groups=32, width=4), (3, 4, 6, 3)
            ),
            25_028_904,
        ),
        (
            functools.partial(ResNet, functools.partial(Bottleneck, width=128), (3, 4, 6, 3)),
            68_883_240,
        ),
    ],
)
def test_published_parameter_counts(make, parameters):
    assert count_parameters(nnx.eval_shape(lambda: make(1000, rngs=nnx.Rngs(0)))) == parameters


@pytest.fixture(scope="module")
def network():
    return ResNet(BasicBlock, (1, 1), CLASSES, rngs=nnx.Rngs(0))


def test_a_call_changes_batch_statistics_and_only_in_training(network):
    graph, state = nnx.split(network)
    state = nnx.to_pure_dict(state)

    @functools.partial(jax.jit, static_argnames="train")
    def after(state, train):
        model = nnx.merge(graph, state)
        logits = model(jnp.ones((2, 9, 12, 3)), train=train)
        return logits, nnx.to_pure_dict(nnx.state(model))

    logits, same = after(state, train=False)
    assert logits.shape == (2, CLASSES)
    chex.assert_trees_all_equal(same, state)
    changed = {
        path[-1].key
        for (path, old), new in zip(
            jax.tree.leaves_with_path(state),
            jax.tree.leaves(after(state, train=True)[1]),
            strict=True,
        )
        if not np.array_equal(old, new)
    }
    assert changed == {"mean", "variance"}


def test_the_call_of_a_network_compiles_and_takes_a_key(network):
    x = jax.random.normal(jax.random.key(1), (2, 9, 12, 3))
    plain = nnx.jit(lambda model, x: model(x))(network, x)
    np.testing.assert_array_equal(
        nnx.jit(lambda model, x: model(x, key=jax.random.key(0)))(network, x), plain
    )


def test_convolutions_begin_with_variance_two_over_fan_out(network):
    last = network.stages[-1][0]
    for convolution, fan_out in (
        (network.stem, 7 * 7 * 64),
        (last.convolutions[0], 3 * 3 * 128),
        (last.shortcut, 128),
    ):
        kernel = np.asarray(convolution.kernel[...])
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan_out), rtol=0.05)


@pytest.mark.parametrize("block", [BasicBlock, functools.partial(Bottleneck, width=32)])
def test_a_last_scale_of_zero_leaves_the_shortcut(block):
    channels = 4 if block is BasicBlock else 16
    x = jax.random.uniform(jax.random.key(0), (2, 5, 6, channels))
    plain, zero = (
        block(channels, 4, zero_scale=zero_scale, rngs=nnx.Rngs(0)) for zero_scale in (False, True)
    )
    assert plain.shortcut is zero.shortcut is None
    assert not np.allclose(plain(x, train=True), x)
    np.testing.assert_array_equal(zero(x, train=True), x)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "block", [BasicBlock, Bottleneck, functools.partial(Bottleneck, stride_first=True)]
)
def test_blocks_round_odd_sizes_up(block, stride):
    made = nnx.eval_shape(lambda: block(24, 16, stride=stride, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(made)
    y = jax.eval_shape(lambda s, x: nnx.merge(graph, s)(x), state, jnp.zeros((2, 7, 9, 24)))
    assert y.shape == (2, -(-7 // stride), -(-9 // stride), made.outputs)


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 8, 8, 1), (1, 3, 8, 8)])
def test_wrong_images_are_named(shape):
    def call(x):
        return create_model("resnet18", CLASSES, rngs=nnx.Rngs(0))(x)

    with pytest.raises(ValueError, match=r"x has shape .*; allowed is \[batch, height, width, 3\]"):
        jax.eval_shape(call, jnp.zeros(shape))


@pytest.mark.parametrize("size", [1, 31, 32])
def test_images_of_any_size_fit(size):
    logits = jax.eval_shape(
        lambda x: create_model("resnet18", CLASSES, rngs=nnx.Rngs(0))(x),
        jnp.zeros((1, size, size, 3)),
    )
    assert logits.shape == (1, CLASSES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(ResNet, BasicBlock, (), 4), r"depths=\(\); allowed are positive ints"),
        (functools.partial(ResNet, BasicBlock, (2, 0), 4), r"depths=\(2, 0\)"),
        (functools.partial(ResNet, BasicBlock, (2, 2), 0), "num_classes=0; allowed is a positive"),
        (
            functools.partial(create_model, "resnet18", inputs=0),
            "inputs=0; allowed is a positive int",
        ),
        (functools.partial(BasicBlock, 4, 0), "channels=0; allowed is a positive int"),
        (functools.partial(BasicBlock, 4, 4, stride=0), "stride=0; allowed is a positive int"),
        (functools.partial(Bottleneck, 4, 4, groups=0), "groups=0; allowed is a positive int"),
        (functools.partial(Bottleneck, 4, 4, width=15), "width=15; allowed is at least 64 / chan"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(rngs=nnx.Rngs(0))


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
    model = nnx.eval_shape(
        lambda: create_model("resnet50", CLASSES, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    graph, state = nnx.split(model)

    def call(state, x):
        network = nnx.merge(graph, state)
        logits = network(x, train=True)
        assert network.stem(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
        return logits, nnx.state(network)

    logits, after = jax.eval_shape(call, state, jnp.zeros((2, 32, 32, 3)))
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, after))} == {jnp.dtype("float32")}
