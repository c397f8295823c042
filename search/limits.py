"""Limits on the size of the network that a search ends with."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import create_operation
from jaxcv.genotype import Genotype
from jaxcv.models import CellNetwork
from jaxcv.models.skeleton import Skeleton, places
from search.discretize import Limit, discretize
from search.space import Space

_COUNTS = ("parameters", "multiply_adds")


def network_counts(
    genotype: Genotype,
    skeleton: Skeleton,
    channels: int,
    layers: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
) -> dict[str, int]:
    """The "parameters" of the network of a genotype, and its "multiply_adds" for one image.

    Args:
        genotype, skeleton, channels, layers, num_classes: of the ``CellNetwork``.
        image_shape: (height, width, channels).
    """
    return _counts(
        nnx.eval_shape(
            lambda: CellNetwork(
                genotype,
                skeleton,
                channels,
                layers,
                num_classes,
                inputs=image_shape[-1],
                rngs=nnx.Rngs(0),
            )
        ),
        image_shape,
    )


def network_limits(
    space: Space,
    skeleton: Skeleton,
    channels: int,
    layers: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    parameters: int | None = None,
    multiply_adds: int | None = None,
) -> tuple[Limit, ...]:
    """Limits for ``discretize`` that bound the whole network of a genotype.

    Args:
        space: that the genotypes belong to.
        skeleton, channels, layers, num_classes, image_shape: as for ``network_counts``.
        parameters: at most, if limited.
        multiply_adds: at most, for one image, if limited.

    Raises:
        ValueError: for limits that no network of the space respects, and a skeleton with cells of
            another form.
    """
    pairs = zip(_COUNTS, (parameters, multiply_adds), strict=True)
    asked = {name: most for name, most in pairs if most is not None}
    if not asked:
        return ()
    if skeleton.form != "darts":
        raise ValueError(
            f"skeleton={skeleton.name!r}; allowed with limits are those whose cells are DARTS's, "
            "such as cifar"
        )
    place_costs = _edge_costs(space, skeleton, channels, layers, image_shape)
    nothing = {kind: np.zeros(cell.allowed.shape) for kind, cell in space.cells.items()}
    some = discretize(space, nothing)
    counts = network_counts(some, skeleton, channels, layers, num_classes, image_shape)
    limits = []
    for name, most in asked.items():
        costs = {kind: cost[_COUNTS.index(name)] for kind, cost in place_costs.items()}
        # All but the edges costs the same in every network of the space.
        rest = counts[name] - _spent(space, some, costs)
        limits.append(Limit(name, costs, most - rest))
    try:
        discretize(space, nothing, limits=limits)
    except ValueError:
        text = ", ".join(f"{name}={most!r}" for name, most in asked.items())
        raise ValueError(
            f"{text} for {channels} channels and {layers} layers; allowed are limits that a "
            "network of the space can meet"
        ) from None
    return tuple(limits)


def _counts(module: nnx.Module, shape: tuple[int, ...]) -> dict[str, int]:
    graph, state = nnx.split(module)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    adds = count_multiply_adds(lambda state, x: nnx.merge(graph, state)(x), state, image)
    return dict(zip(_COUNTS, (count_parameters(module), adds), strict=True))


def _edge_costs(
    space: Space,
    skeleton: Skeleton,
    channels: int,
    layers: int,
    image_shape: tuple[int, int, int],
) -> dict[str, np.ndarray]:
    """By cell kind, [counts, edges, primitives]: of each primitive on each edge, what it costs in
    all cells of its kind."""

    @functools.cache
    def cost(name: str, channels: int, stride: int, size: tuple[int, int]) -> list[int]:
        operation = nnx.eval_shape(
            lambda: create_operation(name, channels, stride, rngs=nnx.Rngs(0))
        )
        return list(_counts(operation, (*size, channels)).values())

    widths = {kind: cell.nodes for kind, cell in space.cells.items()}
    costs = {
        kind: np.zeros((len(_COUNTS), *cell.allowed.shape), np.int64)
        for kind, cell in space.cells.items()
    }
    stem = math.prod(skeleton.stem_strides)
    size = (-(-image_shape[0] // stem), -(-image_shape[1] // stem))
    for place in places(skeleton, channels, layers, widths):
        cell = space.cells[place.kind]
        result = (-(-size[0] // place.stride), -(-size[1] // place.stride))
        for edge, (source, _) in enumerate(cell.edges):
            for column, name in enumerate(cell.vocabulary):
                if cell.allowed[edge, column]:
                    costs[place.kind][:, edge, column] += (
                        cost(name, place.channels, place.stride, size)
                        if source < 2
                        else cost(name, place.channels, 1, result)
                    )
        size = result
    return costs


def _spent(space: Space, genotype: Genotype, costs: dict[str, np.ndarray]) -> int:
    """What the edges of a genotype cost."""
    total = 0
    for kind, cell in space.cells.items():
        for node, edges in enumerate(genotype.cells[kind].nodes, 2):
            for name, source in edges:
                edge = cell.edges.index((source, node))
                total += int(costs[kind][edge, cell.vocabulary.index(name)])
    return total
