"""Controllers: distributions over the points of a discrete space, with weights to learn.

A controller takes one decision after the other, each with the probabilities ``softmax(logits)`` of
its options. Logits are as wide as the largest decision; what a smaller one has not is never taken.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

# Finite, since zero probability times minus infinity were not a number in the entropy.
_NEVER = -1e9

Pick = Callable[[jax.Array, Any], jax.Array]
"""From the logits of a decision and what is given for it to the option taken."""


class Controller(Protocol):
    """A distribution over points."""

    def unroll(self, given: jax.Array, pick: Pick) -> tuple[jax.Array, jax.Array]:
        """Takes all decisions in turn.

        Args:
            given: for each decision what ``pick`` needs, [decisions, ...].
            pick: takes an option.

        Returns:
            The options taken, [decisions], and the logits of each decision, [decisions, options].
        """


def draw(controller: Controller, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A point drawn by a controller, and the logits that led to it.

    Args:
        controller: to draw from.
        noise: Gumbel, [decisions, options]: the largest of ``logits + noise`` has the
            probabilities ``softmax(logits)``.
    """
    return controller.unroll(noise, lambda logits, noise: jnp.argmax(logits + noise))


def read(controller: Controller, point: jax.Array) -> jax.Array:
    """The logits, [decisions, options], that a controller has on its way to a point."""
    return controller.unroll(point, lambda _, choice: choice)[1]


def log_probability(logits: jax.Array, point: jax.Array) -> jax.Array:
    """Of a point, given the logits on the way to it."""
    taken = jnp.take_along_axis(jax.nn.log_softmax(logits), point[:, None], axis=1)
    return jnp.sum(taken)


def entropy(logits: jax.Array) -> jax.Array:
    """Of all decisions together, each given those before it, in nats."""
    return -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits))


class Table(nnx.Module):
    """Logits that are learned themselves, so that no decision depends on another.

    As for REINFORCE on NAS-Bench-201 (arXiv:2001.00326).

    Args:
        options: how many each decision has.
        scale: standard deviation of the logits at first.
        rngs: source of the initial values.
    """

    def __init__(self, options: Sequence[int], *, scale: float = 1e-3, rngs: nnx.Rngs):
        self.options = tuple(options)
        shape = (len(options), max(options))
        self.logits = nnx.Param(scale * jax.random.normal(rngs.params(), shape))

    def unroll(self, given: jax.Array, pick: Pick) -> tuple[jax.Array, jax.Array]:
        """As of every controller."""
        logits = jnp.where(_exists(self.options), self.logits[...], _NEVER)
        return jax.vmap(pick)(logits, given), logits


class LSTM(nnx.Module):
    """A long short-term memory that reads each option taken and answers with the next logits.

    Each decision has its own readout and its own embedding of its options, as in NASNet's
    (arXiv:1707.07012). ``logits = c tanh((h W_t + b_t) / temperature)`` (arXiv:1802.03268), without
    the tanh if there is no constant c.

    Args:
        options: how many each decision has.
        hidden: units of a layer, and of the embeddings.
        layers: of memory, one upon the other.
        scale: weights are uniform in [-scale, scale] at first, biases zero.
        temperature: divides the logits.
        tanh_constant: the largest logit; None for no bound.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        options: Sequence[int],
        *,
        hidden: int = 100,
        layers: int = 1,
        scale: float = 0.1,
        temperature: float = 1.0,
        tanh_constant: float | None = None,
        rngs: nnx.Rngs,
    ):
        self.options = tuple(options)
        self.temperature = temperature
        self.tanh_constant = tanh_constant

        def uniform(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, -scale, scale)

        self.layers = nnx.List(
            nnx.OptimizedLSTMCell(
                hidden,
                hidden,
                # The default ones cannot be pickled.
                gate_fn=lax.logistic,
                activation_fn=lax.tanh,
                kernel_init=uniform,
                recurrent_kernel_init=uniform,
                rngs=rngs,
            )
            for _ in range(layers)
        )
        decisions, widest = len(options), max(options)
        self.start = nnx.Param(uniform(rngs.params(), (hidden,)))
        self.embeddings = nnx.Param(uniform(rngs.params(), (decisions, widest, hidden)))
        self.readouts = nnx.Param(uniform(rngs.params(), (decisions, hidden, widest)))
        self.biases = nnx.Param(jnp.zeros((decisions, widest)))

    def unroll(self, given: jax.Array, pick: Pick) -> tuple[jax.Array, jax.Array]:
        """As of every controller."""

        def decide(before: Any, decision: Any) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            x, memories = before
            embedding, readout, bias, exists, given = decision
            after = []
            for layer, memory in zip(self.layers, memories, strict=True):
                memory, x = layer(memory, x)
                after.append(memory)
            logits = jnp.where(exists, self._bound(x @ readout + bias), _NEVER)
            choice = pick(logits, given)
            return (embedding[choice], after), (choice, logits)

        start = self.start[...]
        memories = [(jnp.zeros_like(start), jnp.zeros_like(start)) for _ in self.layers]
        rows = (
            self.embeddings[...],
            self.readouts[...],
            self.biases[...],
            _exists(self.options),
            given,
        )
        _, (choices, logits) = lax.scan(decide, (start, memories), rows)
        return choices, logits

    def _bound(self, logits: jax.Array) -> jax.Array:
        logits = logits / self.temperature
        if self.tanh_constant is None:
            return logits
        return self.tanh_constant * jnp.tanh(logits)


def _exists(options: tuple[int, ...]) -> jax.Array:
    return jnp.arange(max(options)) < jnp.asarray(options)[:, None]
