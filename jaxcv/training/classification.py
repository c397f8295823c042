"""Training the network of an architecture to classify, compiled: state, step, evaluation."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxcv.data import Augmentation, Split, augment, epoch_order
from jaxcv.functional._arguments import check_dtype, positive
from jaxcv.models import SKELETONS, CellNetwork, Network
from jaxcv.models.architecture import Architecture, check_auxiliary, create_network
from jaxcv.models.network import check_images
from jaxcv.training.evaluation import evaluator, stream_evaluator
from jaxcv.training.loop import add_metrics
from jaxcv.training.loss import accuracy, cross_entropy
from jaxcv.training.optimizer import clipped_sgd
from jaxcv.training.parallel import replicated, shard_batch
from jaxcv.training.randomness import Keys, key_data
from jaxcv.training.schedule import cosine_by_epoch, exponential_by_epoch, linear_by_epoch


@dataclass(frozen=True)
class Config:
    """How to train the network of an architecture. The defaults are those of arXiv:1806.09055."""

    skeleton: str = "cifar"
    """What stands around normal and reduction cells: cifar, imagenet, nasnet or enas."""
    channels: int = 36
    """Channels of the first cell or layer."""
    layers: int = 20
    """Number of cells. A network of NAS-Bench-201 has a third of them, rounded down, in each of its
    stages; macro architectures have a number of their own, and motifs come three times."""
    epochs: int = 600
    """Passes over the training images."""
    batch_size: int = 96
    """Images in a batch."""
    learning_rate: float = 0.025
    """At the start."""
    learning_rate_decay: float = 0.0
    """Its factor from one epoch to the next; 0 for a cosine, epoch by epoch, that falls to 0."""
    momentum: float = 0.9
    """Of the gradients."""
    weight_decay: float = 3e-4
    """Added to the gradient."""
    clip: float = 5.0
    """Largest norm of the gradient."""
    label_smoothing: float = 0.0
    """Part of each label that is spread over all classes in the loss of training."""
    drop_path: float = 0.2
    """Probability at the end; rises linearly from 0, epoch by epoch. There are paths to drop in
    normal and reduction cells alone."""
    auxiliary_weight: float = 0.4
    """Of the auxiliary head's loss; 0 for no such head. Only networks of normal and reduction cells
    can have one."""
    cutout: int = 16
    """Side of the square that is cut out of training images, in pixels; 0 for none."""
    image_size: int = 0
    """Height and width, in pixels, that random crops of photographs are resized to, which are read
    as they are needed; 0 for a data set that is held in memory with images of one size."""
    evaluate_every: int = 1
    """Epochs between evaluations on the test images."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in; parameters, batch statistics and losses are float32."""

    def __post_init__(self) -> None:
        if self.skeleton not in SKELETONS:
            raise ValueError(f"skeleton={self.skeleton!r}; allowed are {', '.join(SKELETONS)}")
        positive(
            **{
                name: getattr(self, name)
                for name in ("channels", "layers", "epochs", "batch_size", "evaluate_every")
            }
        )
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a positive number")
        for name in ("weight_decay", "auxiliary_weight", "cutout", "image_size"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is at least 0")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum!r}; allowed is a number in [0, 1)")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path={self.drop_path!r}; allowed is a probability in [0, 1)")
        for name in ("label_smoothing", "learning_rate_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a number in [0, 1]")
        check_dtype(self.dtype)


Batch = tuple[jax.Array, jax.Array]
METRICS = ("loss", "accuracy")


class TrainState(NamedTuple):
    """All that a training carries from step to step."""

    step: jax.Array
    key: jax.Array
    """The data of the key of the whole training; every use folds a name and a step into it. Here,
    so that one compiled program serves all seeds."""
    weights: Any
    statistics: Any
    optimizer: optax.OptState
    sums: dict[str, jax.Array]


class Training(NamedTuple):
    """The compiled parts of a training, made by ``build``."""

    init: Callable[[jax.Array], TrainState]
    """A fresh state from a key."""
    update: Callable[[TrainState, Batch], TrainState]
    """One step on a batch."""
    advance: Callable[[TrainState, Split, int], TrainState]
    """A number of steps within an epoch, on batches drawn inside; the state given is used up."""
    stream_advance: Callable[[TrainState, Batch], TrainState]
    """One step on a batch of uint8 images, as they were read; the state given is used up."""
    evaluate: Callable[[TrainState, Any], dict[str, jax.Array]]
    """Loss and accuracy on the batches of ``padded_batches``."""
    stream_evaluate: Callable[[TrainState, Iterable[Any]], dict[str, jax.Array]]
    """The same on batches that come one after the other."""
    model: Callable[[TrainState], Network]
    """The network of a state."""
    learning_rate: optax.Schedule
    steps_per_epoch: int


def network(
    architecture: Architecture, config: Config, *, inputs: int, num_classes: int, rngs: nnx.Rngs
) -> Network:
    """The network that a configuration describes."""
    check_auxiliary(architecture, auxiliary_weight=config.auxiliary_weight)
    return create_network(
        architecture,
        SKELETONS[config.skeleton],
        config.channels,
        config.layers,
        num_classes,
        inputs=inputs,
        auxiliary=config.auxiliary_weight > 0,
        dtype=jnp.dtype(config.dtype),
        rngs=rngs,
    )


def build(
    architecture: Architecture,
    config: Config,
    *,
    count: int,
    image_shape: tuple[int, int, int],
    num_classes: int,
    augmentation: Augmentation,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    mesh: jax.sharding.Mesh | None = None,
) -> Training:
    """The functions of a training.

    Args:
        architecture, config: what to train and how.
        count: number of training images.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        augmentation, mean, std: of the data set.
        mesh: devices to spread each batch over, if any.

    Raises:
        ValueError: for a batch larger than the training set, an auxiliary head that the network
            cannot have, or images too small for the network.
    """
    steps_per_epoch = count // config.batch_size
    if steps_per_epoch < 1:
        raise ValueError(f"batch_size={config.batch_size!r}; allowed are 1 to {count}, all images")
    has_auxiliary = config.auxiliary_weight > 0
    heads = ("logits", "auxiliary") if has_auxiliary else ("logits",)
    make = functools.partial(
        network, architecture, config, inputs=image_shape[-1], num_classes=num_classes
    )
    abstract = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    check_images((config.batch_size, *image_shape), image_shape[-1], abstract.least_size)
    graph, _ = nnx.split(abstract)
    drops_paths = isinstance(abstract, CellNetwork)
    if config.learning_rate_decay:
        schedule = exponential_by_epoch(
            config.learning_rate, config.learning_rate_decay, steps_per_epoch
        )
    else:
        schedule = cosine_by_epoch(config.learning_rate, 0.0, config.epochs, steps_per_epoch)
    smooth_cross_entropy = functools.partial(cross_entropy, smoothing=config.label_smoothing)
    drop_path = linear_by_epoch(config.drop_path, config.epochs, steps_per_epoch)
    optimizer = clipped_sgd(
        schedule, momentum=config.momentum, weight_decay=config.weight_decay, clip=config.clip
    )

    def init(key: jax.Array) -> TrainState:
        fresh = make(rngs=nnx.Rngs(Keys(key)("weights")))
        weights = nnx.to_pure_dict(nnx.state(fresh, nnx.Param))
        statistics = nnx.to_pure_dict(nnx.state(fresh, nnx.BatchStat))
        return TrainState(
            jnp.zeros((), jnp.int32),
            key_data(key),
            weights,
            statistics,
            optimizer.init(weights),
            {name: jnp.zeros(()) for name in METRICS},
        )

    def update(state: TrainState, batch: Batch) -> TrainState:
        keys, step = Keys(state.key), state.step
        images, labels = batch

        def loss(weights: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            model = nnx.merge(graph, weights, state.statistics)
            options = {"drop_path": drop_path(step)} if drops_paths else {}
            found = model.features(
                images, heads, train=True, key=keys("drop path", step), **options
            )
            total = smooth_cross_entropy(found["logits"], labels)
            if has_auxiliary:
                total += config.auxiliary_weight * smooth_cross_entropy(found["auxiliary"], labels)
            statistics = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
            return total, (accuracy(found["logits"], labels), statistics)

        (total, (share, statistics)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.weights
        )
        change, optimizer_state = optimizer.update(gradient, state.optimizer, state.weights)
        weights = optax.apply_updates(state.weights, change)
        metrics = dict(zip(METRICS, (total, share), strict=True))
        sums = add_metrics(state.sums, metrics, step % steps_per_epoch == 0)
        return TrainState(step + 1, state.key, weights, statistics, optimizer_state, sums)

    def augmented_update(state: TrainState, batch: Batch) -> TrainState:
        images, labels = batch
        images = augment(Keys(state.key)("images", state.step), images, augmentation, mean, std)
        return update(state, shard_batch((images, labels), mesh))

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: TrainState, data: Split, steps: jax.Array) -> TrainState:
        keys = Keys(state.key)
        order = epoch_order(keys("order"), state.step // steps_per_epoch, count)

        def step_once(_: jax.Array, state: TrainState) -> TrainState:
            start = state.step % steps_per_epoch * config.batch_size
            rows = lax.dynamic_slice(order, (start,), (config.batch_size,))
            return augmented_update(state, (data.images[rows], data.labels[rows]))

        return lax.fori_loop(0, steps, step_once, state)

    stream_advance = jax.jit(augmented_update, donate_argnums=0, out_shardings=replicated(mesh))

    evaluate_batches = evaluator(graph, mean, std, mesh)
    evaluate_stream = stream_evaluator(graph, mean, std, mesh)

    def evaluate(state: TrainState, batches: Any) -> dict[str, jax.Array]:
        return evaluate_batches(batches, state.weights, state.statistics)

    def stream_evaluate(state: TrainState, batches: Iterable[Any]) -> dict[str, jax.Array]:
        return evaluate_stream(batches, state.weights, state.statistics)

    def model(state: TrainState) -> Network:
        return nnx.merge(graph, state.weights, state.statistics)

    return Training(
        init,
        jax.jit(update),
        advance,
        stream_advance,
        evaluate,
        stream_evaluate,
        model,
        schedule,
        steps_per_epoch,
    )
