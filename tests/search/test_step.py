"""The compiled search step: traced once, exported, spread over devices, on fresh batches."""

import textwrap

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forced_devices import check_equal
from jax import export

import search
from jaxcv.data import Augmentation
from search.step import Images, build

CONFIG = search.Config(channels=2, layers=1, epochs=2, batch_size=8)


def parts(config=CONFIG):
    return build(
        search.darts(1),
        config,
        count=16,
        image_shape=(8, 8, 3),
        num_classes=4,
        augmentation=Augmentation(pad=1, flip=True),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return Images(
        jnp.asarray(random.integers(0, 256, (32, 8, 8, 3), np.uint8)),
        jnp.asarray(random.integers(0, 4, 32, np.int32)),
        jnp.arange(16),
        jnp.arange(16, 32),
    )


def test_any_number_of_steps_is_traced_once_and_gives_the_same_bits(images):
    step = parts()
    advance = jax.jit(chex.assert_max_traces(step.advance.__wrapped__, 1), donate_argnums=0)
    one = step.init(jax.random.key(0))
    for _ in range(2):
        one = advance(one, images, 1)
    both = advance(step.init(jax.random.key(0)), images, 2)
    chex.assert_trees_all_equal(one, both)


def test_steps_move_no_data_from_or_to_the_host(images):
    step = parts()
    state, count = step.init(jax.random.key(0)), jnp.int32(2)
    step.advance(step.init(jax.random.key(0)), images, count)
    with jax.transfer_guard("disallow"):
        state = step.advance(state, images, count)
    assert int(state.step) == 2


def test_the_step_exports_for_every_platform(images):
    step = parts()
    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (step.init(jax.random.key(0)), images)
    )
    exported = export.export(step.advance, platforms=["cpu", "cuda", "tpu"])(
        *shapes, jax.ShapeDtypeStruct((), jnp.int32)
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_sums_start_anew_with_each_epoch(images):
    step = parts()
    state = step.advance(step.init(jax.random.key(0)), images, 2)
    total = float(state.sums["loss"])
    state = step.advance(state, images, 1)
    assert 0 < float(state.sums["loss"]) < total


PARALLEL = textwrap.dedent(
    """
    import sys, jax, jax.numpy as jnp, numpy as np
    sys.path.insert(0, "tests/search")
    import search
    from jaxcv.genotype import published
    from jaxcv.training import classification
    from jaxcv.data import Augmentation
    from jaxcv.training.parallel import data_mesh, replicate, shard_batch
    from search.step import build

    assert jax.device_count() == 4
    mesh = data_mesh(8)
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 8, 8, 8, 3)).astype(np.float32)
    labels = random.integers(0, 4, (2, 8))

    def closest(update, init, batches):
        key = jax.random.key(0)
        alone = update(init(key), *batches)
        spread = [jax.jit(lambda batch: shard_batch(batch, mesh))(batch) for batch in batches]
        assert len(spread[0][0].sharding.device_set) == 4
        together = update(replicate(init(key), mesh), *spread)
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)

    config = search.Config(channels=2, layers=1, epochs=2, batch_size=8)
    step = build(search.darts(1), config, count=16, num_classes=4,
                 image_shape=(8, 8, 3), augmentation=Augmentation(), mean=(0.5,) * 3,
                 std=(0.25,) * 3)
    closest(step.update, step.init, [(images[0], labels[0]), (images[1], labels[1])])
    config = classification.Config(channels=2, layers=1, epochs=2, batch_size=8,
                                   auxiliary_weight=0.0)
    training = classification.build(published["DARTS_V2"], config, count=16,
        image_shape=(8, 8, 3), num_classes=4, augmentation=Augmentation(), mean=(0.5,) * 3,
        std=(0.25,) * 3)
    closest(training.update, training.init, [(images[0], labels[0])])
    print("equal")
    """
)


def test_four_devices_compute_what_one_does():
    check_equal(PARALLEL, 4)


def test_a_batch_larger_than_half_of_the_images_is_refused():
    with pytest.raises(ValueError, match="batch_size=17; allowed are 1 to 16"):
        parts(search.Config(batch_size=17))


@pytest.mark.parametrize("name", ["channels", "layers", "epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}; allowed is a positive int"):
        search.Config(**{name: value})


def test_several_searches_in_one_program_are_the_single_ones():
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (40, 8, 8, 3), np.uint8)
    labels = random.integers(0, 4, 40)
    keys = jax.random.split(jax.random.key(3), 3)
    # One epoch of five steps.
    config = search.Config(channels=2, layers=1, epochs=1, batch_size=4)
    arguments = (search.darts(1), pictures, labels, config)
    together = search.run_many(*arguments, keys, progress=False)
    assert len({str(result.weights["classifier"]["kernel"]) for result in together}) == 3
    for key, several in zip(keys, together, strict=True):
        single = search.run(*arguments, key, progress=False)
        assert several.genotype == single.genotype
        assert len(single.history) == len(several.history) == 1
        for name in ("loss", "accuracy", "valid_loss", "valid_accuracy"):
            assert several.history[0][name] == pytest.approx(single.history[0][name], rel=1e-4)
        for a, b in zip(
            jax.tree.leaves((several.alphas, several.weights)),
            jax.tree.leaves((single.alphas, single.weights)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
