"""The search network as one reads it in the paper: edge by edge, primitive by primitive.

It takes its weights from a ``SearchNetwork``, and is what that one's fused form is held against.
Outside ``jax.jit`` edges that differ in nothing but their weights share one compiled function; as
one program the whole takes several times as long to compile.
"""

import jax
import jax.numpy as jnp

from jaxcv import functional
from jaxcv.blocks.operations import Pool
from jaxcv.models.network import classified


@jax.jit
def train(module, *inputs):
    return module(*inputs, train=True)


@jax.jit
def mixed_operation(operations, mix, x):
    total = 0.0
    for weight, operation in zip(mix, operations, strict=True):
        y = operation(x, train=True)
        if isinstance(operation, Pool):
            y, _ = functional.batch_norm(y)
        total = total + weight.astype(x.dtype) * y
    return total


def edges_of(cell):
    """{edge: (operations, columns of the mixing weights)}"""
    found = {}
    for mixed, (_, numbers, columns) in zip(cell.mixed, cell.groups, strict=True):
        for position, edge in enumerate(numbers):
            operations = jax.tree.map(lambda leaf, at=position: leaf[at], list(mixed.operations))
            found[edge] = operations, columns
    return found


def run_cell(cell, space, before, last, mix):
    states = list(train(cell.inputs, before, last))
    edges = edges_of(cell)
    for node in range(2, 2 + space.nodes):
        arriving = []
        for edge, (source, target) in enumerate(space.edges):
            if target == node:
                operations, columns = edges[edge]
                arriving.append(
                    mixed_operation(operations, mix[edge][jnp.array(columns)], states[source])
                )
        states.append(sum(arriving[1:], arriving[0]))
    return jnp.concatenate(states[2:], -1)


def run_network(network, space, x, mix):
    before, last = train(network.stem, x.astype(network.dtype))
    for place, cell in zip(network.places, network.cells, strict=True):
        cell_space = space.cells[place.kind]
        before, last = last, run_cell(cell, cell_space, before, last, mix[place.kind])
    return dict(classified(last, network.classifier))["logits"]
