"""Cells that are motifs of motifs (arXiv:1711.00436), and their networks."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.blocks import ConvNorm
from jaxcv.blocks.operations import Identity, Pool, check_operation
from jaxcv.functional._arguments import positive
from jaxcv.layers import Conv2d, Linear
from jaxcv.models.network import Endpoints, Network, classified


class Motif(NamedTuple):
    """A directed acyclic graph of nodes 0, 1, ...: the first is its input, the last its output.

    Attributes:
        nodes: number of nodes.
        edges: (operation, source, target) in the order of the targets, then of the sources. An
            operation is the name of a primitive, or a motif of the level below.
    """

    nodes: int
    edges: tuple[tuple["str | Motif", int, int], ...]


def live_edges(motif: Motif) -> tuple[tuple[str | Motif, int, int], ...]:
    """The edges on paths from the input to the output; none if there is no path. A motif without
    a path is no edge."""
    passing = [
        edge for edge in motif.edges if not isinstance(edge[0], Motif) or live_edges(edge[0])
    ]
    reached, needed = {0}, {motif.nodes - 1}
    for _, source, target in passing:
        if source in reached:
            reached.add(target)
    for _, source, target in reversed(passing):
        if target in needed:
            needed.add(source)
    return tuple(edge for edge in passing if edge[1] in reached and edge[2] in needed)


def check_motif(motif: Motif) -> None:
    """Raises a ValueError unless all edges join nodes that there are, in their order, and have
    operations that there are."""
    nodes, before = motif.nodes, (0, 0)
    if type(nodes) is not int or nodes < 2:
        raise ValueError(f"motif.nodes={nodes!r}; allowed is an int, at least 2")
    for number, (operation, source, target) in enumerate(motif.edges):
        whole = {type(source), type(target)} == {int}
        if not whole or not 0 <= source < target < nodes or (target, source) <= before:
            raise ValueError(
                f"motif.edges[{number}] leads from {source!r} to {target!r}; allowed are edges "
                f"from a node to a later one of {nodes}, in the order of the targets, then of the "
                "sources"
            )
        before = (target, source)
        if isinstance(operation, Motif):
            check_motif(operation)
        else:
            check_operation(operation, PRIMITIVES)


class SeparableConv(nnx.Module):
    """A depthwise 3x3 convolution, a pointwise one, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, rngs: nnx.Rngs):
        self.depthwise = Conv2d(
            inputs, inputs, 3, stride=stride, padding=1, groups=inputs, rngs=rngs
        )
        self.pointwise = ConvNorm(inputs, outputs, 1, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return self.pointwise(self.depthwise(x), train=train)


# Of the number of channels, which is that of the result too, and the source of initial values.
PRIMITIVES: dict[str, Callable[[int, nnx.Rngs], nnx.Module]] = {
    "identity": lambda channels, rngs: Identity(),
    "conv_1x1": lambda channels, rngs: ConvNorm(channels, channels, 1, rngs=rngs),
    "depthwise_conv_3x3": lambda channels, rngs: ConvNorm(
        channels, channels, 3, padding=1, groups=channels, rngs=rngs
    ),
    "sep_conv_3x3": lambda channels, rngs: SeparableConv(channels, channels, rngs=rngs),
    "max_pool_3x3": lambda channels, rngs: Pool("max", 1),
    "avg_pool_3x3": lambda channels, rngs: Pool("avg", 1),
}


class MotifBlock(nnx.Module):
    """A motif, of whose edges each has parameters of its own. Where several enter a node their
    results are concatenated and brought back to the number of channels by a 1x1 convolution, batch
    norm, ReLU.

    Args:
        motif: says which edges; one that ``check_motif`` lets pass.
        channels: of every node.
        rngs: source of the initial values.

    Raises:
        ValueError: for a motif without a path to its output.
    """

    def __init__(self, motif: Motif, channels: int, *, rngs: nnx.Rngs):
        edges = live_edges(motif)
        if not edges:
            raise ValueError(f"motif={motif!r}; allowed are those with a path to the output")
        self.operations: nnx.List[nnx.Module] = nnx.List()
        for operation, _, _ in edges:
            if isinstance(operation, Motif):
                self.operations.append(MotifBlock(operation, channels, rngs=rngs))
            else:
                self.operations.append(PRIMITIVES[operation](channels, rngs))
        targets = dict.fromkeys(target for _, _, target in edges)
        # For each node the numbers of its edges, and their sources.
        self.incoming = tuple(
            (target, tuple((n, s) for n, (_, s, t) in enumerate(edges) if t == target))
            for target in targets
        )
        self.merges = nnx.List(
            ConvNorm(len(incoming) * channels, channels, 1, rngs=rngs)
            for _, incoming in self.incoming
            if len(incoming) > 1
        )

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        states, merges = {0: x}, iter(self.merges)
        for target, incoming in self.incoming:
            results = [
                self.operations[number](states[source], train=train) for number, source in incoming
            ]
            x = results[0]
            if len(results) > 1:
                x = next(merges)(jnp.concatenate(results, -1), train=train)
            states[target] = x
        return x


class MotifNetwork(Network):
    """The network of a motif: a stem, three times the motif and a separable convolution, a linear
    classifier. The first two of these convolutions have stride 2 and double the channels.

    Args:
        motif: the cell.
        channels: of the stem, a 3x3 convolution, batch norm, ReLU.
        num_classes: number of logits.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Features: "stem", "cell1", "cell2", "cell3", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, an unknown primitive, edges that are not between nodes or
            out of order, and a motif without a path to its output.
    """

    def __init__(
        self,
        motif: Motif,
        channels: int,
        num_classes: int,
        *,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, least_size=4, dtype=dtype)
        positive(channels=channels)
        check_motif(motif)
        self.stem = ConvNorm(inputs, channels, 3, padding=1, rngs=rngs)
        self.cells: nnx.List[MotifBlock] = nnx.List()
        self.convolutions: nnx.List[SeparableConv] = nnx.List()
        for growth, stride in ((2, 2), (2, 2), (1, 1)):
            self.cells.append(MotifBlock(motif, channels, rngs=rngs))
            self.convolutions.append(
                SeparableConv(channels, growth * channels, stride=stride, rngs=rngs)
            )
            channels *= growth
        self.classifier = Linear(channels, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = self.stem(x, train=train)
        yield "stem", x
        for number, cell in enumerate(self.cells):
            x = cell(x, train=train)
            yield f"cell{number + 1}", x
            x = self.convolutions[number](x, train=train)
        yield from classified(x, self.classifier)
