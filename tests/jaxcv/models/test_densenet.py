"""Dense networks: published sizes, dropout, wrong input, sizes of images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.models import DenseNet, create_model


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [
        ("densenet121", 7_978_856, 2.83),
        ("densenet161", 28_681_000, 7.73),
        ("densenet169", 14_149_480, 3.36),
        ("densenet201", 20_013_928, 4.29),
    ],
)
def test_published_parameters_and_multiply_adds(name, parameters, billions):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    assert count_parameters(model) == parameters
    graph, state = nnx.split(model)
    found = count_multiply_adds(
        lambda state, x: nnx.merge(graph, state)(x), state, jnp.zeros((1, 224, 224, 3))
    )
    assert round(found / 1e9, 2) == billions


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [("densenet_bc_100_k12", 769_162, 0.8), ("densenet_bc_190_k40", 25_624_430, 25.6)],
)
def test_parameters_of_networks_for_cifar(name, parameters, millions):
    found = count_parameters(nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0))))
    assert found == parameters
    assert round(found / 1e6, 1) == millions


def test_dropout_needs_a_key_and_a_rate():
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    plain, dropping = (
        DenseNet((2, 2), 4, 5, small_images=True, drop_rate=rate, rngs=nnx.Rngs(0))
        for rate in (0.0, 0.5)
    )
    call = nnx.jit(lambda model, x, key: model.features(x, key=key))
    expected, key = call(plain, x, None), jax.random.key(0)
    for same in (call(plain, x, key), call(dropping, x, None)):
        jax.tree.map(np.testing.assert_array_equal, same, expected)
    dropped = call(dropping, x, key)
    np.testing.assert_array_equal(dropped["stem"], expected["stem"])
    # Of a block the input stays; about half of what each layer adds is zero, of either layer in
    # other places.
    stem = expected["stem"].shape[-1]
    np.testing.assert_array_equal(dropped["stage1"][..., :stem], expected["stem"])
    first, second = (dropped["stage1"][..., stem + at : stem + at + 4] == 0 for at in (0, 4))
    assert 0.4 < first.mean() < 0.6 and 0.4 < second.mean() < 0.6
    assert 0.4 < (first != second).mean() < 0.6
    assert not np.array_equal(call(dropping, x, jax.random.key(1))["stage2"], dropped["stage2"])


@pytest.mark.parametrize(
    ("depths", "small", "least"), [((1, 1, 1, 1), False, 29), ((1, 1, 1), True, 4), ((1,), True, 1)]
)
def test_the_smallest_images_leave_one_pixel_to_the_last_block(depths, small, least):
    def last(size):
        model = DenseNet(depths, 2, 3, small_images=small, rngs=nnx.Rngs(0))
        assert model.least_size == least
        return model.features(jnp.zeros((1, size, size, 3)))[f"stage{len(depths)}"]

    assert jax.eval_shape(functools.partial(last, least)).shape[1:3] == (1, 1)
    if least > 1:
        with pytest.raises(ValueError, match=f"allowed is at least {least} by {least}"):
            jax.eval_shape(functools.partial(last, least - 1))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((), 4, 3), {}, r"depths=\(\); allowed are positive ints"),
        (((1, 0), 4, 3), {}, r"depths=\(1, 0\)"),
        (((1, 1), 0, 3), {}, "growth=0; allowed is a positive int"),
        (((1, 1), 4, 3), {"drop_rate": 1.0}, r"drop_rate=1.0; allowed is a probability in \[0, 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        DenseNet(*arguments, rngs=nnx.Rngs(0), **options)
