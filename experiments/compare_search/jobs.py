"""One job of a comparison: a method, a seed, an architecture, and how good its network is."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np

import search
from experiments import train
from experiments.compare_search.black_box import black_box
from experiments.compare_search.cheap import network_proxies
from experiments.compare_search.methods import METHODS
from experiments.compare_search.options import Options
from experiments.environment import environment
from jaxcv import data
from jaxcv.data import Split
from jaxcv.models import Architecture
from jaxcv.training.run import Run, write_atomically

Job = tuple[str, int]
"""A method, and a seed."""

_RESULT = "result.json"


def jobs_of(options: Options) -> list[Job]:
    """All jobs, seed by seed, so that every method is seen early."""
    seeds = range(options.seed, options.seed + options.seeds)
    return [(name, seed) for seed in seeds for name in options.chosen]


def is_done(folder: Path, job: Job) -> bool:
    """Whether a job has ended before."""
    return (folder_of(folder, job) / _RESULT).exists()


def results(
    run: Run, options: Options, dataset: data.Dataset | None
) -> Iterator[list[dict[str, Any]]]:
    """The rows of jobs: first those of all that had ended before, if any, then each as it ends.

    Raises:
        KeyboardInterrupt: on Ctrl-C; jobs keep what they have come to.
    """
    folder, jobs = run.path, jobs_of(options)
    missing = [job for job in jobs if not is_done(folder, job)]
    ended = [job for job in jobs if job not in missing]
    if ended:
        yield [json.loads((folder_of(folder, job) / _RESULT).read_text()) for job in ended]
    run.begin()
    if options.jobs == 1:
        for job in missing:
            yield [do(folder, options, job, dataset)]
        return
    with _workers(options.jobs) as pool:
        begun = [pool.submit(do, folder, options, job, progress=False) for job in missing]
        for done in as_completed(begun):
            yield [done.result()]


@contextmanager
def _workers(number: int) -> Iterator[ProcessPoolExecutor]:
    # JAX has threads, which a fork would not survive. Processes share a GPU only if none takes it
    # all.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    cache = jax.config.jax_compilation_cache_dir
    if cache:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    pool = ProcessPoolExecutor(number, mp_context=get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def do(
    folder: Path,
    options: Options,
    job: Job,
    dataset: data.Dataset | None = None,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Searches, or goes on with it, trains what was found, and writes the row of the job."""
    dataset = dataset or load(options)
    name, seed = job
    own = folder_of(folder, job)
    own.mkdir(parents=True, exist_ok=True)
    architecture, found = _search(own, options, job, dataset, progress)
    if options.proxies:
        found["proxies"] = _proxies(own / "proxies.json", architecture, options, dataset)
    trained = train.trained(
        train.Options(
            genotype=str(own / "train" / "genotype.json"),
            data=options.data,
            data_dir=options.data_dir,
            folder=str(own / "train"),
            seed=seed,
            train=options.train,
        ),
        architecture,
        dataset,
        f"{name} {seed} train",
        progress=progress,
    )
    row = {
        "method": name,
        "seed": seed,
        "test_error": 1 - trained["test_accuracy"],
        "parameters": trained["parameters"],
        "train_seconds": trained["seconds"],
        **found,
        "environment": environment(),
    }
    write_atomically(own / _RESULT, json.dumps(row, indent=1) + "\n")
    return row


def _proxies(
    path: Path, architecture: Architecture, options: Options, dataset: data.Dataset
) -> dict[str, float | None]:
    """Those of a network, from the file that has them once they are computed."""
    if not path.exists():
        found = network_proxies(architecture, options, dataset)
        write_atomically(path, json.dumps(found) + "\n")
    return json.loads(path.read_text())


def load(options: Options) -> data.Dataset:
    """The data set, with as many training images as are asked for."""
    dataset = data.load(options.data, options.data_dir)
    if not options.images:
        return dataset
    images, labels = dataset.train
    if options.images > len(labels):
        raise ValueError(f"images={options.images!r}; allowed are 1 to {len(labels)}, or 0 for all")
    return replace(dataset, train=Split(images[: options.images], labels[: options.images]))


def folder_of(folder: Path, job: Job) -> Path:
    """Where a job of a comparison keeps what it comes to."""
    return folder / f"{job[0]}_{job[1]}"


def _search(
    own: Path, options: Options, job: Job, dataset: data.Dataset, progress: bool
) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that a method finds, and figures of its search."""
    method, key = METHODS[job[0]], jax.random.key(job[1])
    if method.strategy is not None:
        return black_box(own, options, job, dataset, progress=progress)
    name = options.space if method.space == "darts" else method.space
    if name not in search.SPACES:
        # What is left without a strategy is to draw.
        points = search.create_discrete(name)
        point = points.sample(np.random.default_rng(job[1]))
        return points.decode(point), {"search_seconds": 0.0}
    space = search.create_space(name)
    if method.kind == "random":
        return search.random_genotype(space, key), {"search_seconds": 0.0}
    arguments = (space, *dataset.train, method.change(options.search), key)
    settings: dict[str, Any] = {
        "augmentation": dataset.augmentation,
        "statistics": (dataset.mean, dataset.std),
        "folder": Run.within(own / "search", "search"),
        "progress": progress,
    }
    stages = method.stages(options.search)
    if stages.layers:
        found = search.run_stages(*arguments, stages, **settings)
    else:
        found = search.run(*arguments, **settings)
    last = found.history[-1]
    kept = ("valid_accuracy", "skip_connections", "discretized_accuracy", "entropy")
    figures = {key: last[key] for key in kept if key in last}
    eigenvalues = [row["eigenvalue"] for row in found.history if "eigenvalue" in row]
    if eigenvalues:
        figures["eigenvalues"] = np.round(eigenvalues, 6).tolist()
    return found.genotype, {
        "search_seconds": sum(row["seconds"] for row in found.history),
        **figures,
    }
