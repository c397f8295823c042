"""Losses and metrics of classification."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Mean over the batch of ``-log softmax(logits)[label]``: [batch, classes] and integers
    [batch] to a scalar. That part of each label is spread over all classes (arXiv:1512.00567)."""
    # Not by the label's index, which explicit shardings of the batch cannot be differentiated in.
    chosen = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(chosen, smoothing)).mean()


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of the batch whose largest logit is the label's: a scalar in 0..1."""
    return jnp.mean(logits.argmax(-1) == labels, dtype=logits.dtype)
