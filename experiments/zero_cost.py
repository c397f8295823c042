"""How well zero-cost proxies rank the cells of NAS-Bench-201: for a sample of cells the rank
correlation of each proxy with the accuracy after training, which a table holds."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
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
from jaxcv.models.nasbench201 import OPERATIONS, NASBench201Network, parse_cell
from jaxcv.training.run import Run, write_atomically
from search.evaluators.untrained import UntrainedNASBench201
from search.evaluators.zero_cost import PROXIES
from search.plot import save

_RANKED = (*PROXIES, "parameters")
# Spearman's rank correlation over more cells of CIFAR-10 (arXiv:2101.08134, arXiv:2210.03230).
PUBLISHED = {"synflow": 0.74, "naswot": 0.77, "parameters": 0.75}


@dataclass(frozen=True)
class Options:
    """Which cells to score, and on what."""

    table: str = ""
    """File .npz with "arch", the cells as the benchmark writes them, and "ep200_test", their test
    accuracies in percent, whose columns "ep200_cols" names."""
    column: str = "c10_test_ep200"
    """Which of the columns."""
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


def command(arguments: Sequence[str]) -> None:
    folder = cli.resumed(arguments)
    if folder is None:
        options = cli.parse(
            arguments, {"cifar10": Options()}, __doc__ or "", "python -m experiments.zero_cost"
        )
        run = Run.create(options.folder, "zero_cost", {"options": asdict(options)})
    else:
        run = Run.open(folder, "zero_cost")
        options = cli.options_of(run, Options)
    texts, accuracies = read_table(options)
    evaluator = _evaluator(options)
    run.begin()
    cells = np.random.default_rng(options.seed).permutation(len(texts))[: options.cells]
    bar = tqdm(cells, desc="zero-cost proxies", unit="cell", dynamic_ncols=True)
    try:
        for number, cell in enumerate(bar, 1):
            if number > len(run.rows):
                row = _score(evaluator, str(texts[cell]), options)
                run.log({"step": number, **row, "test_accuracy": float(accuracies[cell])})
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped. Go on with: python -m experiments.zero_cost --resume {run.path}"
        ) from None
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


def read_table(options: Options) -> tuple[np.ndarray, np.ndarray]:
    """The cells of a table, and their test accuracies as fractions.

    Raises:
        ValueError: for a table without them, or with fewer cells than asked for.
    """
    try:
        with np.load(options.table) as table:
            columns = [str(name) for name in table["ep200_cols"]]
            texts, values = table["arch"], table["ep200_test"]
    except (OSError, KeyError, ValueError):
        raise ValueError(
            f"table={options.table!r} cannot be read; allowed is a file .npz with arch, ep200_cols "
            "and ep200_test"
        ) from None
    if options.column not in columns:
        raise ValueError(f"column={options.column!r}; allowed are {', '.join(columns)}")
    if options.cells > len(texts):
        raise ValueError(
            f"cells={options.cells!r}; allowed are 1 to {len(texts)}, all of the table"
        )
    return texts, values[:, columns.index(options.column)] / 100


def correlations(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each proxy with the test accuracy: Spearman's and Kendall's. A score that is not finite
    ranks below all others."""
    accuracies = [row["test_accuracy"] for row in rows]
    found = {}
    for name in _RANKED:
        scores = [-np.inf if row[name] is None else row[name] for row in rows]
        found[name] = {
            "spearman": float(stats.spearmanr(scores, accuracies).statistic),
            "kendall": float(stats.kendalltau(scores, accuracies).statistic),
        }
    return found


def picture(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Test accuracy against each proxy, both as ranks."""
    figure = Figure((10.5, 6.6), facecolor="white", layout="constrained")
    accuracies = stats.rankdata([row["test_accuracy"] for row in rows])
    for axes, name in zip(figure.subplots(2, 3).flat, _RANKED, strict=True):
        scores = [-np.inf if row[name] is None else row[name] for row in rows]
        axes.scatter(stats.rankdata(scores), accuracies, s=9, color="#0072b2", alpha=0.6, lw=0)
        axes.set_title(f"{name.replace('_', ' ')}: {found[name]['spearman']:.2f}", size=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, color="#999999", labelcolor="#444444")
    figure.supxlabel("rank by the proxy", size=10)
    figure.supylabel("rank by test accuracy after training", size=10)
    return figure


def _evaluator(options: Options) -> UntrainedNASBench201:
    dataset = data.load(options.data, options.data_dir)
    images, labels = dataset.train
    rows = np.random.default_rng(options.seed).permutation(len(images))[: options.batch_size]
    batch = normalize(jnp.asarray(images[rows]), dataset.mean, dataset.std)
    return UntrainedNASBench201(
        np.asarray(batch),
        labels[rows],
        len(dataset.classes),
        channels=options.channels,
        cells=options.depth,
    )


def _score(evaluator: UntrainedNASBench201, text: str, options: Options) -> dict[str, Any]:
    """The row of a cell; scores that are not finite are null."""
    names = parse_cell(text)
    start = time.monotonic()
    found = evaluator.proxies(tuple(map(OPERATIONS.index, names)), options.seed)
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
    finite = {name: value if np.isfinite(value) else None for name, value in found.items()}
    parameters = count_parameters(network)
    return {"cell": text, **finite, "parameters": parameters, "seconds": round(seconds, 3)}


if __name__ == "__main__":
    cli.main(command)
