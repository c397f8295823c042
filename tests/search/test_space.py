"""Spaces, relaxation, discretization and the supernet, against brute force and hand-made sums."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import plain_supernet
import pytest
from flax import nnx

import search
from jaxcv.analysis import count_parameters
from search.relaxation import softmax
from search.space import PRIMITIVES, CellSpace, Space
from search.supernet import SearchCell, SearchNetwork

MIXED = CellSpace(
    ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)),
    (
        ("skip_connect", "sep_conv_3x3"),
        ("none", "avg_pool_3x3"),
        ("skip_connect", "sep_conv_3x3"),
        ("sep_conv_3x3",),
        ("none", "skip_connect", "max_pool_3x3"),
    ),
)


def test_the_darts_space():
    cell = search.darts().cells["normal"]
    assert cell.nodes == 4 and len(cell.edges) == 14 and cell.vocabulary == PRIMITIVES
    assert cell.edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    alphas = search.darts().init_alphas(jax.random.key(0))
    assert {kind: a.shape for kind, a in alphas.items()} == {"normal": (14, 8), "reduce": (14, 8)}
    values = np.concatenate([np.ravel(a) for a in alphas.values()])
    assert 0.7e-3 < values.std() < 1.3e-3


def test_the_search_network_has_the_published_number_of_parameters():
    model = nnx.eval_shape(lambda: SearchNetwork(search.darts(), 16, 8, 10, rngs=nnx.Rngs(0)))
    assert count_parameters(model) == 1_930_618


def test_softmax_is_over_the_primitives_of_an_edge():
    space = Space({"normal": MIXED})
    alphas = space.init_alphas(jax.random.key(0))
    mix = softmax(space).relax(alphas, jax.random.key(1), jnp.float32(0))["normal"]
    for edge, names in enumerate(MIXED.primitives):
        columns = [MIXED.vocabulary.index(name) for name in names]
        expected = np.exp(np.asarray(alphas["normal"])[edge, columns].astype(float))
        np.testing.assert_allclose(mix[edge, jnp.array(columns)], expected / expected.sum(), 1e-5)
        assert float(mix[edge].sum()) == pytest.approx(1)
    gradient = jax.grad(lambda a: softmax(space).relax({"normal": a}, None, 0)["normal"][0, 0])(
        alphas["normal"]
    )
    assert np.isfinite(gradient).all()


def test_discretization_is_the_best_of_all_genotypes():
    """Brute force: of all choices of two edges a node, and a primitive on each, the heaviest."""
    space = search.darts(3)
    mix = {kind: np.random.default_rng(0).random((9, 8)) for kind in space.cells}
    genotype = search.discretize(space, mix)
    for kind, cell in space.cells.items():
        for node in range(2, 5):
            incoming = [e for e, (_, target) in enumerate(cell.edges) if target == node]
            choices = itertools.product(
                itertools.combinations(incoming, 2), *[range(1, len(PRIMITIVES))] * 2
            )
            edges, *columns = max(
                choices,
                key=lambda c: sum(mix[kind][e, k] for e, k in zip(c[0], c[1:], strict=True)),
            )
            expected = tuple(
                (PRIMITIVES[k], cell.edges[e][0]) for e, k in zip(edges, columns, strict=True)
            )
            assert genotype.cells[kind].nodes[node - 2] == expected
        assert genotype.cells[kind].output == ("concat", (2, 3, 4))


def test_discretization_refuses_what_is_no_weights():
    with pytest.raises(ValueError, match=r"mix\['normal'\] has shape \(2, 2\)"):
        search.discretize(search.darts(), {"normal": np.zeros((2, 2))})
    mix = {kind: np.full((14, 8), np.nan) for kind in ("normal", "reduce")}
    with pytest.raises(ValueError, match="all finite"):
        search.discretize(search.darts(), mix)


def test_random_genotypes_are_uniform_over_edges_and_primitives():
    space = search.darts(2)
    cells = [
        search.random_genotype(space, jax.random.key(seed)).cells["normal"] for seed in range(200)
    ]
    last = [cell.nodes[1] for cell in cells]
    pairs = [tuple(source for _, source in node) for node in last]
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    # 200 draws of three: four standard deviations around 66.7.
    assert all(40 < pairs.count(pair) < 94 for pair in set(pairs))
    assert {name for node in last for name, _ in node} == set(PRIMITIVES) - {"none"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((((0, 2), (1, 2)), (("none",), ("skip_connect",))), "at least one besides 'none'"),
        ((((0, 2), (1, 2)), (("skip",), ("skip_connect",))), "operation='skip'"),
        ((((0, 2), (2, 2)), (("skip_connect",),) * 2), r"edges has \(2, 2\)"),
        ((((0, 2),), (("skip_connect",),)), "keep=2; allowed are 1 to 1"),
        ((((0, 2), (1, 2)), (("skip_connect",),)), "primitives has 1 entries"),
    ],
)
def test_impossible_spaces_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CellSpace(*arguments)


def test_edges_with_primitives_of_their_own_equal_a_sum_by_hand():
    network = SearchNetwork(Space({"normal": MIXED, "reduce": MIXED}), 2, 1, 3, rngs=nnx.Rngs(0))
    cell: SearchCell = network.cells[0]
    random = np.random.default_rng(0)
    before, last = (jnp.asarray(random.normal(size=(2, 8, 8, 6)), jnp.float32) for _ in range(2))
    mix = jnp.asarray(random.random((5, len(MIXED.vocabulary))), jnp.float32)

    edges = plain_supernet.edges_of(cell)
    assert [len(edges[edge][0]) for edge in range(5)] == [len(p) for p in MIXED.primitives]
    expected = plain_supernet.run_cell(cell, MIXED, before, last, mix)
    np.testing.assert_allclose(cell(before, last, mix), expected, rtol=1e-4, atol=1e-5)


def test_a_search_needs_both_kinds_of_cell():
    with pytest.raises(ValueError, match="space has cells of kind normal"):
        SearchNetwork(Space({"normal": MIXED}), 2, 3, 3, rngs=nnx.Rngs(0))


def test_mixing_weights_of_another_shape_are_refused():
    def logits(x):
        network = SearchNetwork(search.darts(1), 2, 1, 3, rngs=nnx.Rngs(0))
        return network(x, {"normal": jnp.ones((2, 8)), "reduce": jnp.ones((2, 7))})

    with pytest.raises(
        ValueError, match=r"mix\['reduce'\] has shape \(2, 7\); allowed is \(2, 8\)"
    ):
        jax.eval_shape(logits, jnp.zeros((1, 8, 8, 3)))
