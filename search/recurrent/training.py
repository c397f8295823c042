"""Training the language model of a recurrent genotype, compiled: state, step, averaged SGD."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxcv.functional._arguments import positive
from jaxcv.genotype import Genotype
from jaxcv.training.loop import add_metrics
from jaxcv.training.randomness import Keys
from search.recurrent.cell import RecurrentCell
from search.recurrent.dropout import Dropout
from search.recurrent.evaluation import Pass, evaluator
from search.recurrent.gradients import Descent
from search.recurrent.model import Found, LanguageModel, Segment, read
from search.recurrent.segments import (
    Lengths,
    Place,
    move,
    padded_streams,
    segments_per_epoch,
    start,
    take,
)
from search.recurrent.space import recurrent_cell


@dataclass(frozen=True)
class Config:
    """How to train the language model of a genotype. The defaults are those of arXiv:1806.09055 on
    Penn Treebank."""

    units: int = 850
    """Size of the hidden state, and of a word's embedding."""
    epochs: int = 8000
    """Passes over the training text."""
    batch_size: int = 64
    """Streams of text side by side."""
    bptt: int = 35
    """Words of a stream in a segment, through which the gradient goes back in time, on average;
    half as many in one segment of twenty."""
    bptt_deviation: float = 5.0
    """How much that varies."""
    learning_rate: float = 20.0
    """Times a segment's length by ``bptt``."""
    clip: float = 0.25
    """Largest norm of the gradient."""
    weight_decay: float = 8e-7
    """Added to the gradient."""
    temporal: float = 1e-3
    """Of temporal activation regularisation: times the mean square of what a step changes."""
    dropout: Dropout = field(default_factory=lambda: Dropout(words=0.1))
    patience: int = 5
    """Weights are averaged from the epoch on whose validation loss is larger than the smallest of
    all before it but this many."""
    evaluation_batch_size: int = 10
    """Streams that the validation and the test text are cut into."""

    def __post_init__(self) -> None:
        sizes = ("units", "epochs", "batch_size", "bptt", "evaluation_batch_size")
        positive(**{name: getattr(self, name) for name in sizes})
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a positive number")
        for name in ("patience", "bptt_deviation"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is at least 0")


class TrainState(NamedTuple):
    """All that a training carries from step to step.

    Attributes:
        step: steps taken.
        key: the data of the key of the whole training; every use folds a name and a step into it.
        weights: that the steps move.
        average: of them since averaging began, until then the weights themselves.
        averaged: how many are in the average, 0 until then.
        place: how far the text has been read.
        losses: on the validation text after each epoch [epochs].
        sums: this epoch's, of metrics.
    """

    step: jax.Array
    key: jax.Array
    weights: Any
    average: Any
    averaged: jax.Array
    place: Place
    losses: jax.Array
    sums: dict[str, jax.Array]


class Training(NamedTuple):
    """The compiled parts of a training, made by ``build``."""

    init: Callable[[jax.Array], TrainState]
    """A fresh state from a key."""
    update: Callable[[TrainState, Segment], TrainState]
    """One step on a segment, without moving on in the text."""
    advance: Callable[[TrainState, jax.Array, int], TrainState]
    """A number of steps within an epoch, on segments in turn; the state given is used up."""
    record: Callable[[TrainState, jax.Array], TrainState]
    """Ends an epoch with its validation loss, which may be the sign to begin to average."""
    evaluate: Callable[[Any, Pass], jax.Array]
    """The loss of weights, the average of a state, on a whole text."""
    model: Callable[[TrainState], LanguageModel]
    """The language model of a state's average."""
    text: jax.Array
    steps_per_epoch: int


def network(genotype: Genotype, units: int, vocabulary: int, *, rngs: nnx.Rngs) -> LanguageModel:
    """The language model of a recurrent genotype.

    Raises:
        ValueError: for a genotype of other cells, or numbers below 1.
    """
    cell = RecurrentCell(recurrent_cell(genotype), units, rngs=rngs)
    return LanguageModel(cell, units, vocabulary, rngs=rngs)


def build(genotype: Genotype, config: Config, *, vocabulary: int, words: np.ndarray) -> Training:
    """The functions of a training.

    Args:
        genotype, config: what to train and how.
        vocabulary: number of words.
        words: the text to learn from, as numbers [words].

    Raises:
        ValueError: for a genotype of other cells, or a batch larger than half of the text.
    """
    lengths = Lengths(config.bptt, config.bptt_deviation)
    text = padded_streams(words, config.batch_size, lengths.limit)
    steps_per_epoch = segments_per_epoch(text, lengths)
    make = functools.partial(network, genotype, config.units, vocabulary)
    graph, _ = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))

    def init(key: jax.Array) -> TrainState:
        weights = nnx.to_pure_dict(nnx.state(make(rngs=nnx.Rngs(Keys(key)("weights")))))
        return TrainState(
            jnp.zeros((), jnp.int32),
            jax.random.key_data(key),
            weights,
            # A copy, as both are given away to ``advance``.
            jax.tree.map(jnp.copy, weights),
            jnp.zeros((), jnp.int32),
            start(config.batch_size, config.units),
            jnp.zeros(config.epochs),
            {"loss": jnp.zeros(())},
        )

    def update(state: TrainState, segment: Segment) -> TrainState:
        def regularized(weights: Any) -> tuple[jax.Array, Found]:
            found = read(nnx.merge(graph, weights), segment)
            return found.loss + config.temporal * found.change, found

        (_, found), gradient = jax.value_and_grad(regularized, has_aux=True)(state.weights)
        rate = config.learning_rate * segment.length / config.bptt
        weights = Descent(rate, config.clip, config.weight_decay).step(state.weights, gradient)
        average, averaged = add_to_average(state.average, state.averaged, weights)
        first = state.step % steps_per_epoch == 0
        return state._replace(
            step=state.step + 1,
            weights=weights,
            average=average,
            averaged=averaged,
            place=state.place._replace(hidden=found.hidden),
            sums=add_metrics(state.sums, {"loss": found.loss}, first),
        )

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: TrainState, text: jax.Array, steps: jax.Array) -> TrainState:
        keys, sizes = Keys(state.key), (vocabulary, config.batch_size, config.units)

        def step_once(_: jax.Array, state: TrainState) -> TrainState:
            step, limit = state.step, lengths.limit
            length = lengths.draw(keys("length", step))
            masks = config.dropout.masks(keys("dropout", step), *sizes)
            segment = take(text, state.place, length, limit, masks)
            state = update(state, segment)
            return state._replace(place=move(text, state.place, segment.length, limit))

        return lax.fori_loop(0, steps, step_once, state)

    @functools.partial(jax.jit, donate_argnums=0)
    def record(state: TrainState, loss: jax.Array) -> TrainState:
        epoch = state.step // steps_per_epoch - 1
        begins = (state.averaged == 0) & rises(state.losses, epoch, loss, config.patience)
        return state._replace(
            # The present weights, which ``average`` holds, are its first.
            averaged=jnp.where(begins, 1, state.averaged),
            losses=state.losses.at[epoch].set(loss),
        )

    def model(state: TrainState) -> LanguageModel:
        return nnx.merge(graph, state.average)

    return Training(
        init,
        jax.jit(update),
        advance,
        record,
        evaluator(graph),
        model,
        text,
        steps_per_epoch,
    )


def add_to_average(average: Any, count: jax.Array, weights: Any) -> tuple[Any, jax.Array]:
    """The mean of ``count`` weights and those given, and how many that are; with a count of 0, for
    not averaging, those given and 0."""
    averaging = count > 0
    moved = jax.tree.map(
        lambda mean, w: jnp.where(averaging, mean + (w - mean) / (count + 1), w), average, weights
    )
    return moved, count + averaging


def rises(losses: jax.Array, epoch: jax.Array, loss: jax.Array, patience: int) -> jax.Array:
    """Whether a loss is larger than the smallest of all before it but the last ``patience``: the
    sign to begin to average (arXiv:1708.02182, algorithm 1).

    Args:
        losses: [epochs], those of the epochs before in front.
        epoch: how many these are.
        loss: the one of this epoch.
        patience: how many of them are left out.
    """
    before = jnp.arange(len(losses)) < epoch - patience
    return loss > jnp.min(losses, initial=jnp.inf, where=before)
