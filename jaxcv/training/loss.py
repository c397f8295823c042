"""Losses and metrics of classification."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over the batch of ``-log softmax(logits)[label]``: [batch, classes] and integers
    [batch] to a scalar."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of the batch whose largest logit is the label's: a scalar in 0..1."""
    return jnp.mean(logits.argmax(-1) == labels, dtype=logits.dtype)
