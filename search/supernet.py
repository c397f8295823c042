"""The search network: every edge a mixture of its primitives (arXiv:1806.09055).

All edges that leave a state read the same images, so they are computed together: their operations
are stacked along a leading edge axis. Separable convolutions, and what has no parameters (pools,
the identity) and is therefore the same on all these edges, go into one fused function
(``search.mixed``). Batch norms keep no statistics, which makes the network a pure function of
weights, images and mixing weights.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import ReLUConvBN, create_operation
from jaxcv.blocks.operations import Identity, Noise, Pool, Sequence, Zero
from jaxcv.functional._arguments import positive
from jaxcv.layers import Conv2d, Linear
from jaxcv.models.network import check_images, classified
from jaxcv.models.skeleton import CIFAR, CellInputs, Place, Skeleton, Stem, least_size
from jaxcv.models.skeleton import places as plan
from search.mixed import mixed_edges
from search.mixed_definition import Stage, Static
from search.space import CellSpace, Mix, Space


def _separable_stages(operation: nnx.Module) -> list[ReLUConvBN]:
    """The stages of a chain of separable convolutions; none for other operations."""
    chain = operation.operations if isinstance(operation, Sequence) else [operation]
    stages = [stage for stage in chain if isinstance(stage, ReLUConvBN) and _separable(stage)]
    return stages if len(stages) == len(chain) else []


def _separable(stage: ReLUConvBN) -> bool:
    if len(stage.convolutions) != 2:
        return False
    depthwise, pointwise = stage.convolutions
    window = pointwise.kernel.shape[-4:-2]
    return depthwise.groups == depthwise.kernel.shape[-1] and window == (1, 1)


def _stage(depthwise: Conv2d) -> Stage:
    stride, padding, dilation = depthwise.stride, depthwise.padding, depthwise.dilation
    assert isinstance(stride, int) and isinstance(padding, int) and isinstance(dilation, int)
    return Stage(stride, padding, dilation)


def _split(key: jax.Array | None, number: int) -> list[Any]:
    """So many keys, or nothing so many times."""
    return [None] * number if key is None else list(jax.random.split(key, number))


class MixedEdges(nnx.Module):
    """The mixed operations of edges with one source and the same primitives.

    ``y[e] = sum_k mix[e, k] operation[e, k](x)``

    With ``partial`` = K > 1 only the first of every K channels' share goes through the operations
    (arXiv:1907.05737). The others go past them, for stride 2 through 2x2 max pooling, and are
    weighted by the edge: ``sum_k mix[e, k]``, which is 1 where primitives compete and edges do not.
    Both parts are then shuffled into each other.

    Args:
        edges: number of edges E.
        primitives: names of the P operations that each edge mixes.
        channels: of the result.
        stride: of the operations.
        partial: K, a divisor of the channels.
        rngs: source of the initial values, different on every edge.
    """

    def __init__(
        self,
        edges: int,
        primitives: tuple[str, ...],
        channels: int,
        stride: int,
        *,
        partial: int = 1,
        rngs: nnx.Rngs,
    ):
        def create(name: str) -> nnx.Module:
            return create_operation(
                name, channels // partial, stride, affine=False, track=False, rngs=rngs
            )

        self.operations = nnx.List(
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *(create(name) for _ in range(edges)))
            for name in primitives
        )
        self.stride, self.partial = stride, partial

    def __call__(
        self,
        x: jax.Array,
        mix: jax.Array,
        *,
        key: jax.Array | None = None,
        skip_dropout: jax.Array | None = None,
    ) -> list[jax.Array]:
        """[batch, height, width, C] and mix [E, P] to E arrays [batch, height', width', C]."""
        if self.partial == 1:
            return self._mixed(x, mix, key, skip_dropout)
        mixed, past = jnp.split(x, [x.shape[-1] // self.partial], -1)
        edges = self._mixed(mixed, mix, key, skip_dropout)
        if self.stride == 2:
            past = functional.max_pool2d(past, 2, ceil_mode=True)
        return [
            functional.channel_shuffle(
                jnp.concatenate([edge, weight.astype(x.dtype) * past], -1), self.partial
            )
            for edge, weight in zip(edges, mix.sum(1), strict=True)
        ]

    def _mixed(
        self,
        x: jax.Array,
        mix: jax.Array,
        key: jax.Array | None,
        skip_dropout: jax.Array | None,
    ) -> list[jax.Array]:
        shared, normalized, shared_columns = [], [], []
        branches, kernels, branch_columns = [], [], []
        others: list[tuple[int, jax.Array | list[jax.Array]]] = []
        for column, operation in enumerate(self.operations):
            if isinstance(operation, Zero):
                continue
            if stages := _separable_stages(operation):
                pairs = [stage.convolutions for stage in stages]
                branches.append(tuple(_stage(depthwise) for depthwise, _ in pairs))
                kernels.append([(a.kernel[...], b.kernel[...]) for a, b in pairs])
                branch_columns.append(column)
            elif isinstance(operation, Noise):
                others.append((column, [operation(x, key=own) for own in _split(key, len(mix))]))
            elif isinstance(operation, Identity) and key is not None and skip_dropout is not None:
                keys = _split(key, len(mix))
                others.append((column, [functional.dropout(own, x, skip_dropout) for own in keys]))
            elif isinstance(operation, Identity | Pool):
                shared.append(operation(x))
                # Without a batch norm a pool, the one primitive whose scale is that of its input,
                # would win or lose by that scale alone.
                normalized.append(isinstance(operation, Pool))
                shared_columns.append(column)
            else:
                y = jax.vmap(lambda operation: operation(x, train=True))(operation)
                others.append((column, y))
        static = Static(len(mix), tuple(normalized), tuple(branches))
        columns = jnp.array(shared_columns + branch_columns, jnp.int32)
        edges = mixed_edges(x, mix[:, columns], shared, kernels, static)
        return [
            edge + sum(mix[e, column].astype(x.dtype) * y[e] for column, y in others)
            for e, edge in enumerate(edges)
        ]


class SearchCell(nnx.Module):
    """A cell whose every edge is mixed; its output is the concatenation of all its nodes."""

    def __init__(self, cell: CellSpace, place: Place, *, partial: int = 1, rngs: nnx.Rngs):
        self.inputs = CellInputs(place, affine=False, track=False, rngs=rngs)
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for edge, ((source, _), primitives) in enumerate(
            zip(cell.edges, cell.primitives, strict=True)
        ):
            groups.setdefault((source, primitives), []).append(edge)
        self.mixed = nnx.List(
            MixedEdges(
                len(edges),
                primitives,
                place.channels,
                place.stride if source < 2 else 1,
                partial=partial,
                rngs=rngs,
            )
            for (source, primitives), edges in groups.items()
        )
        column = {name: number for number, name in enumerate(cell.vocabulary)}
        self.groups = tuple(
            (source, tuple(edges), tuple(column[name] for name in primitives))
            for (source, primitives), edges in groups.items()
        )
        self.targets = tuple(node for _, node in cell.edges)
        self.nodes = cell.nodes

    def __call__(
        self,
        before: jax.Array,
        last: jax.Array,
        mix: jax.Array,
        *,
        key: jax.Array | None = None,
        skip_dropout: jax.Array | None = None,
    ) -> jax.Array:
        """Two inputs and mix [edges, primitives] to [batch, height', width', nodes * C]."""
        states: dict[int, jax.Array] = dict(enumerate(self.inputs(before, last, train=True)))
        # Sources ascend, so a node is complete when the edges that leave it come up.
        for mixed, (source, edges, columns) in sorted(
            zip(self.mixed, self.groups, strict=True), key=lambda group: group[1][0]
        ):
            weights = mix[jnp.array(edges)[:, None], jnp.array(columns)]
            own = None if key is None else jax.random.fold_in(key, edges[0])
            results = mixed(states[source], weights, key=own, skip_dropout=skip_dropout)
            for edge, y in zip(edges, results, strict=True):
                target = self.targets[edge]
                states[target] = states[target] + y if target in states else y
        return jnp.concatenate([states[2 + node] for node in range(self.nodes)], -1)


class SearchNetwork(nnx.Module):
    """The supernet of a space: stem, mixed cells, linear classifier.

    Args:
        space: with a cell of kind "normal" and one of kind "reduce".
        channels: inside the first cell; reductions double them.
        layers: number of cells, with reductions at ``layers // 3`` and ``2 * layers // 3``.
        num_classes: number of logits.
        inputs: channels of the images.
        skeleton: ``CIFAR`` or ``IMAGENET`` of ``jaxcv.models``.
        partial: K, for mixed operations on one in K channels, a divisor of ``channels``.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1, a ``partial`` that is no divisor, and a space without the
            two kinds of cell.
    """

    def __init__(
        self,
        space: Space,
        channels: int,
        layers: int,
        num_classes: int,
        *,
        inputs: int = 3,
        skeleton: Skeleton = CIFAR,
        partial: int = 1,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if set(space.cells) != {"normal", "reduce"}:
            raise ValueError(
                f"space has cells of kind {', '.join(space.cells)}; allowed are normal, reduce"
            )
        positive(partial=partial)
        if channels % partial:
            raise ValueError(f"partial={partial!r}; allowed are divisors of channels={channels}")
        widths = {kind: cell.nodes for kind, cell in space.cells.items()}
        self.places = tuple(plan(skeleton, channels, layers, widths))
        self.stem = Stem(skeleton, inputs, channels, track=False, rngs=rngs)
        self.cells = nnx.List(
            SearchCell(space.cells[place.kind], place, partial=partial, rngs=rngs)
            for place in self.places
        )
        final = self.places[-1]
        self.classifier = Linear(widths[final.kind] * final.channels, num_classes, rngs=rngs)
        self.image_channels, self.dtype = inputs, dtype
        self.least_size = least_size(skeleton, auxiliary=False)
        self.mix_shapes = tuple((kind, cell.allowed.shape) for kind, cell in space.cells.items())

    def __call__(
        self,
        x: jax.Array,
        mix: Mix,
        *,
        key: jax.Array | None = None,
        skip_dropout: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, inputs] under mixing
        weights [edges, primitives] by cell kind.

        Args:
            x, mix: images and mixing weights.
            key: of noise and dropout, which there is none of without it.
            skip_dropout: probability of dropout on the identity, if any.

        Raises:
            ValueError: for images or mixing weights of another shape, or images too small for the
                skeleton.
        """
        check_images(x.shape, self.image_channels, self.least_size)
        for kind, shape in self.mix_shapes:
            # Checked here, since an index beyond an array raises nothing in JAX.
            if mix[kind].shape != shape:
                raise ValueError(f"mix[{kind!r}] has shape {mix[kind].shape}; allowed is {shape}")
        before, last = self.stem(x.astype(self.dtype), train=True)
        for number, (place, cell) in enumerate(zip(self.places, self.cells, strict=True)):
            own = None if key is None else jax.random.fold_in(key, number)
            y = cell(before, last, mix[place.kind], key=own, skip_dropout=skip_dropout)
            before, last = last, y
        return dict(classified(last, self.classifier))["logits"]
