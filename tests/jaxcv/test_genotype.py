"""Genotypes: published ones, JSON, the reference's printed form, wrong input."""

import json
from importlib import resources
from pathlib import Path

import pytest

from jaxcv.genotype import (
    Cell,
    Genotype,
    Output,
    published,
    published_nasnet,
    published_recurrent,
)

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "genotypes.json"
GOOD = json.loads(published["DARTS_V2"].to_json())


@pytest.mark.parametrize("known", [published, published_nasnet, published_recurrent])
def test_json_round_trip(known):
    for genotype in known.values():
        assert Genotype.from_json(genotype.to_json()) == genotype
        assert Genotype.parse(genotype.to_json()) == genotype


@pytest.mark.skipif(not FACTS.exists(), reason="no independent copy of the published genotypes")
def test_the_published_ones_are_those_of_the_papers():
    facts = json.loads(FACTS.read_text())
    assert facts.keys() == published.keys()
    for name, fields in facts.items():
        for kind, cell in published[name].cells.items():
            edges = [list(edge) for node in cell.nodes for edge in node]
            assert edges == fields[kind]
            assert cell.output == ("concat", tuple(fields[f"{kind}_concat"]))


@pytest.mark.parametrize("file", ["published.json", "published_nasnet.json"])
def test_the_source_of_every_cell_stands_beside_it(file):
    cells = json.loads(resources.files("jaxcv").joinpath(file).read_text())
    assert all(fields["source"].startswith("arXiv:") for fields in cells.values())


def test_inputs_may_be_part_of_the_output():
    read = Genotype.from_json(changed("cells", "normal", "output", value={"concat": [0, 5, 1]}))
    assert read.cells["normal"].output.states == (0, 5, 1)
    assert Genotype.parse(read.to_json()) == read


def test_the_printed_form_of_the_reference_parses():
    text = (
        "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_5x5', 2), "
        "('none', 0)], normal_concat=range(2, 4), reduce=[('max_pool_3x3', 0), "
        "('max_pool_3x3', 1)], reduce_concat=[2])"
    )
    cells = Genotype.parse(text).cells
    assert cells["normal"].nodes[1] == (("dil_conv_5x5", 2), ("none", 0))
    assert cells["normal"].output.states == (2, 3)
    assert cells["reduce"].output.states == (2,)


def test_the_published_recurrent_cells():
    cells = {
        "DARTS_V1": "relu 0, relu 1, tanh 2, relu 3, relu 4, identity 1, relu 5, relu 1",
        "DARTS_V2": "sigmoid 0, relu 1, relu 1, identity 1, tanh 2, sigmoid 5, tanh 3, relu 5",
    }
    assert cells.keys() == published_recurrent.keys()
    for name, text in cells.items():
        ((kind, cell),) = published_recurrent[name].cells.items()
        assert kind == "recurrent" and cell.output == ("mean", tuple(range(1, 9)))
        assert ", ".join(f"{activation} {source}" for ((activation, source),) in cell.nodes) == text


def test_the_printed_form_of_a_recurrent_cell_parses_and_is_printed():
    text = "Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=range(1, 3))"
    genotype = Genotype.parse(text)
    nodes = ((("relu", 0),), (("tanh", 1),))
    assert genotype.cells == {"recurrent": Cell(nodes, Output("mean", (1, 2)))}
    assert str(genotype) == "recurrent:\n  1 = relu(0)\n  2 = tanh(1)\n  output = mean(1, 2)"


@pytest.mark.parametrize(
    ("nodes", "output", "message"),
    [
        (
            [[["sep_conv_3x3", 0]]],
            {"mean": [1]},
            "operation='sep_conv_3x3'; allowed are tanh, relu",
        ),
        ([[["none", 0]]], {"mean": [1]}, "operation='none'; allowed are tanh"),
        ([[["tanh", 0], ["relu", 0]]], {"mean": [1]}, "node 1 has 2 edges; allowed is one"),
        ([[["tanh", 1]]], {"mean": [1]}, "node 1 has input 1; allowed are 0 to 0"),
        ([[["tanh", 0]]], {"concat": [1]}, "rule 'concat'; allowed is mean"),
        ([[["tanh", 0]]], {"mean": [0]}, "output has state 0; allowed are 1 to 1"),
    ],
)
def test_wrong_recurrent_cells_are_refused(nodes, output, message):
    cell = {"nodes": nodes, "output": output}
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(json.dumps({"genotype": 1, "cells": {"recurrent": cell}}))


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=__import__('os').system('echo'), normal_concat=[2])",
        "Genotype(normal=[(open('x'), 0)], normal_concat=[2])",
        "Genotype",
        "Genotype(normal=",
        "Genotype(normal=[('skip_connect', 0), 1], normal_concat=[2])",
        "Genotype(normal=3, normal_concat=[2])",
        "Genotype(normal=[('skip_connect', 0)] * 2, normal_concat=2)",
    ],
)
def test_text_is_never_run(text):
    with pytest.raises(ValueError, match=r"is not of the form Genotype\(...\)"):
        Genotype.parse(text)


def test_nodes_of_the_printed_form_have_two_edges():
    with pytest.raises(ValueError, match="normal has 1 edges; allowed are two for each node"):
        Genotype.parse("Genotype(normal=[('skip_connect', 0)], normal_concat=[2])")


def test_equal_ones_have_the_same_hash():
    first = Genotype.from_json(json.dumps(GOOD))
    turned = Genotype(dict(reversed(first.cells.items())))
    assert first == turned and len({first, turned}) == 1
    assert first != Genotype({"normal": first.cells["normal"]})


def changed(*path, value):
    content = json.loads(json.dumps(GOOD))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "genotype is not JSON"),
        ("[]", "genotype has version None; allowed is 1"),
        (changed("genotype", value=2), "genotype has version 2; allowed is 1"),
        (changed("cells", value=[]), "cells="),
        (changed("cells", value={}), "cells is empty"),
        (changed("cells", "normal", value={}), r"cells\['normal'\]="),
        (changed("cells", "normal", "nodes", 0, value=[]), "node 2 has no edges"),
        (changed("cells", "normal", "nodes", value=[]), "nodes is empty"),
        (
            changed("cells", "reduce", "nodes", 1, 0, value=["sep_conv_3x", 0]),
            "operation='sep_conv_3x'; allowed are .*; did you mean sep_conv_3x3",
        ),
        (
            changed("cells", "reduce", "nodes", 1, 0, value=["none", 3]),
            "node 3 has input 3; allowed are 0 to 2",
        ),
        (
            changed("cells", "reduce", "nodes", 1, 0, value=["none", -1]),
            "node 3 has input -1; allowed are 0 to 2",
        ),
        (
            changed("cells", "reduce", "nodes", 1, 0, value=["none", True]),
            "node 3 has input True; allowed are 0 to 2",
        ),
        (
            changed("cells", "normal", "output", value={"concat": [6]}),
            "output has state 6; allowed are 0 to 5",
        ),
        (changed("cells", "normal", "output", value={"concat": [2, 2]}), "allowed are distinct"),
        (
            changed("cells", "normal", "output", value={"sum": [2]}),
            "rule 'sum'; allowed is concat",
        ),
    ],
)
def test_wrong_input_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(text)
