"""PNAS grows stage by stage, and its predictor leads to what is good."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from toy_growing import OPTIONS, SPACE, play, worth

from search.strategies import Progressive


class Knowing(Progressive):
    """Predicts the scores themselves, from codes that must be exact."""

    def _fit(self, state, random):
        sizes = (itertools.product(*map(range, OPTIONS[:size])) for size in SPACE.stages)
        known = {SPACE.encode(point).tobytes(): worth(point) for point in itertools.chain(*sizes)}
        return lambda codes: np.array([known[code.tobytes()] for code in codes])


STRATEGY = Knowing(beam=12)


def test_architectures_grow_from_those_before():
    history, _ = play(STRATEGY, SPACE, worth, 40)
    points = [point for point, _ in history]
    sizes = [len(point) for point in points]
    # All of the first stage, as many as the beam; the rest of the last follows at the end.
    assert sizes == 12 * [2] + 12 * [3] + 16 * [5]
    assert set(points[:12]) == set(itertools.product(range(4), range(3)))
    assert len(set(points)) == len(points)
    for size, start in ((2, 12), (3, 24)):
        parents = {point for point in points if len(point) == size}
        assert {point[:size] for point in points[start : start + 12]} <= parents


def test_the_predictor_ranks():
    history, _ = play(Progressive(beam=12, members=3, hidden=20), SPACE, worth, 36)
    found = [score for point, score in history if len(point) == 5]
    everything = [worth(point) for point in itertools.product(*map(range, OPTIONS))]
    assert np.mean(found) > np.quantile(everything, 0.85)
    # 36 of 274 architectures, and the best of all is among them.
    assert max(found) == max(everything)


def test_a_large_first_stage_is_drawn_from():
    strategy = replace(STRATEGY, beam=5)
    first, second = (
        [point for point, _ in play(strategy, SPACE, worth, 5, seed=seed)[0]] for seed in (0, 1)
    )
    assert all(len(point) == 2 for point in first)
    assert set(first) != set(second)


def test_isomorphic_and_forbidden_architectures_are_not_evaluated():
    space = replace(
        SPACE,
        # The first two decisions may be exchanged.
        canonical=lambda point: repr((sorted(point[:2]), point[2:])),
        allowed=lambda point: point[:3] != (1, 1, 1),
    )
    history, _ = play(STRATEGY, space, worth, 30)
    points = [point for point, _ in history]
    assert len({space.canonical(point) for point in points}) == len(points)
    # Of twelve pairs of options three are the others' mirror images.
    assert sum(len(point) == 2 for point in points) == 9
    assert all(map(space.allowed, points))


def test_the_best_expansions_are_asked_first():
    history, _ = play(STRATEGY, SPACE, worth, 40)
    found = [score for _, score in history]
    second = sorted(map(worth, itertools.product(*map(range, OPTIONS[:3]))), reverse=True)
    np.testing.assert_allclose(found[12:24], second[:12])
    parents = [point for point, _ in history[12:24]]
    tails = itertools.product(*map(range, OPTIONS[3:]))
    third = sorted((worth(p + t) for p, t in itertools.product(parents, tails)), reverse=True)
    np.testing.assert_allclose(found[24:], third[:16])


def test_what_failed_does_not_grow():
    strategy = replace(STRATEGY, beam=20)
    history, _ = play(strategy, SPACE, lambda p: None if p[0] < 3 else worth(p), 30)
    assert [len(point) for point, _ in history] == 12 * [2] + 15 * [3] + 3 * [5]
    assert {point[0] for point, _ in history[12:]} == {3}


def test_it_goes_on_where_nothing_has_grown_yet():
    history, _ = play(STRATEGY, SPACE, worth, 14, batch=14)
    assert [len(point) for point, _ in history] == 12 * [2] + 2 * [5]
    history, _ = play(STRATEGY, SPACE, lambda point: None, 14)
    assert [len(point) for point, _ in history] == 12 * [2] + 2 * [5]


def test_a_space_must_grow():
    with pytest.raises(ValueError, match=r"space='toy' has stages=\(\); allowed are at least two"):
        STRATEGY.init(replace(SPACE, stages=()), 0)
