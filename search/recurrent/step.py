"""One step of a recurrent search, compiled: two segments, two gradients, two optimizers."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxcv.functional._arguments import positive
from jaxcv.genotype import RECURRENT
from jaxcv.training.loop import add_metrics
from jaxcv.training.randomness import Keys, key_data
from search.recurrent.cell import SearchCell
from search.recurrent.corpus import Corpus
from search.recurrent.dropout import Dropout
from search.recurrent.gradients import GRADIENTS, Descent
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
from search.recurrent.space import cell_of
from search.relaxation import softmax
from search.space import Alphas, Mix, Space


@dataclass(frozen=True)
class Config:
    """How to search. The defaults are those of arXiv:1806.09055 on Penn Treebank."""

    units: int = 300
    """Size of the hidden state, and of a word's embedding."""
    epochs: int = 50
    """Passes over the training text."""
    batch_size: int = 256
    """Streams of text side by side."""
    bptt: int = 35
    """Words of a stream in a segment, through which the gradient goes back in time; half as many in
    one segment of twenty."""
    learning_rate: float = 20.0
    """Of the weights; times a segment's length by ``bptt``."""
    clip: float = 0.25
    """Largest norm of the weights' gradient."""
    weight_decay: float = 5e-7
    """Of the weights, added to their gradient."""
    temporal: float = 1e-3
    """Of temporal activation regularisation: times the mean square of what a step changes."""
    dropout: Dropout = field(default_factory=Dropout)
    gradient: Literal["first_order", "second_order"] = "first_order"
    """Of the architecture weights."""
    alpha_learning_rate: float = 3e-3
    """Of the architecture weights (Adam)."""
    alpha_weight_decay: float = 1e-3
    """Of the architecture weights, added to their gradient."""

    def __post_init__(self) -> None:
        sizes = ("units", "epochs", "batch_size", "bptt")
        positive(**{name: getattr(self, name) for name in sizes})
        for name in ("learning_rate", "clip", "alpha_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a positive number")
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient={self.gradient!r}; allowed are {', '.join(GRADIENTS)}")


class SearchState(NamedTuple):
    """All that a search carries from step to step."""

    step: jax.Array
    key: jax.Array
    """The data of the key of the whole search; every use folds a name and a step into it."""
    weights: Any
    alphas: Alphas
    alpha_optimizer: optax.OptState
    train: Place
    valid: Place
    sums: dict[str, jax.Array]


class Texts(NamedTuple):
    """Padded streams of text on the device, for the weights and for the architecture weights."""

    train: jax.Array
    valid: jax.Array


class Search(NamedTuple):
    """The compiled parts of a search, made by ``build``."""

    init: Callable[[jax.Array], SearchState]
    """A fresh state from a key."""
    update: Callable[[SearchState, Segment, Segment], SearchState]
    """One step on a training and a validation segment, without moving on in the texts."""
    advance: Callable[[SearchState, Texts, int], SearchState]
    """A number of steps within an epoch, on segments in turn; the state given is used up."""
    mix: Callable[[SearchState], Mix]
    """The mixing weights of a state."""
    texts: Texts
    steps_per_epoch: int


def build(space: Space, config: Config, corpus: Corpus) -> Search:
    """The functions of a search.

    Args:
        space: what to search, of ``recurrent``.
        config: how.
        corpus: whose training part the weights learn from, and whose validation part the
            architecture weights.

    Raises:
        ValueError: for a space of other cells, or a batch larger than half of a part of the text.
    """
    vocabulary, lengths = len(corpus.vocabulary), Lengths(config.bptt)
    texts = Texts(
        *(
            padded_streams(words, config.batch_size, lengths.limit)
            for words in (corpus.train, corpus.valid)
        )
    )
    steps_per_epoch = segments_per_epoch(texts.train, lengths)

    def make(rngs: nnx.Rngs) -> LanguageModel:
        cell = SearchCell(cell_of(space), config.units, rngs=rngs)
        return LanguageModel(cell, config.units, vocabulary, rngs=rngs)

    graph, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    decode = softmax(space).decode
    alpha_optimizer = optax.chain(
        optax.add_decayed_weights(config.alpha_weight_decay),
        optax.adam(config.alpha_learning_rate),
    )

    def init(key: jax.Array) -> SearchState:
        keys = Keys(key)
        weights = nnx.to_pure_dict(nnx.state(make(nnx.Rngs(keys("weights")))))
        alphas = space.init_alphas(keys("alphas"))
        return SearchState(
            jnp.zeros((), jnp.int32),
            key_data(key),
            weights,
            alphas,
            alpha_optimizer.init(alphas),
            start(config.batch_size, config.units),
            start(config.batch_size, config.units),
            {"loss": jnp.zeros(()), "valid_loss": jnp.zeros(())},
        )

    def update(state: SearchState, train: Segment, valid: Segment) -> SearchState:
        step, weights, alphas = state.step, state.weights, state.alphas

        def found(weights: Any, alphas: Alphas, segment: Segment) -> Found:
            return read(nnx.merge(graph, weights), segment, decode(alphas)[RECURRENT])

        def loss(weights: Any, alphas: Alphas, segment: Segment) -> tuple[jax.Array, jax.Array]:
            of = found(weights, alphas, segment)
            return of.loss, of.hidden

        def regularized(weights: Any) -> tuple[jax.Array, Found]:
            of = found(weights, alphas, train)
            return of.loss + config.temporal * of.change, of

        rate = config.learning_rate * train.length / config.bptt
        descent = Descent(rate, config.clip, config.weight_decay)
        value, gradient = GRADIENTS[config.gradient](loss, descent, weights, alphas, train, valid)
        change, alpha_state = alpha_optimizer.update(gradient, state.alpha_optimizer, alphas)
        alphas = optax.apply_updates(alphas, change)

        (_, learned), gradient = jax.value_and_grad(regularized, has_aux=True)(weights)
        weights = descent.step(weights, gradient)
        valid_loss, valid_hidden = value
        sums = add_metrics(
            state.sums,
            {"loss": learned.loss, "valid_loss": valid_loss},
            step % steps_per_epoch == 0,
        )
        return SearchState(
            step + 1,
            state.key,
            weights,
            alphas,
            alpha_state,
            state.train._replace(hidden=learned.hidden),
            state.valid._replace(hidden=valid_hidden),
            sums,
        )

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: SearchState, texts: Texts, steps: jax.Array) -> SearchState:
        keys, sizes = Keys(state.key), (vocabulary, config.batch_size, config.units)

        def step_once(_: jax.Array, state: SearchState) -> SearchState:
            step, limit = state.step, lengths.limit
            train = take(
                texts.train,
                state.train,
                lengths.draw(keys("length", step)),
                limit,
                config.dropout.masks(keys("train dropout", step), *sizes),
            )
            valid = take(
                texts.valid,
                state.valid,
                limit,
                limit,
                config.dropout.masks(keys("valid dropout", step), *sizes),
            )
            state = update(state, train, valid)
            return state._replace(
                train=move(texts.train, state.train, train.length, limit),
                valid=move(texts.valid, state.valid, valid.length, limit),
            )

        return lax.fori_loop(0, steps, step_once, state)

    @jax.jit
    def mix(state: SearchState) -> Mix:
        return decode(state.alphas)

    return Search(init, jax.jit(update), advance, mix, texts, steps_per_epoch)
