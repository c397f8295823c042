"""Training the network of a genotype as one call, and what it leaves in a run folder."""

import functools
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.data import Augmentation, Dataset, padded_batches
from jaxcv.genotype import Genotype
from jaxcv.models import CellNetwork
from jaxcv.training import checkpoint
from jaxcv.training.classification import Config, Training, TrainState, build
from jaxcv.training.loop import fit
from jaxcv.training.parallel import data_mesh, replicate
from jaxcv.training.run import Run


class Result(NamedTuple):
    """What a training gives back: the trained network and a row of metrics for each epoch."""

    model: CellNetwork
    history: list[dict[str, Any]]


def run(
    genotype: Genotype,
    dataset: Dataset,
    config: Config = Config(),  # noqa: B008 (frozen)
    key: jax.Array | None = None,
    *,
    folder: Run | None = None,
    description: str = "train",
    progress: bool = True,
) -> Result:
    """Trains the network of a genotype on a data set and evaluates it on the test images.

    Args:
        genotype: of the network.
        dataset: from ``jaxcv.data``.
        config: how to train.
        key: a JAX random key for everything random; ``jax.random.key(0)`` by default.
        folder: a run, of ``create_run``, to write metrics and checkpoints to, and to go on with
            if it has a checkpoint.
        description: what the progress bar says.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for images too small for the skeleton or the auxiliary head, or a batch larger
            than the training set.
        FloatingPointError: for a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    mesh = data_mesh(config.batch_size)
    training = _build(genotype, config, _described(dataset), mesh)
    data = replicate(jax.tree.map(jnp.asarray, dataset.train), mesh)
    batches = replicate(padded_batches(dataset.test, config.batch_size), mesh)
    history: list[dict[str, Any]] = []

    def end_epoch(state: TrainState) -> dict[str, Any]:
        step = int(state.step)
        epoch = step // training.steps_per_epoch
        row = {"learning_rate": float(training.learning_rate(step - 1))}
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            for name, value in training.evaluate(state, batches).items():
                row[f"test_{name}"] = float(value)
        return row

    state = fit(
        functools.partial(training.init, jax.random.key(0) if key is None else key),
        lambda state, steps: training.advance(replicate(state, mesh), data, steps),
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


def create_run(
    path: Path | str, genotype: Genotype, dataset: Dataset, config: Config, **more: Any
) -> Run:
    """A new run folder for a training, with all that ``load`` needs.

    Raises:
        ValueError: if the folder is not empty, or cannot be written.
    """
    described = {"train": asdict(config), "dataset": _described(dataset)}
    return Run.create(path, "train", described | more, {"genotype.json": genotype.to_json()})


def read_genotype(run: Run) -> Genotype:
    """The genotype in a run folder.

    Raises:
        ValueError: if there is none yet, or it is damaged.
    """
    try:
        return Genotype.from_json((run.path / "genotype.json").read_text())
    except OSError:
        raise ValueError(
            f"folder={str(run.path)!r} has no genotype.json; allowed is a run that has got so far"
        ) from None


def load(folder: Path | str) -> CellNetwork:
    """The trained network in the run folder of a training.

    Raises:
        ValueError: for a folder that holds no training, or none with an undamaged checkpoint.
    """
    run = Run.open(folder, "train")
    try:
        config, dataset = Config(**run.config["train"]), run.config["dataset"]
        training = _build(read_genotype(run), config, dataset)
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


def _described(dataset: Dataset) -> dict[str, Any]:
    """What a network and its training must know of a data set, images apart."""
    return {
        "name": dataset.name,
        "count": len(dataset.train.labels),
        "image_shape": list(dataset.train.images.shape[1:]),
        "classes": list(dataset.classes),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "augmentation": asdict(dataset.augmentation),
    }


def _build(
    genotype: Genotype,
    config: Config,
    dataset: dict[str, Any],
    mesh: jax.sharding.Mesh | None = None,
) -> Training:
    return build(
        genotype,
        config,
        count=dataset["count"],
        image_shape=tuple(dataset["image_shape"]),
        num_classes=len(dataset["classes"]),
        augmentation=replace(Augmentation(**dataset["augmentation"]), cutout=config.cutout),
        mean=tuple(dataset["mean"]),
        std=tuple(dataset["std"]),
        mesh=mesh,
    )
