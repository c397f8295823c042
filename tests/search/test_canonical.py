"""Equality up to isomorphism, against permutations of the nodes and against what cells compute."""

import collections
import itertools

import numpy as np
import pytest

from jaxcv.genotype import first_node
from search.space import CellSpace, Space, darts
from search.spaces import (
    canonical_graph,
    create_discrete,
    discrete_cells,
    hierarchical,
    pair_cells,
)
from search.spaces.nasbench201 import EDGES, PRIMITIVES


def assert_same_partition(pairs):
    """Asserts that the first of two things are equal where, and only where, the second are."""
    texts, forms = collections.defaultdict(set), collections.defaultdict(set)
    for text, form in pairs:
        texts[text].add(form)
        forms[form].add(text)
    assert max(map(len, texts.values())) == 1, "different architectures share a text"
    assert max(map(len, forms.values())) == 1, "isomorphic architectures have different texts"
    return len(texts)


def smallest_form(inputs, nodes, outputs):
    """By brute force: the smallest description of what reaches an output, under all names."""
    live, size = set(outputs), -1
    while len(live) > size:
        size = len(live)
        live |= {s for n in live if n >= inputs for _, s in nodes[n - inputs]}
    live = [n for n in sorted(live) if n >= inputs]
    forms = []
    for order in itertools.permutations(live):
        names = {s: s for s in range(inputs)} | {n: inputs + i for i, n in enumerate(order)}
        edges = [tuple(sorted((label, names[s]) for label, s in nodes[n - inputs])) for n in order]
        forms.append((tuple(sorted(names[n] for n in outputs)), tuple(edges)))
    return min(forms)


def multisets(edges, most):
    for size in range(most + 1):
        yield from itertools.combinations_with_replacement(edges, size)


def test_all_graphs_of_three_nodes():
    def every():
        incoming = [
            list(multisets([(label, s) for label in "ab" for s in range(n)], most))
            for n, most in ((1, 2), (2, 2), (3, 1))
        ]
        for nodes in itertools.product(*incoming):
            for outputs in ({3}, {1, 3}, {2, 3}, {1, 2, 3}, {2}):
                yield canonical_graph(1, nodes, outputs), smallest_form(1, nodes, outputs)

    assert assert_same_partition(every()) > 1000


def test_larger_graphs_that_are_nearly_the_same():
    """Each of some graphs with one renamed, and with one that differs in an edge."""
    random = np.random.default_rng(0)
    found = set()
    for _ in range(100):
        nodes = [
            [("ab"[random.integers(2)], int(random.integers(2 + n))) for _ in range(2)]
            for n in range(5)
        ]
        outputs = {int(s) for s in random.integers(2, 7, 2)} | {6}
        form, text = smallest_form(2, nodes, outputs), canonical_graph(2, nodes, outputs)
        # Nodes in another order in which sources come first, edges in another order.
        order = min(
            (
                order
                for order in itertools.permutations(range(2, 7))
                if all(
                    s < 2 or order.index(s) < order.index(n) for n in order for _, s in nodes[n - 2]
                )
            ),
            key=lambda _: random.random(),
        )
        names = {0: 0, 1: 1} | {n: 2 + i for i, n in enumerate(order)}
        renamed = [[(label, names[s]) for label, s in reversed(nodes[n - 2])] for n in order]
        assert canonical_graph(2, renamed, {names[n] for n in outputs}) == text
        n, e = random.integers(5), random.integers(2)
        label, source = nodes[n][e]
        nodes[n][e] = (label, source - 1) if source else ("ba"["ab".index(label)], source)
        changed = smallest_form(2, nodes, outputs)
        assert (canonical_graph(2, nodes, outputs) == text) == (changed == form)
        found.add(changed == form)
    assert found == {True, False}


def test_inputs_as_outputs_and_edges_of_none_count_as_they_should():
    nodes = [[("a", 0), ("none", 0)], [("a", 1)]]
    assert canonical_graph(1, nodes, {2}) == canonical_graph(1, [[("a", 0)], [("a", 1)]], {2})
    assert canonical_graph(1, nodes, {0, 2}) != canonical_graph(1, nodes, {2})


def by_permutation(genotype):
    return tuple(
        smallest_form(first_node(kind), cell.nodes, cell.output.states)
        for kind, cell in genotype.cells.items()
    )


THREE = darts(3, ("none", "skip_connect", "sep_conv_3x3")).cells["normal"]
SMALL = {
    "pairs": pair_cells("pairs", ("skip_connect",), blocks=2),
    "growing": pair_cells("growing", ("skip_connect", "sep_conv_3x3"), blocks=2, growing=True),
    "darts": discrete_cells(Space({"normal": THREE}), "darts"),
    "uneven": discrete_cells(
        Space(
            {
                "normal": CellSpace(
                    ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)),
                    (
                        ("none", "skip_connect", "sep_conv_3x3"),
                        ("skip_connect",),
                        ("skip_connect", "none", "sep_conv_3x3", "max_pool_3x3"),
                        ("sep_conv_3x3",),
                        ("skip_connect", "sep_conv_3x3"),
                    ),
                )
            }
        ),
        "uneven",
    ),
}


def every_point(space):
    points = itertools.product(*(range(len(names)) for names in space.options))
    return [point for point in points if space.allowed(point)]


@pytest.mark.parametrize("name", SMALL)
def test_cells_are_equal_if_their_nodes_can_be_renamed(name):
    space = SMALL[name]
    genotypes = [(space.canonical(p), space.decode(p)) for p in every_point(space)]
    assert_same_partition((text, by_permutation(genotype)) for text, genotype in genotypes)


def test_the_first_cells_of_pnas_are_as_many_as_published():
    """256 of one block, 136 without those that exchange its halves (arXiv:1712.00559)."""
    space = create_discrete("pnas")
    points = list(itertools.product(range(2), range(2), range(8), range(8)))
    assert len(points) == 256 and len({space.canonical(point) for point in points}) == 136


def nasbench201_value(point, weights):
    """What a cell puts out, where operations stand for functions that map 0 to 0; convolutions have
    a weight each. For many weights at once, [6, choices]."""
    states = {0: np.full(weights.shape[1], 0.7), 1: 0.0, 2: 0.0, 3: 0.0}
    for edge, (source, target) in enumerate(EDGES):
        x, name = states[source], PRIMITIVES[point[edge]]
        if name == "skip_connect":
            states[target] = states[target] + x
        elif name == "nor_conv_1x1":
            states[target] = states[target] + np.sin(weights[edge] * x)
        elif name == "nor_conv_3x3":
            states[target] = states[target] + np.tanh(weights[edge] * x)
        elif name == "avg_pool_3x3":
            states[target] = states[target] + np.expm1(x / 3)
    return np.min(states[3])


def test_nasbench201_cells_are_equal_if_they_compute_the_same():
    """For all 15,625: the smallest output, over all ways to give the edges six weights, is the same
    for two cells if, and only if, their texts are."""
    space = create_discrete("nasbench201")
    weights = np.array(list(itertools.permutations(np.sqrt([2, 3, 5, 7, 11, 13])))).T
    different = assert_same_partition(
        (space.canonical(point), round(float(nasbench201_value(point, weights)), 9))
        for point in every_point(space)
    )
    assert different == 5260


def motif_form(motif):
    """By brute force, from the paths: None without one, else the smallest description. Of a
    primitive its name."""
    if isinstance(motif, str):
        return motif
    paths, edges = [[0]], [(motif_form(o), s, t) for o, s, t in motif.edges]
    edges = [edge for edge in edges if edge[0] is not None]
    whole = []
    while paths:
        path = paths.pop()
        whole += [path] if path[-1] == motif.nodes - 1 else []
        paths += [[*path, t] for t in {t for _, s, t in edges if s == path[-1]}]
    if not whole:
        return None
    live = set().union(*whole)
    inner = sorted(live - {0, motif.nodes - 1})
    forms = []
    for order in itertools.permutations(inner):
        names = {0: 0, motif.nodes - 1: 99} | {n: 1 + i for i, n in enumerate(order)}
        found = [(repr(o), names[s], names[t]) for o, s, t in edges if {s, t} <= live]
        forms.append(tuple(sorted(found)))
    return min(forms)


@pytest.mark.parametrize("levels", [((2, 3), (1, 3)), ((1, 4), (1, 4))])
def test_motifs_are_equal_if_their_nodes_can_be_renamed(levels):
    space = hierarchical(levels, ("identity",))
    assert_same_partition(
        (space.canonical(p), motif_form(space.decode(p))) for p in every_point(space)
    )
