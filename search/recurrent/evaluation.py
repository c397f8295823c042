"""The loss of a language model on a whole text, in one pass that carries the hidden state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from jaxcv.functional._arguments import positive


class Pass(NamedTuple):
    """A text cut into as many streams as a batch has, and those into pieces of equal length.

    Attributes:
        words: [pieces, steps, batch].
        targets: the word after each.
        counts: whether it is one, or padding at the end.
    """

    words: jax.Array
    targets: jax.Array
    counts: jax.Array


def one_pass(words: np.ndarray, batch_size: int, steps: int) -> Pass:
    """A pass over a text, in which each word but the first is told once.

    Args:
        words: numbers of words [words].
        batch_size: streams side by side, each of which begins without a hidden state.
        steps: words of a stream at once, which the memory that is needed goes with.

    Raises:
        ValueError: for sizes below 1.
    """
    positive(batch_size=batch_size, steps=steps)
    count = len(words) - 1
    rows = -(-count // batch_size)
    pieces = -(-rows // steps)

    def cut(values: np.ndarray) -> jax.Array:
        streams = np.pad(values, (0, rows * batch_size - count)).reshape(batch_size, rows).T
        whole = np.pad(streams, ((0, pieces * steps - rows), (0, 0)))
        return jnp.asarray(whole.reshape(pieces, steps, batch_size))

    return Pass(cut(words[:-1]), cut(words[1:]), cut(np.ones(count, bool)))


def evaluator(graph: nnx.GraphDef) -> Callable[[Any, Pass], jax.Array]:
    """A compiled function of the weights of a ``LanguageModel`` and a pass over a text, that gives
    the mean of ``-log softmax(logits)[target]`` over its words. Its exponential is the perplexity.

    Args:
        graph: definition of the model, of ``nnx.split``.
    """

    @jax.jit
    def evaluate(weights: Any, text: Pass) -> jax.Array:
        model = nnx.merge(graph, weights)
        units = model.embedding[...].shape[1]
        hidden = jnp.zeros((text.words.shape[-1], units), model.embedding[...].dtype)

        def add(
            carry: tuple[jax.Array, jax.Array], piece: Pass
        ) -> tuple[tuple[jax.Array, jax.Array], None]:
            hidden, total = carry
            reading = model(piece.words, hidden)
            losses = optax.softmax_cross_entropy_with_integer_labels(reading.logits, piece.targets)
            return (reading.hidden, total + jnp.where(piece.counts, losses, 0).sum()), None

        (_, total), _ = lax.scan(add, (hidden, jnp.zeros((), hidden.dtype)), text)
        return total / text.counts.sum()

    return evaluate
