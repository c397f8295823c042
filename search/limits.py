"""Limits on the size of the networks that a search ends with, or tries."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxcv.analysis import count_multiply_adds, count_parameters
from jaxcv.blocks import create_operation
from jaxcv.genotype import Genotype
from jaxcv.models import Architecture, create_network
from jaxcv.models.skeleton import Skeleton, places
from search.discrete import DiscreteSpace, Point
from search.discretize import Limit, discretize
from search.space import Space

_COUNTS = ("parameters", "multiply_adds")
_TRIES = 1000


def network_counts(
    architecture: Architecture,
    skeleton: Skeleton,
    channels: int,
    layers: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
) -> dict[str, int]:
    """The "parameters" of the network of a genotype or other architecture, and its "multiply_adds"
    for one image.

    Args:
        architecture, skeleton, channels, layers, num_classes: as for
            ``jaxcv.models.create_network``.
        image_shape: (height, width, channels).
    """
    return _counts(
        nnx.eval_shape(
            lambda: create_network(
                architecture,
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
    max_parameters: int | None = None,
    max_multiply_adds: int | None = None,
) -> tuple[Limit, ...]:
    """Limits for ``discretize`` that bound the whole network of a genotype.

    Args:
        space: that the genotypes belong to.
        skeleton, channels, layers, num_classes, image_shape: as for ``network_counts``.
        max_parameters: if limited.
        max_multiply_adds: for one image, if limited.

    Raises:
        ValueError: for limits that no network of the space respects, and a skeleton with cells of
            another form.
    """
    pairs = zip(_COUNTS, (max_parameters, max_multiply_adds), strict=True)
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
        text = " and ".join(f"max_{name}={most!r}" for name, most in asked.items())
        raise ValueError(
            f"{text} for {channels} channels and {layers} layers; allowed are limits that a "
            "network of the space can meet"
        ) from None
    return tuple(limits)


def limited(
    space: DiscreteSpace, counts: Callable[[Any], Mapping[str, float]], **most: float
) -> DiscreteSpace:
    """The part of a discrete space whose architectures keep to limits. Every strategy does then.

    Args:
        space: to limit.
        counts: of an architecture, as the space decodes it, numbers by name, such as
            ``network_counts``. It is asked once for each point.
        most: the largest that these may be, by name: ``parameters=4_000_000``.

    Raises:
        ValueError: for limits that none of a thousand random points keeps to, or a name that is
            not among the counts.
    """
    within = _Within(space, counts, most)
    random = np.random.default_rng(0)
    if not any(within(space.sample(random)) for _ in range(_TRIES)):
        text = ", ".join(f"{name}={value!r}" for name, value in most.items())
        raise ValueError(
            f"{text} in {space.name}; allowed are limits that one of {_TRIES} random points meets"
        )
    return replace(space, allowed=within)


@dataclass(frozen=True)
class _Within:
    """Whether a point of a space keeps to limits; a value, so that spaces can be pickled."""

    space: DiscreteSpace
    counts: Callable[[Any], Mapping[str, float]]
    most: Mapping[str, float]
    # By points, since what an isomorphic one does not have may count too: operations of no use.
    known: dict[Point, bool] = field(default_factory=dict, compare=False)

    def __call__(self, point: Point) -> bool:
        if not self.space.allowed(point):
            return False
        if point not in self.known:
            counts = self.counts(self.space.decode(point))
            unknown = self.most.keys() - counts.keys()
            if unknown:
                raise ValueError(
                    f"{min(unknown)} is limited; allowed are limits on {', '.join(counts)}"
                )
            self.known[point] = all(counts[name] <= most for name, most in self.most.items())
        return self.known[point]


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
