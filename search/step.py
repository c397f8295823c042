"""One step of a search, compiled: two batches, two gradients, two optimizers."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxcv.data import Augmentation, augment, epoch_order, random_batch
from jaxcv.functional._arguments import positive
from jaxcv.models.network import check_images
from jaxcv.models.skeleton import CIFAR, least_size
from jaxcv.training.loop import add_metrics
from jaxcv.training.loss import accuracy, cross_entropy
from jaxcv.training.parallel import shard_batch
from jaxcv.training.randomness import Keys
from jaxcv.training.schedule import cosine_by_epoch
from search import bilevel, relaxation
from search.space import Alphas, Mix, Space
from search.supernet import SearchNetwork


@dataclass(frozen=True)
class Config:
    """How to search. The defaults are those of arXiv:1806.09055 on CIFAR-10."""

    channels: int = 16
    """Channels of the first cell."""
    layers: int = 8
    """Number of cells."""
    epochs: int = 50
    """Passes over the half of the images that the weights learn from."""
    batch_size: int = 64
    """Images in a batch, of either half."""
    learning_rate: float = 0.025
    """Of the weights, at the start; falls along a cosine, epoch by epoch."""
    learning_rate_end: float = 0.001
    """Of the weights, at the end."""
    momentum: float = 0.9
    """Of the weights' gradients."""
    weight_decay: float = 3e-4
    """Of the weights, added to their gradient."""
    clip: float = 5.0
    """Largest norm of the weights' gradient."""
    alpha_learning_rate: float = 3e-4
    """Of the architecture weights (Adam)."""
    alpha_beta1: float = 0.5
    """Decay of the architecture gradients' mean."""
    alpha_beta2: float = 0.999
    """Decay of their squares' mean."""
    alpha_weight_decay: float = 1e-3
    """Of the architecture weights, added to their gradient."""
    gradient: str = "first_order"
    """Of the architecture weights: first_order, second_order (by a finite difference, as
    published), unrolled (exact), neumann or conjugate_gradient (implicit)."""
    gradient_steps: int = 1
    """Steps that unrolled looks ahead, terms of neumann, iterations of conjugate_gradient."""
    damping: float = 1.0
    """Added to the diagonal of the Hessian by neumann and conjugate_gradient."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in; parameters, batch statistics and losses are float32."""

    def __post_init__(self) -> None:
        sizes = ("channels", "layers", "epochs", "batch_size", "gradient_steps")
        positive(**{name: getattr(self, name) for name in sizes})
        for name in ("learning_rate", "clip", "alpha_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a positive number")
        if not self.damping >= 0:
            raise ValueError(f"damping={self.damping!r}; allowed is 0 or more")
        if self.gradient not in bilevel.GRADIENTS:
            raise ValueError(
                f"gradient={self.gradient!r}; allowed are {', '.join(bilevel.GRADIENTS)}"
            )


Batch = tuple[jax.Array, jax.Array]
METRICS = ("loss", "accuracy", "valid_loss", "valid_accuracy")


class SearchState(NamedTuple):
    """All that a search carries from step to step. Of S searches at once every array but the step
    has a leading axis [S]."""

    step: jax.Array
    weights: Any
    alphas: Alphas
    weight_optimizer: optax.OptState
    alpha_optimizer: optax.OptState
    sums: dict[str, jax.Array]


class Images(NamedTuple):
    """Device-resident images, uint8 [N, H, W, C], labels [N], and the rows of the two halves, which
    are [S, N / 2] for S searches at once."""

    images: jax.Array
    labels: jax.Array
    train: jax.Array
    valid: jax.Array


class Search(NamedTuple):
    """The compiled parts of a search, made by ``build``."""

    init: Callable[[], SearchState]
    """A fresh state."""
    update: Callable[[SearchState, Batch, Batch], SearchState]
    """One step on a training and a validation batch."""
    advance: Callable[[SearchState, Images, int], SearchState]
    """A number of steps within an epoch, on batches drawn inside; the state given is used up."""
    mix: Callable[[SearchState], Mix]
    """The mixing weights of a state."""
    learning_rate: optax.Schedule
    steps_per_epoch: int


def build(
    space: Space,
    config: Config,
    key: jax.Array,
    *,
    count: int,
    image_shape: tuple[int, int, int],
    num_classes: int,
    augmentation: Augmentation,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    mesh: jax.sharding.Mesh | None = None,
) -> Search:
    """The functions of a search.

    Args:
        space, config: what to search and how.
        key: of the whole search; every use folds a name and a step into it. An array of S keys is
            S searches at once, in one program.
        count: images in the half that the weights learn from.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        augmentation, mean, std: of the data set.
        mesh: devices to spread each batch over, if any.

    Raises:
        ValueError: for a batch larger than a half, or images too small for two reductions.
    """
    steps_per_epoch = count // config.batch_size
    if steps_per_epoch < 1:
        raise ValueError(
            f"batch_size={config.batch_size!r}; allowed are 1 to {count}, half of the images"
        )
    make = functools.partial(
        SearchNetwork,
        space,
        config.channels,
        config.layers,
        num_classes,
        inputs=image_shape[-1],
        dtype=jnp.dtype(config.dtype),
    )
    graph, _ = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    least = least_size(CIFAR, auxiliary=False)
    check_images((config.batch_size, *image_shape), image_shape[-1], least)
    relax = relaxation.softmax(space)
    schedule = cosine_by_epoch(
        config.learning_rate, config.learning_rate_end, config.epochs, steps_per_epoch
    )
    weight_optimizer = optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(schedule, momentum=config.momentum),
    )
    alpha_optimizer = optax.chain(
        optax.add_decayed_weights(config.alpha_weight_decay),
        optax.adam(config.alpha_learning_rate, b1=config.alpha_beta1, b2=config.alpha_beta2),
    )

    # What of a state and of the images differs among searches.
    each = SearchState._make((None, 0, 0, 0, 0, 0))
    halves = Images._make((None, None, 0, 0))

    def over_searches(function: Callable[..., Any], axes: Any, results: Any) -> Callable[..., Any]:
        mapped = jax.vmap(function, (0, *axes), results) if key.ndim else function
        return lambda *arguments: mapped(key, *arguments)

    def init(key: jax.Array) -> SearchState:
        keys = Keys(key)
        network = make(rngs=nnx.Rngs(keys("weights")))
        weights = nnx.to_pure_dict(nnx.state(network))
        alphas = space.init_alphas(keys("alphas"))
        return SearchState(
            jnp.zeros((), jnp.int32),
            weights,
            alphas,
            weight_optimizer.init(weights),
            alpha_optimizer.init(alphas),
            {name: jnp.zeros(()) for name in METRICS},
        )

    def init_all() -> SearchState:
        if not key.ndim:
            return init(key)
        states = [init(key[number]) for number in range(len(key))]
        return jax.tree.map(lambda *a: jnp.stack(a), *states)._replace(step=states[0].step)

    def update(key: jax.Array, state: SearchState, train: Batch, valid: Batch) -> SearchState:
        keys, step, weights, alphas = Keys(key), state.step, state.weights, state.alphas

        def loss(weights: Any, alphas: Alphas, batch: Batch) -> tuple[jax.Array, jax.Array]:
            images, labels = batch
            logits = nnx.merge(graph, weights)(images, relax(alphas, keys("mix", step), step))
            return cross_entropy(logits, labels), accuracy(logits, labels)

        inner = bilevel.Inner(
            schedule(step),
            config.momentum,
            config.weight_decay,
            optax.tree_utils.tree_get(state.weight_optimizer, "trace"),
            config.gradient_steps,
            config.damping,
        )
        (valid_loss, valid_accuracy), gradient = bilevel.GRADIENTS[config.gradient](
            loss, inner, weights, alphas, train, valid
        )
        change, alpha_state = alpha_optimizer.update(gradient, state.alpha_optimizer, alphas)
        alphas = optax.apply_updates(alphas, change)

        (train_loss, train_accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(
            weights, alphas, train
        )
        change, weight_state = weight_optimizer.update(gradient, state.weight_optimizer, weights)
        weights = optax.apply_updates(weights, change)

        metrics = (train_loss, train_accuracy, valid_loss, valid_accuracy)
        sums = add_metrics(
            state.sums, dict(zip(METRICS, metrics, strict=True)), step % steps_per_epoch == 0
        )
        return SearchState(step + 1, weights, alphas, weight_state, alpha_state, sums)

    def batch(data: Images, rows: jax.Array, key: jax.Array) -> Batch:
        images = augment(key, data.images[rows], augmentation, mean, std)
        return shard_batch((images, data.labels[rows]), mesh)

    def advance(key: jax.Array, state: SearchState, data: Images, steps: jax.Array) -> SearchState:
        keys = Keys(key)
        order = epoch_order(keys("order"), state.step // steps_per_epoch, data.train.size)

        def step_once(_: jax.Array, state: SearchState) -> SearchState:
            step, size = state.step, config.batch_size
            start = step % steps_per_epoch * size
            train = data.train[lax.dynamic_slice(order, (start,), (size,))]
            valid = data.valid[random_batch(keys("valid rows", step), data.valid.size, size)]
            return update(
                key,
                state,
                batch(data, train, keys("train images", step)),
                batch(data, valid, keys("valid images", step)),
            )

        return lax.fori_loop(0, steps, step_once, state)

    def mix(key: jax.Array, state: SearchState) -> Mix:
        return relax(state.alphas, Keys(key)("mix", state.step), state.step)

    return Search(
        init_all,
        jax.jit(over_searches(update, (each, 0, 0), each)),
        jax.jit(over_searches(advance, (each, halves, None), each), donate_argnums=0),
        jax.jit(over_searches(mix, (each,), 0)),
        schedule,
        steps_per_epoch,
    )
