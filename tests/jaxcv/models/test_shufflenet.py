"""ShuffleNets: published sizes, initial values, what a unit leaves as it is, wrong input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import ShuffleUnit, ShuffleUnitV2
from jaxcv.models import ShuffleNet, create_model


def multiply_adds(model, feature):
    graph, state = nnx.split(model)
    return count_multiply_adds(
        lambda state, x: nnx.merge(graph, state).features(x, (feature,)),
        state,
        jnp.zeros((1, 224, 224, 3)),
    )


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [
        ("shufflenet_v2_x0_5", 1_366_792, 0.040),
        ("shufflenet_v2_x1_0", 2_278_604, 0.145),
        ("shufflenet_v2_x1_5", 3_503_624, 0.296),
        ("shufflenet_v2_x2_0", 7_393_996, 0.583),
    ],
)
def test_published_parameters_and_multiply_adds(name, parameters, billions):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    assert count_parameters(model) == parameters
    assert round(multiply_adds(model, "logits") / 1e9, 3) == billions


@pytest.mark.parametrize(
    ("groups", "parameters", "millions"),
    [
        # Multiply-adds as in the paper, which leaves out the classifier.
        (1, 1_531_936, 143),
        (2, 1_733_848, 140),
        (3, 1_865_728, 137),
        (4, 1_968_344, 133),
        (8, 2_434_768, 137),
    ],
)
def test_parameters_and_published_multiply_adds_of_version_1(groups, parameters, millions):
    model = nnx.eval_shape(lambda: create_model("shufflenet_v1", groups=groups, rngs=nnx.Rngs(0)))
    assert count_parameters(model) == parameters
    assert round(multiply_adds(model, "pooled") / 1e6) == millions


def test_features_of_published_images():
    features = jax.eval_shape(
        lambda: create_model("shufflenet_v2_x1_0", 5, rngs=nnx.Rngs(0)).features(
            jnp.zeros((2, 224, 224, 3))
        )
    )
    assert {name: y.shape[1:] for name, y in features.items()} == {
        "stem": (112, 112, 24),
        "stage1": (28, 28, 116),
        "stage2": (14, 14, 232),
        "stage3": (7, 7, 464),
        "head": (7, 7, 1024),
        "pooled": (1024,),
        "logits": (5,),
    }


def test_values_begin_uniform():
    unit = ShuffleUnit(240, 240, rngs=nnx.Rngs(0))
    for part, fan_in in ((unit.reduce, 80), (unit.depthwise, 9), (unit.expand, 20)):
        largest = np.abs(part.convolution.kernel[...]).max() * np.sqrt(fan_in)
        assert 0.98 < largest < 1.0001


def test_half_of_the_channels_pass_a_unit_of_version_2():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 10))
    y = ShuffleUnitV2(10, 10, rngs=nnx.Rngs(0))(x)
    np.testing.assert_array_equal(y[..., ::2], x[..., :5])


@pytest.mark.parametrize("unit", [ShuffleUnit, ShuffleUnitV2])
@pytest.mark.parametrize(("inputs", "stride"), [(24, 1), (12, 2)])
def test_units_round_odd_sizes_up(unit, inputs, stride):
    y = jax.eval_shape(
        lambda: unit(inputs, 24, stride=stride, rngs=nnx.Rngs(0))(jnp.zeros((2, 7, 10, inputs)))
    )
    assert y.shape == (2, -(-7 // stride), -(-10 // stride), 24)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            functools.partial(create_model, "shufflenet_v1", groups=5),
            "groups=5; allowed are 1, 2, 3, 4, 8",
        ),
        (functools.partial(ShuffleNet, ShuffleUnitV2, (8,), None, 5), "channels=.*; allowed is on"),
        (functools.partial(ShuffleNet, ShuffleUnitV2, (), None, 5, depths=()), r"depths=\(\)"),
        (functools.partial(ShuffleNet, ShuffleUnitV2, (8, 8, 8), 0, 5), "head=0; allowed is a pos"),
        (functools.partial(ShuffleUnit, 24, 12, stride=2), "outputs=12; allowed is more than inp"),
        (functools.partial(ShuffleUnit, 6, 6), "outputs=6; allowed is a multiple of 4"),
        (functools.partial(ShuffleUnit, 8, 8, groups=3), "groups=3; allowed is a common divisor"),
        (functools.partial(ShuffleUnit, 8, 8, stride=3), "stride=3; allowed are 1 and 2"),
        (functools.partial(ShuffleUnit, 8, 12), "outputs=12; allowed is inputs=8 with stride=1"),
        (functools.partial(ShuffleUnitV2, 5, 5), "outputs=5; allowed is an even number"),
        (functools.partial(ShuffleUnitV2, 0, 4), "inputs=0; allowed is a positive int"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
