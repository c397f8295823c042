"""Networks of Inception blocks: published sizes and costs, features, dropout, wrong arguments."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv import functional
from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import InceptionA, InceptionResidualC
from jaxcv.models import InceptionNetwork, create_model
from jaxcv.models.googlenet import GoogLeNetHead
from jaxcv.models.inception import block, steps

CLASSES = 4
FIVE_BY_FIVE = (
    *((16, 32), (32, 96)),
    *((16, 48), (24, 64), (24, 64), (32, 64), (32, 128)),
    *((32, 128), (48, 128)),
)


def abstract(name, *arguments, **options):
    return nnx.split(
        nnx.eval_shape(lambda: create_model(name, *arguments, rngs=nnx.Rngs(0), **options))
    )


def features(name, size, **options):
    """Shapes of the features of one image, in their order."""
    graph, state = abstract(name, CLASSES, **options)
    order = []

    def run(state, x):
        found = nnx.merge(graph, state).features(x)
        order.extend(found)
        return found

    found = jax.eval_shape(run, state, jnp.zeros((1, size, size, 3)))
    return {feature: found[feature].shape[1:] for feature in order}


@pytest.mark.parametrize(
    ("name", "options", "parameters", "auxiliary"),
    [
        ("googlenet", {"auxiliary": True}, 6_624_904, 13_004_888),
        # 25 - 9 weights more for each pair of channels, of the paper's table.
        ("googlenet", {"window": 5}, 6_624_904 + 16 * sum(map(math.prod, FIVE_BY_FIVE)), 0),
        ("bn_inception", {}, 11_295_240, 0),
        ("inception_v3", {"auxiliary": True}, 23_834_568, 27_161_264),
        ("inception_v4", {}, 42_679_816, 0),
        ("inception_resnet_v2", {}, 55_843_464, 0),
    ],
)
def test_published_parameter_counts(name, options, parameters, auxiliary):
    graph, state = abstract(name, **options)
    model = nnx.merge(graph, state)
    assert count_parameters(model) == parameters
    weights = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert sum(leaf.size for leaf in weights) == (auxiliary or parameters)


def test_a_residual_network_of_the_first_version_is_that_for_faces_without_its_end():
    graph, state = abstract("inception_resnet_v1")
    trunk = count_parameters(nnx.merge(graph, state)) - 1793 * 1000
    end = nnx.eval_shape(
        lambda: InceptionResidualC(1792, ((192,), (192, 192, 192)), rngs=nnx.Rngs(0))
    )
    # Another block C and an embedding of 512 with batch norm.
    assert trunk + count_parameters(end) + 1792 * 512 + 2 * 512 == 23_482_624


@pytest.mark.parametrize(
    ("name", "size", "published"),
    [("googlenet", 224, 1.50), ("inception_v3", 299, 5.71)],
)
def test_published_multiply_adds(name, size, published):
    graph, state = abstract(name)
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    count = count_multiply_adds(lambda s, x: nnx.merge(graph, s)(x), state, x)
    assert round(count / 1e9, 2) == published


@pytest.mark.parametrize(
    ("name", "published"), [("inception_v4", 12.28), ("inception_resnet_v2", 13.18)]
)
def test_multiply_adds_published_with_two_for_each_normalised_value(name, published, monkeypatch):
    normalised = []

    def record(x, *arguments, **options):
        normalised.append(x.size)
        return batch_norm(x, *arguments, **options)

    batch_norm = functional.batch_norm
    monkeypatch.setattr(functional, "batch_norm", record)
    graph, state = abstract(name)
    x = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    count = count_multiply_adds(lambda s, x: nnx.merge(graph, s)(x), state, x)
    assert round((count + 2 * sum(normalised)) / 1e9, 2) == published


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        (
            "googlenet",
            224,
            {
                "conv1": (112, 112, 64),
                "inception_3b": (28, 28, 480),
                "inception_4e": (14, 14, 832),
                "inception_5b": (7, 7, 1024),
            },
        ),
        (
            "bn_inception",
            224,
            {
                "inception_3b": (28, 28, 320),
                "inception_3c": (14, 14, 576),
                "inception_5b": (7, 7, 1024),
            },
        ),
        (
            "inception_v3",
            299,
            {
                "conv2d_2b": (147, 147, 64),
                "conv2d_4a": (71, 71, 192),
                "mixed_5d": (35, 35, 288),
                "mixed_6e": (17, 17, 768),
                "mixed_7c": (8, 8, 2048),
            },
        ),
        (
            "inception_v4",
            299,
            {
                "mixed_3a": (73, 73, 160),
                "mixed_4a": (71, 71, 192),
                "mixed_5e": (35, 35, 384),
                "mixed_6h": (17, 17, 1024),
                "mixed_7d": (8, 8, 1536),
            },
        ),
        (
            "inception_resnet_v1",
            299,
            {"block35": (35, 35, 256), "block17": (17, 17, 896), "block8": (8, 8, 1792)},
        ),
        (
            "inception_resnet_v2",
            299,
            {
                "mixed_5b": (35, 35, 320),
                "block17": (17, 17, 1088),
                "block8_linear": (8, 8, 2080),
                "conv2d_7b": (8, 8, 1536),
            },
        ),
    ],
)
def test_features_of_the_published_size(name, size, expected):
    found = features(name, size)
    assert found | expected == found
    assert [*found][-2:] == ["pooled", "logits"]


@pytest.mark.parametrize(
    ("name", "least", "heads"),
    [
        ("googlenet", 15, {"auxiliary1": "inception_4a", "auxiliary2": "inception_4d"}),
        ("inception_v3", 299, {"auxiliary": "mixed_6e"}),
    ],
)
def test_auxiliary_heads_come_after_the_stage_they_read(name, least, heads):
    found = features(name, least, auxiliary=True)
    order = [*found]
    for head, stage in heads.items():
        assert found[head] == (CLASSES,)
        assert order.index(head) == order.index(stage) + 1
    with pytest.raises(ValueError, match=f"allowed is at least {least} by {least}"):
        features(name, least - 1, auxiliary=True)


@pytest.fixture(scope="module")
def network():
    stages = {
        "conv1": steps("3x3V/2", 4),
        "mixed": block(InceptionA, (3,), (2, 3), (2, 2, 3), (3,)),
    }
    return InceptionNetwork(
        stages,
        CLASSES,
        heads={"conv1": ("auxiliary", GoogLeNetHead)},
        drop_rate=0.5,
        rngs=nnx.Rngs(0),
    )


def test_a_call_changes_batch_statistics_and_only_in_training(network):
    graph, state = nnx.split(network)
    state = nnx.to_pure_dict(state)

    @functools.partial(jax.jit, static_argnames="train")
    def after(state, train):
        model = nnx.merge(graph, state)
        model(jnp.ones((2, 9, 12, 3)), train=train)
        return nnx.to_pure_dict(nnx.state(model))

    chex.assert_trees_all_equal(after(state, train=False), state)
    changed = {
        path[-1].key
        for (path, old), new in zip(
            jax.tree.leaves_with_path(state), jax.tree.leaves(after(state, train=True)), strict=True
        )
        if not np.array_equal(old, new)
    }
    assert changed == {"mean", "variance"}


def test_heads_come_after_a_stage():
    with pytest.raises(ValueError, match="heads after conv2; allowed are conv1"):
        InceptionNetwork(
            {"conv1": steps("1x1", 4)},
            CLASSES,
            heads={"conv2": ("auxiliary", GoogLeNetHead)},
            rngs=nnx.Rngs(0),
        )


def test_dropout_needs_a_key_and_differs_between_the_heads(network):
    x = jax.random.normal(jax.random.key(1), (2, 9, 12, 3))

    @jax.jit
    def run(x, key):
        plain = network.features(x)
        return plain, network.features(x, key=key)

    plain, dropped = run(x, jax.random.key(0))
    np.testing.assert_array_equal(plain["pooled"], dropped["pooled"])
    for head in ("logits", "auxiliary"):
        assert not np.allclose(plain[head], dropped[head], atol=1e-3)
    again = run(x, jax.random.key(2))[1]
    assert not np.allclose(again["logits"], dropped["logits"], atol=1e-3)
    expected = network.classifier(plain["pooled"])
    np.testing.assert_allclose(plain["logits"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("googlenet", {"window": 7}, "window=7; allowed are 3 and 5"),
        ("googlenet", {"drop_rate": 1.0}, r"drop_rate=1.0; allowed is a probability in \[0, 1\)"),
        ("inception_v3", {"inputs": 0}, "inputs=0; allowed is a positive int"),
        ("inception_v4", {"repeats": (4, 7)}, r"repeats=\(4, 7\); allowed are three positive ints"),
        ("inception_v4", {"repeats": (4, 0, 3)}, r"repeats=\(4, 0, 3\); allowed are three"),
        ("inception_v4", {"repeats": (4, 26, 3)}, r"repeats=\(4, 26, 3\); allowed are at most 25"),
        ("inception_resnet_v1", {"repeats": (5, 10)}, r"repeats=\(5, 10\); allowed are three"),
    ],
)
def test_wrong_arguments_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        abstract(name, CLASSES, **options)
