"""A discrete architecture as a value: cells of operations, checked, printed, kept as JSON."""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from jaxcv.blocks.operations import ACTIVATIONS, OPERATIONS, check_operation

Edge = tuple[str, int]

_VERSION = 1
RECURRENT = "recurrent"
SINGLE = "single"


class Output(NamedTuple):
    """How a cell's output is made: a rule, and the states that it is applied to.

    States are numbered as the inputs of edges are. The rule "concat", of cells for images, joins
    them along the channels, inputs of the cell among them if they are named; "mean", of recurrent
    cells, is their mean.
    """

    rule: str
    states: tuple[int, ...]


class Cell(NamedTuple):
    """A discrete cell: for each node its edges (operation, input), and the output rule.

    A node of a cell for images is the sum of its edges' results. Input 0 is the output of the cell
    before the last, 1 that of the last cell, 2 the first node, and so on.

    A cell of kind "single" has one input, 0, the output of the cell before; 1 is the first node,
    and so on. Its output may be the last node alone.

    A node of a recurrent cell has one edge, whose operation is an activation. Input 0 is made of
    the word and the hidden state, 1 is the first node, and so on.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    output: Output


@dataclass(frozen=True)
class Genotype:
    """A discrete cell for each kind of cell: "normal" and "reduce", or "single", in networks for
    images, "recurrent" in those for text.

    Raises:
        ValueError: for an unknown operation, an input that is not an earlier state, a node
            without edges, a recurrent one with several, or an output of another rule or of states
            that do not exist.
    """

    cells: Mapping[str, Cell]

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("cells is empty; allowed is at least one cell, by kind")
        for kind, cell in self.cells.items():
            _check(kind, cell)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.cells.items())))

    def to_json(self) -> str:
        """This genotype as JSON, with the version of the format."""
        cells = {
            kind: {
                "nodes": [[list(edge) for edge in node] for node in cell.nodes],
                "output": {cell.output.rule: list(cell.output.states)},
            }
            for kind, cell in self.cells.items()
        }
        return json_text({"genotype": _VERSION, "cells": cells})

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """The genotype that ``to_json`` wrote.

        Raises:
            ValueError: for text that is no genotype of this format and version.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"genotype is not JSON: {error}") from None
        if not isinstance(content, dict) or content.get("genotype") != _VERSION:
            version = content.get("genotype") if isinstance(content, dict) else None
            raise ValueError(f"genotype has version {version!r}; allowed is {_VERSION}")
        cells = content.get("cells")
        if not isinstance(cells, dict):
            raise ValueError(f"cells={cells!r}; allowed is an object with a cell for each kind")
        return cls({kind: _cell_from_json(kind, cell) for kind, cell in cells.items()})

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """A genotype from JSON, or as the reference implementation of DARTS prints it:
        ``Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=...)``,
        or ``Genotype(recurrent=[('relu', 0), ...], concat=range(1, 9))``.

        Raises:
            ValueError: for text that is neither, or no valid genotype.
        """
        if not text.lstrip().startswith("Genotype"):
            return cls.from_json(text)
        wrong = ValueError(f"genotype={text[:80]!r} is not of the form Genotype(...)")
        try:
            call = ast.parse(text.strip(), mode="eval").body
            words = call.keywords if isinstance(call, ast.Call) else None
            fields = {word.arg: _literal(word.value) for word in words or ()}
        except (SyntaxError, ValueError):
            raise wrong from None
        if words is None:
            raise wrong
        try:
            return from_pairs(fields)
        except TypeError:  # not of pairs
            raise wrong from None

    def __str__(self) -> str:
        lines = []
        for kind, cell in self.cells.items():
            lines.append(f"{kind}:")
            for number, node in enumerate(cell.nodes, first_node(kind)):
                edges = " + ".join(f"{operation}({source})" for operation, source in node)
                lines.append(f"  {number} = {edges}")
            lines.append(f"  output = {cell.output.rule}{cell.output.states}")
        return "\n".join(lines)


def from_pairs(fields: Mapping[Any, Any]) -> Genotype:
    """A genotype from the flat form of the published ones: under each kind a list of (operation,
    input), two a node, and under ``<kind>_concat`` the states that make the output. Of a recurrent
    cell there is one a node, and the states, whose mean the output is, are under ``concat``."""
    cells = {}
    if {RECURRENT, "concat"} <= fields.keys():
        single = tuple(((operation, source),) for operation, source in fields[RECURRENT])
        cells[RECURRENT] = Cell(single, Output("mean", tuple(fields["concat"])))
    for kind in [name for name in fields if f"{name}_concat" in fields]:
        pairs = [(operation, source) for operation, source in fields[kind]]
        if len(pairs) % 2:
            raise ValueError(f"{kind} has {len(pairs)} edges; allowed are two for each node")
        nodes = tuple(tuple(pairs[i : i + 2]) for i in range(0, len(pairs), 2))
        cells[kind] = Cell(nodes, Output("concat", tuple(fields[f"{kind}_concat"])))
    return Genotype(cells)


def json_text(content: Mapping[str, Any]) -> str:
    """JSON in which an edge, or the states of an output, have a line of their own."""
    text = json.dumps(content, indent=1)
    return re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def first_node(kind: str) -> int:
    """The number of the state that is the first node of a kind of cell: that of its inputs."""
    return 1 if kind in (RECURRENT, SINGLE) else 2


def of_all_nodes(kind: str, nodes: int) -> Output:
    """The output that is made of all nodes of a kind of cell."""
    first = first_node(kind)
    return Output("mean" if kind == RECURRENT else "concat", tuple(range(first, first + nodes)))


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return list(range(*(ast.literal_eval(argument) for argument in node.args)))
    return ast.literal_eval(node)


def _cell_from_json(kind: str, cell: Any) -> Cell:
    try:
        nodes = tuple(tuple((edge[0], edge[1]) for edge in node) for node in cell["nodes"])
        ((rule, states),) = cell["output"].items()
        return Cell(nodes, Output(rule, tuple(states)))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise ValueError(
            f"cells[{kind!r}]={str(cell)[:80]!r}; allowed is an object with nodes, lists of "
            '[operation, input], and output, as in {"concat": [2, 3, 4, 5]}'
        ) from None


def _check(kind: str, cell: Cell) -> None:
    place, first, recurrent = f"cells[{kind!r}]", first_node(kind), kind == RECURRENT
    if not cell.nodes:
        raise ValueError(f"{place}.nodes is empty; allowed is at least one node")
    for number, node in enumerate(cell.nodes, first):
        if not node:
            raise ValueError(f"{place}: node {number} has no edges; allowed is at least one")
        if recurrent and len(node) > 1:
            raise ValueError(f"{place}: node {number} has {len(node)} edges; allowed is one")
        for operation, source in node:
            check_operation(operation, ACTIVATIONS if recurrent else OPERATIONS)
            _check_state(f"{place}: node {number} has input", source, 0, number)
    rule, states = cell.output
    if rule != (allowed := "mean" if recurrent else "concat"):
        raise ValueError(f"{place}.output has rule {rule!r}; allowed is {allowed}")
    if not states or len(set(states)) < len(states):
        raise ValueError(f"{place}.output has states {states}; allowed are distinct ones, some")
    for state in states:
        # Where a cell has two inputs, they may be part of its output.
        least = 0 if first == 2 else first
        _check_state(f"{place}.output has state", state, least, len(cell.nodes) + first)


def _check_state(place: str, state: Any, first: int, end: int) -> None:
    if not isinstance(state, int) or isinstance(state, bool) or not first <= state < end:
        raise ValueError(f"{place} {state!r}; allowed are {first} to {end - 1}")


def _published(file: str) -> dict[str, Genotype]:
    text = resources.files("jaxcv").joinpath(file).read_text()
    return {name: from_pairs(fields) for name, fields in json.loads(text).items()}


published: Mapping[str, Genotype] = _published("published.json")
"""Cells for images."""
published_nasnet: Mapping[str, Genotype] = _published("published_nasnet.json")
"""Cells for images with the output that they have in the networks of their own papers."""
published_recurrent: Mapping[str, Genotype] = _published("published_recurrent.json")
"""Recurrent cells."""
