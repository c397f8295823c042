"""One step of a search, compiled: two batches, two gradients, two optimizers."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxcv.data import Augmentation, augment, epoch_order, normalize, random_batch
from jaxcv.models.network import check_images
from jaxcv.models.skeleton import CIFAR, least_size
from jaxcv.training.loop import add_metrics
from jaxcv.training.loss import accuracy, cross_entropy
from jaxcv.training.optimizer import clipped_sgd
from jaxcv.training.parallel import shard_batch
from jaxcv.training.randomness import Keys, key_data
from jaxcv.training.schedule import cosine_by_epoch, falling_by_epoch
from search import bilevel, watch
from search.config import Config
from search.relaxation import RELAXATIONS
from search.space import Alphas, Mix, Space
from search.supernet import SearchNetwork

Batch = tuple[jax.Array, jax.Array]
METRICS = ("loss", "accuracy", "valid_loss", "valid_accuracy")
OPEN = -1.0
"""Stands for a mixing weight that the architecture weights still determine."""


class SearchState(NamedTuple):
    """All that a search carries from step to step. Of S searches at once every array but the step
    has a leading axis [S]."""

    step: jax.Array
    key: jax.Array
    """The data of the key of the whole search; every use folds a name and a step into it. Here, so
    that one compiled program serves all seeds."""
    weights: Any
    alphas: Alphas
    weight_optimizer: optax.OptState
    alpha_optimizer: optax.OptState
    sums: dict[str, jax.Array]
    decided: Mix
    """Mixing weights that the architecture weights no longer determine, the others ``OPEN``; see
    ``search.perturbation``."""


class Images(NamedTuple):
    """Device-resident images, uint8 [N, H, W, C], labels [N], and the rows of the two halves, which
    are [S, N / 2] for S searches at once."""

    images: jax.Array
    labels: jax.Array
    train: jax.Array
    valid: jax.Array


class Search(NamedTuple):
    """The compiled parts of a search, made by ``build``."""

    init: Callable[[jax.Array], SearchState]
    """A fresh state from a key, or from S keys the state of S searches at once, which all that
    follows then takes in one program."""
    update: Callable[[SearchState, Batch, Batch], SearchState]
    """One step on a training and a validation batch."""
    advance: Callable[[SearchState, Images, int], SearchState]
    """A number of steps within an epoch, on batches drawn inside; the state given is used up."""
    mix: Callable[[SearchState], Mix]
    """The mixing weights that a state stands for, those to discretize."""
    eigenvalue: Callable[[SearchState, Images], jax.Array]
    """The largest eigenvalue of the Hessian of a validation batch's loss in the architecture
    weights, at the mixing weights that they stand for."""
    spectrum: Callable[[SearchState, Images], jax.Array]
    """All its eigenvalues, ascending."""
    valid_accuracy: Callable[[SearchState, Images, Any], jax.Array]
    """Of the supernet under any mixing weights, a fraction of the second half, without the images
    that fill no batch."""
    learning_rate: optax.Schedule
    steps_per_epoch: int


def build(
    space: Space,
    config: Config,
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
        count: images in the half that the weights learn from.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        augmentation, mean, std: of the data set.
        mesh: devices to spread each batch over, if any.

    Raises:
        ValueError: for a batch larger than a half, images too small for two reductions, or
            channels that ``config.partial`` does not divide.
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
        partial=config.partial,
        dtype=jnp.dtype(config.dtype),
    )
    graph, _ = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    least = least_size(CIFAR, auxiliary=False)
    check_images((config.batch_size, *image_shape), image_shape[-1], least)
    relaxation = RELAXATIONS[config.relaxation](space)
    # What comes after the search is tuning between decisions, for which this is the published rate.
    schedule = optax.join_schedules(
        [
            cosine_by_epoch(
                config.learning_rate, config.learning_rate_end, config.epochs, steps_per_epoch
            ),
            optax.constant_schedule(config.learning_rate / 10),
        ],
        [config.epochs * steps_per_epoch],
    )
    skip_dropout = falling_by_epoch(
        config.skip_dropout, config.epochs, config.alpha_warmup, steps_per_epoch
    )
    weight_optimizer = clipped_sgd(
        schedule, momentum=config.momentum, weight_decay=config.weight_decay, clip=config.clip
    )
    alpha_optimizer = optax.chain(
        optax.add_decayed_weights(config.alpha_weight_decay),
        optax.adam(config.alpha_learning_rate, b1=config.alpha_beta1, b2=config.alpha_beta2),
    )

    # What of a state and of the images differs among searches.
    each = SearchState._make((None, 0, 0, 0, 0, 0, 0, 0))
    halves = Images._make((None, None, 0, 0))

    def over_searches(function: Callable[..., Any], axes: Any, results: Any) -> Callable[..., Any]:
        mapped = jax.vmap(function, (each, *axes), results)
        return lambda state, *more: (mapped if state.key.ndim > 1 else function)(state, *more)

    def init_one(key: jax.Array) -> SearchState:
        keys = Keys(key)
        network = make(rngs=nnx.Rngs(keys("weights")))
        weights = nnx.to_pure_dict(nnx.state(network))
        alphas = relaxation.init(keys("alphas"))
        return SearchState(
            jnp.zeros((), jnp.int32),
            key_data(key),
            weights,
            alphas,
            weight_optimizer.init(weights),
            alpha_optimizer.init(alphas),
            {name: jnp.zeros(()) for name in METRICS},
            {
                kind: jnp.full(cell.allowed.shape, OPEN, jnp.float32)
                for kind, cell in space.cells.items()
            },
        )

    def init(key: jax.Array) -> SearchState:
        if not key.ndim:
            return init_one(key)
        states = [init_one(key[number]) for number in range(len(key))]
        return jax.tree.map(lambda *a: jnp.stack(a), *states)._replace(step=states[0].step)

    def update(state: SearchState, train: Batch, valid: Batch) -> SearchState:
        keys, step, weights, alphas = Keys(state.key), state.step, state.weights, state.alphas

        def loss(weights: Any, alphas: Alphas, batch: Batch) -> tuple[jax.Array, jax.Array]:
            images, labels = batch
            progress = jnp.minimum(step / (config.epochs * steps_per_epoch), 1)
            mix = relaxation.relax(alphas, keys("mix", step), progress)
            logits = nnx.merge(graph, weights)(
                images,
                _where_open(state.decided, mix),
                key=keys("network", step),
                skip_dropout=skip_dropout(step) if config.skip_dropout else None,
            )
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
        if config.penalty_weight:
            # Beside the loss, so that metrics are of the cross-entropy alone.
            penalty = jax.grad(relaxation.penalty)(alphas)
            gradient = jax.tree.map(lambda g, p: g + config.penalty_weight * p, gradient, penalty)
        change, alpha_state = alpha_optimizer.update(gradient, state.alpha_optimizer, alphas)
        alphas = optax.apply_updates(alphas, change)
        if config.alpha_warmup:
            moves = step >= config.alpha_warmup * steps_per_epoch
            alphas, alpha_state = jax.tree.map(
                functools.partial(jnp.where, moves),
                (alphas, alpha_state),
                (state.alphas, state.alpha_optimizer),
            )

        (train_loss, train_accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(
            weights, alphas, train
        )
        change, weight_state = weight_optimizer.update(gradient, state.weight_optimizer, weights)
        weights = optax.apply_updates(weights, change)

        metrics = (train_loss, train_accuracy, valid_loss, valid_accuracy)
        sums = add_metrics(
            state.sums, dict(zip(METRICS, metrics, strict=True)), step % steps_per_epoch == 0
        )
        return SearchState(
            step + 1, state.key, weights, alphas, weight_state, alpha_state, sums, state.decided
        )

    def batch(data: Images, rows: jax.Array, key: jax.Array) -> Batch:
        images = augment(key, data.images[rows], augmentation, mean, std)
        return shard_batch((images, data.labels[rows]), mesh)

    def advance(state: SearchState, data: Images, steps: jax.Array) -> SearchState:
        keys = Keys(state.key)
        order = epoch_order(keys("order"), state.step // steps_per_epoch, data.train.size)

        def step_once(_: jax.Array, state: SearchState) -> SearchState:
            step, size = state.step, config.batch_size
            start = step % steps_per_epoch * size
            train = data.train[lax.dynamic_slice(order, (start,), (size,))]
            valid = data.valid[random_batch(keys("valid rows", step), data.valid.size, size)]
            return update(
                state,
                batch(data, train, keys("train images", step)),
                batch(data, valid, keys("valid images", step)),
            )

        return lax.fori_loop(0, steps, step_once, state)

    def mix(state: SearchState) -> Mix:
        return _where_open(state.decided, relaxation.decode(state.alphas))

    def watched_loss(state: SearchState, data: Images) -> watch.Loss:
        keys, step = Keys(state.key), state.step
        rows = random_batch(keys("watch rows", step), data.valid.size, config.batch_size)
        images, labels = batch(data, data.valid[rows], keys("watch images", step))
        network = nnx.merge(graph, state.weights)

        def loss(alphas: Alphas) -> jax.Array:
            mix = _where_open(state.decided, relaxation.decode(alphas))
            logits = network(images, mix, key=keys("watch network", step))
            return cross_entropy(logits, labels)

        return loss

    def eigenvalue(state: SearchState, data: Images) -> jax.Array:
        own = Keys(state.key)("watch", state.step)
        return watch.largest_eigenvalue(watched_loss(state, data), state.alphas, own)

    def spectrum(state: SearchState, data: Images) -> jax.Array:
        return watch.spectrum(watched_loss(state, data), state.alphas)

    def valid_accuracy(state: SearchState, data: Images, mix: Mix) -> jax.Array:
        batches = data.valid.size // config.batch_size
        rows = data.valid[: batches * config.batch_size].reshape(batches, -1)
        noise = Keys(state.key)("watch network", state.step)

        def share(rows: jax.Array) -> jax.Array:
            images, labels = shard_batch(
                (normalize(data.images[rows], mean, std), data.labels[rows]), mesh
            )
            return accuracy(nnx.merge(graph, state.weights)(images, mix, key=noise), labels)

        return lax.map(share, rows).mean()

    return Search(
        init,
        jax.jit(over_searches(update, (0, 0), each)),
        jax.jit(over_searches(advance, (halves, None), each), donate_argnums=0),
        jax.jit(over_searches(mix, (), 0)),
        jax.jit(over_searches(eigenvalue, (halves,), 0)),
        jax.jit(over_searches(spectrum, (halves,), 0)),
        jax.jit(over_searches(valid_accuracy, (halves, 0), 0)),
        schedule,
        steps_per_epoch,
    )


def _where_open(decided: Mix, mix: Mix) -> Mix:
    """What is decided, and mixing weights where nothing is."""
    return {kind: jnp.where(decided[kind] == OPEN, mix[kind], decided[kind]) for kind in mix}
