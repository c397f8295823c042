"""One supernet for all points of a space: its weights, trained a path a step.

With paths drawn uniformly this is random search with weight sharing (arXiv:1902.07638) or a single
path one-shot model (arXiv:1904.00420), with those of a controller that learns from the scores
meanwhile it is ENAS (arXiv:1802.03268).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from jaxcv.data import Augmentation, Dataset, Split, augment, epoch_order, normalize
from jaxcv.genotype import Genotype, first_node
from jaxcv.training.loop import add_metrics, fit
from jaxcv.training.loss import accuracy, cross_entropy
from jaxcv.training.optimizer import clipped_sgd
from jaxcv.training.randomness import Keys, key_data
from jaxcv.training.run import Run
from jaxcv.training.schedule import cosine_by_epoch
from search.config import Config
from search.discrete import DiscreteSpace, Point
from search.sampling import Recorded, Sampler
from search.single_path import SinglePathNetwork
from search.space import Space
from search.supernet import SearchNetwork


class Supernet(NamedTuple):
    """Networks that share their weights.

    Attributes:
        make: the supernet, of ``rngs``. It is called with images and a path.
        path: from a point to what tells the supernet which network to be, arrays.
    """

    make: Callable[..., nnx.Module]
    path: Callable[[Point], Any]


def cell_supernet(
    space: Space, points: DiscreteSpace, config: Config, num_classes: int, *, inputs: int = 3
) -> Supernet:
    """The supernet of a space of cells.

    Args:
        space: continuous.
        points: the discrete space of its genotypes.
        config: of which ``channels``, ``layers`` and ``dtype`` are of interest.
        num_classes, inputs: as for ``SearchNetwork``.
    """
    sizes = (config.channels, config.layers, num_classes)
    dtype = jnp.dtype(config.dtype)
    make = functools.partial(SearchNetwork, space, *sizes, inputs=inputs, dtype=dtype)
    return Supernet(make, functools.partial(_mix, space, points.decode))


def nasbench201_supernet(
    channels: int, cells: int, num_classes: int, *, inputs: int = 3
) -> Supernet:
    """The supernet of NAS-Bench-201, whose arguments are those of ``SinglePathNetwork``."""
    make = functools.partial(SinglePathNetwork, channels, cells, num_classes, inputs=inputs)
    return Supernet(make, functools.partial(np.array, dtype=np.int32))


def mix_of(space: Space, genotype: Genotype) -> dict[str, np.ndarray]:
    """Mixing weights [edges, primitives] by cell kind that make the supernet of a space the network
    of a genotype: 1 for what is in it, 0 for the rest.

    Raises:
        ValueError: for an edge or an operation that the space has not.
    """
    if set(genotype.cells) != set(space.cells):
        raise ValueError(
            f"genotype has cells of kind {', '.join(genotype.cells)}; allowed are "
            f"{', '.join(space.cells)}"
        )
    mix = {kind: np.zeros(cell.allowed.shape, np.float32) for kind, cell in space.cells.items()}
    for kind, cell in space.cells.items():
        allowed = dict(zip(cell.edges, cell.primitives, strict=True))
        for node, edges in enumerate(genotype.cells[kind].nodes, first_node(kind)):
            for name, source in edges:
                names = allowed.get((source, node), ())
                if name not in names:
                    raise ValueError(
                        f"genotype has {name} from state {source} to {node} of its {kind} cell; "
                        f"allowed there is {', '.join(names) or 'nothing'}"
                    )
                mix[kind][cell.edges.index((source, node)), cell.vocabulary.index(name)] = 1
    return mix


def _mix(space: Space, decode: Callable[[Point], Genotype], point: Point) -> dict[str, np.ndarray]:
    return mix_of(space, decode(point))


class SharedState(NamedTuple):
    """All that the training of shared weights carries from step to step."""

    step: jax.Array
    key: jax.Array
    weights: Any
    optimizer: optax.OptState
    sums: dict[str, jax.Array]


def train_shared(
    supernet: Supernet,
    dataset: Dataset,
    config: Config,
    sample: Sampler,
    key: jax.Array | None = None,
    *,
    folder: Run | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> Any:
    """Trains shared weights, each step those of one point on one batch.

    Args:
        supernet: whose weights.
        dataset: whose training images train. A sampler's scores are of the test images, so these
            are a part of the training images, as of ``jaxcv.data.halved``.
        config: the training, as of the weights in a search; what is about architecture weights is
            of no interest here.
        sample: which points.
        key: a JAX random key for everything random; ``jax.random.key(0)`` by default.
        folder: a run to write metrics, checkpoints and the sampler's scores to, and to go on with
            if it has a checkpoint.
        log: called with the metrics of each epoch as it ends.
        progress: whether to show a progress bar.

    Returns:
        The weights.

    Raises:
        ValueError: for a batch larger than the training set, or a sampler that asks for other
            scores than before the training was stopped.
        FloatingPointError: for a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    count = len(dataset.train.labels)
    steps_per_epoch = count // config.batch_size
    if steps_per_epoch < 1:
        raise ValueError(f"batch_size={config.batch_size!r}; allowed are 1 to {count}, all images")
    init, advance = _build(supernet, dataset, config, count)
    data = jax.tree.map(jnp.asarray, dataset.train)
    statistics = (dataset.mean, dataset.std)
    sampled = Recorded(
        sample, steps_per_epoch, None if folder is None else folder.path / "scores.jsonl"
    )
    paths: dict[int, Any] = {}

    def some_steps(state: SharedState, steps: int) -> SharedState:
        epoch = int(state.step) // steps_per_epoch
        if epoch not in paths:
            paths.clear()

            def scores(points: Sequence[Point]) -> np.ndarray:
                return accuracies(supernet, state.weights, dataset.test, statistics, points)

            # Before the first step of the epoch, so that no checkpoint is ahead of the scores.
            paths[epoch] = stacked(supernet, sampled(epoch, scores))
        return advance(state, data, paths[epoch], steps)

    state = fit(
        functools.partial(init, jax.random.key(0) if key is None else key),
        some_steps,
        epochs=config.epochs,
        steps_per_epoch=steps_per_epoch,
        images_per_step=config.batch_size,
        end_epoch=lambda state: {},
        description="shared weights",
        run=folder,
        log=log,
        progress=progress,
    )
    # So that a sampler that learns has done so, also where a training had ended before.
    sampled.catch_up(config.epochs)
    return state.weights


def accuracies(
    supernet: Supernet,
    weights: Any,
    split: Split,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    points: Sequence[Point],
    *,
    batch_size: int = 256,
) -> np.ndarray:
    """The accuracy of each point with shared weights: [points], in 0..1.

    Args:
        supernet, weights: of ``train_shared``.
        split: images and labels. Those that fill no batch are left out.
        statistics: mean and std of each channel, for images scaled to 0..1.
        points: to score, by one program.
        batch_size: images at once, of which batch norms take their statistics.
    """
    size = min(batch_size, len(split.labels))
    used = len(split.labels) // size * size
    batches = jax.tree.map(lambda a: a[:used].reshape(-1, size, *a.shape[1:]), split)
    found = _scorer(supernet)(weights, batches, statistics, stacked(supernet, points))
    return np.asarray(found)


def stacked(supernet: Supernet, points: Sequence[Point]) -> Any:
    """The paths of points along a leading axis."""
    return jax.tree.map(lambda *a: np.stack(a), *map(supernet.path, points))


@functools.lru_cache(maxsize=8)
def _scorer(supernet: Supernet) -> Callable[..., jax.Array]:
    graph = _graph(supernet)

    @jax.jit
    def score(weights: Any, batches: Any, statistics: Any, paths: Any) -> jax.Array:
        network = nnx.merge(graph, weights)

        def of_path(path: Any) -> jax.Array:
            def of_batch(batch: Any) -> jax.Array:
                images = normalize(batch.images, *statistics)
                return accuracy(network(images, path), batch.labels)

            return lax.map(of_batch, batches).mean()

        return lax.map(of_path, paths)

    return score


def _graph(supernet: Supernet) -> nnx.GraphDef:
    return nnx.split(nnx.eval_shape(lambda: supernet.make(rngs=nnx.Rngs(0))))[0]


def _build(
    supernet: Supernet, dataset: Dataset, config: Config, count: int
) -> tuple[Callable[[jax.Array], SharedState], Callable[..., SharedState]]:
    """A fresh state of a key, and a number of steps, compiled."""
    graph = _graph(supernet)
    steps_per_epoch = count // config.batch_size
    schedule = cosine_by_epoch(
        config.learning_rate, config.learning_rate_end, config.epochs, steps_per_epoch
    )
    optimizer = clipped_sgd(
        schedule, momentum=config.momentum, weight_decay=config.weight_decay, clip=config.clip
    )
    augmentation: Augmentation = dataset.augmentation

    def init(key: jax.Array) -> SharedState:
        network = supernet.make(rngs=nnx.Rngs(Keys(key)("weights")))
        weights = nnx.to_pure_dict(nnx.state(network))
        sums = {name: jnp.zeros(()) for name in ("loss", "accuracy")}
        step = jnp.zeros((), jnp.int32)
        return SharedState(step, key_data(key), weights, optimizer.init(weights), sums)

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: SharedState, data: Split, paths: Any, steps: jax.Array) -> SharedState:
        keys = Keys(state.key)
        order = epoch_order(keys("order"), state.step // steps_per_epoch, count)

        def step_once(_: jax.Array, state: SharedState) -> SharedState:
            number = state.step % steps_per_epoch
            path = jax.tree.map(lambda leaf: leaf[number], paths)
            rows = lax.dynamic_slice(order, (number * config.batch_size,), (config.batch_size,))
            images = augment(
                keys("images", state.step),
                data.images[rows],
                augmentation,
                dataset.mean,
                dataset.std,
            )

            def loss(weights: Any) -> tuple[jax.Array, jax.Array]:
                logits = nnx.merge(graph, weights)(images, path)
                labels = data.labels[rows]
                return cross_entropy(logits, labels), accuracy(logits, labels)

            (total, share), gradient = jax.value_and_grad(loss, has_aux=True)(state.weights)
            change, moved = optimizer.update(gradient, state.optimizer, state.weights)
            weights = optax.apply_updates(state.weights, change)
            metrics = {"loss": total, "accuracy": share}
            sums = add_metrics(state.sums, metrics, number == 0)
            return SharedState(state.step + 1, state.key, weights, moved, sums)

        return lax.fori_loop(0, steps, step_once, state)

    return init, advance
