"""The architectures of discrete spaces: their networks, and how they are written down and read."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.genotype import SINGLE, Genotype, json_text
from jaxcv.models.cell import CellNetwork
from jaxcv.models.macro import Macro, MacroNetwork, check_macro
from jaxcv.models.motif import Motif, MotifNetwork, check_motif
from jaxcv.models.nasbench201 import NASBench201Network, operations_of
from jaxcv.models.network import Network
from jaxcv.models.skeleton import Skeleton

Architecture = Genotype | Macro | Motif

_VERSION = 1


def create_network(
    architecture: Architecture,
    skeleton: Skeleton,
    channels: int,
    layers: int,
    num_classes: int,
    *,
    inputs: int = 3,
    auxiliary: bool = False,
    dtype: jax.typing.DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
) -> Network:
    """The network of an architecture: a ``CellNetwork`` of a normal and a reduction cell, a
    ``NASBench201Network`` of a single one, a ``MacroNetwork`` or a ``MotifNetwork``.

    Args:
        architecture: what the points of a discrete space decode to.
        skeleton: of a ``CellNetwork``; the others have one of their own.
        channels: of the first cell or layer.
        layers: number of cells of a ``CellNetwork``. A ``NASBench201Network`` has ``layers // 3``
            cells in each of its three stages: with the two reductions between them 17 layers make
            the paper's. A macro architecture has its own number of layers, and a motif comes three
            times, whatever this is.
        num_classes: number of logits.
        inputs: channels of the images.
        auxiliary: whether to have an auxiliary head, which only a ``CellNetwork`` can.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Raises:
        ValueError: for an auxiliary head where there can be none, a number of layers that gives a
            stage no cell, and whatever the network refuses.
    """
    if auxiliary:
        check_auxiliary(architecture, auxiliary=True)
    common: dict[str, Any] = {"inputs": inputs, "dtype": dtype, "rngs": rngs}
    if isinstance(architecture, Macro):
        return MacroNetwork(architecture, channels, num_classes, **common)
    if isinstance(architecture, Motif):
        return MotifNetwork(architecture, channels, num_classes, **common)
    if set(architecture.cells) == {SINGLE}:
        if layers < 3:
            raise ValueError(
                f"layers={layers!r}; allowed is at least 3, a cell for each stage of a network of "
                "NAS-Bench-201"
            )
        operations = operations_of(architecture.cells[SINGLE])
        return NASBench201Network(operations, channels, layers // 3, num_classes, **common)
    return CellNetwork(
        architecture, skeleton, channels, layers, num_classes, auxiliary=auxiliary, **common
    )


def check_auxiliary(architecture: Architecture, **asked: float) -> None:
    """Raises a ValueError for an auxiliary head that is asked for, by the name of an argument, but
    that the network of an architecture has no place for."""
    if isinstance(architecture, Genotype) and SINGLE not in architecture.cells:
        return
    for name, value in asked.items():
        if value > 0:
            raise ValueError(
                f"{name}={value!r}; allowed is {type(value)()!r} here: only a network of normal "
                "and reduction cells can have an auxiliary head"
            )


def to_json(architecture: Architecture) -> str:
    """An architecture as JSON, with the version of the format."""
    if isinstance(architecture, Genotype):
        return architecture.to_json()
    if isinstance(architecture, Motif):
        return json_text({"motif": _VERSION, **_motif_content(architecture)})
    pairs = zip(architecture.operations, architecture.skips, strict=True)
    layers = [[operation, *skips] for operation, skips in pairs]
    return json_text({"macro": _VERSION, "layers": layers})


def parse(text: str) -> Architecture:
    """The architecture that ``to_json`` wrote, or a genotype in any form of ``Genotype.parse``.

    Raises:
        ValueError: for text that is none of them, or no valid architecture.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        content = None
    readers: tuple[tuple[str, Callable[[Any], Architecture]], ...]
    readers = ("macro", _read_macro), ("motif", _read_motif)
    for kind, read in readers:
        if isinstance(content, dict) and kind in content:
            if content[kind] != _VERSION:
                raise ValueError(f"{kind} has version {content[kind]!r}; allowed is {_VERSION}")
            return read(content)
    return Genotype.parse(text)


def _read_macro(content: Mapping[str, Any]) -> Macro:
    layers: Any = content.get("layers")
    try:
        macro = Macro(
            tuple(operation for operation, *_ in layers),
            tuple(tuple(skips) for _, *skips in layers),
        )
    except (TypeError, ValueError):
        raise ValueError(
            f"layers={str(layers)[:80]!r}; allowed is a list of an operation and the states that "
            'join its result each, as in ["nor_conv_3x3", 0, 2]'
        ) from None
    check_macro(macro)
    return macro


def _motif_content(motif: Motif) -> dict[str, Any]:
    edges = [
        [_motif_content(operation) if isinstance(operation, Motif) else operation, source, target]
        for operation, source, target in motif.edges
    ]
    return {"nodes": motif.nodes, "edges": edges}


def _read_motif(content: Mapping[str, Any]) -> Motif:
    motif = _motif_of(content)
    check_motif(motif)
    return motif


def _motif_of(content: Mapping[str, Any]) -> Motif:
    try:
        nodes = content["nodes"]
        edges = [(operation, source, target) for operation, source, target in content["edges"]]
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"motif={str(content)[:80]!r}; allowed is an object with nodes, a number, and edges, "
            'lists of [operation, source, target], as in ["conv_1x1", 0, 1]'
        ) from None
    return Motif(
        nodes,
        tuple(
            (_motif_of(operation) if isinstance(operation, dict) else operation, source, target)
            for operation, source, target in edges
        ),
    )
