"""The evaluator that trains from scratch: what it trains, for how long, and what it gives back."""

import pickle
from dataclasses import replace

import jax
import pytest
from flax import nnx

from jaxcv.data import halved, load
from jaxcv.genotype import published
from jaxcv.models import CIFAR, CellNetwork
from jaxcv.training import train
from jaxcv.training.classification import Config
from search.evaluators.training import FromScratch
from search.strategies import Proposal

NAMES = ("DARTS_V1", "DARTS_V2")
CONFIG = Config(channels=2, layers=1, epochs=7, batch_size=32, auxiliary_weight=0.0)


def decode(point):
    return published[NAMES[point[0]]]


@pytest.fixture
def evaluator():
    return FromScratch(decode, halved(load("digits"), jax.random.key(0)), CONFIG)


@pytest.mark.parametrize(("budget", "epochs"), [(None, 7), (3, 3)])
def test_a_budget_is_epochs(evaluator, budget, epochs, monkeypatch):
    called = []

    def fake(genotype, dataset, config, key, *, progress):
        called.append((genotype, dataset, config, jax.random.key_data(key).tolist(), progress))
        network = CellNetwork(genotype, CIFAR, 2, 1, 10, inputs=1, rngs=nnx.Rngs(0))
        rows = [{"seconds": 1.5, "test_accuracy": 0.25, "test_loss": 2.0}] * 2
        return train.Result(network, rows)

    monkeypatch.setattr(train, "run", fake)
    evaluator = pickle.loads(pickle.dumps(evaluator))
    score, metrics = evaluator(Proposal((1,), budget), seed=4)
    ((genotype, dataset, config, key, progress),) = called
    assert genotype == published["DARTS_V2"]
    assert config == replace(CONFIG, epochs=epochs, evaluate_every=epochs)
    assert key == jax.random.key_data(jax.random.key(4)).tolist() and progress is False
    assert len(dataset.train.labels) == len(dataset.test.labels) - 1 == 718
    assert score == 0.25
    assert metrics["loss"] == 2 and metrics["seconds"] == 3 and metrics["parameters"] > 100


def test_a_budget_below_one(evaluator):
    with pytest.raises(ValueError, match="epochs=0; allowed is a positive int"):
        evaluator(Proposal((0,), 0), seed=0)
