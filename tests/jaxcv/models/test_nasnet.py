"""Networks in the skeletons of NASNet and ENAS: their cells, sizes, drop-path, wrong input."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxcv import functional
from jaxcv.analysis import count_parameters
from jaxcv.blocks.nasnet import create_nasnet_operation
from jaxcv.genotype import Cell, Genotype, Output, published, published_nasnet
from jaxcv.models import CIFAR, ENAS, NASNET, CellNetwork, create_model
from jaxcv.models.skeleton import least_size

# As the authors' code gives them: the operations, for each the number of the state that it reads,
# where 0 is the last cell's output and 1 that of the cell before, and for each state whether it is
# kept out of the cell's output.
AUTHORS = {
    "NASNET_A": {
        "normal": (
            "separable_5x5_2 separable_3x3_2 separable_5x5_2 separable_3x3_2 avg_pool_3x3 none "
            "avg_pool_3x3 avg_pool_3x3 separable_3x3_2 none",
            [0, 1, 1, 1, 0, 1, 1, 1, 0, 0],
            [1, 0, 0, 0, 0, 0, 0],
        ),
        "reduce": (
            "separable_5x5_2 separable_7x7_2 max_pool_3x3 separable_7x7_2 avg_pool_3x3 "
            "separable_5x5_2 none avg_pool_3x3 separable_3x3_2 max_pool_3x3",
            [0, 1, 0, 1, 0, 1, 3, 2, 2, 0],
            [1, 1, 1, 0, 0, 0, 0],
        ),
    },
    "PNAS": dict.fromkeys(
        ("normal", "reduce"),
        (
            "separable_5x5_2 max_pool_3x3 separable_7x7_2 max_pool_3x3 separable_5x5_2 "
            "separable_3x3_2 separable_3x3_2 max_pool_3x3 separable_3x3_2 none",
            [1, 1, 0, 0, 0, 0, 4, 0, 1, 0],
            [1, 1, 0, 0, 0, 0, 0],
        ),
    ),
    "AMOEBANET_A": {
        "normal": (
            "avg_pool_3x3 max_pool_3x3 separable_3x3_2 none none avg_pool_3x3 separable_3x3_2 "
            "separable_5x5_2 avg_pool_3x3 separable_3x3_2",
            [0, 0, 1, 1, 0, 1, 0, 2, 5, 0],
            [1, 0, 1, 0, 0, 1, 0],
        ),
        "reduce": (
            "separable_3x3_2 avg_pool_3x3 max_pool_3x3 separable_7x7_2 max_pool_3x3 max_pool_3x3 "
            "separable_3x3_2 1x7_7x1 avg_pool_3x3 separable_7x7_2",
            [1, 0, 0, 2, 1, 0, 4, 0, 1, 0],
            [1, 1, 0, 0, 0, 0, 0],
        ),
    },
    "AMOEBANET_B": {
        "normal": (
            "1x1 max_pool_3x3 none separable_3x3_2 1x1 separable_3x3_2 1x1 none avg_pool_3x3 1x1",
            [1, 1, 1, 0, 1, 0, 2, 2, 1, 5],
            [0, 1, 1, 0, 0, 1, 0],
        ),
        "reduce": (
            "max_pool_2x2 max_pool_3x3 none 3x3 dil_2_separable_5x5_2 max_pool_3x3 none "
            "separable_3x3_2 avg_pool_3x3 1x1",
            [0, 0, 2, 1, 2, 2, 3, 1, 4, 3],
            [1, 1, 1, 1, 1, 0, 0],
        ),
    },
}
OPERATIONS = {
    "none": "skip_connect",
    "1x1": "nor_conv_1x1",
    "3x3": "nor_conv_3x3",
    "1x7_7x1": "conv_7x1_1x7",
    "dil_2_separable_5x5_2": "dil_sep_conv_5x5",
    **{f"separable_{size}_2": f"sep_conv_{size}" for size in ("3x3", "5x5", "7x7")},
}
# Input, operation, input, operation of each node; nodes that none reads make the output.
ENAS_SCRIPT = {
    "normal": "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1",
    "reduce": "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1",
}
ENAS_OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")


def pairs(edges, output):
    return Cell(
        tuple(tuple(edges[i : i + 2]) for i in range(0, len(edges), 2)),
        Output("concat", tuple(output)),
    )


def of_authors(operations, sources, used):
    ours = [{0: 1, 1: 0}.get(state, state) for state in range(len(used))]
    names = [OPERATIONS.get(name, name) for name in operations.split()]
    edges = list(zip(names, (ours[source] for source in sources), strict=True))
    return pairs(edges, [ours[state] for state, is_used in enumerate(used) if not is_used])


def of_script(text):
    numbers = [int(number) for number in text.split()]
    edges = [(ENAS_OPERATIONS[op], source) for source, op in zip(*[iter(numbers)] * 2, strict=True)]
    read = {source for _, source in edges}
    return pairs(edges, [state for state in range(2, 7) if state not in read])


def test_the_cells_are_those_of_the_authors_code():
    cells = {
        name: {kind: of_authors(*cell) for kind, cell in kinds.items()}
        for name, kinds in AUTHORS.items()
    }
    cells["ENAS"] = {kind: of_script(text) for kind, text in ENAS_SCRIPT.items()}
    assert {name: dict(each.cells) for name, each in published_nasnet.items()} == cells
    # What darts made of NASNet-A and PNASNet-5 differs in the outputs alone.
    for name in ("NASNET_A", "PNAS"):
        for kind, cell in published[name].cells.items():
            assert cell.nodes == cells[name][kind].nodes


def counted_by_hand(genotype, width, layers, *, enas=False):
    """Parameters of a network for CIFAR-10 without an auxiliary head."""

    def convolution(inputs, outputs, pixels=1):
        """Without a bias, and with the scale and the offset of a batch norm."""
        return inputs * outputs * pixels + 2 * outputs

    def operation(name, inputs, width, stride):
        if name == "skip_connect":
            return 0 if stride == 1 and inputs == width else convolution(inputs, width)
        if "pool" in name:
            return 0 if inputs == width else convolution(inputs, width)
        if name == "nor_conv_1x1":
            return convolution(inputs, width)
        if name in ("nor_conv_3x3", "conv_7x1_1x7"):
            inner = width // 4
            ends = convolution(inputs, inner) + convolution(inner, width)
            return ends + (
                convolution(inner, inner, 9)
                if name == "nor_conv_3x3"
                else 2 * convolution(inner, inner, 7)
            )
        pixels = int(name[-1]) ** 2
        return sum(pixels * each + convolution(each, width) for each in (inputs, width))

    before = last = 3 * width
    total = convolution(3, last, 9)
    for layer in range(layers):
        reduces = layer in (layers // 3, 2 * layers // 3)
        width *= 2 if reduces else 1
        raw = layer == 0 and not enas
        widths = [before if raw else width] + 6 * [width]
        cell = genotype.cells["reduce" if reduces else "normal"]
        total += convolution(last, width) + (0 if raw else convolution(before, width))
        total += convolution(width, width) if enas else 0
        for node in cell.nodes:
            for name, source in node:
                stride = 2 if reduces and source < 2 else 1
                total += operation(name, widths[source], width, stride)
        # No reduction here has an input in its output.
        total += sum(
            convolution(widths[state], width)
            for state in cell.output.states
            if widths[state] != width
        )
        before, last = last, len(cell.output.states) * width
    return total + last * 10 + (0 if enas else 10)


@pytest.mark.parametrize(
    ("name", "genotype", "width", "layers", "count", "millions"),
    [
        ("nasnet_a_6_768", "NASNET_A", 32, 20, 3_346_538, 3.3),
        ("amoebanet_a_6_36", "AMOEBANET_A", 36, 20, 3_218_266, 3.2),
        ("amoebanet_b_6_36", "AMOEBANET_B", 36, 20, 2_839_186, 2.8),
        ("pnasnet5_3_48", "PNAS", 48, 9, 3_189_082, 3.2),
        ("enas_5_36", "ENAS", 36, 17, 3_894_372, None),
        ("enas_6_36", "ENAS", 36, 20, 4_587_372, 4.6),
    ],
)
def test_parameters_are_those_counted_by_hand_and_published(
    name, genotype, width, layers, count, millions
):
    by_hand = counted_by_hand(published_nasnet[genotype], width, layers, enas=genotype == "ENAS")
    assert by_hand == count
    assert millions is None or round(count / 1e6, 1) == millions
    made = nnx.eval_shape(lambda: create_model(name, auxiliary=True, rngs=nnx.Rngs(0)))
    assert count_parameters(made) == count


def test_shapes_are_those_that_the_authors_code_asserts():
    shapes = {}

    def features(x):
        model = create_model("nasnet_a_6_768", auxiliary=True, rngs=nnx.Rngs(0))
        found = model.features(x, train=True, key=jax.random.key(0), drop_path=0.4)
        shapes.update({name: each.shape[1:] for name, each in found.items()})

    jax.eval_shape(features, jnp.zeros((1, 32, 32, 3)))
    expected = {"stem": (32, 32, 96), "auxiliary": (10,), "pooled": (768,), "logits": (10,)}
    stacks = ((1, 32, 192), (8, 16, 384), (15, 8, 768))
    for first, size, width in stacks:
        expected |= {f"cell{first + i}": (size, size, width) for i in range(6)}
    expected |= {"cell7": (16, 16, 256), "cell14": (8, 8, 512)}
    assert shapes == expected
    # Before the second reduction.
    names = list(shapes)
    assert names.index("auxiliary") == names.index("cell13") + 1


SMALL = Genotype(
    {
        "normal": pairs([("sep_conv_3x3", 0), ("skip_connect", 1)], (2,)),
        "reduce": pairs([("avg_pool_3x3", 0), ("skip_connect", 1)], (1, 2)),
    }
)


def small(skeleton, layers=3, **options):
    return CellNetwork(SMALL, skeleton, 4, layers, 5, rngs=nnx.Rngs(0), **options)


def rates(monkeypatch, skeleton):
    """Of drop-path, in the order in which it is applied."""
    seen = []

    def record(key, x, rate):
        seen.append(rate)
        return x

    monkeypatch.setattr(functional, "drop_path", record)
    jax.eval_shape(
        lambda x: small(skeleton)(x, key=jax.random.key(0), drop_path=0.3),
        jnp.zeros((1, 8, 8, 3)),
    )
    return seen


def test_drop_path_grows_with_depth_and_spares_identities(monkeypatch):
    # In DARTS's form a halved identity is no identity.
    assert rates(monkeypatch, CIFAR) == 5 * [0.3]
    for skeleton in (NASNET, ENAS):
        assert rates(monkeypatch, skeleton) == pytest.approx([0.1, 0.2, 0.3])


def test_a_first_input_of_the_right_size_stays_as_it_is_in_nasnet():
    # The second cell reads the stem, the third one the output of the first, which is one state.
    for skeleton, kept in ((NASNET, [True, False, True]), (ENAS, 3 * [False])):
        network = nnx.eval_shape(functools.partial(small, skeleton, layers=9))
        befores = [cell.inputs.before for cell in list(network.cells)[:3]]
        assert [not jax.tree.leaves(nnx.state(each)) for each in befores] == kept


def test_an_input_in_the_output_of_a_reduction_is_halved_in_every_skeleton():
    for skeleton in (CIFAR, NASNET, ENAS):
        found = jax.eval_shape(
            lambda x, skeleton=skeleton: small(skeleton).features(x), jnp.zeros((1, 10, 12, 3))
        )
        assert found["cell2"].shape == (1, 5, 6, 16)


@pytest.mark.parametrize(("skeleton", "least"), [(NASNET, 27), (ENAS, 29)])
def test_the_smallest_images_that_an_auxiliary_head_reads(skeleton, least):
    assert least_size(skeleton, auxiliary=True) == least
    assert least_size(skeleton, auxiliary=False) == 4
    layers = 5

    def head(size):
        network = small(skeleton, layers, auxiliary=True)
        return network.features(jnp.zeros((1, size, size, 3)), ("auxiliary",))["auxiliary"]

    assert jax.eval_shape(lambda: head(least)).shape == (1, 5)
    with pytest.raises(ValueError, match=f"allowed is at least {least} by {least}"):
        jax.eval_shape(lambda: head(least - 1))


def test_other_operations_have_the_form_of_darts_behind_a_1x1_convolution_where_it_is_needed():
    def count(inputs):
        made = nnx.eval_shape(
            lambda: create_nasnet_operation("dil_conv_3x3", inputs, 4, 2, rngs=nnx.Rngs(0))
        )
        return count_parameters(made)

    assert count(4) == 9 * 4 + 4 * 4 + 2 * 4
    assert count(6) == count(4) + 6 * 4 + 2 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sep_conv_3", 4, 4, 1), "did you mean sep_conv_3x3"),
        (("sep_conv_3x3", 4, 4, 3), "stride=3; allowed are 1 and 2"),
        (("sep_conv_3x3", 0, 4, 1), "inputs=0; allowed is a positive int"),
    ],
)
def test_operations_name_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_nasnet_operation(*arguments, rngs=nnx.Rngs(0))
