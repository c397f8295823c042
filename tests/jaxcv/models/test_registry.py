"""Every model by name: its call, its features, wrong input, and names that are not there."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxcv.models import cell, create_model, list_models, nasnet
from jaxcv.models.registry import MODELS

# Networks of cells differ in their genotype, which the tests of cells vary: one of each skeleton.
NAMES = [
    name
    for name in list_models()
    if name not in (cell.MODELS | nasnet.MODELS)
    or name in ("darts_v2_cifar", "darts_v2_imagenet", "pnasnet5_3_48")
]


@functools.cache
def abstract(name, *arguments, **options):
    """The graph and the shapes of a model, made without computing anything."""
    return nnx.split(
        nnx.eval_shape(lambda: create_model(name, *arguments, rngs=nnx.Rngs(0), **options))
    )


def test_patterns_list_names():
    assert list_models("resnet*0") == ["resnet50"]
    assert list_models("nothing*") == []
    assert set(list_models()) == set(MODELS)


def test_an_unknown_name_brings_the_nearest_ones():
    with pytest.raises(ValueError, match=r"name='resnet5'; .*did you mean resnet50"):
        create_model("resnet5", rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", list(dict.fromkeys([*NAMES, *cell.MODELS])))
def test_a_call_with_the_smallest_images(name):
    graph, shapes = abstract(name, 7, inputs=2)
    # Weights that are quick to make, and far from overflow in the deepest network.
    state = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), shapes)
    least = nnx.merge(graph, shapes).least_size
    assert least <= MODELS[name].image_size
    x = jax.random.normal(jax.random.key(0), (1, least, least, 2))
    logits = jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x)
    assert logits.shape == (1, 7) and logits.dtype == jnp.float32
    assert jnp.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_features_of_images_of_the_published_size(name):
    graph, state = abstract(name, 7, inputs=2)
    size = MODELS[name].image_size
    x = jax.ShapeDtypeStruct((2, size, size, 2), jnp.float32)
    features = jax.eval_shape(lambda state, x: nnx.merge(graph, state).features(x), state, x)
    assert features["logits"].shape == (2, 7)
    assert features["logits"].dtype == jnp.float32
    assert len(features) > 3
    assert all(y.shape[0] == 2 and y.ndim in (2, 4) for y in features.values())


@pytest.mark.parametrize("name", NAMES)
def test_wrong_images_and_classes_are_named(name):
    graph, state = abstract(name, 7, inputs=2)
    least = nnx.merge(graph, state).least_size

    def call(*shape):
        jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, jnp.zeros(shape))

    with pytest.raises(ValueError, match=r"x has shape .*; allowed is \[batch, height, width, 2\]"):
        call(1, least, least, 4)
    with pytest.raises(ValueError, match=f"allowed is at least {least} by {least}"):
        call(1, least, least - 1, 2)
    with pytest.raises(ValueError, match="num_classes=0; allowed is a positive int"):
        abstract(name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_keeps_parameters_and_logits_in_float32(name):
    graph, state = abstract(name, 3, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}
    size = MODELS[name].image_size
    features = jax.eval_shape(
        lambda state, x: nnx.merge(graph, state).features(x, train=True),
        state,
        jnp.zeros((2, size, size, 3)),
    )
    assert features.pop("logits").dtype == jnp.float32
    assert {y.dtype for y in features.values() if y.ndim == 4} == {jnp.dtype("bfloat16")}


def test_features_stop_at_the_last_one_and_name_those_there_are():
    graph, state = abstract("resnet18", 5)

    def run(names, size=64):
        x = jnp.zeros((1, size, size, 3))
        return jax.eval_shape(lambda s, x: nnx.merge(graph, s).features(x, names), state, x)

    assert set(run(("stage2", "stem"))) == {"stem", "stage2"}
    assert run(("stage2",))["stage2"].shape == (1, 8, 8, 128)
    with pytest.raises(
        ValueError, match=r"names=\('stage9',\); allowed are stem, stage1, .*logits"
    ):
        run(("stage9",))
