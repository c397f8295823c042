"""Residual networks: published sizes, initial values, wrong input, what a call changes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import (
    BasicBlock,
    Bottleneck,
    PreActivationBasicBlock,
    PreActivationBottleneck,
)
from jaxcv.models import PreActivationResNet, ResNet, create_model

CLASSES = 4


def abstract(name, **options):
    """The graph and the shapes of a model, made without computing anything."""
    return nnx.split(nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0), **options)))


def multiply_adds(name, size, **options):
    """Of one image at a time, the zeros of padding counted as pixels."""
    graph, state = abstract(name, **options)
    return count_multiply_adds(
        lambda state, x: nnx.merge(graph, state)(x), state, jnp.zeros((1, size, size, 3))
    )


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [
        ("resnet18", 11_689_512, 1.81),
        ("resnet34", 21_797_672, 3.66),
        ("resnet50", 25_557_032, 4.09),
        ("resnet101", 44_549_160, 7.80),
        ("resnet152", 60_192_808, 11.51),
        ("wide_resnet50_2", 68_883_240, 11.40),
        ("resnext50_32x4d", 25_028_904, 4.23),
        ("resnext101_32x8d", 88_791_336, 16.41),
    ],
)
def test_published_parameters_and_multiply_adds(name, parameters, billions):
    assert count_parameters(nnx.merge(*abstract(name))) == parameters
    assert round(multiply_adds(name, 224) / 1e9, 2) == billions


@pytest.mark.parametrize(
    ("name", "parameters", "millions", "digits"),
    [
        ("resnet20_cifar", 269_722, 0.27, 2),
        ("resnet32_cifar", 464_154, 0.46, 2),
        ("resnet44_cifar", 658_586, 0.66, 2),
        ("resnet56_cifar", 853_018, 0.85, 2),
        ("resnet110_cifar", 1_727_962, 1.7, 1),
        ("preact_resnet164_cifar", 1_703_258, 1.7, 1),
    ],
)
def test_parameters_of_networks_for_cifar(name, parameters, millions, digits):
    found = count_parameters(nnx.merge(*abstract(name)))
    assert found == parameters
    assert round(found / 1e6, digits) == millions


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [("resnet50", 25.5, 4.1), ("resnext50_32x4d", 25.0, 4.2)],
)
def test_the_table_of_resnet_and_resnext(name, parameters, billions):
    """Table 1 of arXiv:1611.05431, which does not count the parameters of batch norms."""
    _, state = abstract(name)
    leaves = jax.tree.leaves_with_path(nnx.to_pure_dict(nnx.filter_state(state, nnx.Param)))
    counted = sum(leaf.size for path, leaf in leaves if path[-1].key in ("kernel", "bias"))
    assert round(counted / 1e6, 1) == parameters
    assert round(multiply_adds(name, 224) / 1e9, 1) == billions


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
    "block",
    [
        BasicBlock,
        functools.partial(BasicBlock, shortcut="padding"),
        Bottleneck,
        functools.partial(Bottleneck, stride_first=True),
        PreActivationBasicBlock,
        PreActivationBottleneck,
    ],
)
def test_blocks_round_odd_sizes_up(block, stride):
    made = nnx.eval_shape(lambda: block(12, 16, stride=stride, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(made)
    y = jax.eval_shape(lambda s, x: nnx.merge(graph, s)(x), state, jnp.zeros((2, 7, 9, 12)))
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
        (functools.partial(BasicBlock, 4, 4, dilation=0), "dilation=0; allowed is a positive int"),
        (functools.partial(BasicBlock, 4, 4, first_dilation=0), "first_dilation=0; allowed is a p"),
        (functools.partial(BasicBlock, 4, 4, shortcut="none"), "shortcut='none'; allowed are proj"),
        (functools.partial(BasicBlock, 5, 4, shortcut="padding"), "from inputs=5 to no fewer than"),
        (
            functools.partial(create_model, "resnet18", output_stride=12),
            "output_stride=12; allowed are 4, 8, 16, 32",
        ),
        (
            functools.partial(create_model, "preact_resnet164_cifar", output_stride=64),
            "output_stride=64; allowed are 1, 2, 4, 8, 16, 32",
        ),
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


def test_options_of_the_family_reach_every_block():
    model = nnx.merge(*abstract("resnet50", stride_first=True))
    strides = [[each.stride for each in stage[0].convolutions] for stage in model.stages]
    assert strides == [[1, 1, 1]] + [[2, 1, 1]] * 3
    model = create_model("resnet20_cifar", zero_scale=True, rngs=nnx.Rngs(0))
    for block in (block for stage in model.stages for block in stage):
        assert not block.norms[1].scale[...].any() and block.norms[0].scale[...].all()


@pytest.mark.parametrize(
    ("output_stride", "sizes"),
    [(32, (17, 9, 5, 3)), (16, (17, 9, 5, 5)), (8, (17, 9, 9, 9)), (4, (17, 17, 17, 17))],
)
def test_output_stride_sets_the_sizes_of_features_and_no_parameter(output_stride, sizes):
    graph, state = abstract("resnet50", output_stride=output_stride)
    chex.assert_trees_all_equal_shapes(state, abstract("resnet50")[1])
    features = jax.eval_shape(
        lambda state, x: nnx.merge(graph, state).features(x), state, jnp.zeros((1, 65, 65, 3))
    )
    assert tuple(features[f"stage{number}"].shape[1] for number in (1, 2, 3, 4)) == sizes


@pytest.mark.parametrize(
    ("network", "block"),
    [
        (ResNet, BasicBlock),
        (ResNet, functools.partial(BasicBlock, shortcut="padding")),
        (ResNet, functools.partial(Bottleneck, groups=4, width=8)),
        (ResNet, functools.partial(Bottleneck, stride_first=True)),
        (PreActivationResNet, PreActivationBasicBlock),
        (PreActivationResNet, functools.partial(PreActivationBottleneck, stride_first=True)),
    ],
)
def test_a_dilated_network_computes_what_the_strided_one_does_between_more_pixels(network, block):
    # In evaluation the pixels of the strided network are among those of the dilated one.
    small = {"small_images": True} if network is ResNet else {}
    strided, dilated = (
        network(block, (1, 1, 2), CLASSES, output_stride=stride, rngs=nnx.Rngs(0), **small)
        for stride in (4, 1)
    )
    x = jax.random.normal(jax.random.key(1), (2, 11, 14, 3))
    names = ("stage1", "stage2", "stage3")
    few, many = (
        jax.jit(lambda x, model=model: model.features(x, names))(x) for model in (strided, dilated)
    )
    for name, step in zip(names, (1, 2, 4), strict=True):
        assert many[name].shape[1:3] == (11, 14)
        found = many[name][:, ::step, ::step]
        np.testing.assert_allclose(found, few[name], rtol=0, atol=1e-4 * np.abs(few[name]).max())
