"""The language model around a recurrent cell, and its loss on a segment of text."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxcv.functional._arguments import positive
from search.recurrent.cell import RecurrentCell, SearchCell, masked, uniform
from search.recurrent.dropout import Masks


class Segment(NamedTuple):
    """A piece of text, as many texts side by side as a batch has.

    Attributes:
        words: [steps, batch]; those at ``length`` and after are padding.
        targets: the word after each, [steps, batch].
        length: steps that count.
        hidden: the hidden state that the text before has led to [batch, units].
        masks: of dropout.
    """

    words: jax.Array
    targets: jax.Array
    length: jax.Array
    hidden: jax.Array
    masks: Masks | None = None


class Reading(NamedTuple):
    """What a model makes of a segment.

    Attributes:
        logits: of the word after each [steps, batch, vocabulary].
        states: hidden states before dropout [steps, batch, units]; after the segment's length the
            last one again.
        hidden: the last hidden state [batch, units].
    """

    logits: jax.Array
    states: jax.Array
    hidden: jax.Array


class LanguageModel(nnx.Module):
    """A recurrent cell between an embedding of words and a decoder with the same matrix.

    ``h_t = cell(E[word_t], h_{t-1})`` and ``logits_t = h_t E^T + b``.

    Args:
        cell: discrete or mixed.
        units: size of its hidden state.
        vocabulary: number of words.
        rngs: source of the initial values.
    """

    def __init__(
        self, cell: RecurrentCell | SearchCell, units: int, vocabulary: int, *, rngs: nnx.Rngs
    ):
        positive(units=units, vocabulary=vocabulary)
        self.cell = cell
        self.embedding = nnx.Param(uniform(rngs.params(), (vocabulary, units)))
        self.bias = nnx.Param(jnp.zeros(vocabulary))

    def __call__(
        self,
        words: jax.Array,
        hidden: jax.Array,
        *mix: jax.Array,
        length: jax.Array | None = None,
        masks: Masks | None = None,
    ) -> Reading:
        """Reads words [steps, batch] in turn, beginning with a hidden state [batch, units].

        Args:
            words, hidden: as above.
            mix: the mixing weights [edges, activations], for a mixed cell.
            length: steps that count, by default all.
            masks: of dropout, by default none.
        """
        embedding = self.embedding[...]
        x = embedding[words]
        if masks is not None:
            x = x * masks.words[words][..., None] * masks.embedded * masks.inputs
        step = self.cell.step(None if masks is None else masks.hidden, *mix)

        def take(
            hidden: jax.Array, now: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, jax.Array]:
            time, projected = now
            after = step(projected, hidden)
            if length is not None:
                after = jnp.where(time < length, after, hidden)
            return after, after

        times = jnp.arange(len(words))
        hidden, states = lax.scan(take, hidden, (times, self.cell.kernels.project(x)))
        outputs = masked(states, None if masks is None else masks.outputs)
        return Reading(outputs @ embedding.T + self.bias[...], states, hidden)


class Found(NamedTuple):
    """What a model makes of a segment, over the words that count.

    Attributes:
        loss: the mean of ``-log softmax(logits)[target]``.
        change: ``mean((h_t - h_{t-1})^2)`` over all steps but the first, of the hidden states
            before dropout: what temporal activation regularisation keeps small (arXiv:1708.02182).
        hidden: the last hidden state [batch, units].
    """

    loss: jax.Array
    change: jax.Array
    hidden: jax.Array


def read(model: LanguageModel, segment: Segment, *mix: jax.Array) -> Found:
    """A segment as a model sees it."""
    words, targets, length, hidden, masks = segment
    logits, states, hidden = model(words, hidden, *mix, length=length, masks=masks)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    counts = jnp.arange(len(words))[:, None] < length
    loss = jnp.where(counts, losses, 0).sum() / (length * words.shape[1])
    # After the segment's length the hidden state stands still.
    squares = jnp.square(states[1:] - states[:-1]).sum()
    change = squares / (jnp.maximum(length - 1, 1) * hidden.size)
    return Found(loss, change, hidden)
