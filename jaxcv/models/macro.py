"""Whole networks from primitive layers, with skip connections (arXiv:1802.03268)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.blocks import FactorizedReduce, ReLUConvBN, create_operation
from jaxcv.blocks.operations import check_operation
from jaxcv.functional._arguments import positive
from jaxcv.layers import BatchNorm, Conv2d, Linear
from jaxcv.models.network import Endpoints, Network, classified


class Macro(NamedTuple):
    """A chain of layers, each an operation on the state before it. State 0 is the stem, state i
    layer i.

    Attributes:
        operations: of each layer the name.
        skips: of each layer the states, earlier than the one it reads, that join its result.
    """

    operations: tuple[str, ...]
    skips: tuple[tuple[int, ...], ...]


class MacroNetwork(Network):
    """The network of a macro architecture: a stem, layers, a linear classifier.

    The stem is a 3x3 convolution and batch norm. A layer is a block of ReLU, 1x1 convolution and
    batch norm, then its operation; from the second on its result and the skips are concatenated and
    go through another such block. After ``layers // 3`` and ``2 * (layers // 3)`` layers every
    state that is still read goes through a factorized reduction that doubles its channels.

    Args:
        macro: the architecture.
        channels: of the first layers.
        num_classes: number of logits.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Features: "stem", "layer1", "layer2", ..., "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, fewer than three layers, an unknown operation, and skips
            that are not states before the one that the layer reads.
    """

    def __init__(
        self,
        macro: Macro,
        channels: int,
        num_classes: int,
        *,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, least_size=4, dtype=dtype)
        positive(channels=channels)
        check_macro(macro)
        layers = len(macro.operations)
        self.skips = macro.skips
        self.stem = Conv2d(inputs, channels, 3, padding=1, rngs=rngs)
        self.stem_norm = BatchNorm(channels)
        self.entries: nnx.List[ReLUConvBN] = nnx.List()
        self.operations: nnx.List[nnx.Module] = nnx.List()
        self.joins: nnx.List[ReLUConvBN] = nnx.List()
        self.reductions: nnx.List[nnx.List[FactorizedReduce]] = nnx.List()
        reduced: list[tuple[int, tuple[int, ...]]] = []
        for layer, (operation, skips) in enumerate(
            zip(macro.operations, macro.skips, strict=True), 1
        ):
            self.entries.append(_block(channels, channels, rngs))
            self.operations.append(create_operation(operation, channels, rngs=rngs))
            if layer > 1:
                self.joins.append(_block((1 + len(skips)) * channels, channels, rngs))
            if layer in (layers // 3, 2 * (layers // 3)):
                later = {layer}.union(*macro.skips[layer:])
                states = tuple(sorted(state for state in later if state <= layer))
                reduced.append((layer, states))
                self.reductions.append(
                    nnx.List(FactorizedReduce(channels, 2 * channels, rngs=rngs) for _ in states)
                )
                channels *= 2
        self.reduced = tuple(reduced)
        self.classifier = Linear(channels, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = self.stem_norm(self.stem(x), train=train)
        yield "stem", x
        states = {0: x}
        for layer, skips in enumerate(self.skips, 1):
            x = self.entries[layer - 1](states[layer - 1], train=train)
            x = self.operations[layer - 1](x, train=train)
            if layer > 1:
                x = jnp.concatenate([*(states[state] for state in skips), x], -1)
                x = self.joins[layer - 2](x, train=train)
            yield f"layer{layer}", x
            states[layer] = x
            for (after, read), halves in zip(self.reduced, self.reductions, strict=True):
                if layer == after:
                    pairs = zip(read, halves, strict=True)
                    states = {state: halve(states[state], train=train) for state, halve in pairs}
        yield from classified(states[layer], self.classifier)


def _block(inputs: int, outputs: int, rngs: nnx.Rngs) -> ReLUConvBN:
    return ReLUConvBN([Conv2d(inputs, outputs, 1, rngs=rngs)], outputs)


def check_macro(macro: Macro) -> None:
    """Raises a ValueError unless there is a network of the architecture."""
    if len(macro.operations) != len(macro.skips) or len(macro.skips) < 3:
        raise ValueError(
            f"macro has {len(macro.operations)} operations and {len(macro.skips)} skips; allowed "
            "is one of each for each layer, at least three layers"
        )
    for operation in macro.operations:
        check_operation(operation)
    for layer, skips in enumerate(macro.skips, 1):
        known = [skip for skip in skips if type(skip) is int and 0 <= skip < layer - 1]
        if len(set(known)) < len(skips):
            raise ValueError(
                f"macro.skips[{layer - 1}]={skips!r}; allowed are distinct states below {layer - 1}"
            )
