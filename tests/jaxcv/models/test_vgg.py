"""VGG networks: published sizes, initial values, dropout, sizes of images, wrong input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import VGGBlock
from jaxcv.models import VGG, create_model


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [
        ("vgg11", 132_863_336, 7609),
        ("vgg13", 133_047_848, 11308),
        ("vgg16", 138_357_544, 15470),
        ("vgg19", 143_667_240, 19632),
        ("vgg11_bn", 132_868_840, 7609),
        ("vgg13_bn", 133_053_736, 11308),
        ("vgg16_bn", 138_365_992, 15470),
        ("vgg19_bn", 143_678_248, 19632),
    ],
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
        lambda: create_model("vgg16", 5, rngs=nnx.Rngs(0)).features(jnp.zeros((2, 224, 224, 3)))
    )
    assert {name: y.shape[1:] for name, y in features.items()} == {
        "stage1": (224, 224, 64),
        "stage2": (112, 112, 128),
        "stage3": (56, 56, 256),
        "stage4": (28, 28, 512),
        "stage5": (14, 14, 512),
        "pooled": (7, 7, 512),
        "hidden1": (4096,),
        "hidden2": (4096,),
        "logits": (5,),
    }


@pytest.fixture(scope="module")
def network():
    return VGG((1, 2), 5, hidden=40, batch_norm=True, rngs=nnx.Rngs(0))


def test_initial_values(network):
    convolution = network.stages[1].convolutions[1]
    deviation = np.sqrt(2 / (3 * 3 * 128))
    np.testing.assert_allclose(np.std(convolution.kernel[...]), deviation, rtol=0.03)
    hidden = network.classifier.layers[0]
    np.testing.assert_allclose(np.std(hidden.kernel[...]), 0.01, rtol=0.03)
    for layer in (convolution, *network.classifier.layers):
        np.testing.assert_array_equal(layer.bias[...], np.zeros(layer.bias.shape))


def test_dropout_needs_a_key(network):
    call = nnx.jit(lambda model, x, key: model.features(x, key=key))
    x = jax.random.normal(jax.random.key(1), (2, 8, 9, 3))
    plain, dropped = call(network, x, None), call(network, x, jax.random.key(0))
    np.testing.assert_array_equal(plain["hidden1"], dropped["hidden1"])
    assert not np.allclose(plain["hidden2"], dropped["hidden2"])


def test_a_call_in_training_moves_the_statistics():
    network = VGG((1,), 5, hidden=4, batch_norm=True, rngs=nnx.Rngs(0))
    norm, x = network.stages[0].norms[0], jnp.ones((2, 4, 4, 3))
    for train, moved in ((False, False), (True, True)):
        before = norm.mean[...]
        network.features(x, ("stage1",), train=train)
        assert np.allclose(before, norm.mean[...]) != moved


@pytest.mark.parametrize("depths", [(1, 1, 2, 2, 2), (1, 2)])
def test_smaller_images_leave_nothing_to_the_last_pooling(depths):
    def call(size):
        network = VGG(depths, 5, hidden=4, rngs=nnx.Rngs(0))
        assert network.least_size == 2 ** len(depths)
        least, network.least_size = network.least_size, 1
        return network(jnp.zeros((1, least, least + size, 3)))

    assert jax.eval_shape(lambda: call(0)).shape == (1, 5)
    with pytest.raises(ValueError, match="allowed is at least the window's"):
        jax.eval_shape(lambda: call(-1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(VGG, (), 4), r"depths=\(\); allowed are positive ints"),
        (functools.partial(VGG, (1, 0), 4), r"depths=\(1, 0\)"),
        (functools.partial(VGG, (1,), 4, hidden=0), "hidden=0; allowed is a positive int"),
        (functools.partial(VGG, (1,), 4, drop_rate=-0.5), r"drop_rate=-0\.5; allowed is a prob"),
        (functools.partial(VGG, (1,), 4, inputs=0), "inputs=0; allowed is a positive int"),
        (functools.partial(VGGBlock, 3, 4, 0), "depth=0; allowed is a positive int"),
        (functools.partial(VGGBlock, 3, 0, 1), "outputs=0; allowed is a positive int"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
