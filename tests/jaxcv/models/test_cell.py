"""Networks of genotypes: published sizes, shapes, wrong input, what a call changes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_parameters
from jaxcv.blocks import create_operation
from jaxcv.genotype import published
from jaxcv.models import CIFAR, IMAGENET, CellNetwork, cell, create_model

DARTS = published["DARTS_V2"]


def parameters(name):
    """Without the auxiliary head that the network has."""
    return count_parameters(
        nnx.eval_shape(lambda: create_model(name, auxiliary=True, rngs=nnx.Rngs(0)))
    )


def counted_by_hand(genotype, imagenet):
    """Parameters of a network without an auxiliary head, from the tables of the paper."""

    def convolution(inputs, outputs, window=1):
        """Without a bias, and with the scale and the offset of a batch norm."""
        return inputs * outputs * window + 2 * outputs

    def operation(name, width, stride):
        if name == "skip_connect":
            return convolution(width, width) if stride == 2 else 0
        if name == "conv_7x1_1x7":
            return 2 * 7 * width**2 + 2 * width
        kind, _, size = name.rpartition("_")
        separable = int(size[0]) ** 2 * width + convolution(width, width)
        return {"sep_conv": 2 * separable, "dil_conv": separable}.get(kind, 0)

    classes, width, layers = (1000, 48, 14) if imagenet else (10, 36, 20)
    if imagenet:
        half = width // 2
        total = convolution(3, half, 9) + convolution(half, width, 9) + convolution(width, width, 9)
        before = last = width
    else:
        before = last = 3 * width
        total = convolution(3, last, 9)
    for layer in range(layers):
        reduces = layer in (layers // 3, 2 * layers // 3)
        width *= 2 if reduces else 1
        cell = genotype.cells["reduce" if reduces else "normal"]
        total += convolution(before, width) + convolution(last, width)
        for node in cell.nodes:
            for name, source in node:
                total += operation(name, width, 2 if reduces and source < 2 else 1)
        before, last = last, len(cell.output.states) * width
    return total + last * classes + classes


@pytest.mark.parametrize(
    ("name", "count"),
    [("DARTS_V1", 3_169_414), ("DARTS_V2", 3_349_342)],
)
def test_the_count_by_hand_is_the_published_one(name, count):
    assert counted_by_hand(published[name], imagenet=False) == count
    assert name != "DARTS_V2" or counted_by_hand(published[name], imagenet=True) == 4_718_752


@pytest.mark.parametrize("name", cell.MODELS)
def test_parameters_of_every_network_by_name(name):
    genotype, _, skeleton = name.rpartition("_")
    count = counted_by_hand(published[genotype.upper()], skeleton == "imagenet")
    assert parameters(name) == count


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("pc_darts_cifar_imagenet", 5.3),
        ("pc_darts_imagenet_imagenet", 5.3),
        ("p_darts_imagenet", 4.9),
        ("drnas_cifar_cifar", 4.1),
        ("drnas_imagenet_imagenet", 5.7),
        ("gdas_v1_cifar", 3.4),
    ],
)
def test_parameters_as_their_papers_round_them(name, millions):
    assert round(parameters(name) / 1e6, 1) == millions


@pytest.mark.parametrize("name", published)
@pytest.mark.parametrize(("skeleton", "size"), [(CIFAR, 32), (IMAGENET, 224)])
def test_every_published_genotype_makes_both_networks(name, skeleton, size):
    def heads(x):
        model = CellNetwork(published[name], skeleton, 4, 3, 7, auxiliary=True, rngs=nnx.Rngs(0))
        names = ("logits", "auxiliary")
        return model.features(x, names, train=True, key=jax.random.key(0), drop_path=0.1)

    logits = jax.eval_shape(heads, jnp.zeros((2, size, size, 3)))
    assert {name: each.shape for name, each in logits.items()} == {
        "logits": (2, 7),
        "auxiliary": (2, 7),
    }


@pytest.fixture(scope="module")
def network():
    return CellNetwork(DARTS, CIFAR, 2, 3, 4, rngs=nnx.Rngs(0))


def test_a_call_changes_batch_statistics_and_only_in_training(network):
    graph, state = nnx.split(network)
    state = nnx.to_pure_dict(state)

    def after(train):
        model = nnx.merge(graph, state)
        model(jnp.ones((2, 8, 8, 3)), train=train)
        return nnx.to_pure_dict(nnx.state(model))

    chex.assert_trees_all_equal(after(False), state)
    changed = {
        path[-1].key
        for (path, old), new in zip(
            jax.tree.leaves_with_path(state), jax.tree.leaves(after(True)), strict=True
        )
        if not np.array_equal(old, new)
    }
    assert changed == {"mean", "variance"}


def test_drop_path_needs_a_key(network):
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    plain, key = network(x), jax.random.key(0)
    np.testing.assert_allclose(network(x, key=key, drop_path=0.0), plain, atol=1e-5)
    assert not np.allclose(network(x, key=key, drop_path=0.9), plain, atol=1e-3)
    np.testing.assert_array_equal(network(x, drop_path=0.9), plain)


@pytest.mark.parametrize(
    ("shape", "auxiliary", "message"),
    [
        ((8, 8, 3), False, r"x has shape \(8, 8, 3\); allowed is \[batch, height, width, 3\]"),
        ((1, 8, 8, 1), False, r"x has shape \(1, 8, 8, 1\)"),
        ((1, 3, 8, 3), False, r"\(3, 8\); allowed is at least 4 by 4"),
        ((1, 28, 32, 3), True, r"\(28, 32\); allowed is at least 29 by 29"),
    ],
)
def test_wrong_images_are_named(shape, auxiliary, message):
    def call(x):
        return CellNetwork(DARTS, CIFAR, 2, 3, 4, auxiliary=auxiliary, rngs=nnx.Rngs(0))(x)

    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, jnp.zeros(shape))


def test_images_of_odd_size_and_the_smallest_that_fit():
    for size, auxiliary in ((4, False), (13, False), (29, True)):
        jax.eval_shape(
            lambda x, auxiliary=auxiliary: CellNetwork(
                DARTS, CIFAR, 2, 3, 4, auxiliary=auxiliary, rngs=nnx.Rngs(0)
            )(x),
            jnp.zeros((1, size, size, 3)),
        )


@pytest.mark.parametrize(("channels", "layers"), [(0, 3), (2, 0), (2, -1)])
def test_sizes_below_one_are_refused(channels, layers):
    with pytest.raises(ValueError, match="allowed is a positive int"):
        CellNetwork(DARTS, CIFAR, channels, layers, 4, rngs=nnx.Rngs(0))


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
    model = nnx.eval_shape(
        lambda: CellNetwork(DARTS, CIFAR, 2, 3, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    graph, state = nnx.split(model)
    logits = jax.eval_shape(lambda s, x: nnx.merge(graph, s)(x), state, jnp.zeros((1, 8, 8, 3)))
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sep_conv_3", 4, 1), "did you mean sep_conv_3x3"),
        (("skip_connect", 4, 3), "stride=3; allowed are 1 and 2"),
        (("skip_connect", 0, 1), "channels=0; allowed is a positive int"),
        (("skip_connect", 1, 2), "outputs=1; allowed is at least 2"),
    ],
)
def test_operations_name_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_operation(*arguments, rngs=nnx.Rngs(0))
