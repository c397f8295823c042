"""Shared weights: which a step trains, what a point scores, where a stopped training goes on."""

import functools
import pickle
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax import nnx

from jaxcv.data import Augmentation, Dataset, Split, halved, load, normalize
from jaxcv.genotype import Cell, Genotype, Output
from jaxcv.training import loop, run
from jaxcv.training.run import Run
from search import sampling, shared
from search.config import Config
from search.discretize import discretize, strongest
from search.evaluators.shared import SharedWeights
from search.space import darts
from search.spaces import discrete_cells
from search.strategies import Proposal

SPACE = darts(nodes=1, primitives=("none", "skip_connect", "nor_conv_1x1"))
POINTS = discrete_cells(SPACE, "tiny")
CONFIG = Config(channels=2, layers=1, epochs=2, batch_size=8, weight_decay=0.0)
IDENTITY, CONVOLUTION = 0, 1


def point(option):
    """Both edges of both kinds of cell with one option."""
    return (0, option, option) * 2


@pytest.fixture(scope="module")
def dataset():
    digits = halved(load("digits"), jax.random.key(0))
    images, labels = digits.train
    return Dataset(
        "few digits",
        Split(images[:24], labels[:24]),
        Split(*(a[:20] for a in digits.test)),
        digits.classes,
        digits.mean,
        digits.std,
        Augmentation(),
    )


@pytest.fixture(scope="module")
def supernet():
    return shared.cell_supernet(SPACE, POINTS, CONFIG, 10, inputs=1)


@pytest.fixture(scope="module")
def train(supernet, dataset):
    return functools.partial(shared.train_shared, supernet, dataset, CONFIG, progress=False)


def random_mix(random):
    return {kind: random.random(cell.allowed.shape) for kind, cell in darts(2).cells.items()}


@pytest.mark.parametrize("seed", range(3))
def test_the_mix_of_a_genotype_is_what_it_was_discretized_from(seed):
    space, mix = darts(2), random_mix(np.random.default_rng(seed))
    found = shared.mix_of(space, discretize(space, mix))
    for kind, expected in strongest(space, mix).items():
        np.testing.assert_array_equal(found[kind], expected)


def test_a_genotype_of_another_space():
    cell = Cell(((("max_pool_3x3", 0),),), Output("concat", (2,)))
    message = "has max_pool_3x3 from state 0 to 2 of its normal cell; allowed there is none, skip"
    with pytest.raises(ValueError, match=message):
        shared.mix_of(SPACE, Genotype({"normal": cell, "reduce": cell}))
    with pytest.raises(
        ValueError, match="genotype has cells of kind normal; allowed are normal, r"
    ):
        shared.mix_of(SPACE, Genotype({"normal": cell}))


def test_a_step_trains_the_operations_of_its_point(train, supernet):
    """Without weight decay the others stay as they are."""
    key = jax.random.key(3)
    asked = []

    def sample(option, epoch, count, scores):
        asked.append((epoch, count))
        return [point(option)] * count

    convolutions, identities = (
        jax.device_get(train(functools.partial(sample, option), key))
        for option in (CONVOLUTION, IDENTITY)
    )
    assert asked == [(0, 3), (1, 3)] * 2
    leaves = jax.tree.leaves_with_path(convolutions)
    for (path, one), other in zip(leaves, jax.tree.leaves(identities), strict=True):
        assert (one != other).any(), path
    fresh = supernet.make(rngs=nnx.Rngs(shared.Keys(key)("weights")))
    initial = nnx.to_pure_dict(nnx.state(fresh))
    same = [
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(initial), jax.tree.leaves(identities), strict=True)
    ]
    # Of two edges, which leave different states, the kernel of the one convolution.
    assert sum(same) == 2


class Killed(BaseException):
    """What a SIGKILL is to the files: nothing is written after it."""


class Sensitive:
    """A strategy whose every point depends on all scores that it was told before."""

    class State(NamedTuple):
        asked: int
        told: int

    def init(self, space, seed):
        return self.State(0, seed)

    def ask(self, state):
        drawn = POINTS.sample(np.random.default_rng(state))
        return Proposal(drawn), state._replace(asked=state.asked + 1)

    def tell(self, state, proposal, score):
        return state._replace(told=(31 * state.told + round(1e6 * score)) % 2**32)


def test_a_training_killed_again_and_again_goes_on_as_if_it_never_was(
    supernet, dataset, tmp_path, monkeypatch
):
    """Before and after each write of its second and third epoch, the checkpoints within among
    them: a process gets as far as the first moment at which none was killed before."""
    config = replace(CONFIG, epochs=3)
    built = shared._build(supernet, dataset, config, 24)
    monkeypatch.setattr(shared, "_build", lambda *_: built)  # compiled once
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(loop, "_next_chunk", lambda *_: 2)
    deadly, survived = False, set()

    def watch(module, name, progress, from_then):
        write = getattr(module, name)

        def watched(*arguments):
            for when in ("before", "after"):
                moment = (module.__name__, when, progress(arguments))
                if deadly and moment[-1] >= from_then and moment not in survived:
                    survived.add(moment)
                    raise Killed(moment)
                if when == "before":
                    write(*arguments)

        monkeypatch.setattr(module, name, watched)

    watch(loop.checkpoint, "save", lambda arguments: arguments[1], 4)
    watch(run, "write_atomically", lambda arguments: arguments[1].count('"epoch"'), 2)
    watch(sampling, "write_atomically", lambda arguments: arguments[1].count('"epoch"'), 1)

    def trained(folder):
        begun = (folder / "config.json").exists()
        opened = Run.open(folder, "shared") if begun else Run.create(folder, "shared", {})
        strategy, drawn = sampling.Learning(Sensitive(), POINTS, trials=2), []

        def sample(*arguments):
            drawn.append(strategy(*arguments))
            return drawn[-1]

        key = jax.random.key(0)
        arguments = (supernet, dataset, config, sample, key)
        weights = shared.train_shared(*arguments, folder=opened, progress=False)
        return weights, drawn

    whole, points = trained(tmp_path / "whole")
    assert len({tuple(each) for each in points}) == 3
    deadly = True
    while True:
        try:
            again, points_again = trained(tmp_path / "killed")
            break
        except Killed:
            pass
    assert points_again in (points, [])
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    records = [(tmp_path / name / "scores.jsonl").read_text() for name in ("whole", "killed")]
    assert records[0] == records[1] and len(records[0].splitlines()) == 2
    assert {each[:1] + each[2:] for each in survived} >= {
        *(("jaxcv.training.checkpoint", step) for step in (4, 6, 7, 9)),
        *(("jaxcv.training.run", 2), ("jaxcv.training.run", 3)),
        *(("search.sampling", 1), ("search.sampling", 2)),
    }


def test_scores_are_accuracies_of_the_supernet_under_the_points_mix(supernet, dataset):
    network = supernet.make(rngs=nnx.Rngs(4))
    weights = jax.device_get(nnx.to_pure_dict(nnx.state(network)))
    points = [point(IDENTITY), point(CONVOLUTION), (0, 0, 1, 0, 1, 0)]
    statistics = (dataset.mean, dataset.std)
    found = shared.accuracies(supernet, weights, dataset.test, statistics, points, batch_size=8)
    logits = jax.jit(lambda x, mix: network(x, mix))
    for accuracy, each in zip(found, points, strict=True):
        mix = shared.mix_of(SPACE, POINTS.decode(each))
        right = []
        # Twenty images fill two batches.
        for rows in (slice(0, 8), slice(8, 16)):
            images = normalize(dataset.test.images[rows], *statistics)
            right += (logits(images, mix).argmax(1) == dataset.test.labels[rows]).tolist()
        assert accuracy == pytest.approx(np.mean(right))

    evaluator = SharedWeights(
        supernet, weights, dataset.test, dataset.mean, dataset.std, batch_size=8
    )
    outcome = pickle.loads(pickle.dumps(evaluator))(Proposal(points[2]), seed=0)
    assert outcome.score == pytest.approx(found[2])


def test_an_evaluator_on_some_batches_draws_them_by_the_seed(supernet, dataset, monkeypatch):
    drawn = []

    def fake(supernet, weights, split, statistics, points, batch_size):
        drawn.append(split)
        return np.array([0.5])

    monkeypatch.setattr("search.evaluators.shared.accuracies", fake)
    evaluator = SharedWeights(supernet, {}, dataset.test, (0.0,), (1.0,), 4, batches=2)
    for seed in (0, 1, 0):
        assert evaluator(Proposal(point(0)), seed) == (0.5, {})
    assert all(split.images.shape[0] == 8 for split in drawn)
    np.testing.assert_array_equal(drawn[0].images, drawn[2].images)
    assert (drawn[0].images != drawn[1].images).any()


def test_a_batch_larger_than_the_training_images(supernet, dataset):
    config = Config(batch_size=25)
    with pytest.raises(ValueError, match="batch_size=25; allowed are 1 to 24, all images"):
        shared.train_shared(supernet, dataset, config, sampling.uniform(POINTS))


def test_the_supernet_of_nasbench201_takes_points_as_they_are():
    supernet = shared.nasbench201_supernet(2, 1, 3)
    paths = shared.stacked(supernet, [(0, 1, 2, 3, 4, 0), (1,) * 6])
    assert paths.dtype == np.int32 and paths.shape == (2, 6)
    network = nnx.eval_shape(lambda: supernet.make(rngs=nnx.Rngs(0)))
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    choice = jax.ShapeDtypeStruct((6,), np.int32)
    logits = jax.eval_shape(lambda network, x, choice: network(x, choice), network, image, choice)
    assert logits.shape == (1, 3)
