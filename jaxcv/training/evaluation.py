"""Evaluation of a network on a whole split, compiled."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxcv.data import normalize
from jaxcv.training.parallel import shard_batch


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

    @jax.jit
    def evaluate(batches: Any, *states: Any) -> dict[str, jax.Array]:
        model = nnx.merge(graph, *states)

        def add(sums: dict[str, jax.Array], batch: Any) -> tuple[dict[str, jax.Array], None]:
            images, labels, mask = shard_batch(batch, mesh)
            logits = model(normalize(images, mean, std))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            right = logits.argmax(-1) == labels
            return {
                "count": sums["count"] + mask.sum(),
                "loss": sums["loss"] + (losses * mask).sum(),
                "accuracy": sums["accuracy"] + (right * mask).sum(),
            }, None

        zeros = dict.fromkeys(("count", "loss", "accuracy"), jnp.zeros(()))
        sums, _ = lax.scan(add, zeros, batches)
        count = sums.pop("count")
        return {name: value / count for name, value in sums.items()}

    return evaluate
