"""A whole search, or several, as one call: halves, epochs, discretization."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from jaxcv.data import Augmentation, channel_statistics, check_split, split_halves
from jaxcv.genotype import Genotype
from jaxcv.training.loop import fit
from jaxcv.training.parallel import data_mesh, replicate
from jaxcv.training.randomness import Keys
from jaxcv.training.run import Run, write_atomically
from search import perturbation, watch
from search.config import Config
from search.discretize import Limit, discretize, strongest
from search.space import Space
from search.step import OPEN, Images, SearchState, build


class Result(NamedTuple):
    """What a search gives back.

    Attributes:
        genotype: the discrete architecture, after an early stop that of before the growth.
        alphas: architecture weights [edges, primitives] by cell kind, and others that the
            relaxation has.
        history: a row of metrics for each epoch; ``mix`` holds the mixing weights after it.
        weights: the supernet's weights.
    """

    genotype: Genotype
    alphas: dict[str, np.ndarray]
    history: list[dict[str, Any]]
    weights: Any


def run(
    space: Space,
    images: np.ndarray,
    labels: np.ndarray,
    config: Config = Config(),  # noqa: B008 (frozen)
    key: jax.Array | None = None,
    *,
    augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    limits: Sequence[Limit] = (),
    folder: Run | None = None,
    progress: bool = True,
    on_epoch: Callable[[dict[str, Any]], object] = lambda row: None,
) -> Result:
    """Searches a space by DARTS (arXiv:1806.09055): the images are cut into two random halves,
    the weights learn from one and the architecture weights from the other.

    Args:
        space: what to search.
        images: uint8 [N, height, width, channels].
        labels: integers [N], from 0.
        config: how to search.
        key: a JAX random key for everything random; ``jax.random.key(0)`` by default.
        augmentation: how training images are varied; by default not at all.
        statistics: mean and std of each channel, for images scaled to 0..1; by default those of
            the images.
        limits: that the genotype respects, as of ``network_limits``.
        folder: a run to write metrics, checkpoints and the genotype to, and to go on with if it
            has a checkpoint.
        progress: whether to show a progress bar.
        on_epoch: called with the metrics of each epoch as it ends.

    Returns:
        The genotype, with the architecture weights and the history that led to it.

    Raises:
        ValueError: for images or labels of another shape or type, images too small for two
            reductions, or a batch larger than half of the images.
        FloatingPointError: for a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    key = jax.random.key(0) if key is None else key
    if key.ndim:
        raise ValueError(f"key has shape {key.shape}; allowed is one key; run_many takes several")
    arguments = (space, images, labels, config, key, augmentation, statistics, limits)
    return _run(*arguments, folder, progress, on_epoch)[0]


def run_many(
    space: Space,
    images: np.ndarray,
    labels: np.ndarray,
    config: Config,
    keys: jax.Array,
    *,
    augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    limits: Sequence[Limit] = (),
    folder: Run | None = None,
    progress: bool = True,
) -> list[Result]:
    """Searches from several keys at once, in one program; each as ``run`` does from its key.

    Args:
        keys: S JAX random keys.
        space, images, labels, config, augmentation, statistics, limits, folder, progress: as for
            ``run``. The folder gets the genotype of the search whose last epoch classified the
            validation half best, and of each search, ``genotype_<number>.json``.

    Returns:
        S results, in the order of the keys.

    Raises:
        As ``run``.
    """
    if keys.ndim != 1 or not len(keys):
        raise ValueError(f"keys has shape {keys.shape}; allowed is [searches], at least one")
    arguments = (space, images, labels, config, keys, augmentation, statistics, limits)
    return _run(*arguments, folder, progress)


def best(results: Sequence[Result]) -> int:
    """Which of several searches classified its validation half best, in its last epoch."""
    return int(np.argmax([result.history[-1]["valid_accuracy"] for result in results]))


def _run(
    space: Space,
    images: np.ndarray,
    labels: np.ndarray,
    config: Config,
    key: jax.Array,
    augmentation: Augmentation,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None,
    limits: Sequence[Limit],
    folder: Run | None,
    progress: bool,
    on_epoch: Callable[[dict[str, Any]], object] = lambda row: None,
) -> list[Result]:
    images, labels = check_split("images", "labels", images, labels)
    mean, std = channel_statistics(images) if statistics is None else statistics
    mesh = data_mesh(config.batch_size)
    halves = functools.partial(split_halves, count=len(images))
    several = key.ndim == 1
    half_keys = jax.vmap(lambda key: Keys(key)("halves"))(key) if several else Keys(key)("halves")
    train, valid = (jax.vmap(halves) if several else halves)(half_keys)
    data = replicate(Images(jnp.asarray(images), jnp.asarray(labels), train, valid), mesh)
    search = build(
        space,
        config,
        count=train.shape[-1],
        image_shape=images.shape[1:],
        num_classes=int(labels.max()) + 1,
        augmentation=augmentation,
        mean=mean,
        std=std,
        mesh=mesh,
    )
    history: list[dict[str, Any]] = []

    def each_of(tree: Any) -> list[Any]:
        """Of what all searches share an array of, the part of each."""
        if not several:
            return [tree]
        return [jax.tree.map(lambda array, n=n: array[n], tree) for n in range(key.size)]

    def end_epoch(state: SearchState) -> dict[str, Any]:
        mix = jax.device_get(search.mix(state))
        mixes = each_of(mix)
        watched: dict[str, list[Any]] = {
            "entropy": [watch.entropy(own) for own in mixes],
            "skip_connections": [
                watch.skip_connections(discretize(space, own, threshold=config.threshold))["normal"]
                for own in mixes
            ],
        }
        epoch = int(state.step) // search.steps_per_epoch
        if config.watch_every and epoch % config.watch_every == 0 and epoch <= config.epochs:
            kept = [strongest(space, own) for own in mixes]
            together = jax.tree.map(lambda *a: np.stack(a), *kept) if several else kept[0]
            shares = search.valid_accuracy(state, data, together)
            watched["discretized_accuracy"] = np.atleast_1d(shares).tolist()
            if config.watch_spectrum:
                watched["spectrum"] = np.atleast_2d(search.spectrum(state, data)).tolist()
                watched["eigenvalue"] = [own[-1] for own in watched["spectrum"]]
            else:
                watched["eigenvalue"] = np.atleast_1d(search.eigenvalue(state, data)).tolist()
        return {
            "learning_rate": float(search.learning_rate(state.step - 1)),
            "mix": {kind: np.round(w.astype(float), 6).tolist() for kind, w in mix.items()},
            **(watched if several else {name: own for name, (own,) in watched.items()}),
        }

    def stopped(rows: Sequence[Mapping[str, Any]]) -> bool:
        return all(
            watch.before_growth([_row_of(row, n) for row in rows] if several else rows)
            for n in range(key.size)
        )

    def log(row: dict[str, Any]) -> None:
        history.append(row)
        on_epoch(row)

    def on_decision(decision: dict[str, Any]) -> None:
        if folder is not None:
            perturbation.log_decision(folder.path / "selection.jsonl", decision)
        if progress:
            stays = ", ".join(decision["stays"])
            tqdm.write(f"{decision['cell']} {decision['question']}: {stays}", file=sys.stderr)

    by_weights = config.selection == "weights"
    select: Callable[[SearchState], SearchState] = (
        (lambda state: state)
        if by_weights
        else perturbation.selector(space, config, search, data, key, on_decision)
    )

    state = fit(
        functools.partial(search.init, key),
        lambda state, steps: search.advance(replicate(select(state), mesh), data, steps),
        epochs=config.epochs + perturbation.tuning_epochs(space, config),
        steps_per_epoch=search.steps_per_epoch,
        images_per_step=2 * config.batch_size * key.size,
        end_epoch=end_epoch,
        description="search",
        run=folder,
        log=log,
        stop=stopped if config.early_stop else lambda rows: False,
        progress=progress,
    )
    if folder is not None:
        history = folder.rows  # those of before a resume too
    state = select(state)
    last = search.mix(state)
    if not by_weights:
        # So that what limits forbid is replaced by what the architecture weights prefer.
        undecided = jax.tree.map(lambda array: jnp.full_like(array, OPEN), state.decided)
        last = jax.tree.map(jnp.add, last, search.mix(state._replace(decided=undecided)))
    found = each_of(jax.device_get((last, state.alphas, state.weights)))
    results = []
    for number, (mix, alphas, weights) in enumerate(found):
        rows = [_row_of(row, number) for row in history] if several else history
        if config.early_stop and (row := watch.before_growth(rows)):
            mix = {kind: np.asarray(weights) for kind, weights in row["mix"].items()}
        genotype = discretize(space, mix, threshold=config.threshold, limits=limits)
        results.append(Result(genotype, alphas, rows, weights))
    if folder is not None:
        for number, result in enumerate(results if several else ()):
            write_atomically(folder.path / f"genotype_{number}.json", result.genotype.to_json())
        write_atomically(folder.path / "genotype.json", results[best(results)].genotype.to_json())
    return results


def _row_of(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One search's part of a row of metrics of several."""
    own = {name: value[number] for name, value in row.items() if isinstance(value, list)}
    mix = {kind: values[number] for kind, values in row["mix"].items()}
    return {**row, **own, "mix": mix}
