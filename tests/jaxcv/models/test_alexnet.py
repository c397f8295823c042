"""AlexNet: published sizes, initial values, dropout, sizes of images, wrong input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.models import AlexNet, create_model


@pytest.mark.parametrize(
    ("grouped", "parameters", "millions"), [(False, 61_100_840, 714), (True, 60_965_224, 724)]
)
def test_published_parameters_and_multiply_adds(grouped, parameters, millions):
    model = nnx.eval_shape(lambda: create_model("alexnet", grouped=grouped, rngs=nnx.Rngs(0)))
    assert count_parameters(model) == parameters
    graph, state = nnx.split(model)
    found = count_multiply_adds(
        lambda state, x: nnx.merge(graph, state)(x), state, jnp.zeros((1, 224, 224, 3))
    )
    assert round(found / 1e6) == millions


@pytest.fixture(scope="module")
def network():
    return AlexNet(5, hidden=20, rngs=nnx.Rngs(0))


def test_features_of_published_images():
    features = jax.eval_shape(
        lambda: AlexNet(5, hidden=20, rngs=nnx.Rngs(0)).features(jnp.zeros((2, 224, 224, 3)))
    )
    assert {name: y.shape[1:] for name, y in features.items()} == {
        "conv1": (55, 55, 64),
        "conv2": (27, 27, 192),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 256),
        "conv5": (13, 13, 256),
        "pooled": (6, 6, 256),
        "hidden1": (20,),
        "hidden2": (20,),
        "logits": (5,),
    }


def test_values_begin_uniform(network):
    for layer, fan_in in (
        (network.convolutions[0], 11 * 11 * 3),
        (network.convolutions[4], 3 * 3 * 256),
        (network.classifier.layers[0], 6 * 6 * 256),
    ):
        for array in (layer.kernel[...], layer.bias[...]):
            largest = np.abs(array).max() * np.sqrt(fan_in)
            assert 0.9 < largest < 1.0001


def test_values_of_the_grouped_network_begin_as_in_its_paper():
    network = AlexNet(5, grouped=True, hidden=20, rngs=nnx.Rngs(0))
    layers = [*network.convolutions, *network.classifier.layers]
    for layer, bias in zip(layers, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
        np.testing.assert_array_equal(layer.bias[...], np.full(layer.bias.shape, bias))
    for layer in layers[:6]:
        np.testing.assert_allclose(np.std(layer.kernel[...]), 0.01, rtol=0.03)


@pytest.mark.parametrize("grouped", [False, True])
def test_dropout_needs_a_key_and_is_after_hidden_layers_if_grouped(grouped):
    network = AlexNet(5, grouped=grouped, hidden=20, rngs=nnx.Rngs(0))
    call = nnx.jit(lambda model, x, key: model.features(x, key=key))
    x = jax.random.normal(jax.random.key(1), (2, 63, 63, 3))
    plain, dropped = call(network, x, None), call(network, x, jax.random.key(0))
    np.testing.assert_array_equal(plain["pooled"], dropped["pooled"])
    assert np.allclose(plain["hidden1"], dropped["hidden1"]) == grouped
    assert not np.allclose(plain["hidden2"], dropped["hidden2"])


def test_smaller_images_leave_nothing_to_the_last_pooling():
    def call(size):
        network = AlexNet(5, hidden=20, rngs=nnx.Rngs(0))
        least, network.least_size = network.least_size, 1
        return network(jnp.zeros((1, least + size, least, 3)))

    assert jax.eval_shape(lambda: call(0)).shape == (1, 5)
    with pytest.raises(ValueError, match="allowed is at least the window's"):
        jax.eval_shape(lambda: call(-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden=0; allowed is a positive int"),
        ({"drop_rate": 1.0}, r"drop_rate=1\.0; allowed is a probability in \[0, 1\)"),
        ({"inputs": 0}, "inputs=0; allowed is a positive int"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: create_model("alexnet", **options, rngs=nnx.Rngs(0)))
