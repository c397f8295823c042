"""The space of recurrent cells, and its discretization by hand."""

import jax
import numpy as np
import pytest

from jaxcv.genotype import RECURRENT
from search import darts, discretize, random_genotype
from search.recurrent import recurrent
from search.recurrent.space import PRIMITIVES, RecurrentCellSpace, cell_of


def test_the_published_space():
    cell = recurrent().cells[RECURRENT]
    assert cell.nodes == 8 and len(cell.edges) == 36
    assert cell.edges[:4] == ((0, 1), (0, 2), (1, 2), (0, 3))
    assert cell.vocabulary == ("none", "tanh", "relu", "sigmoid", "identity") == PRIMITIVES
    alphas = recurrent().init_alphas(jax.random.key(0))[RECURRENT]
    assert alphas.shape == (36, 5) and 5e-4 < float(alphas.std()) < 2e-3


def test_discretization_by_hand():
    mix = np.array(
        [
            [0.5, 0.1, 0.2, 0.1, 0.1],  # node 1 from 0: "none" does not count
            [0.1, 0.3, 0.2, 0.2, 0.2],  # node 2 from 0
            [0.6, 0.0, 0.0, 0.0, 0.4],  # node 2 from 1: stronger, without "none"
            [0.2, 0.2, 0.2, 0.2, 0.2],  # node 3: the first of equals
            [0.2, 0.2, 0.2, 0.2, 0.2],
            [0.2, 0.2, 0.2, 0.2, 0.2],
        ]
    )
    cell = discretize(recurrent(3), {RECURRENT: mix}).cells[RECURRENT]
    assert cell.nodes == ((("relu", 0),), (("identity", 1),), (("tanh", 0),))
    assert cell.output == ("mean", (1, 2, 3))


def test_edges_with_activations_of_their_own():
    cell = RecurrentCellSpace(((0, 1), (0, 2), (1, 2)), (("tanh",), ("relu", "none"), ("tanh",)))
    space = type(darts())({RECURRENT: cell})
    mix = {RECURRENT: np.array([[0.1, 0.9, 0.0], [0.9, 0.2, 0.8], [0.1, 0.9, 0.0]])}
    # Columns are tanh, relu, none; an edge without relu cannot become it, whatever its weight.
    nodes = discretize(space, mix).cells[RECURRENT].nodes
    assert nodes == ((("tanh", 0),), (("relu", 0),))


def test_random_genotypes_are_uniform_over_sources_and_activations():
    space = recurrent(2)
    nodes = [
        random_genotype(space, jax.random.key(seed)).cells[RECURRENT].nodes[1][0]
        for seed in range(200)
    ]
    # 200 draws of eight: four standard deviations around 25.
    for activation in PRIMITIVES[1:]:
        for source in (0, 1):
            assert 6 < nodes.count((activation, source)) < 44


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((((0, 1),), (("none",),)), "at least one besides 'none'"),
        ((((0, 1),), (("tanhh",),)), "operation='tanhh'.*did you mean tanh"),
        ((((0, 1),), (("sep_conv_3x3",),)), "operation='sep_conv_3x3'; allowed are none, tanh"),
        ((((0, 2),), (("tanh",),)), r"edges=\(\(0, 2\),\)"),
        ((((0, 1),), (("tanh",), ("tanh",))), "primitives has 2 entries"),
        (((), ()), r"edges=\(\)"),
    ],
)
def test_impossible_spaces_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecurrentCellSpace(*arguments)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="nodes=0; allowed is a positive int"):
        recurrent(0)
    with pytest.raises(ValueError, match=r"mix\['recurrent'\] has shape \(2, 2\)"):
        discretize(recurrent(), {RECURRENT: np.zeros((2, 2))})
    with pytest.raises(ValueError, match="all finite"):
        discretize(recurrent(1), {RECURRENT: np.full((1, 5), np.nan)})
    with pytest.raises(ValueError, match="space has cells of kind normal, reduce"):
        cell_of(darts())
