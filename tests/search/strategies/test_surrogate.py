"""The surrogate against a closed form, and against random search."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from toy_growing import SPACE, play, worth

from search.discrete import DiscreteSpace
from search.strategies import Surrogate
from search.strategies.surrogate import normal_scores, posterior

TABLE = Path(__file__).parents[4] / "shared" / "data" / "nasbench201" / "nb201.npz"


def test_the_posterior_is_that_of_a_gaussian_process():
    random = np.random.default_rng(0)
    codes, others = random.integers(0, 2, (7, 5)), random.integers(0, 2, (4, 5))
    targets = random.normal(size=7)

    def kernel(a, b):
        return np.array([[np.exp(-np.sum((x - y) ** 2) / (2 * 1.7**2)) for y in b] for x in a])

    weights = kernel(others, codes) @ np.linalg.inv(kernel(codes, codes) + 0.3 * np.eye(7))
    mean, deviation = posterior(codes, targets, others, length=1.7, noise=0.3)
    np.testing.assert_allclose(mean, weights @ targets, rtol=1e-9)
    variance = 1 - np.sum(weights * kernel(others, codes), axis=1)
    np.testing.assert_allclose(deviation, np.sqrt(variance), rtol=1e-9)


def test_scores_count_by_rank():
    found = normal_scores([0.3, 90.0, -np.inf, 0.3])
    quartile = scipy.stats.norm.ppf(0.875)
    np.testing.assert_allclose(found, [0, quartile, -quartile, 0], atol=1e-12)


def test_it_finds_the_best_of_a_space_and_asks_nothing_twice():
    space = replace(SPACE, canonical=lambda point: repr((sorted(point[:2]), point[2:])))
    history, _ = play(Surrogate(), space, worth, 60)
    assert len({space.canonical(point) for point, _ in history}) == 60
    assert max(score for _, score in history) == 1
    scores = [score for _, score in history]
    assert np.mean(scores[10:20]) > np.mean(scores[:10])
    assert np.mean(scores[20:30]) > 0.6


def test_it_goes_on_when_all_is_asked():
    space = DiscreteSpace("small", (("a", "b"), ("a", "b")), lambda point: point, repr)
    history, _ = play(Surrogate(initial=2, batch=3), space, sum, 10)
    assert {point for point, _ in history} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_what_fails_is_avoided():
    history, _ = play(Surrogate(), SPACE, lambda p: None if p[0] == 3 else worth(p), 60)
    failed = [score is None for _, score in history]
    assert sum(failed[:10]) > 0
    assert sum(failed[30:]) < 5


@pytest.mark.skipif(not TABLE.exists(), reason="NAS-Bench-201 is not here")
def test_it_is_better_than_random_search_on_nasbench201():
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    space = DiscreteSpace("cells", (names,) * 6, lambda point: point, repr)
    with np.load(TABLE) as file:
        architectures = file["arch"].tolist()
        valid, test = file["ep12"][:, 0], file["ep200_test"][:, 0]

    def point(text):
        operations = text.replace("+", "").strip("|").replace("||", "|").split("|")
        return tuple(names.index(operation.split("~")[0]) for operation in operations)

    row = {point(text): number for number, text in enumerate(architectures)}
    found = []
    for seed in range(12):
        history, _ = play(Surrogate(), space, lambda p: valid[row[p]], 100, seed=seed)
        best, _ = max(history, key=lambda trial: trial[1])
        found.append(test[row[best]])
    # Random search of 100 cells: the best of as many at random.
    random = np.random.default_rng(0)
    samples = random.integers(len(valid), size=(500, 100))
    by_chance = test[samples[np.arange(500), valid[samples].argmax(axis=1)]]
    assert scipy.stats.ttest_ind(found, by_chance, alternative="greater").pvalue < 1e-3
