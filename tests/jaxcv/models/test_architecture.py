"""Architectures of all kinds: the network of each, JSON, wrong input."""

import json

import pytest
from flax import nnx

from jaxcv.genotype import SINGLE, Cell, Genotype, Output, published, published_recurrent
from jaxcv.models import CIFAR, CellNetwork, create_network
from jaxcv.models.architecture import parse, to_json
from jaxcv.models.macro import Macro, MacroNetwork
from jaxcv.models.motif import Motif, MotifNetwork
from jaxcv.models.nasbench201 import EDGES, NASBench201Network

NODES = (
    (("nor_conv_1x1", 0),),
    (("none", 0), ("nor_conv_3x3", 1)),
    (("skip_connect", 0), ("avg_pool_3x3", 1), ("none", 2)),
)
SINGLE_CELL = Genotype({SINGLE: Cell(NODES, Output("concat", (3,)))})
MACRO = Macro(("nor_conv_3x3", "avg_pool_3x3", "max_pool_3x3"), ((), (0,), (0, 1)))
MOTIF = Motif(3, ((Motif(2, (("conv_1x1", 0, 1),)), 0, 1), ("identity", 0, 2), ("conv_1x1", 1, 2)))


def network(architecture, layers=3, **options):
    return nnx.eval_shape(
        lambda: create_network(architecture, CIFAR, 2, layers, 3, rngs=nnx.Rngs(0), **options)
    )


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (published["DARTS_V2"], CellNetwork),
        (SINGLE_CELL, NASBench201Network),
        (MACRO, MacroNetwork),
        (MOTIF, MotifNetwork),
    ],
)
def test_each_kind_has_its_network(architecture, expected):
    assert type(network(architecture)) is expected


def test_layers_are_those_of_all_stages_of_a_network_of_nasbench201():
    stages = network(SINGLE_CELL, 17).stages
    assert [len(stage) for stage in stages] == [5, 5, 5]
    operations = [
        operation for edge in EDGES for operation, s in NODES[edge[1] - 1] if s == edge[0]
    ]
    direct = nnx.eval_shape(
        lambda: NASBench201Network(operations, 2, 5, 3, rngs=nnx.Rngs(0)),
    )
    assert nnx.split(direct)[0] == nnx.split(network(SINGLE_CELL, 17))[0]


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        (MACRO, {"auxiliary": True}, "auxiliary=True; allowed is False here: only a network"),
        (SINGLE_CELL, {"layers": 2}, "layers=2; allowed is at least 3"),
        (
            Genotype({SINGLE: Cell(NODES[:2], Output("concat", (2,)))}),
            {},
            r"cells\['single'\] has edges \(\(0, 1\), \(0, 2\), \(1, 2\)\) and output \(2,\);",
        ),
        (
            Genotype({SINGLE: Cell(NODES, Output("concat", (2, 3)))}),
            {},
            r"and output \(2, 3\); allowed are those of NAS-Bench-201",
        ),
        (published_recurrent["DARTS_V1"], {}, "cells of kind recurrent; allowed are normal"),
        (Motif(3, (("conv_1x1", 1, 2), ("identity", 0, 1))), {}, "in the order of the targets"),
    ],
)
def test_networks_that_there_are_not_are_refused(architecture, options, message):
    with pytest.raises(ValueError, match=message):
        network(architecture, **options)


@pytest.mark.parametrize("architecture", [published["DARTS_V2"], SINGLE_CELL, MACRO, MOTIF])
def test_json_round_trip(architecture):
    assert parse(to_json(architecture)) == architecture


def test_the_form_of_the_json():
    assert json.loads(to_json(MACRO)) == {
        "macro": 1,
        "layers": [["nor_conv_3x3"], ["avg_pool_3x3", 0], ["max_pool_3x3", 0, 1]],
    }
    inner = {"nodes": 2, "edges": [["conv_1x1", 0, 1]]}
    assert json.loads(to_json(MOTIF)) == {
        "motif": 1,
        "nodes": 3,
        "edges": [[inner, 0, 1], ["identity", 0, 2], ["conv_1x1", 1, 2]],
    }
    # An edge, or a layer, a line.
    assert ' ["max_pool_3x3", 0, 1]\n' in to_json(MACRO)
    assert ' ["conv_1x1", 0, 1]\n' in to_json(MOTIF)


def macro(*last):
    return json.dumps({"macro": 1, "layers": [["nor_conv_3x3"]] * 3 + [last]})


def motif(edges, **more):
    return json.dumps({"motif": 1, "nodes": 3, "edges": edges} | more)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "genotype is not JSON"),
        ("{}", "genotype has version None; allowed is 1"),
        ('{"macro": 2}', "macro has version 2; allowed is 1"),
        ('{"motif": null}', "motif has version None; allowed is 1"),
        ('{"macro": 1}', "layers='None'; allowed is a list of an operation and the states"),
        ('{"macro": 1, "layers": [[]]}', r"layers='\[\[\]\]'; allowed is a list"),
        ('{"macro": 1, "layers": [["nor_conv_3x3"]]}', "macro has 1 operations .* at least three"),
        (macro("nor_conv_3x3", 3), r"macro.skips\[3\]=\(3,\); allowed are distinct states below 3"),
        (macro("nor_conv_3x3", 0, 0), r"macro.skips\[3\]=\(0, 0\); allowed are distinct"),
        (macro("nor_conv_3x3", True), r"macro.skips\[3\]=\(True,\); allowed are"),
        (macro("nor_conv_3x3", [0]), r"macro.skips\[3\]=\(\[0\],\); allowed are"),
        (macro("nor_conv_3x"), "operation='nor_conv_3x'; allowed are .*; did you mean"),
        (macro(["nor_conv_3x3"]), r"operation=\['nor_conv_3x3'\]; allowed are"),
        ('{"motif": 1}', "motif=.*; allowed is an object with nodes, a number, and edges"),
        (motif([["conv_1x1", 0]]), "motif=.*; allowed is an object with nodes"),
        (motif([], nodes="3"), "motif.nodes='3'; allowed is an int, at least 2"),
        (motif([], nodes=1), "motif.nodes=1; allowed is an int, at least 2"),
        (motif([["conv_1x1", 0, 3]]), r"motif.edges\[0\] leads from 0 to 3; allowed are edges"),
        (motif([["conv_1x1", 1, 1]]), r"motif.edges\[0\] leads from 1 to 1"),
        (motif([["conv_1x1", "0", 1]]), r"motif.edges\[0\] leads from '0' to 1"),
        (motif([["conv_1x1", 0, 2], ["conv_1x1", 0, 1]]), r"motif.edges\[1\] .* in the order"),
        (motif([["conv_1x1", 0, 1]] * 2), r"motif.edges\[1\] leads from 0 to 1"),
        (motif([["conv_1x", 0, 1]]), "operation='conv_1x'; allowed are identity, conv_1x1"),
        (
            motif([[{"nodes": 2, "edges": [["conv", 0, 1]]}, 0, 1]]),
            "operation='conv'; allowed are identity",
        ),
        (motif([[{"nodes": 2}, 0, 1]]), r"motif=\"\{'nodes': 2\}\"; allowed is an object"),
    ],
)
def test_wrong_json_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)
