"""Discretization with edge weights, a threshold and limits; spaces by name."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

import search
from jaxcv.models import CIFAR, IMAGENET, NASNET
from search.discretize import Limit, discretize
from search.relaxation import edge_softmax
from search.space import CellSpace, Space
from search.spaces import SPACES, create_space

NETWORK = (CIFAR, 4, 3, 10, (8, 6, 3))


def test_edge_weights_count_in_the_choice_of_edges():
    cell = CellSpace(
        ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), (("skip_connect", "sep_conv_3x3"),) * 5
    )
    space = Space({"normal": cell})
    alphas = {
        "normal": np.log([[3, 1], [1, 3], [9, 1], [1, 4], [1, 1]]),
        "normal_edges": np.log([1.0, 1.0, 1.0, 2.0, 3.0]),
    }
    # Of node 3 the products are 0.9 / 6, 0.8 * 2 / 6 and 0.5 * 3 / 6: the last two stay, where
    # the primitives alone would choose the first two.
    mix = jax.device_get(edge_softmax(space).decode(alphas))
    np.testing.assert_allclose(mix["normal"][2:].max(1), [0.9 / 6, 1.6 / 6, 1.5 / 6], rtol=1e-5)
    nodes = discretize(space, mix).cells["normal"].nodes
    assert nodes[0] == (("skip_connect", 0), ("sep_conv_3x3", 1))
    assert nodes[1] == (("sep_conv_3x3", 1), ("skip_connect", 2))


def test_a_threshold_leaves_out_edges_and_then_nodes():
    cell = search.darts(4, ("skip_connect", "sep_conv_3x3")).cells["normal"]
    space = Space({"normal": cell})
    mix = np.full((14, 2), 0.1)
    mix[0, 1] = mix[1, 0] = 0.9  # into node 2, from 0 and 1
    mix[2, 0] = 0.84  # into node 3, from 0: too little, so that the node is left out
    mix[8, 1] = 0.95  # into node 4, from 3: nothing comes from there
    mix[5, 1] = 0.9  # into node 4, from 0
    mix[11, 1], mix[13, 0] = 0.9, 0.86  # into node 5, from 2 and 4
    found = discretize(space, {"normal": mix}, threshold=0.85).cells["normal"]
    assert found.nodes == (
        (("sep_conv_3x3", 0), ("skip_connect", 1)),
        (("sep_conv_3x3", 0),),
        (("sep_conv_3x3", 2), ("skip_connect", 3)),
    )
    assert found.output == ("concat", (2, 3, 4))


def test_a_cell_that_never_reaches_the_threshold_is_taken_without():
    space = search.darts(2)
    mix = {kind: np.random.default_rng(0).random((5, 8)) / 2 for kind in space.cells}
    assert discretize(space, mix, threshold=0.85) == discretize(space, mix)


def choices(cell):
    """All that a cell may become: of each, the (edge, column) that it chooses."""
    by_node = []
    for node in range(2, cell.nodes + 2):
        incoming = [e for e, (_, target) in enumerate(cell.edges) if target == node]
        by_node.append(
            [
                tuple(zip(edges, columns, strict=True))
                for edges in itertools.combinations(incoming, cell.keep)
                for columns in itertools.product(
                    *(
                        [
                            k
                            for k, name in enumerate(cell.vocabulary)
                            if cell.allowed[e, k] and name != "none"
                        ]
                        for e in edges
                    )
                )
            ]
        )
    return [sum(nodes, ()) for nodes in itertools.product(*by_node)]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.99])
def test_within_limits_the_heaviest_of_all_is_found(share):
    names = ("none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
    space = search.darts(2, names)
    random = np.random.default_rng(0)
    for _ in range(5):
        mix = {kind: random.random((5, 4)) for kind in space.cells}
        costs = [{kind: random.integers(0, 1000, (5, 4)) for kind in space.cells} for _ in range(2)]
        every = choices(space.cells["normal"])
        table = {
            kind: np.array(
                [
                    [sum(of[kind][e, k] for e, k in chosen) for of in (mix, *costs)]
                    for chosen in every
                ]
            )
            for kind in space.cells
        }
        pairs = (table["normal"][:, None] + table["reduce"]).reshape(-1, 3)
        # So that each bound, and both together, can be met.
        most = pairs[np.argmin(pairs[:, 1] + pairs[:, 2]), 1:]
        most = most + share * (pairs[:, 1:].max(0) - most)
        best = pairs[(pairs[:, 1:] <= most).all(1), 0].max()
        limits = [Limit("cost", *pair) for pair in zip(costs, most, strict=True)]
        found = discretize(space, mix, limits=limits)
        total = np.zeros(3)
        for kind, cell in space.cells.items():
            for node, edges in enumerate(found.cells[kind].nodes, 2):
                for name, source in edges:
                    at = cell.edges.index((source, node)), names.index(name)
                    total += [of[kind][at] for of in (mix, *costs)]
        assert (total[1:] <= most).all()
        assert total[0] == pytest.approx(best, rel=1e-12)


def test_limits_hold_to_the_last_operation():
    """Where costs are large the solver's own tolerance is more than one."""
    random, space = np.random.default_rng(0), search.darts()

    def draw(most):
        return {
            k: random.integers(most, size=cell.allowed.shape) for k, cell in space.cells.items()
        }

    def cost(genotype):
        total = 0
        for kind, cell in space.cells.items():
            for node, edges in enumerate(genotype.cells[kind].nodes, 2):
                for name, source in edges:
                    at = cell.edges.index((source, node)), cell.vocabulary.index(name)
                    total += costs[kind][at]
        return total

    mix = {kind: weights / 1000 for kind, weights in draw(1000).items()}
    for _ in range(5):
        costs = draw(8 * 10**7)
        most = cost(discretize(space, mix)) - 1
        for _ in range(3):
            found = cost(discretize(space, mix, limits=[Limit("cost", costs, most)]))
            assert found <= most
            most = found - 1


def test_limits_that_nothing_meets_are_refused():
    space = search.darts(1)
    mix = {kind: np.ones((2, 8)) for kind in space.cells}
    with pytest.raises(ValueError, match="limits of cost of 1 at most"):
        discretize(space, mix, limits=[Limit("cost", mix, 1)])
    with pytest.raises(ValueError, match="max_parameters=100 for 4 channels and 3 layers"):
        search.network_limits(space, *NETWORK, max_parameters=100)
    with pytest.raises(ValueError, match="skeleton='nasnet'; allowed with limits are"):
        search.network_limits(space, NASNET, *NETWORK[1:], max_parameters=100)


@pytest.mark.parametrize("skeleton", [CIFAR, IMAGENET])
def test_limits_bound_the_counts_of_the_whole_network(skeleton):
    """A limit equal to what a network counts lets it be; one less does not."""
    space = search.darts(2)
    network = (skeleton, 4, 3, 10, (40, 36, 3) if skeleton is IMAGENET else (8, 6, 3))
    genotype = search.random_genotype(space, jax.random.key(0))
    mix = {kind: np.zeros(cell.allowed.shape) for kind, cell in space.cells.items()}
    for kind, cell in space.cells.items():
        for node, edges in enumerate(genotype.cells[kind].nodes, 2):
            for name, source in edges:
                at = cell.edges.index((source, node)), cell.vocabulary.index(name)
                mix[kind][at] = 1.0
    assert search.discretize(space, mix) == genotype
    counts = search.network_counts(genotype, *network)
    for name, count in counts.items():
        limits = search.network_limits(space, *network, **{f"max_{name}": count})
        assert search.discretize(space, mix, limits=limits) == genotype
        limits = search.network_limits(space, *network, **{f"max_{name}": count - 1})
        smaller = search.discretize(space, mix, limits=limits)
        assert search.network_counts(smaller, *network)[name] < count


def test_the_reduced_spaces_are_the_published_ones():
    """Entries of the lists in RobustDARTS, counted from its first edge."""
    s1 = create_space("s1").cells
    assert all(len(names) == 2 for cell in s1.values() for names in cell.primitives)
    assert s1["normal"].primitives[:6] == (
        ("skip_connect", "dil_conv_3x3"),
        ("skip_connect", "dil_conv_5x5"),
        ("skip_connect", "dil_conv_5x5"),
        ("skip_connect", "sep_conv_3x3"),
        ("skip_connect", "dil_conv_3x3"),
        ("max_pool_3x3", "skip_connect"),
    )
    assert s1["normal"].primitives[13] == ("dil_conv_3x3", "dil_conv_5x5")
    assert s1["reduce"].primitives[6] == ("max_pool_3x3", "sep_conv_3x3")
    assert s1["reduce"].primitives[13] == ("skip_connect", "dil_conv_5x5")
    assert create_space("s3").cells["reduce"].vocabulary == ("none", "skip_connect", "sep_conv_3x3")
    with pytest.raises(ValueError, match="space='S5'; allowed are darts, darts_without_none, s1"):
        create_space("S5")


@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_a_network_and_genotypes(name):
    space = create_space(name)
    assert all(cell.edges == search.darts().cells["normal"].edges for cell in space.cells.values())
    network = nnx.eval_shape(lambda: search.SearchNetwork(space, 2, 3, 3, rngs=nnx.Rngs(0)))
    assert network.mix_shapes == tuple((k, c.allowed.shape) for k, c in space.cells.items())
    genotype = search.random_genotype(space, jax.random.key(0))
    for kind, cell in space.cells.items():
        for node, edges in enumerate(genotype.cells[kind].nodes, 2):
            for operation, source in edges:
                assert operation in cell.primitives[cell.edges.index((source, node))]
