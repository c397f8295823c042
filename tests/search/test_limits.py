"""Counts of the networks of all kinds of architectures, and spaces limited by them."""

import functools

import numpy as np
import pytest

import search
from jaxcv.models import CIFAR
from jaxcv.models.macro import Macro
from jaxcv.models.motif import Motif
from search.limits import limited

COUNTS = {"skeleton": CIFAR, "channels": 16, "layers": 17, "num_classes": 10}


@pytest.mark.parametrize("point", [(0,) * 6, (2, 3, 1, 0, 3, 4)])
def test_counts_of_nasbench201_are_those_of_its_authors(point):
    """Which are given in millions, to so many places (arXiv:2001.00326)."""
    genotype = search.create_discrete("nasbench201").decode(point)
    counts = search.network_counts(genotype, image_shape=(32, 32, 3), **COUNTS)
    narrow, wide = point.count(2), point.count(3)
    assert counts["parameters"] == pytest.approx(
        1e6 * (0.073306 + 0.028 * narrow + 0.24304 * wide), abs=narrow + 1000
    )
    assert counts["multiply_adds"] == pytest.approx(
        1e6 * (7.78305 + 3.93216 * narrow + 35.38944 * wide), abs=10
    )


def test_counts_of_other_architectures():
    sizes = COUNTS | {"channels": 2, "image_shape": (8, 8, 3)}
    # Pixels, then the products for each of them; after the cells the separable convolutions.
    stem, classifier = 64 * 27 * 2, 8 * 10
    cells = 64 * 2 * 2, 16 * 4 * 4, 4 * 8 * 8
    separable = 16 * (9 * 2 + 2 * 4), 4 * (9 * 4 + 4 * 8), 4 * (9 * 8 + 8 * 8)
    motif = Motif(2, (("conv_1x1", 0, 1),))
    counts = search.network_counts(motif, **sizes)
    assert counts["multiply_adds"] == stem + sum(cells) + sum(separable) + classifier
    # Of layers a block and a join, which is wider by the skip; reductions halve after each.
    entries = 64 * 2 * 2, 16 * 4 * 4, 4 * 8 * 8
    joins = 16 * 8 * 4, 4 * 8 * 8
    halves = 2 * 16 * 2 * 4, 4 * 4 * 8
    macro = Macro(("max_pool_3x3",) * 3, ((), (0,), ()))
    counts = search.network_counts(macro, **sizes)
    assert counts["multiply_adds"] == stem + sum(entries) + sum(joins) + sum(halves) + classifier


def test_a_space_can_be_limited_by_what_its_networks_have():
    sizes = COUNTS | {"channels": 2, "layers": 3, "image_shape": (8, 8, 3)}
    counts = functools.partial(search.network_counts, **sizes)
    space, random = search.create_discrete("nasbench201"), np.random.default_rng(0)
    points = [space.sample(random) for _ in range(3)]
    found = [counts(space.decode(point))["parameters"] for point in points]
    most = sorted(found)[1]
    small = limited(space, counts, parameters=most)
    assert [small.allowed(point) for point in points] == [count <= most for count in found]
