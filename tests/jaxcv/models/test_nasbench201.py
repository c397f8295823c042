"""Networks of NAS-Bench-201: the published sizes of all cells, shapes, wrong input."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.models.nasbench201 import NASBench201Network

CELLS = [
    ("none",) * 6,
    ("nor_conv_3x3",) * 6,
    ("nor_conv_1x1", "skip_connect", "nor_conv_3x3", "avg_pool_3x3", "none", "nor_conv_1x1"),
]


@pytest.mark.parametrize("cell", CELLS)
def test_published_parameters_and_multiply_adds(cell):
    graph, state = nnx.split(
        nnx.eval_shape(lambda: NASBench201Network(cell, 16, 5, 10, rngs=nnx.Rngs(0)))
    )
    ones, threes = cell.count("nor_conv_1x1"), cell.count("nor_conv_3x3")
    assert count_parameters(nnx.merge(graph, state)) == 73_306 + 28_000 * ones + 243_040 * threes
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    found = count_multiply_adds(lambda state, x: nnx.merge(graph, state)(x), state, image)
    # Published are 10 more, where the classifier adds its biases.
    assert found + 10 == 7_783_050 + 3_932_160 * ones + 35_389_440 * threes


def test_features_of_an_odd_size():
    network = nnx.eval_shape(lambda: NASBench201Network(CELLS[2], 2, 1, 3, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(network)
    image = jax.ShapeDtypeStruct((1, 7, 9, 3), np.float32)
    features = jax.eval_shape(lambda state, x: nnx.merge(graph, state).features(x), state, image)
    assert {name: value.shape[1:] for name, value in features.items()} == {
        "stem": (7, 9, 2),
        "stage1": (7, 9, 2),
        "stage2": (4, 5, 4),
        "stage3": (2, 3, 8),
        "pooled": (8,),
        "logits": (3,),
    }


def test_wrong_numbers_and_names():
    for cell, channels, cells, message in [
        (CELLS[0][:5], 2, 1, r"operations=\('none', .*\); allowed are 6, one for each edge"),
        (("no",) * 6, 2, 1, "operation='no'; allowed are"),
        (CELLS[0], 0, 1, "channels=0; allowed is a positive int"),
        (CELLS[0], 2, 0, "cells=0; allowed is a positive int"),
    ]:
        with pytest.raises(ValueError, match=message):
            NASBench201Network(cell, channels, cells, 3, rngs=nnx.Rngs(0))
