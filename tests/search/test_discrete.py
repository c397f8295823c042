"""Discrete spaces: what holds in all of them, published architectures as points, a user's own."""

import collections
import itertools
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import search
from jaxcv.blocks import create_operation, register_operation
from jaxcv.blocks.operations import OPERATIONS
from jaxcv.genotype import SINGLE, Cell, Genotype, Output, published, published_recurrent
from jaxcv.layers import BatchNorm, Conv2d
from jaxcv.models import CIFAR, CellNetwork
from jaxcv.models.architecture import parse, to_json
from jaxcv.models.macro import Macro, MacroNetwork
from jaxcv.models.motif import Motif, MotifNetwork
from search.discrete import DiscreteSpace
from search.spaces import (
    DISCRETE_SPACES,
    canonical_genotype,
    create_discrete,
    create_space,
    discrete_cells,
    hierarchical,
    macro,
    pair_cells,
)
from search.supernet import MixedEdges


@pytest.fixture(scope="module")
def spaces():
    return {name: create_discrete(name) for name in DISCRETE_SPACES}


@pytest.mark.parametrize("name", DISCRETE_SPACES)
def test_what_is_made_of_points_is_in_the_space(spaces, name):
    space, random = spaces[name], np.random.default_rng(0)
    previous = space.sample(random)
    for _ in range(20):
        point = space.check(space.sample(random))
        changed = space.check(space.mutate(point, random))
        assert sum(a != b for a, b in zip(point, changed, strict=True)) == 1
        child = space.check(space.crossover(point, previous, random))
        assert all(c in pair for c, *pair in zip(child, point, previous, strict=True))
        previous = point


@pytest.mark.parametrize("name", DISCRETE_SPACES)
def test_neighbours_are_all_that_differ_in_one_decision(spaces, name):
    space = spaces[name]
    point = space.sample(np.random.default_rng(1))
    every = [
        (*point[:number], choice, *point[number + 1 :])
        for number, names in enumerate(space.options)
        for choice in range(len(names))
        if choice != point[number]
    ]
    found = list(space.neighbours(point))
    assert sorted(found) == sorted(filter(space.allowed, every)) and len(found) > 0.9 * len(every)
    assert [space.check(neighbour) for neighbour in found] == found
    codes = {space.encode(p).tobytes() for p in [point, *found]}
    assert len(codes) == 1 + len(found)


@pytest.mark.parametrize("name", DISCRETE_SPACES)
def test_a_point_can_be_read_from_its_encoding(spaces, name):
    space = spaces[name]
    point = space.sample(np.random.default_rng(2))
    ends = np.cumsum([len(names) for names in space.options])
    parts = np.split(space.encode(point), ends[:-1])
    assert space.encode(point).shape == (ends[-1],)
    assert tuple(int(part.argmax()) for part in parts) == point
    assert all(part.sum() == 1 for part in parts)


@pytest.mark.parametrize("name", DISCRETE_SPACES)
def test_architectures_are_values(spaces, name):
    """Equal from a space that was pickled, as for another process, and from JSON."""
    space, random = spaces[name], np.random.default_rng(3)
    copy = pickle.loads(pickle.dumps(space))
    texts = {}
    for point in [space.sample(random) for _ in range(10)]:
        architecture = space.decode(point)
        assert copy.decode(point) == architecture
        assert copy.canonical(point) == space.canonical(point)
        text = to_json(architecture)
        assert parse(text) == architecture
        assert texts.setdefault(text, architecture) == architecture


def test_draws_depend_on_the_seed_alone(spaces):
    for space in spaces.values():
        first, second, third = (
            [space.sample(random), space.mutate(space.sample(random), random)]
            for random in map(np.random.default_rng, (0, 0, 1))
        )
        assert first == second != third


def test_sizes_are_those_of_the_papers(spaces):
    edges = math.prod(math.comb(n, 2) for n in (2, 3, 4, 5)) * 7**8
    assert spaces["darts"].size == edges**2
    assert spaces["recurrent"].size == math.factorial(8) * 4**8
    assert spaces["nasbench201"].size == 15_625
    # 5.6 * 10^14, and of one block 256.
    assert spaces["pnas"].size == math.prod(n**2 * 8**2 for n in range(2, 7))
    assert math.prod(map(len, spaces["pnas"].options[: spaces["pnas"].stages[0]])) == 256
    # 1.6 * 10^29.
    assert spaces["macro"].size == 6**12 * 2 ** (12 * 11 // 2)
    # Six motifs of six edges and one of ten, each of six operations or none.
    assert spaces["hierarchical"].size == 7**46
    assert [len(spaces[name].options[2]) for name in ("nasnet", "enas_micro", "amoebanet")] == [
        13,
        5,
        8,
    ]


def point_of(space, genotype):
    """A point of a space of pairs, from the cells as their papers print them."""
    point, names = [], space.options[2]
    for cell in genotype.cells.values():
        for (one, a), (other, b) in cell.nodes:
            point += [a, b, names.index(one), names.index(other)]
    return tuple(point)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("nasnet", "NASNET_A"), ("pnas", "PNAS"), ("amoebanet", "AMOEBANET_A")],
)
def test_published_cells_of_pairs_are_points(spaces, name, architecture):
    """Each with its output; that of PNAS once, for both kinds of cell."""
    space, genotype = spaces[name], published[architecture]
    point = space.check(point_of(space, genotype)[: len(space.options)])
    assert space.decode(point) == genotype


@pytest.mark.parametrize(
    ("name", "genotype"),
    [
        ("darts", published["DARTS_V1"]),
        ("darts", published["DARTS_V2"]),
        ("recurrent", published_recurrent["DARTS_V1"]),
        ("recurrent", published_recurrent["DARTS_V2"]),
    ],
)
def test_published_cells_of_darts_are_points(spaces, name, genotype):
    space, point = spaces[name], []
    for cell in genotype.cells.values():
        for node in cell.nodes:
            edges = sorted(node, key=lambda edge: edge[1])
            inputs, *operations = space.options[len(point) : len(point) + 1 + len(edges)]
            point.append(inputs.index(",".join(str(source) for _, source in edges)))
            point += [names.index(edge[0]) for names, edge in zip(operations, edges, strict=True)]
    assert canonical_genotype(space.decode(tuple(point))) == canonical_genotype(genotype)


@pytest.mark.parametrize("name", ["darts", "s1"])
def test_discrete_cells_are_what_discretization_leads_to(name):
    """Every genotype of two nodes once, random ones among them."""
    cell = create_space(name).cells["normal"]
    small = search.Space(
        {"normal": search.CellSpace(cell.edges[:5], tuple(p[:3] for p in cell.primitives[:5]))}
    )
    discrete = discrete_cells(small, "small")
    points = itertools.product(*(range(len(names)) for names in discrete.options))
    texts = [discrete.decode(point).to_json() for point in points]
    assert len(set(texts)) == len(texts) == discrete.size == 3 * 2**4
    for seed in range(3):
        assert search.random_genotype(small, jax.random.key(seed)).to_json() in texts


def test_genotypes_are_drawn_uniformly_where_edges_have_not_the_same_primitives():
    many = ("none", "sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3")
    cell = search.CellSpace(((0, 2), (1, 2)), (("skip_connect",), many), keep=1)
    space = search.Space({"normal": cell})
    drawn = [search.random_genotype(space, jax.random.key(seed)) for seed in range(200)]
    counts = collections.Counter(genotype.cells["normal"].nodes for genotype in drawn)
    # 200 draws of four: four standard deviations around 50.
    assert len(counts) == 4 and all(25 < count < 75 for count in counts.values())


def test_primitives_that_an_edge_has_not_are_not_allowed():
    primitives = (("skip_connect",), ("skip_connect",), ("skip_connect", "sep_conv_3x3"))
    cell = search.CellSpace(((0, 2), (1, 2), (0, 3)), primitives, keep=1)
    space = discrete_cells(search.Space({"normal": cell}), "uneven")
    assert space.options == (
        ("0", "1"),
        ("skip_connect",),
        ("0",),
        ("skip_connect", "sep_conv_3x3"),
    )
    cell = search.CellSpace(((0, 2), (1, 2)), primitives[1:], keep=1)
    space = discrete_cells(search.Space({"normal": cell}), "uneven")
    points = list(itertools.product(range(2), range(2)))
    assert [point for point in points if space.allowed(point)] == [(0, 0), (1, 0), (1, 1)]
    with pytest.raises(ValueError, match=r"point=\(0, 1\); allowed are those that uneven"):
        space.check((0, 1))
    random = np.random.default_rng(0)
    assert {space.sample(random) for _ in range(50)} == {(0, 0), (1, 0), (1, 1)}
    assert set(space.neighbours((0, 0))) == {(1, 0)}
    assert {space.mutate((0, 0), random) for _ in range(20)} == {(1, 0)}


def test_a_cell_of_nasbench201_has_all_its_edges(spaces):
    point = (0, 1, 2, 3, 4, 1)
    assert spaces["nasbench201"].decode(point) == Genotype(
        {
            SINGLE: Cell(
                (
                    (("none", 0),),
                    (("skip_connect", 0), ("nor_conv_1x1", 1)),
                    (("nor_conv_3x3", 0), ("avg_pool_3x3", 1), ("skip_connect", 2)),
                ),
                Output("concat", (3,)),
            )
        }
    )


def test_cells_of_pnas_grow(spaces):
    space = spaces["pnas"]
    point = space.sample(np.random.default_rng(0))
    for nodes, length in enumerate(space.stages, 1):
        part = space.check(point[:length])
        cells = space.decode(part).cells
        assert cells["normal"] == cells["reduce"] and len(cells["normal"].nodes) == nodes
        code = space.encode(part)
        assert code.shape == space.encode(point).shape and code.sum() == length
        assert space.canonical(part) != space.canonical(point[: length + 4]) or nodes == 5


def test_an_architecture_of_motifs_has_a_network():
    space = hierarchical(((1, 3), (1, 3)), ("identity", "conv_1x1"))
    inner = Motif(3, (("conv_1x1", 0, 1), ("identity", 1, 2)))
    architecture = Motif(3, ((inner, 0, 1), (inner, 0, 2)))
    assert space.decode(space.check((2, 0, 1, 1, 1, 0))) == architecture
    # One node of the upper motif leads nowhere.
    assert space.canonical((2, 0, 1, 1, 1, 0)) == "(*(conv_1x1(0);*identity(1))(0))"
    network = nnx.eval_shape(lambda: MotifNetwork(architecture, 4, 10, rngs=nnx.Rngs(0)))
    logits = nnx.eval_shape(lambda network, x: network(x), network, jnp.zeros((2, 8, 8, 3)))
    assert logits.shape == (2, 10)
    for without_path in ((0, 0, 0, 1, 1, 1), (2, 0, 1, 1, 0, 0), (0, 0, 1, 1, 1, 1)):
        assert not space.allowed(without_path)


def test_a_macro_architecture_is_a_chain_with_skips_and_has_a_network():
    space = macro(4)
    point = (0, 1, 0, 4, 1, 0, 5, 0, 1, 1)
    operations = ("nor_conv_3x3", "sep_conv_3x3", "avg_pool_3x3", "max_pool_3x3")
    architecture = Macro(operations, ((), (), (0,), (1, 2)))
    assert space.decode(space.check(point)) == architecture
    network = nnx.eval_shape(lambda: MacroNetwork(architecture, 4, 10, rngs=nnx.Rngs(0)))
    logits = nnx.eval_shape(lambda network, x: network(x), network, jnp.zeros((2, 8, 8, 3)))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_discrete("nasnet_b"), "space='nasnet_b'; allowed are darts, .*nasnet"),
        (lambda: pair_cells("none", (), blocks=1), "options=.* allowed is at least one"),
        (lambda: pair_cells("none", ("none",), blocks=0), "blocks=0"),
        (lambda: hierarchical(((2, 3),)), "allowed is one motif on the last level"),
        (lambda: hierarchical(((1, 1),)), "allowed are motifs of at least two nodes"),
        (lambda: macro(0), "layers=0"),
    ],
)
def test_impossible_spaces_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class SwishConv(nnx.Module):
    def __init__(self, channels, stride, *, affine, track, rngs):
        self.convolution = Conv2d(channels, channels, 3, stride=stride, padding=1, rngs=rngs)
        self.norm = BatchNorm(channels, affine=affine, track=track)

    def __call__(self, x, *, train=False):
        return self.norm(self.convolution(jax.nn.swish(x)), train=train)


@pytest.fixture
def registered():
    register_operation("swish_conv_3x3", SwishConv)
    yield "swish_conv_3x3"
    del OPERATIONS["swish_conv_3x3"]


def test_an_operation_of_ones_own_goes_through_search_genotype_and_network(registered):
    space = search.darts(1, ("skip_connect", registered))
    network = nnx.eval_shape(lambda: search.SearchNetwork(space, 2, 3, 3, rngs=nnx.Rngs(0)))
    mix = {kind: jnp.full((2, 2), 0.5) for kind in space.cells}
    logits = nnx.eval_shape(lambda network, x: network(x, mix), network, jnp.zeros((2, 8, 8, 3)))
    assert logits.shape == (2, 3)
    edges = MixedEdges(2, ("skip_connect", registered), 2, 1, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 2))
    gradient = jax.jit(jax.grad(lambda mix: sum(y[0, 0, 0, 0] for y in edges(x, mix))))
    assert np.abs(gradient(mix["normal"])).min() > 0
    found = search.discretize(space, {kind: np.array([[0.4, 0.6]] * 2) for kind in space.cells})
    assert found.cells["normal"].nodes == (((registered, 0), (registered, 1)),)
    assert Genotype.from_json(found.to_json()) == found

    discrete = discrete_cells(space, "ones own")
    point = discrete.sample(np.random.default_rng(0))
    assert f"{registered}(" in discrete.canonical(point)
    model = nnx.eval_shape(
        lambda: CellNetwork(discrete.decode(point), CIFAR, 2, 3, 3, rngs=nnx.Rngs(0))
    )
    logits = nnx.eval_shape(lambda model, x: model(x), model, jnp.zeros((2, 8, 8, 3)))
    assert logits.shape == (2, 3)


def test_a_space_of_ones_own(registered):
    names = ("skip_connect", registered)

    def decode(point):
        nodes = (((names[point[0]], 0),), ((names[point[1]], point[2]),))
        cell = Cell(nodes, Output("concat", (3,)))
        return Genotype({"normal": cell, "reduce": cell})

    space = DiscreteSpace(
        "ones own",
        (names, names, ("0", "1", "2")),
        decode,
        lambda point: canonical_genotype(decode(point)),
    )
    # What the first node does counts only if the second takes it.
    assert space.canonical((0, 1, 1)) == space.canonical((1, 1, 1))
    assert space.canonical((0, 1, 2)) != space.canonical((1, 1, 2))
    assert space.size == 12


def test_names_of_operations_are_new_and_plain(registered):
    with pytest.raises(ValueError, match="name='swish_conv_3x3'; allowed are names that no"):
        register_operation(registered, SwishConv)
    with pytest.raises(ValueError, match="name='skip_connect'; allowed are names that no"):
        register_operation("skip_connect", SwishConv)
    with pytest.raises(ValueError, match="name='a b'; allowed are letters, digits and"):
        register_operation("a b", SwishConv)
    assert isinstance(create_operation(registered, 2, rngs=nnx.Rngs(0)), SwishConv)
