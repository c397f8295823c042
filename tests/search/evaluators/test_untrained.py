"""Evaluators by zero-cost proxies: what is the score, what fails, that they can be sent."""

import pickle

import numpy as np
import pytest
from flax import nnx

from jaxcv.models.nasbench201 import NASBench201Network
from search.evaluators import untrained
from search.strategies import Proposal

IMAGES, LABELS = np.zeros((2, 8, 8, 3), np.float32), np.zeros(2, np.int32)


def build(point, rngs):
    return NASBench201Network(("none",) * 6, *point, 3, rngs=rngs)


@pytest.fixture
def evaluators():
    return [
        untrained.Untrained(build, IMAGES, LABELS, "naswot"),
        untrained.UntrainedNASBench201(IMAGES, LABELS, 3, "naswot", channels=2, cells=1),
    ]


def test_the_score_is_the_proxy_and_the_metrics_are_all(evaluators, monkeypatch):
    seen = []

    def fake(network, *arguments):
        seen.append((network, arguments[:-2]))
        return {"synflow": np.array(3.0), "naswot": np.array(2.0)}

    monkeypatch.setattr(untrained, "proxies", fake)
    monkeypatch.setattr(untrained, "_proxies", fake)
    monkeypatch.setattr(untrained.jax, "jit", lambda function: function)
    general, common = pickle.loads(pickle.dumps(evaluators))
    for evaluator, point in [(general, (2, 1)), (common, (0, 1, 2, 3, 4, 0))]:
        outcome = evaluator(Proposal(point), seed=5)
        assert outcome.score == 2
        assert outcome.metrics == {"synflow": 3, "naswot": 2}
    (network, _), (shared, (choice,)) = seen
    expected = NASBench201Network(("none",) * 6, 2, 1, 3, rngs=nnx.Rngs(5))
    np.testing.assert_array_equal(network.frame.stem.kernel[...], expected.frame.stem.kernel[...])
    np.testing.assert_array_equal(choice, (0, 1, 2, 3, 4, 0))
    assert shared.stages[0].operations[3].convolutions[0].kernel.shape == (1, 6, 3, 3, 2, 2)


def test_a_proxy_that_is_not_finite_fails(evaluators, monkeypatch):
    monkeypatch.setattr(untrained, "_proxies", lambda *_: {"naswot": np.array(-np.inf)})
    assert evaluators[1].proxies((0,) * 6, seed=0) == {"naswot": -np.inf}
    with pytest.raises(FloatingPointError, match="naswot is -inf; the images may not reach"):
        evaluators[1](Proposal((0,) * 6), seed=0)


def test_an_unknown_proxy():
    with pytest.raises(ValueError, match="proxy='fisher'; allowed are synflow, naswot"):
        untrained.UntrainedNASBench201(IMAGES, LABELS, proxy="fisher")
    with pytest.raises(ValueError, match="proxy='fisher'; allowed are synflow, naswot"):
        untrained.Untrained(build, IMAGES, LABELS, "fisher")
