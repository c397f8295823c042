"""The search network: every edge a mixture of its primitives (arXiv:1806.09055).

All edges that leave a state read the same images, so they are computed together: their operations
are stacked along a leading edge axis. Separable convolutions, and what has no parameters (pools,
the identity) and is therefore the same on all these edges, go into one fused function
(``search.mixed``). Batch norms keep no statistics, which makes the network a pure function of
weights, images and mixing weights.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.blocks import ReLUConvBN, create_operation
from jaxcv.blocks.operations import Identity, Pool, Sequence, Zero
from jaxcv.layers import Conv2d, Linear
from jaxcv.models.network import check_images, classified
from jaxcv.models.skeleton import CIFAR, CellInputs, Place, Skeleton, Stem, least_size
from jaxcv.models.skeleton import places as plan
from search.mixed import Stage, Static, mixed_edges
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


class MixedEdges(nnx.Module):
    """The mixed operations of edges with one source and the same primitives.

    ``y[e] = sum_k mix[e, k] operation[e, k](x)``

    Args:
        edges: number of edges E.
        primitives: names of the P operations that each edge mixes.
        channels, stride: of the operations.
        rngs: source of the initial values, different on every edge.
    """

    def __init__(
        self,
        edges: int,
        primitives: tuple[str, ...],
        channels: int,
        stride: int,
        *,
        rngs: nnx.Rngs,
    ):
        def create(name: str) -> nnx.Module:
            return create_operation(name, channels, stride, affine=False, track=False, rngs=rngs)

        self.operations = nnx.List(
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *(create(name) for _ in range(edges)))
            for name in primitives
        )

    def __call__(self, x: jax.Array, mix: jax.Array) -> list[jax.Array]:
        """[batch, height, width, C] and mix [E, P] to E arrays [batch, height', width', C]."""
        shared, normalized, shared_columns = [], [], []
        branches, kernels, branch_columns = [], [], []
        others: list[tuple[int, jax.Array]] = []
        for column, operation in enumerate(self.operations):
            if isinstance(operation, Zero):
                continue
            if stages := _separable_stages(operation):
                pairs = [stage.convolutions for stage in stages]
                branches.append(tuple(_stage(depthwise) for depthwise, _ in pairs))
                kernels.append([(a.kernel[...], b.kernel[...]) for a, b in pairs])
                branch_columns.append(column)
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

    def __init__(self, cell: CellSpace, place: Place, *, rngs: nnx.Rngs):
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

    def __call__(self, before: jax.Array, last: jax.Array, mix: jax.Array) -> jax.Array:
        """Two inputs and mix [edges, primitives] to [batch, height', width', nodes * C]."""
        states: dict[int, jax.Array] = dict(enumerate(self.inputs(before, last, train=True)))
        # Sources ascend, so a node is complete when the edges that leave it come up.
        for mixed, (source, edges, columns) in sorted(
            zip(self.mixed, self.groups, strict=True), key=lambda group: group[1][0]
        ):
            weights = mix[jnp.array(edges)[:, None], jnp.array(columns)]
            for edge, y in zip(edges, mixed(states[source], weights), strict=True):
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
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1 and a space without the two kinds of cell.
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
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if set(space.cells) != {"normal", "reduce"}:
            raise ValueError(
                f"space has cells of kind {', '.join(space.cells)}; allowed are normal, reduce"
            )
        widths = {kind: cell.nodes for kind, cell in space.cells.items()}
        self.places = tuple(plan(skeleton, channels, layers, widths))
        self.stem = Stem(skeleton, inputs, channels, track=False, rngs=rngs)
        self.cells = nnx.List(
            SearchCell(space.cells[place.kind], place, rngs=rngs) for place in self.places
        )
        final = self.places[-1]
        self.classifier = Linear(widths[final.kind] * final.channels, num_classes, rngs=rngs)
        self.image_channels, self.dtype = inputs, dtype
        self.least_size = least_size(skeleton, auxiliary=False)
        self.mix_shapes = tuple((kind, cell.allowed.shape) for kind, cell in space.cells.items())

    def __call__(self, x: jax.Array, mix: Mix) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, inputs] under mixing
        weights [edges, primitives] by cell kind.

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
        for place, cell in zip(self.places, self.cells, strict=True):
            before, last = last, cell(before, last, mix[place.kind])
        return dict(classified(last, self.classifier))["logits"]
