"""Searches by a controller that learns from the scores of what it has drawn."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from jax import lax

from jaxcv.functional._arguments import positive
from search.discrete import DiscreteSpace, Point
from search.strategies.controller import Controller, draw, entropy, log_probability, read
from search.strategies.strategy import Proposal


class Batch(NamedTuple):
    """Points that a controller learns from, each array [batch].

    Attributes:
        log_probability: of each point under the weights to be learned.
        drawn_log_probability: the same under those that it was drawn with.
        entropy: of the decisions on the way to each point, under the weights to be learned.
        advantage: by how much the reward was above the baseline.
    """

    log_probability: jax.Array
    drawn_log_probability: jax.Array
    entropy: jax.Array
    advantage: jax.Array


class Drawn(NamedTuple):
    """A point that was asked for, with its log probability and the entropy on the way to it."""

    point: Point
    log_probability: float
    entropy: float


class State(NamedTuple):
    """What a search by policy gradient knows.

    Attributes:
        space, seed, asked: what is searched, the seed, the number of asks.
        graph, weights, optimizer: the controller and the state of its optimizer.
        pending: points asked for and not told yet.
        lessons: points told and not learned from yet, each with its advantage.
        baseline: the moving averages of the rewards and of ones, of which it is the quotient.
        lowest: the lowest score told; None before the first.
    """

    space: DiscreteSpace
    seed: int
    asked: int
    graph: Any
    weights: Any
    optimizer: Any
    pending: tuple[Drawn, ...] = ()
    lessons: tuple[tuple[Drawn, float], ...] = ()
    baseline: tuple[float, float] = (0.0, 0.0)
    lowest: float | None = None


@dataclass(frozen=True)
class PolicyGradient:
    """Draws points from a controller and moves its weights, by Adam, towards those whose reward
    is above a baseline: the moving average of the rewards, this one included.

    What fails has the lowest score that was told before it. ``Reinforce``, ``TabularReinforce``,
    ``PPO`` and ``ENAS`` are methods of this kind with the settings of their papers.

    Attributes:
        controller: makes one, given how many options each decision has.
        objective: of a batch, to be minimised; hashable, as it is compiled.
        learning_rate: of Adam.
        decay: of the baseline.
        batch: points to an update.
        steps: of Adam in an update.
        entropy: weight of the entropy in the reward, ``score + entropy * H``.

    Raises:
        ValueError: for a batch or steps that are not positive, or a decay outside of 0 to 1.
    """

    controller: Callable[..., Controller]
    objective: Callable[[Batch], jax.Array]
    learning_rate: float
    decay: float
    batch: int = 1
    steps: int = 1
    entropy: float = 0.0

    def __post_init__(self) -> None:
        positive(batch=self.batch, steps=self.steps)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay!r}; allowed is at least 0 and below 1")

    def init(self, space: DiscreteSpace, seed: int) -> State:
        """A fresh controller."""
        controller = self.controller([len(names) for names in space.options], rngs=nnx.Rngs(seed))
        graph, weights = nnx.split(controller)
        return State(space, seed, 0, graph, weights, optax.adam(self.learning_rate).init(weights))

    def ask(self, state: State) -> tuple[Proposal, State]:
        """A point drawn from the controller."""
        random = np.random.default_rng((state.seed, state.asked))
        shape = len(state.space.options), max(map(len, state.space.options))
        while True:
            noise = random.gumbel(size=shape).astype(np.float32)
            choices, *rest = jax.device_get(_draw(state.graph, state.weights, noise))
            point = tuple(map(int, choices))
            if state.space.allowed(point):
                break
        pending = (*state.pending, Drawn(point, *map(float, rest)))
        return Proposal(point), state._replace(asked=state.asked + 1, pending=pending)

    def tell(self, state: State, proposal: Proposal, score: float | None) -> State:
        """Learns as soon as a batch is complete.

        Raises:
            ValueError: for a proposal that was not asked for.
        """
        points = [drawn.point for drawn in state.pending]
        if proposal.point not in points:
            raise ValueError(f"proposal={proposal!r}; allowed are points asked for: {points!r}")
        number = points.index(proposal.point)
        drawn = state.pending[number]
        state = state._replace(pending=state.pending[:number] + state.pending[number + 1 :])
        if score is None:
            score = state.lowest
        if score is None:
            return state
        reward = score + self.entropy * drawn.entropy
        rewards, ones = (
            self.decay * average + (1 - self.decay) * new
            for average, new in zip(state.baseline, (reward, 1.0), strict=True)
        )
        state = state._replace(
            lessons=(*state.lessons, (drawn, reward - rewards / ones)),
            baseline=(rewards, ones),
            lowest=score if state.lowest is None else min(score, state.lowest),
        )
        return state if len(state.lessons) < self.batch else self._learn(state)

    def _learn(self, state: State) -> State:
        drawn, advantages = zip(*state.lessons, strict=True)
        weights, optimizer = _update(
            state.graph,
            self.objective,
            self.steps,
            self.learning_rate,
            state.weights,
            state.optimizer,
            np.array([one.point for one in drawn], np.int32),
            np.array([one.log_probability for one in drawn], np.float32),
            np.array(advantages, np.float32),
        )
        return state._replace(weights=weights, optimizer=optimizer, lessons=())


@functools.partial(jax.jit, static_argnums=0)
def _draw(graph: Any, weights: Any, noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    choices, logits = draw(nnx.merge(graph, weights), noise)
    return choices, log_probability(logits, choices), entropy(logits)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _update(
    graph: Any,
    objective: Callable[[Batch], jax.Array],
    steps: int,
    learning_rate: float,
    weights: Any,
    optimizer: Any,
    points: jax.Array,
    drawn_log_probability: jax.Array,
    advantage: jax.Array,
) -> tuple[Any, Any]:
    def loss(weights: Any) -> jax.Array:
        controller = nnx.merge(graph, weights)
        logits = jax.vmap(functools.partial(read, controller))(points)
        return objective(
            Batch(
                jax.vmap(log_probability)(logits, points),
                drawn_log_probability,
                jax.vmap(entropy)(logits),
                advantage,
            )
        )

    def step(_: jax.Array, state: tuple[Any, Any]) -> tuple[Any, Any]:
        weights, optimizer = state
        updates, optimizer = optax.adam(learning_rate).update(jax.grad(loss)(weights), optimizer)
        return optax.apply_updates(weights, updates), optimizer

    return lax.fori_loop(0, steps, step, (weights, optimizer))
