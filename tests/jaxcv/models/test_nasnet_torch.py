"""The networks of NASNet and ENAS against PyTorch, in float64: logits, gradients, statistics."""

import functools

import pytest

from jaxcv.genotype import Cell, Genotype, Output
from jaxcv.models import ENAS, NASNET, CellNetwork

torch = pytest.importorskip("torch")

import torch_nasnet  # noqa: E402
from torch_parity import CLASSES, compare  # noqa: E402

CHANNELS, LAYERS = 4, 3
# All operations that these networks have in a form of their own, from inputs and from nodes, and
# inputs that are part of the output.
CELLS = {
    "normal": (
        [
            ("sep_conv_3x3", 0),
            ("skip_connect", 0),
            ("nor_conv_1x1", 1),
            ("max_pool_2x2", 2),
            ("avg_pool_3x3", 0),
            ("max_pool_3x3", 0),
        ],
        (0, 1, 3, 4),
    ),
    "reduce": (
        [
            ("nor_conv_3x3", 0),
            ("skip_connect", 1),
            ("conv_7x1_1x7", 1),
            ("max_pool_2x2", 0),
            ("dil_sep_conv_5x5", 2),
            ("avg_pool_3x3", 1),
            ("max_pool_3x3", 0),
            ("sep_conv_5x5", 1),
        ],
        (0, 1, 3, 4, 5),
    ),
}
GENOTYPE = Genotype(
    {
        kind: Cell(
            tuple(tuple(edges[i : i + 2]) for i in range(0, len(edges), 2)),
            Output("concat", output),
        )
        for kind, (edges, output) in CELLS.items()
    }
)


@pytest.mark.parametrize(
    ("skeleton", "size", "auxiliary"), [(NASNET, (28, 27), True), (ENAS, (8, 10), False)]
)
def test_network(skeleton, size, auxiliary):
    compare(
        functools.partial(CellNetwork, GENOTYPE, skeleton, CHANNELS, LAYERS, auxiliary=auxiliary),
        torch_nasnet.Network(
            CELLS, CHANNELS, LAYERS, CLASSES, enas=skeleton is ENAS, auxiliary=auxiliary
        ),
        (),
        (3, *size, 3),
        ("logits", "auxiliary")[: 1 + auxiliary],
    )
