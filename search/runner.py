"""A whole search as one call: halves, epochs, discretization."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.data import Augmentation, channel_statistics, check_split, split_halves
from jaxcv.genotype import Genotype
from jaxcv.training.loop import fit
from jaxcv.training.parallel import data_mesh, replicate
from jaxcv.training.run import Run, write_atomically
from search.discretize import discretize
from search.space import Space
from search.step import Config, Images, SearchState, build


class Result(NamedTuple):
    """What a search gives back.

    Attributes:
        genotype: the discrete architecture.
        alphas: architecture weights [edges, primitives] by cell kind.
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
    folder: Run | None = None,
    progress: bool = True,
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
        folder: a run to write metrics, checkpoints and the genotype to, and to go on with if it
            has a checkpoint.
        progress: whether to show a progress bar.

    Returns:
        The genotype, with the architecture weights and the history that led to it.

    Raises:
        ValueError: for images or labels of another shape or type, images too small for two
            reductions, or a batch larger than half of the images.
        FloatingPointError: for a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    key = jax.random.key(0) if key is None else key
    images, labels = check_split("images", "labels", images, labels)
    mean, std = channel_statistics(images) if statistics is None else statistics
    mesh = data_mesh(config.batch_size)
    train, valid = split_halves(jax.random.fold_in(key, 0), len(images))
    data = replicate(Images(jnp.asarray(images), jnp.asarray(labels), train, valid), mesh)
    search = build(
        space,
        config,
        key,
        count=train.size,
        image_shape=images.shape[1:],
        num_classes=int(labels.max()) + 1,
        augmentation=augmentation,
        mean=mean,
        std=std,
        mesh=mesh,
    )
    history: list[dict[str, Any]] = []

    def end_epoch(state: SearchState) -> dict[str, Any]:
        mix = jax.device_get(search.mix(state))
        return {
            "learning_rate": float(search.learning_rate(state.step - 1)),
            "mix": {kind: np.round(w.astype(float), 6).tolist() for kind, w in mix.items()},
        }

    state = fit(
        search.init,
        lambda state, steps: search.advance(replicate(state, mesh), data, steps),
        epochs=config.epochs,
        steps_per_epoch=search.steps_per_epoch,
        images_per_step=2 * config.batch_size,
        end_epoch=end_epoch,
        description="search",
        run=folder,
        log=history.append,
        progress=progress,
    )
    genotype = discretize(space, jax.device_get(search.mix(state)))
    if folder is not None:
        history = folder.rows  # those of before a resume too
        write_atomically(folder.path / "genotype.json", genotype.to_json())
    return Result(genotype, jax.device_get(state.alphas), history, jax.device_get(state.weights))
