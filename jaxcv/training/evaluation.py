"""Evaluation of a network on a whole split, compiled."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxcv.data import normalize
from jaxcv.training.parallel import shard_batch

Sums = dict[str, jax.Array]


def evaluator(
    graph: nnx.GraphDef,
    mean: Sequence[float],
    std: Sequence[float],
    mesh: jax.sharding.Mesh | None = None,
) -> Callable[..., dict[str, jax.Array]]:
    """A compiled function of batches and states that gives mean loss and accuracy.

    Args:
        graph: definition of a network, of ``nnx.split``.
        mean, std: of each channel, images scaled to 0..1.
        mesh: devices to spread each batch over, if any.

    Returns:
        A function of the batches of ``jaxcv.data.padded_batches`` and the state, or states, that
        belong to ``graph``; it returns {"loss": scalar, "accuracy": scalar in 0..1}.
    """

    add = _adder(graph, mean, std, mesh)

    @jax.jit
    def evaluate(batches: Any, *states: Any) -> dict[str, jax.Array]:
        sums, _ = lax.scan(lambda sums, batch: (add(sums, batch, *states), None), _zeros(), batches)
        return _means(sums)

    return evaluate


def stream_evaluator(
    graph: nnx.GraphDef,
    mean: Sequence[float],
    std: Sequence[float],
    mesh: jax.sharding.Mesh | None = None,
) -> Callable[..., dict[str, jax.Array]]:
    """``evaluator`` for batches, of images, labels and mask, that come one after the other."""
    add = jax.jit(_adder(graph, mean, std, mesh), donate_argnums=0)

    def evaluate(batches: Iterable[Any], *states: Any) -> dict[str, jax.Array]:
        sums = _zeros()
        for batch in batches:
            sums = add(sums, batch, *states)
        return _means(sums)

    return evaluate


def _adder(
    graph: nnx.GraphDef,
    mean: Sequence[float],
    std: Sequence[float],
    mesh: jax.sharding.Mesh | None,
) -> Callable[..., Sums]:
    """A function that adds a batch to the sums."""

    def add(sums: Sums, batch: Any, *states: Any) -> Sums:
        images, labels, mask = shard_batch(batch, mesh)
        logits = nnx.merge(graph, *states)(normalize(images, mean, std))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = logits.argmax(-1) == labels
        return {
            "count": sums["count"] + mask.sum(),
            "loss": sums["loss"] + (losses * mask).sum(),
            "accuracy": sums["accuracy"] + (right * mask).sum(),
        }

    return add


def _zeros() -> Sums:
    return {name: jnp.zeros(()) for name in ("count", "loss", "accuracy")}


def _means(sums: Sums) -> Sums:
    return {name: value / sums["count"] for name, value in sums.items() if name != "count"}
