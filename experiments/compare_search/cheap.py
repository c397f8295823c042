"""Cheap evaluators beside the truth: how alike they rank networks that are trained in full."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.compare_search.methods import METHODS
from experiments.compare_search.options import Options
from experiments.zero_cost import finite, rank_correlation, training_batch
from jaxcv import data
from jaxcv.models import Architecture
from jaxcv.training import classification
from search.evaluators import Tabular
from search.evaluators.zero_cost import PROXIES, proxies

_BATCH_SIZE = 64
# Fewer say nothing.
_LEAST_NETWORKS = 4

HEAD = ("cheap evaluator", "Spearman", "Kendall", "networks")


def network_proxies(
    architecture: Architecture, options: Options, dataset: data.Dataset
) -> dict[str, float | None]:
    """Zero-cost proxies of the network that is to be trained, by name; None where they are not
    finite. Images and the seed of the weights are the same in all jobs."""
    images, labels = training_batch(dataset, _BATCH_SIZE, options.seed)
    network = classification.network(
        architecture,
        # In training alone there is more than what classifies.
        replace(options.train, auxiliary_weight=0.0, dtype="float32"),
        inputs=images.shape[-1],
        num_classes=len(dataset.classes),
        rngs=nnx.Rngs(options.seed),
    )
    with jax.enable_x64(True):
        return finite(jax.jit(proxies)(network, images, labels))


def correlations(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each cheap evaluator that enough rows of jobs have the score of, the rank correlation with
    the test accuracy."""
    scores: dict[str, list[float | None]] = {}
    accuracies: dict[str, list[float]] = {}
    for row in rows:
        for name, score in _scores(row).items():
            scores.setdefault(name, []).append(score)
            accuracies.setdefault(name, []).append(1 - row["test_error"])
    return _ranked((name, own, accuracies[name]) for name, own in scores.items())


def tabular_correlations(table: Tabular) -> list[dict[str, Any]]:
    """The same of what a table has, over all that it has."""
    truth = table.metrics["test_accuracy"]
    cheap = {
        **{f"validation after {epochs} epochs": values for epochs, values in table.valid.items()},
        **{
            name.replace("_", "-"): values
            for name, values in table.metrics.items()
            if name != "test_accuracy"
        },
    }
    return _ranked((name, values, truth) for name, values in cheap.items())


def cells(found: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the table as text."""
    return [
        (
            each["evaluator"],
            f"{each['spearman']:.2f}",
            f"{each['kendall']:.2f}",
            f"{each['networks']:,}",
        )
        for each in found
    ]


def _scores(row: Mapping[str, Any]) -> dict[str, float | None]:
    """By evaluator those that a job has, in the order of the table."""
    method = METHODS[row["method"]]
    found = {"parameters": row["parameters"]}
    for name in PROXIES:
        if name in row.get("proxies", {}):
            found[name.replace("_", " ")] = row["proxies"][name]
    if method.strategy is not None:
        found[method.scored_by] = row["valid_accuracy"]
    return found


def _ranked(
    scored: Iterable[tuple[str, Sequence[float | None], Sequence[float]]],
) -> list[dict[str, Any]]:
    found = []
    for name, scores, accuracies in scored:
        if len(scores) >= _LEAST_NETWORKS:
            ranks = rank_correlation(scores, accuracies)
            if np.isfinite(ranks["spearman"]):
                found.append({"evaluator": name, **ranks, "networks": len(scores)})
    return found
