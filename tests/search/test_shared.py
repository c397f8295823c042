"""Shared weights: which a step trains, what a point scores, where a stopped training goes on."""

import functools
import pickle

import jax
import numpy as np
import pytest
from flax import nnx

from jaxcv.data import Augmentation, Dataset, Split, halved, load, normalize
from jaxcv.genotype import Cell, Genotype, Output
from jaxcv.training.run import Run
from search import shared
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
    with pytest.raises(ValueError, match="not in"):
        shared.mix_of(SPACE, Genotype({"normal": cell, "reduce": cell}))


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


def test_a_stopped_training_goes_on_with_the_same_points(train, tmp_path):
    whole = train(shared.uniform(POINTS, 1), jax.random.key(0))
    run = Run.create(tmp_path / "run", "shared", {})
    epochs = []

    def stopping(epoch, count, scores):
        if epoch == 1:
            raise KeyboardInterrupt
        return shared.uniform(POINTS, 1)(epoch, count, scores)

    def going_on(epoch, count, scores):
        epochs.append(epoch)
        return shared.uniform(POINTS, 1)(epoch, count, scores)

    with pytest.raises(KeyboardInterrupt):
        train(stopping, jax.random.key(0), folder=run)
    again = train(going_on, jax.random.key(0), folder=Run.open(run.path, "shared"))
    assert epochs == [1]
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_points_are_drawn_anew_in_each_epoch():
    sample = shared.uniform(POINTS, 1)
    epochs = [sample(epoch, 9, None) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert len(set(epochs[0])) > 3 and all(map(POINTS.check, epochs[0]))


class Recorded:
    """A strategy whose state is what it was told, and which asks for one option then another."""

    def init(self, space, seed):
        return (0, ())

    def ask(self, state):
        asked, told = state
        return Proposal(point(asked % 2)), (asked + 1, told)

    def tell(self, state, proposal, score):
        asked, told = state
        self.told = (*told, (proposal.point, score))
        return asked, self.told


def test_a_strategy_learns_between_epochs_and_its_samples_are_not_told():
    strategy = Recorded()
    sample = shared.by_strategy(strategy, POINTS, trials=3)

    def scores(points):
        return np.array([points[0][1] / 2])

    assert sample(0, 2, scores) == [point(0), point(1)]
    assert not hasattr(strategy, "told")
    assert sample(1, 2, scores) == [point(1), point(0)]
    assert strategy.told == ((point(0), 0.0), (point(1), 0.5), (point(0), 0.0))


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
        shared.train_shared(supernet, dataset, config, shared.uniform(POINTS))


def test_the_supernet_of_nasbench201_takes_points_as_they_are():
    supernet = shared.nasbench201_supernet(2, 1, 3)
    paths = shared.stacked(supernet, [(0, 1, 2, 3, 4, 0), (1,) * 6])
    assert paths.dtype == np.int32 and paths.shape == (2, 6)
    network = nnx.eval_shape(lambda: supernet.make(rngs=nnx.Rngs(0)))
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    choice = jax.ShapeDtypeStruct((6,), np.int32)
    logits = jax.eval_shape(lambda network, x, choice: network(x, choice), network, image, choice)
    assert logits.shape == (1, 3)
