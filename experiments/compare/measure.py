"""What one model costs, counted and measured on this machine."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import analysis
from jaxcv.models import create_model
from jaxcv.models.registry import find

_DATA = {1000: "ImageNet", 10: "CIFAR-10"}


def measure(name: str, batches: Sequence[int], trials: int) -> dict[str, Any]:
    """A row of the comparison.

    Args:
        name: of the model.
        batches: numbers of images at once.
        trials: how often each is timed.

    Returns:
        "model", "family", "data", "top1" (percent or None), "source", "image_size", "parameters",
        "multiply_adds" and "activation_bytes" of one image, and "seconds": for each number of
        images at once, as text, the median, shortest and longest time of inference.
    """
    entry = find(name)
    # Weights of any value cost the same, so they need not be drawn.
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    graph, shapes = nnx.split(model)
    state = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), shapes)

    def logits(state: Any, images: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(images)

    def images(count: int) -> jax.ShapeDtypeStruct:
        size = entry.image_size
        return jax.ShapeDtypeStruct((count, size, size, 3), jnp.float32)

    seconds = {}
    for count in batches:
        x = jax.random.normal(jax.random.key(0), images(count).shape)
        latency = analysis.measure_latency(logits, state, x, trials=trials)
        seconds[str(count)] = latency._asdict()
    return {
        "model": name,
        "family": type(model).__name__,
        "data": _DATA.get(entry.num_classes, f"{entry.num_classes} classes"),
        "top1": entry.top1,
        "source": entry.source,
        "image_size": entry.image_size,
        "parameters": analysis.count_parameters(model),
        "multiply_adds": analysis.count_multiply_adds(logits, shapes, images(1)),
        "activation_bytes": analysis.count_activation_bytes(logits, shapes, images(1)),
        "seconds": seconds,
    }
