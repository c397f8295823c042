"""SqueezeNets: published sizes, initial values, dropout, sizes of images, wrong input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv import functional
from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import Fire
from jaxcv.models import SqueezeNet, create_model


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [("squeezenet1_0", 1_248_424, 819), ("squeezenet1_1", 1_235_496, 349)],
)
def test_published_parameters_and_multiply_adds(name, parameters, millions):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    assert count_parameters(model) == parameters
    graph, state = nnx.split(model)
    found = count_multiply_adds(
        lambda state, x: nnx.merge(graph, state)(x), state, jnp.zeros((1, 224, 224, 3))
    )
    assert round(found / 1e6) == millions


def test_features_of_published_images():
    features = jax.eval_shape(
        lambda: create_model("squeezenet1_0", 5, rngs=nnx.Rngs(0)).features(
            jnp.zeros((2, 224, 224, 3))
        )
    )
    assert {name: y.shape[1:] for name, y in features.items()} == {
        "stem": (109, 109, 96),
        "stage1": (54, 54, 256),
        "stage2": (27, 27, 512),
        "stage3": (13, 13, 512),
        "maps": (13, 13, 5),
        "logits": (5,),
    }


@pytest.fixture(scope="module")
def network():
    return SqueezeNet((64, 3), ((32,),), 10, rngs=nnx.Rngs(0))


def test_initial_values(network):
    fire = network.stages[0][0]
    for layer, fan_in in ((network.stem, 9 * 3), (fire.squeeze, 64), (fire.expand3x3, 9 * 32)):
        largest = np.abs(layer.kernel[...]).max() / np.sqrt(6 / fan_in)
        assert 0.95 < largest < 1.0001
        np.testing.assert_array_equal(layer.bias[...], np.zeros(layer.bias.shape))
    np.testing.assert_allclose(np.std(network.classifier.kernel[...]), 0.01, rtol=0.05)


def test_dropout_needs_a_key(network):
    call = nnx.jit(lambda model, x, key: model.features(x, key=key))
    x = jax.random.normal(jax.random.key(1), (2, 15, 19, 3))
    plain, dropped = call(network, x, None), call(network, x, jax.random.key(0))
    np.testing.assert_array_equal(plain["stage1"], dropped["stage1"])
    assert not np.allclose(plain["maps"], dropped["maps"])


@pytest.mark.parametrize(("name", "least"), [("squeezenet1_0", 21), ("squeezenet1_1", 17)])
def test_smaller_images_leave_nothing_to_the_last_pooling(name, least):
    def call(size):
        network = create_model(name, 5, rngs=nnx.Rngs(0))
        assert network.least_size == least
        network.least_size = 1
        return network.features(jnp.zeros((1, size, least, 3)))

    features = jax.eval_shape(lambda: call(least))
    assert features["maps"].shape == (1, 1, 1, 5)
    with pytest.raises(ValueError, match="allowed is at least the window's"):
        jax.eval_shape(lambda: call(least - 1))


@pytest.mark.parametrize("pool", [functional.max_pool2d, functional.avg_pool2d])
def test_pooling_that_rounds_up_takes_images_smaller_than_its_window(pool):
    x = jnp.array([[1.0, 2.0], [3.0, 6.0]]).reshape(1, 2, 2, 1)
    expected = 6.0 if pool is functional.max_pool2d else 3.0
    np.testing.assert_array_equal(pool(x, 3, stride=2, ceil_mode=True), [[[[expected]]]])
    for image, options in ((x, {}), (x[:, :1], {"ceil_mode": True})):
        with pytest.raises(ValueError, match="allowed is at least the window's"):
            pool(image, 3, stride=2, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(SqueezeNet, (0, 3), ((4,),), 5), r"stem=\(0, 3\); allowed are two pos"),
        (functools.partial(SqueezeNet, (8, 0), ((4,),), 5), r"stem=\(8, 0\); allowed are two pos"),
        (functools.partial(SqueezeNet, (8, 3), (), 5), r"stages=\(\); allowed are stages of fire"),
        (functools.partial(SqueezeNet, (8, 3), ((4,), ()), 5), r"stages=\(\(4,\), \(\)\)"),
        (functools.partial(SqueezeNet, (8, 3), ((0,),), 5), "squeezed=0; allowed is a positive"),
        (
            functools.partial(create_model, "squeezenet1_1", drop_rate=1),
            "drop_rate=1; allowed is a probability",
        ),
        (functools.partial(Fire, 4, 4, 0), "expanded=0; allowed is a positive int"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
