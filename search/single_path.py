"""All cells of NAS-Bench-201 in one program: the operation of each edge is data.

An edge computes the operation that it is told to and no other, so that a cell costs what its own
network costs. Gradients of the operations that are not chosen are zero.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxcv.blocks import create_operation
from jaxcv.functional._arguments import positive
from jaxcv.models.nasbench201 import EDGES, OPERATIONS, Frame, widths
from jaxcv.models.network import check_images

# How many ReLUs an operation applies to the state that its edge leaves.
_RELUS = tuple(float("conv" in name) for name in OPERATIONS)


class Stage(nnx.Module):
    """The cells of a stage, with all operations on every edge, stacked [cells, edges, ...]."""

    def __init__(self, cells: int, channels: int, *, rngs: nnx.Rngs):
        def create(name: str) -> nnx.Module:
            keys = jax.random.split(rngs.params(), (cells, len(EDGES)))
            return jax.vmap(
                jax.vmap(
                    lambda key: create_operation(name, channels, track=False, rngs=nnx.Rngs(key))
                )
            )(keys)

        self.operations = nnx.List(create(name) for name in OPERATIONS)

    def __call__(self, x: jax.Array, choice: jax.Array) -> jax.Array:
        """[batch, height, width, C] to the same shape."""
        return self.states(x, choice)[0]

    def states(self, x: jax.Array, choice: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What the last cell puts out, and the states that edges leave
        [cells, 3, batch, height, width, C]."""

        def cell(x: jax.Array, operations: nnx.List) -> tuple[jax.Array, jax.Array]:
            states = {0: x}
            for edge, (source, target) in enumerate(EDGES):
                own = jax.tree.map(lambda leaf, edge=edge: leaf[edge], operations)
                y = _chosen(choice[edge], own, states[source])
                states[target] = states[target] + y if target in states else y
            return states[3], jnp.stack([states[source] for source in range(3)])

        return lax.scan(cell, x, self.operations)


class SinglePathNetwork(nnx.Module):
    """The network of any cell of NAS-Bench-201, given by a number for each of its edges.

    Batch norms keep no statistics and always use those of their batch, as those of
    ``NASBench201Network`` do in training.

    Args:
        channels, cells, num_classes, inputs: as for ``NASBench201Network``.
        dtype: to compute in; parameters and logits stay float32.
        rngs: source of the initial values.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(
        self,
        channels: int,
        cells: int,
        num_classes: int,
        *,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        positive(channels=channels, cells=cells, num_classes=num_classes, inputs=inputs)
        self.frame = Frame(channels, num_classes, inputs=inputs, track=False, rngs=rngs)
        self.stages = nnx.List(Stage(cells, width, rngs=rngs) for width in widths(channels))
        self.image_channels, self.dtype = inputs, dtype

    def __call__(self, x: jax.Array, choice: jax.Array) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, inputs].

        Args:
            x: the images.
            choice: for each of ``EDGES`` the number of one of ``OPERATIONS``, integers [6].

        Raises:
            ValueError: for images or a choice of another shape.
        """
        self._check(x, choice)
        stages = [functools.partial(stage, choice=choice) for stage in self.stages]
        return dict(self.frame.endpoints(x.astype(self.dtype), stages))["logits"]

    def relu_inputs(self, x: jax.Array, choice: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """The input of every ReLU of the network of a cell, and how many ReLUs have it.

        Args:
            x, choice: as of a call.

        Raises:
            ValueError: as a call.
        """
        self._check(x, choice)
        sources = jnp.array([source for source, _ in EDGES])
        relus = jnp.zeros(3).at[sources].add(jnp.array(_RELUS)[choice])
        found: list[tuple[jax.Array, jax.Array]] = []

        def through(stage: Stage) -> Callable[[jax.Array], jax.Array]:
            def run(x: jax.Array) -> jax.Array:
                y, states = stage.states(x, choice)
                for cell in states:
                    found.extend(zip(cell, relus, strict=True))
                return y

            return run

        stages = [through(stage) for stage in self.stages]
        features = dict(self.frame.endpoints(x.astype(self.dtype), stages))
        one = jnp.ones(())
        for number, reduction in enumerate(self.frame.reductions, 1):
            before = features[f"stage{number}"]
            found += [(before, one), (reduction.first(before), one)]
        return [*found, (self.frame.norm(features[f"stage{len(stages)}"]), one)]

    def _check(self, x: jax.Array, choice: jax.Array) -> None:
        check_images(x.shape, self.image_channels, 1)
        if choice.shape != (len(EDGES),):
            raise ValueError(
                f"choice has shape {choice.shape}; allowed is {(len(EDGES),)}, an operation for "
                "each edge"
            )


@jax.checkpoint
def _chosen(number: jax.Array, operations: nnx.List, x: jax.Array) -> jax.Array:
    """What the operation of a number makes of x."""
    return lax.switch(number, [functools.partial(_apply, each) for each in operations], x)


def _apply(operation: Any, x: jax.Array) -> jax.Array:
    return operation(x)
