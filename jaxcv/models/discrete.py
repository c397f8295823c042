"""Discrete cells of networks for images, in the form of each skeleton."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional, genotype
from jaxcv.blocks import FactorizedReduce, ReLUConvBN, create_operation
from jaxcv.blocks.convolution import ConvNorm
from jaxcv.blocks.nasnet import ENAS_OPERATIONS, NASNET_OPERATIONS, create_nasnet_operation
from jaxcv.blocks.operations import Identity, Noise
from jaxcv.blocks.operations import Sequence as InTurn
from jaxcv.layers import Conv2d
from jaxcv.models.skeleton import CellInputs, Place


class Cell(nnx.Module):
    """A discrete cell: each node is the sum of its edges' operations on earlier states.

    In the form of DARTS (arXiv:1806.09055). An input that is part of the output of a reduction is
    halved as ``skip_connect`` is.
    """

    def __init__(self, cell: genotype.Cell, place: Place, *, rngs: nnx.Rngs):
        inputs = CellInputs(place, rngs=rngs)
        edges = [
            create_operation(name, place.channels, _stride(place, source), rngs=rngs)
            for node in cell.nodes
            for name, source in node
        ]
        loose = [
            Identity()
            if place.stride == 1
            else FactorizedReduce(place.channels, place.channels, rngs=rngs)
            for _ in _loose(cell)
        ]
        self._own(cell, inputs, edges, loose)
        self.dropped = tuple(not isinstance(edge, Identity | Noise) for edge in self.edges)

    def _own(
        self,
        cell: genotype.Cell,
        inputs: CellInputs,
        edges: Sequence[nnx.Module],
        loose: Sequence[nnx.Module],
    ) -> None:
        self.inputs, self.edges, self.loose = inputs, nnx.List(edges), nnx.List(loose)
        self.sources = tuple(tuple(source for _, source in node) for node in cell.nodes)
        self.output = cell.output.states

    def __call__(
        self,
        before: jax.Array,
        last: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
        drop_path: float | jax.Array,
    ) -> jax.Array:
        states = list(self.inputs(before, last, train=train))
        edges = iter(enumerate(self.edges))
        for sources in self.sources:
            node = []
            for source in sources:
                number, operation = next(edges)
                own = None if key is None else jax.random.fold_in(key, number)
                if isinstance(operation, Noise):
                    y = operation(states[source], key=own)
                else:
                    y = operation(states[source], train=train)
                if own is not None and self.dropped[number]:
                    y = functional.drop_path(own, y, drop_path)
                node.append(y)
            states.append(sum(node[1:], node[0]))
        loose = iter(self.loose)
        for state in self.output:
            if state < 2:
                states[state] = next(loose)(states[state], train=train)
        return jnp.concatenate([states[state] for state in self.output], -1)


class NASNetCell(Cell):
    """The form of NASNet, PNASNet and AmoebaNet: as in DARTS's with the following changes.

    The operations are those of ``jaxcv.blocks.nasnet``. The first input stays as it is if it has
    the right number of channels, and in the first cell of all. An input that is part of the
    output has no ReLU where it is halved or gets another number of channels.
    """

    operations = NASNET_OPERATIONS

    def __init__(self, cell: genotype.Cell, place: Place, *, rngs: nnx.Rngs):
        inputs, width = self._inputs(place, rngs)
        widths = (width, *(1 + len(cell.nodes)) * [place.channels])
        names = [name for node in cell.nodes for name, _ in node]
        edges = [
            create_nasnet_operation(
                name,
                widths[source],
                place.channels,
                _stride(place, source),
                operations=self.operations,
                rngs=rngs,
            )
            for node in cell.nodes
            for name, source in node
        ]
        loose = [
            _fitted(widths[state], place.channels, place.stride, rngs) for state in _loose(cell)
        ]
        self._own(cell, inputs, edges, loose)
        self.dropped = tuple(name not in ("skip_connect", "noise") for name in names)

    def _inputs(self, place: Place, rngs: nnx.Rngs) -> tuple[CellInputs, int]:
        """What brings the inputs to the cell's size, and the channels of the first one then."""
        inputs = CellInputs(place, rngs=rngs)
        if place.after_reduction or not (place.first or place.before == place.channels):
            return inputs, place.channels
        inputs.before = Identity()
        return inputs, place.before


class ENASCell(NASNetCell):
    """The form of ENAS: as NASNet's with the following changes.

    An identity of stride 2 is a factorized reduction without a ReLU. Both inputs are always brought
    to the number of channels, the second one by ReLU, 1x1 convolution and batch norm twice.
    """

    operations = ENAS_OPERATIONS

    def _inputs(self, place: Place, rngs: nnx.Rngs) -> tuple[CellInputs, int]:
        inputs = CellInputs(place, rngs=rngs)
        again = Conv2d(place.channels, place.channels, 1, rngs=rngs)
        inputs.last = InTurn([inputs.last, ReLUConvBN([again], place.channels)])
        return inputs, place.channels


FORMS: dict[str, type[Cell]] = {"darts": Cell, "nasnet": NASNetCell, "enas": ENASCell}


def _stride(place: Place, source: int) -> int:
    """Only what leaves the inputs of a reduction halves the size."""
    return place.stride if source < 2 else 1


def _loose(cell: genotype.Cell) -> list[int]:
    """The inputs that are part of the output, in its order."""
    return [state for state in cell.output.states if state < 2]


def _fitted(inputs: int, channels: int, stride: int, rngs: nnx.Rngs) -> nnx.Module:
    if stride == 2:
        return FactorizedReduce(inputs, channels, activate=False, rngs=rngs)
    if inputs == channels:
        return Identity()
    return ConvNorm(inputs, channels, 1, activation=None, rngs=rngs)
