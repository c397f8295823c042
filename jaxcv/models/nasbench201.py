"""The networks of NAS-Bench-201 (arXiv:2001.00326): one cell of six edges, repeated."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional, genotype
from jaxcv.blocks import ReLUConvBN, create_operation
from jaxcv.functional._arguments import positive
from jaxcv.layers import BatchNorm, Conv2d, Linear
from jaxcv.models.network import Endpoints, Network, classified

# States of a cell: 0 is its input, 3 its output.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
STAGES = 3


def operations_of(cell: genotype.Cell) -> tuple[str, ...]:
    """The operations of a genotype's single cell, one for each of ``EDGES``.

    Raises:
        ValueError: for a cell of other edges, or another output.
    """
    edges = [
        ((source, node), operation)
        for node, incoming in enumerate(cell.nodes, 1)
        for operation, source in incoming
    ]
    places = tuple(place for place, _ in edges)
    if places != EDGES or cell.output.states != (3,):
        raise ValueError(
            f"cells['single'] has edges {places} and output {cell.output.states}; allowed are "
            f"those of NAS-Bench-201, {EDGES} and (3,)"
        )
    return tuple(operation for _, operation in edges)


class Cell(nnx.Module):
    """A cell: each state after the first is the sum of its edges' operations on earlier ones.

    Args:
        operations: names, one for each of ``EDGES``.
        channels: of every state.
        rngs: source of the initial values.
    """

    def __init__(self, operations: Sequence[str], channels: int, *, rngs: nnx.Rngs):
        self.edges = nnx.List(create_operation(name, channels, rngs=rngs) for name in operations)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        states = {0: x}
        for (source, target), operation in zip(EDGES, self.edges, strict=True):
            y = operation(states[source], train=train)
            states[target] = states[target] + y if target in states else y
        return states[3]


class Reduction(nnx.Module):
    """Between two stages: halves height and width, rounded up.

    ReLU, 3x3 convolution of stride 2, batch norm, ReLU, 3x3 convolution, batch norm; to this is
    added the 2x2 mean of the input after a 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, track: bool = True, rngs: nnx.Rngs):
        def block(inputs: int, stride: int) -> ReLUConvBN:
            convolution = Conv2d(inputs, outputs, 3, stride=stride, padding=1, rngs=rngs)
            return ReLUConvBN([convolution], outputs, track=track)

        self.first, self.second = block(inputs, 2), block(outputs, 1)
        self.shortcut = Conv2d(inputs, outputs, 1, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = self.second(self.first(x, train=train), train=train)
        mean = functional.avg_pool2d(x, 2, ceil_mode=True)
        return y + self.shortcut(mean)


class Frame(nnx.Module):
    """What stands around the cells: a stem, reductions between the stages, a classifier.

    Args:
        channels: of the first stage; each further one has twice as many.
        num_classes: number of logits.
        inputs: channels of the images.
        track: whether batch norms keep running statistics.
        rngs: source of the initial values.
    """

    def __init__(
        self, channels: int, num_classes: int, *, inputs: int, track: bool = True, rngs: nnx.Rngs
    ):
        self.stem = Conv2d(inputs, channels, 3, padding=1, rngs=rngs)
        self.stem_norm = BatchNorm(channels, track=track)
        self.reductions = nnx.List(
            Reduction(width // 2, width, track=track, rngs=rngs) for width in widths(channels)[1:]
        )
        last = widths(channels)[-1]
        self.norm = BatchNorm(last, track=track)
        self.classifier = Linear(last, num_classes, rngs=rngs)

    def endpoints(
        self,
        x: jax.Array,
        stages: Sequence[Callable[[jax.Array], jax.Array]],
        *,
        train: bool = False,
    ) -> Endpoints:
        """The features of a network of these stages, each of which keeps the shape."""
        x = self.stem_norm(self.stem(x), train=train)
        yield "stem", x
        for number, stage in enumerate(stages):
            if number:
                x = self.reductions[number - 1](x, train=train)
            x = stage(x)
            yield f"stage{number + 1}", x
        yield from classified(jax.nn.relu(self.norm(x, train=train)), self.classifier)


def widths(channels: int) -> list[int]:
    """The channels of each stage."""
    return [channels * 2**stage for stage in range(STAGES)]


class NASBench201Network(Network):
    """A network of NAS-Bench-201: 3x3 convolution and batch norm, three stages of equal cells with
    a residual block of stride 2 between two stages, batch norm, ReLU, a linear classifier.

    Args:
        operations: of the cell, names of ``jaxcv.blocks.OPERATIONS``, one for each of ``EDGES``.
        channels: of the first stage, 16 in the paper; each further one has twice as many.
        cells: in each stage, 5 in the paper.
        num_classes: number of logits.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Features: "stem", "stage1", "stage2", "stage3", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, an unknown operation, or another number of them.
    """

    def __init__(
        self,
        operations: Sequence[str],
        channels: int,
        cells: int,
        num_classes: int,
        *,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if len(operations) != len(EDGES):
            raise ValueError(
                f"operations={tuple(operations)!r}; allowed are {len(EDGES)}, one for each edge"
            )
        positive(channels=channels, cells=cells)
        super().__init__(num_classes, inputs=inputs, dtype=dtype)
        self.frame = Frame(channels, num_classes, inputs=inputs, rngs=rngs)
        self.stages = nnx.List(
            nnx.List(Cell(operations, width, rngs=rngs) for _ in range(cells))
            for width in widths(channels)
        )

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        def through(cells: Sequence[Cell]) -> Callable[[jax.Array], jax.Array]:
            def stage(x: jax.Array) -> jax.Array:
                for cell in cells:
                    x = cell(x, train=train)
                return x

            return stage

        return self.frame.endpoints(x, [through(cells) for cells in self.stages], train=train)
