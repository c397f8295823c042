"""MobileNets: published sizes, initial values, dropout, wrong input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import InvertedResidual, SeparableBlock
from jaxcv.models import MobileNet, create_model
from jaxcv.models.mobilenet import Stage

STAGE = Stage(InvertedResidual, 96, 1, 2)


@pytest.mark.parametrize(
    ("name", "width", "parameters", "millions"),
    [
        # Multiply-adds as published with the papers.
        ("mobilenet_v1", 1.0, 4_231_976, 569),
        ("mobilenet_v1", 0.75, 2_585_560, 325),
        ("mobilenet_v1", 0.5, 1_331_592, 149),
        ("mobilenet_v1", 0.25, 470_072, 41),
        ("mobilenet_v2", 1.0, 3_504_872, 301),
        ("mobilenet_v2", 0.75, 2_636_424, 209),
        ("mobilenet_v2", 0.5, 1_968_680, 97),
        ("mobilenet_v2", 0.35, 1_677_128, 59),
        ("mobilenet_v2", 1.4, 6_108_776, 582),
    ],
)
def test_published_parameters_and_multiply_adds(name, width, parameters, millions):
    model = nnx.eval_shape(lambda: create_model(name, width=width, rngs=nnx.Rngs(0)))
    assert count_parameters(model) == parameters
    graph, state = nnx.split(model)
    found = count_multiply_adds(
        lambda state, x: nnx.merge(graph, state)(x), state, jnp.zeros((1, 224, 224, 3))
    )
    assert round(found / 1e6) == millions


def test_features_of_published_images():
    features = jax.eval_shape(
        lambda: create_model("mobilenet_v2", 5, rngs=nnx.Rngs(0)).features(
            jnp.zeros((2, 224, 224, 3))
        )
    )
    assert {name: y.shape[1:] for name, y in features.items()} == {
        "stem": (112, 112, 32),
        "stage1": (112, 112, 16),
        "stage2": (56, 56, 24),
        "stage3": (28, 28, 32),
        "stage4": (14, 14, 64),
        "stage5": (14, 14, 96),
        "stage6": (7, 7, 160),
        "stage7": (7, 7, 320),
        "head": (7, 7, 1280),
        "pooled": (1280,),
        "logits": (5,),
    }


@pytest.fixture(scope="module")
def network():
    return MobileNet((STAGE,), 800, 5, drop_rate=0.5, rngs=nnx.Rngs(0))


def test_initial_values(network):
    expand, depthwise, _ = network.stages[0][0].convolutions
    for unit, fan_out in ((network.head, 800), (expand, 192), (depthwise, 3 * 3 * 192)):
        deviation = np.std(unit.convolution.kernel[...])
        np.testing.assert_allclose(deviation, np.sqrt(2 / fan_out), rtol=0.05)
    np.testing.assert_allclose(np.std(network.classifier.kernel[...]), 0.01, rtol=0.05)
    np.testing.assert_array_equal(network.classifier.bias[...], np.zeros(5))


def test_dropout_needs_a_key(network):
    call = nnx.jit(lambda model, x, key: model.features(x, key=key))
    x = jax.random.normal(jax.random.key(1), (2, 5, 6, 3))
    plain, dropped = call(network, x, None), call(network, x, jax.random.key(0))
    np.testing.assert_array_equal(plain["pooled"], dropped["pooled"])
    assert not np.allclose(plain["logits"], dropped["logits"])


def test_activations_end_at_6():
    x = 100 * jax.random.normal(jax.random.key(0), (2, 5, 5, 4))
    block = SeparableBlock(4, 8, rngs=nnx.Rngs(0))
    y = block(x)
    assert y.min() == 0 and y.max() == 6
    block = InvertedResidual(4, 8, rngs=nnx.Rngs(0))
    y = block(x)
    assert y.min() < 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("outputs", [8, 12])
@pytest.mark.parametrize(
    "block",
    [SeparableBlock, InvertedResidual, functools.partial(InvertedResidual, expansion=1)],
)
def test_blocks_round_odd_sizes_up(block, outputs, stride):
    y = jax.eval_shape(
        lambda: block(8, outputs, stride=stride, rngs=nnx.Rngs(0))(jnp.zeros((2, 7, 10, 8)))
    )
    assert y.shape == (2, -(-7 // stride), -(-10 // stride), outputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(create_model, "mobilenet_v1", width=0), "width=0; allowed is a positiv"),
        (
            functools.partial(create_model, "mobilenet_v2", width=float("nan")),
            "width=nan; allowed is a positive number",
        ),
        (
            functools.partial(create_model, "mobilenet_v2", drop_rate=2),
            r"drop_rate=2; allowed is a probability in \[0, 1\)",
        ),
        (functools.partial(MobileNet, (), None, 5), r"stages=\(\); allowed is at least one"),
        (functools.partial(MobileNet, (STAGE, STAGE._replace(depth=0)), None, 5), "depth=0; allo"),
        (functools.partial(MobileNet, (STAGE._replace(channels=0),), None, 5), "channels=0; allo"),
        (functools.partial(MobileNet, (STAGE,), 0, 5), "head=0; allowed is a positive int"),
        (functools.partial(SeparableBlock, 4, 0), "outputs=0; allowed is a positive int"),
        (functools.partial(InvertedResidual, 4, 4, stride=0), "stride=0; allowed is a positive"),
        (functools.partial(InvertedResidual, 4, 4, expansion=0), "expansion=0; allowed is a pos"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
