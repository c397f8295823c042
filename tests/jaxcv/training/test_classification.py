"""Training a network of cells: compiled once, exported, evaluated exactly, loaded back."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jaxcv
from jaxcv.data import Augmentation, from_arrays, normalize
from jaxcv.genotype import published
from jaxcv.training import classification, train

CONFIG = classification.Config(
    channels=2, layers=1, epochs=2, batch_size=8, auxiliary_weight=0.0, cutout=2, drop_path=0.3
)


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    arrays = []
    for count in (19, 13):
        arrays.append(random.integers(0, 256, (count, 8, 8, 3), np.uint8))
        arrays.append(np.arange(count) % 3)
    return from_arrays(*arrays, augmentation=Augmentation(pad=1, flip=True))


@pytest.fixture(scope="module")
def training(dataset):
    return classification.build(
        published["DARTS_V2"],
        CONFIG,
        count=19,
        image_shape=(8, 8, 3),
        num_classes=3,
        augmentation=dataset.augmentation,
        mean=dataset.mean,
        std=dataset.std,
    )


def test_any_number_of_steps_is_traced_once_and_gives_the_same_bits(training, dataset):
    data = jax.tree.map(jnp.asarray, dataset.train)
    advance = jax.jit(chex.assert_max_traces(training.advance.__wrapped__, 1), donate_argnums=0)
    one = training.init(jax.random.key(0))
    for _ in range(2):
        one = advance(one, data, 1)
    both = advance(training.init(jax.random.key(0)), data, 2)
    chex.assert_trees_all_equal(one, both)
    assert training.steps_per_epoch == 2


def test_the_step_exports_for_every_platform(training, dataset):
    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype),
        (training.init(jax.random.key(0)), dataset.train),
    )
    exported = export.export(training.advance, platforms=["cpu", "cuda", "tpu"])(
        *shapes, jax.ShapeDtypeStruct((), jnp.int32)
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_a_trained_network_is_evaluated_on_each_image_once_and_loads_back(dataset, tmp_path):
    run = train.create_run(tmp_path / "run", published["DARTS_V2"], dataset, CONFIG)
    result = train.run(published["DARTS_V2"], dataset, CONFIG, folder=run, progress=False)
    assert [row["epoch"] for row in result.history] == [1, 2]
    images = normalize(jnp.asarray(dataset.test.images), dataset.mean, dataset.std)
    # 13 images in batches of 8: the last batch is filled up, and what fills it must not count.
    loaded = jaxcv.load(tmp_path / "run")
    logits = loaded(images)
    np.testing.assert_allclose(logits, result.model(images), rtol=1e-5, atol=1e-6)
    right = float(np.mean(np.argmax(logits, -1) == dataset.test.labels))
    losses = -jax.nn.log_softmax(logits)[np.arange(13), dataset.test.labels]
    assert result.history[-1]["test_accuracy"] == pytest.approx(right, abs=1e-6)
    assert result.history[-1]["test_loss"] == pytest.approx(float(losses.mean()), rel=1e-4)


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="is no run folder"):
        jaxcv.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skeleton": "vgg"}, "skeleton='vgg'; allowed are cifar, imagenet"),
        ({"channels": 0}, "channels=0; allowed is a positive int"),
        ({"drop_path": 1.0}, r"drop_path=1.0; allowed is a probability in \[0, 1\)"),
        ({"learning_rate": 0.0}, "learning_rate=0.0; allowed is a positive number"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0; allowed is at least 0"),
        ({"auxiliary_weight": float("nan")}, "auxiliary_weight=nan; allowed is at least 0"),
        ({"cutout": -3}, "cutout=-3; allowed is at least 0"),
        ({"momentum": 5.0}, r"momentum=5.0; allowed is a number in \[0, 1\)"),
        ({"dtype": "bf16"}, "dtype='bf16'; allowed are float32, bfloat16"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)
