"""How well zero-cost proxies rank the cells of NAS-Bench-201: for a sample of cells the rank
correlation of each proxy with the accuracy after training, which a table holds."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from matplotlib.figure import Figure
from scipy import stats
from tqdm.auto import tqdm

from experiments import cli
from experiments.environment import environment
from jaxcv import data
from jaxcv.analysis import count_parameters
from jaxcv.data import normalize
from jaxcv.functional._arguments import positive
from jaxcv.models.nasbench201 import OPERATIONS, NASBench201Network
from jaxcv.training.run import Run, write_atomically
from search.discrete import Point
from search.evaluators import tabular
from search.evaluators.untrained import UntrainedNASBench201
from search.evaluators.zero_cost import PROXIES
from search.plot import save, tidy
from search.spaces import nasbench201

_RANKED = (*PROXIES, "parameters")
_TITLES = {"synflow": "SynFlow", "naswot": "NASWOT", "snip": "SNIP", "grad_norm": "Gradient norm"}
# Spearman's rank correlation over more cells of CIFAR-10 (arXiv:2101.08134, arXiv:2210.03230).
PUBLISHED = {"synflow": 0.74, "naswot": 0.77, "parameters": 0.75}


@dataclass(frozen=True)
class Options:
    """Which cells to score, and on what."""

    table: str
    """File .npz or .csv with the trainings of the benchmark, as search.evaluators.tabular reads."""
    columns: str = "cifar10"
    """Of which data set the table's accuracies are taken: cifar10, cifar100 or imagenet16, or what
    the names of their columns begin with."""
    data: str = "cifar10"
    """Data set: digits, a TFDS name such as cifar10, an image folder, or an .npz file."""
    data_dir: str | None = None
    """Where TFDS data sets are; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    folder: str = "runs/zero_cost"
    """Where the run goes: scores, result, picture."""
    cells: int = 200
    """How many cells, drawn from the table without replacement."""
    batch_size: int = 64
    """Images in the batch, from the training images."""
    channels: int = 16
    """Channels of the first stage; 16 in the benchmark."""
    depth: int = 5
    """Cells in each stage; 5 in the benchmark."""
    seed: int = 0
    """Of cells, images and weights; the weights are the same in all cells."""

    def __post_init__(self) -> None:
        sizes = ("cells", "batch_size", "channels", "depth")
        positive(**{name: getattr(self, name) for name in sizes})


PRESETS = {"cifar10": Options(table=tyro.MISSING)}


def command(arguments: Sequence[str]) -> None:
    options, run = cli.start(arguments, "zero_cost", PRESETS, __doc__)
    points, accuracies = read_table(options)
    evaluator = _evaluator(options)
    if run is None:
        run = Run.create(options.folder, "zero_cost", {"options": asdict(options)})
    run.begin()
    cells = np.random.default_rng(options.seed).permutation(len(points))[: options.cells]
    bar = tqdm(cells, desc="zero-cost proxies", unit="cell", dynamic_ncols=True)
    with cli.resumable("zero_cost", run):
        for number, cell in enumerate(bar, 1):
            if number > len(run.rows):
                row = _score(evaluator, points[cell], options)
                run.log({"step": number, **row, "test_accuracy": float(accuracies[cell])})
    found = correlations(run.rows)
    result = {
        "correlations": found,
        "published": PUBLISHED,
        "cells": len(run.rows),
        "seconds": round(sum(row["seconds"] for row in run.rows), 1),
        "options": asdict(options),
        "environment": environment(),
    }
    write_atomically(run.path / "result.json", json.dumps(result, indent=1) + "\n")
    save(picture(run.rows, found), run.path / "zero_cost")
    for name, each in found.items():
        print(f"{name}: Spearman {each['spearman']:.3f}, Kendall {each['kendall']:.3f}")


def read_table(options: Options) -> tuple[list[Point], Sequence[float]]:
    """The cells of a table in its order, and their test accuracies, in 0..1.

    Raises:
        ValueError: for a table without them, or with fewer cells than asked for.
    """
    table = tabular(options.table, nasbench201(), options.columns)
    if "test_accuracy" not in table.metrics:
        raise ValueError(
            f"table={options.table!r} has no test accuracy of {options.columns}; allowed is one "
            "that has"
        )
    points = list(table.rows)
    if options.cells > len(points):
        raise ValueError(
            f"cells={options.cells!r}; allowed are 1 to {len(points)}, all of the table"
        )
    return points, [table.metrics["test_accuracy"][table.rows[point]] for point in points]


def correlations(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each proxy with the test accuracy."""
    accuracies = [row["test_accuracy"] for row in rows]
    return {name: rank_correlation([row[name] for row in rows], accuracies) for name in _RANKED}


def rank_correlation(
    scores: Sequence[float | None], accuracies: Sequence[float]
) -> dict[str, float]:
    """Spearman's and Kendall's. A score that is None, as it was not finite, ranks below all others.
    Both are NaN if all scores or all accuracies are alike."""
    ranked = [-np.inf if score is None else score for score in scores]
    if min(ranked) == max(ranked) or min(accuracies) == max(accuracies):
        return {"spearman": float("nan"), "kendall": float("nan")}
    return {
        "spearman": float(stats.spearmanr(ranked, accuracies).statistic),
        "kendall": float(stats.kendalltau(ranked, accuracies).statistic),
    }


def training_batch(dataset: data.Dataset, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images, normalised, and their labels, for proxies to be of."""
    images, labels = dataset.train
    rows = np.random.default_rng(seed).permutation(len(images))[:size]
    batch = normalize(jnp.asarray(images[rows]), dataset.mean, dataset.std)
    return np.asarray(batch), labels[rows]


def finite(found: Mapping[str, Any]) -> dict[str, float | None]:
    """Proxies as numbers; None where they are not finite."""
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def picture(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Test accuracy against each proxy, both as ranks, the best proxy first."""
    figure = Figure((8.6, 5.8), facecolor="white", layout="constrained")
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    accuracies = stats.rankdata([row["test_accuracy"] for row in rows])
    best = sorted(_RANKED, key=lambda name: found[name]["spearman"], reverse=True)
    for axes, name in zip(grid.flat, best, strict=True):
        scores = [-np.inf if row[name] is None else row[name] for row in rows]
        axes.scatter(stats.rankdata(scores), accuracies, s=9, color="#0072b2", alpha=0.6, lw=0)
        title = _TITLES.get(name, name.replace("_", " ").capitalize())
        axes.set_title(f"{title}: Spearman {found[name]['spearman']:.2f}", size=10, loc="left")
        tidy(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel("rank by test accuracy", size=10)
    for axes in grid[-1]:
        axes.set_xlabel("rank by the proxy", size=10)
    return figure


def _evaluator(options: Options) -> UntrainedNASBench201:
    dataset = data.load(options.data, options.data_dir)
    return UntrainedNASBench201(
        *training_batch(dataset, options.batch_size, options.seed),
        len(dataset.classes),
        channels=options.channels,
        cells=options.depth,
    )


def _score(evaluator: UntrainedNASBench201, point: Point, options: Options) -> dict[str, Any]:
    """The row of a cell; scores that are not finite are null."""
    names = [OPERATIONS[choice] for choice in point]
    start = time.monotonic()
    found = evaluator.proxies(point, options.seed)
    seconds = time.monotonic() - start
    network = nnx.eval_shape(
        lambda: NASBench201Network(
            names,
            options.channels,
            options.depth,
            evaluator.num_classes,
            inputs=evaluator.images.shape[-1],
            rngs=nnx.Rngs(0),
        )
    )
    parameters = count_parameters(network)
    return {"cell": names, **finite(found), "parameters": parameters, "seconds": round(seconds, 3)}


if __name__ == "__main__":
    cli.main(command)
