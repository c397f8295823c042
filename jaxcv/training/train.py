"""Training the network of an architecture as one call, and what it leaves in a run folder."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxcv.data import (
    Augmentation,
    Dataset,
    Stream,
    evaluation_batches,
    padded_batches,
    training_batches,
)
from jaxcv.models import Network
from jaxcv.models.architecture import Architecture, parse, to_json
from jaxcv.training import checkpoint
from jaxcv.training.classification import Config, Training, TrainState, build
from jaxcv.training.loop import fit
from jaxcv.training.parallel import data_mesh, replicate, spread
from jaxcv.training.randomness import Keys
from jaxcv.training.run import Run


class Result(NamedTuple):
    """What a training gives back: the trained network and a row of metrics for each epoch."""

    model: Network
    history: list[dict[str, Any]]


def run(
    architecture: Architecture,
    dataset: Dataset | Stream,
    config: Config = Config(),  # noqa: B008 (frozen)
    key: jax.Array | None = None,
    *,
    folder: Run | None = None,
    description: str = "train",
    progress: bool = True,
) -> Result:
    """Trains the network of an architecture on a data set and evaluates it on the test images.

    Where ``jax.distributed`` has joined several processes, all of them call this with the same
    arguments, each reads its part of every batch, and the first alone writes and shows progress.
    All need to see the same folder.

    Args:
        architecture: of the network.
        dataset: from ``jaxcv.data``, a ``Stream`` if the configuration has an image size.
        config: how to train.
        key: a JAX random key for everything random; ``jax.random.key(0)`` by default.
        folder: a run, of ``create_run``, to write metrics and checkpoints to, and to go on with
            if it has a checkpoint.
        description: what the progress bar says.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for images too small for the network or for what is cut out of them, an
            auxiliary head that it cannot have, a batch larger than the training set, or a data set
            of the other kind.
        FloatingPointError: for a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    key = jax.random.key(0) if key is None else key
    mesh = data_mesh(config.batch_size)
    training = _build(architecture, config, _described(dataset, config), mesh)
    if isinstance(dataset, Stream):
        feed = _streamed(training, dataset, config, mesh)
    else:
        feed = _resident(training, dataset, config, mesh)
    history: list[dict[str, Any]] = []

    with feed as (advance, evaluate):

        def end_epoch(state: TrainState) -> dict[str, Any]:
            step = int(state.step)
            epoch = step // training.steps_per_epoch
            row = {"learning_rate": float(training.learning_rate(step - 1))}
            if epoch % config.evaluate_every == 0 or epoch == config.epochs:
                for name, value in evaluate(state).items():
                    row[f"test_{name}"] = float(value)
            return row

        state = fit(
            functools.partial(training.init, key),
            advance,
            epochs=config.epochs,
            steps_per_epoch=training.steps_per_epoch,
            images_per_step=config.batch_size,
            end_epoch=end_epoch,
            description=description,
            run=folder,
            log=history.append,
            progress=progress,
        )
    return Result(training.model(state), history if folder is None else folder.rows)


Advance = Callable[[TrainState, int], TrainState]
Evaluate = Callable[[TrainState], dict[str, jax.Array]]


@contextmanager
def _resident(
    training: Training, dataset: Dataset, config: Config, mesh: Mesh | None
) -> Iterator[tuple[Advance, Evaluate]]:
    """Steps and evaluation on a data set that is whole on every device."""
    data = replicate(jax.tree.map(jnp.asarray, dataset.train), mesh)
    batches = replicate(padded_batches(dataset.test, config.batch_size), mesh)
    yield (
        lambda state, steps: training.advance(replicate(state, mesh), data, steps),
        lambda state: training.evaluate(state, batches),
    )


@contextmanager
def _streamed(
    training: Training, dataset: Stream, config: Config, mesh: Mesh | None
) -> Iterator[tuple[Advance, Evaluate]]:
    """Steps and evaluation on batches that are read as they are needed.

    Nothing here waits for a step, so the next batch is read and sent while one is computed.
    """
    arguments: dict[str, Any] = {
        "size": config.batch_size,
        "image_size": config.image_size,
        "part": (jax.process_index(), jax.process_count()),
    }
    batches: Any = None

    def advance(state: TrainState, steps: int) -> TrainState:
        nonlocal batches
        if batches is None:
            seed = int(jax.random.bits(Keys(state.key)("stream")))
            start = int(state.step)
            batches = training_batches(dataset.train, seed=seed, start=start, **arguments)
            state = replicate(state, mesh)
        for _ in range(steps):
            state = training.stream_advance(state, spread(next(batches), mesh))
        return state

    def evaluate(state: TrainState) -> dict[str, jax.Array]:
        found = evaluation_batches(dataset.test, **arguments)
        return training.stream_evaluate(state, (spread(batch, mesh) for batch in found))

    try:
        yield advance, evaluate
    finally:
        if batches is not None:
            batches.close()


def check(architecture: Architecture, dataset: Dataset | Stream, config: Config) -> None:
    """Refuses what ``run`` would refuse, in a moment: nothing is compiled.

    Raises:
        ValueError: as ``run``.
    """
    _build(architecture, config, _described(dataset, config), data_mesh(config.batch_size))


def create_run(
    path: Path | str,
    architecture: Architecture,
    dataset: Dataset | Stream,
    config: Config,
    **more: Any,
) -> Run:
    """A new run folder for a training, with all that ``load`` needs.

    Raises:
        ValueError: if the folder is not empty, or cannot be written, or the data set is of the
            other kind than the configuration.
    """
    described = {"train": asdict(config), "dataset": _described(dataset, config)}
    return Run.create(path, "train", described | more, {"genotype.json": to_json(architecture)})


def read_architecture(run: Run) -> Architecture:
    """The genotype in a run folder, or other architecture.

    Raises:
        ValueError: if there is none yet, or it is damaged.
    """
    try:
        return parse((run.path / "genotype.json").read_text())
    except OSError:
        raise ValueError(
            f"folder={str(run.path)!r} has no genotype.json; allowed is a run that has got so far"
        ) from None


def load(folder: Path | str) -> Network:
    """The trained network in the run folder of a training.

    Raises:
        ValueError: for a folder that holds no training, or none with an undamaged checkpoint.
    """
    run = Run.open(folder, "train")
    try:
        config, dataset = Config(**run.config["train"]), run.config["dataset"]
        training = _build(read_architecture(run), config, dataset)
    except (KeyError, TypeError):
        raise ValueError(
            f"folder={str(folder)!r} has a config.json that does not describe a training; allowed "
            "is what create_run of this version writes"
        ) from None
    like = jax.eval_shape(training.init, jax.random.key(0))
    found = checkpoint.restore_latest(run.path / "checkpoints", like)
    if found is None:
        raise ValueError(
            f"folder={str(folder)!r} has no undamaged checkpoint; allowed is a run that has one"
        )
    return training.model(jax.tree.map(jnp.asarray, found[1]))


def _described(dataset: Dataset | Stream, config: Config) -> dict[str, Any]:
    """What a network and its training must know of a data set, images apart."""
    if isinstance(dataset, Stream):
        count, shape = len(dataset.train), (config.image_size, config.image_size, 3)
    else:
        count, shape = len(dataset.train.labels), dataset.train.images.shape[1:]
    if isinstance(dataset, Stream) != (config.image_size > 0):
        allowed = "more than 0 for a Stream" if isinstance(dataset, Stream) else "0 for a Dataset"
        raise ValueError(f"image_size={config.image_size!r}; allowed is {allowed}")
    side = min(shape[:2])
    if config.cutout > side:
        raise ValueError(f"cutout={config.cutout!r}; allowed are 0 to {side}, the side of an image")
    return {
        "name": dataset.name,
        "count": count,
        "image_shape": list(shape),
        "classes": list(dataset.classes),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "augmentation": asdict(dataset.augmentation),
    }


def _build(
    architecture: Architecture,
    config: Config,
    dataset: dict[str, Any],
    mesh: jax.sharding.Mesh | None = None,
) -> Training:
    return build(
        architecture,
        config,
        count=dataset["count"],
        image_shape=tuple(dataset["image_shape"]),
        num_classes=len(dataset["classes"]),
        augmentation=replace(Augmentation(**dataset["augmentation"]), cutout=config.cutout),
        mean=tuple(dataset["mean"]),
        std=tuple(dataset["std"]),
        mesh=mesh,
    )
