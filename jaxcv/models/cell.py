"""The network of a genotype (arXiv:1806.09055)."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional, genotype
from jaxcv.blocks import create_operation
from jaxcv.blocks.operations import Identity
from jaxcv.layers import Linear
from jaxcv.models.network import Endpoints, Network, classified
from jaxcv.models.skeleton import (
    AuxiliaryHead,
    CellInputs,
    Place,
    Skeleton,
    Stem,
    least_size,
    places,
)


class Cell(nnx.Module):
    """A discrete cell: each node is the sum of its edges' operations on earlier states."""

    def __init__(self, cell: genotype.Cell, place: Place, *, rngs: nnx.Rngs):
        self.inputs = CellInputs(place, rngs=rngs)
        self.edges = nnx.List(
            create_operation(
                operation, place.channels, place.stride if source < 2 else 1, rngs=rngs
            )
            for node in cell.nodes
            for operation, source in node
        )
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
                y = operation(states[source], train=train)
                if key is not None and not isinstance(operation, Identity):
                    y = functional.drop_path(jax.random.fold_in(key, number), y, drop_path)
                node.append(y)
            states.append(sum(node[1:], node[0]))
        return jnp.concatenate([states[state] for state in self.output], -1)


class CellNetwork(Network):
    """The network of a genotype: a stem, cells of both kinds, a linear classifier.

    Args:
        genotype: with a cell of kind "normal" and one of kind "reduce".
        skeleton: ``CIFAR`` or ``IMAGENET`` of ``jaxcv.models.skeleton``.
        channels: inside the first cell; reductions double them.
        layers: number of cells, with reductions at ``layers // 3`` and ``2 * layers // 3``.
        num_classes: number of logits.
        inputs: channels of the images.
        auxiliary: whether to have an auxiliary head after cell ``2 * layers // 3``.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Features: "stem", "cell1", "cell2", ..., "auxiliary", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1 and a genotype without the two kinds of cell.
    """

    def __init__(
        self,
        genotype: genotype.Genotype,
        skeleton: Skeleton,
        channels: int,
        layers: int,
        num_classes: int,
        *,
        inputs: int = 3,
        auxiliary: bool = False,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if set(genotype.cells) != {"normal", "reduce"}:
            raise ValueError(
                f"genotype has cells of kind {', '.join(genotype.cells)}; allowed are normal and "
                "reduce"
            )
        least = least_size(skeleton, auxiliary=auxiliary)
        super().__init__(num_classes, inputs=inputs, least_size=least, dtype=dtype)
        cells = genotype.cells
        widths = {kind: len(cell.output.states) for kind, cell in cells.items()}
        plan = places(skeleton, channels, layers, widths)
        self.stem = Stem(skeleton, inputs, channels, rngs=rngs)
        self.cells = nnx.List(Cell(cells[place.kind], place, rngs=rngs) for place in plan)
        self.auxiliary_after = 2 * layers // 3
        outputs = [widths[place.kind] * place.channels for place in plan]
        self.auxiliary = nnx.data(None)
        if auxiliary:
            self.auxiliary = AuxiliaryHead(
                skeleton, outputs[self.auxiliary_after], num_classes, rngs=rngs
            )
        self.classifier = Linear(outputs[-1], num_classes, rngs=rngs)

    def endpoints(
        self,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
        drop_path: float | jax.Array = 0.0,
    ) -> Endpoints:
        """``drop_path``: probability that an edge's result is dropped for an example."""
        before, last = self.stem(x, train=train)
        yield "stem", last
        for number, cell in enumerate(self.cells):
            cell_key = None if key is None else jax.random.fold_in(key, number)
            y = cell(before, last, train=train, key=cell_key, drop_path=drop_path)
            before, last = last, y
            yield f"cell{number + 1}", y
            if self.auxiliary is not None and number == self.auxiliary_after:
                yield "auxiliary", self.auxiliary(y, train=train)
        yield from classified(last, self.classifier)
