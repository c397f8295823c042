"""Search cells on images, draw them, train the network that they make and say how good it is."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

import search
from experiments import cli, train
from experiments.environment import environment
from experiments.presets import CLASSIFICATION, SEARCH
from experiments.report import write_report
from jaxcv import data
from jaxcv.functional._arguments import positive
from jaxcv.genotype import Genotype
from jaxcv.training import classification
from jaxcv.training.run import Run, write_atomically
from search import Config


@dataclass(frozen=True)
class Options:
    """What to search on, and how."""

    data: str = "digits"
    """Data set: digits, a TFDS name such as cifar10, an image folder, or an .npz file."""
    data_dir: str | None = None
    """Where TFDS data sets are; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    folder: str = "runs/search"
    """Where the run goes: metrics, checkpoints, genotype, pictures, report."""
    seed: int = 0
    """Of everything random."""
    seeds: int = 1
    """How many searches to run at once, in one program, with this seed and those that follow; the
    one that ends with the best accuracy on its validation half is kept."""
    random_cells: int = 0
    """How many random cells to train in the same way, to compare with."""
    then_train: bool = True
    """Whether to train what was found."""
    search: Config = field(default_factory=Config)
    train: classification.Config = field(default_factory=classification.Config)

    def __post_init__(self) -> None:
        positive(seeds=self.seeds)
        if self.random_cells < 0:
            raise ValueError(f"random_cells={self.random_cells!r}; allowed is at least 0")


PRESETS = {
    name: Options(
        data=name.removesuffix("_small"),
        folder=f"runs/search_{name}",
        random_cells=2 if name == "digits" else 0,
        search=SEARCH[name],
        train=CLASSIFICATION[name],
    )
    for name in SEARCH
}


def command(arguments: Sequence[str]) -> None:
    started = time.monotonic()
    folder = cli.resumed(arguments)
    if folder is None:
        options = cli.parse(arguments, PRESETS, __doc__ or "", "python -m experiments.search")
        run = Run.create(options.folder, "search", {"options": asdict(options)})
    else:
        run = Run.open(folder, "search")
        options = cli.options_of(run, Options)
    dataset = data.load(options.data, options.data_dir)
    space = search.darts()
    key = jax.random.key(options.seed)
    try:
        found = _search(run, space, dataset, options)
        print(found.genotype)
        results: list[dict[str, Any]] = []
        _report(run, options, found, space, results, finished=not options.then_train)
        if options.then_train:
            candidates = {"discovered": found.genotype}
            for number in range(1, options.random_cells + 1):
                candidates[f"random {number}"] = search.random_genotype(
                    space, jax.random.fold_in(key, number)
                )
            for name, genotype in candidates.items():
                results.append(_train(run, name, genotype, dataset, options))
                finished = len(results) == len(candidates)
                _report(run, options, found, space, results, finished=finished)
            _summarize(results)
            record = {"seconds": time.monotonic() - started, "results": results}
            text = json.dumps(record | {"environment": environment()}, indent=1)
            write_atomically(run.path / "result.json", text + "\n")
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"{stop or 'Stopped'}. Go on with: python -m experiments.search --resume {run.path}"
        ) from None
    print(f"report: {run.path / 'report.html'}")


def _search(
    run: Run, space: search.Space, dataset: data.Dataset, options: Options
) -> search.Result:
    arguments = (space, *dataset.train, options.search)
    settings: dict[str, Any] = {
        "augmentation": dataset.augmentation,
        "statistics": (dataset.mean, dataset.std),
        "folder": run,
    }
    if options.seeds == 1:
        return search.run(*arguments, jax.random.key(options.seed), **settings)
    seeds = range(options.seed, options.seed + options.seeds)
    keys = jax.vmap(jax.random.key)(jnp.array(seeds))
    results = search.run_many(*arguments, keys, **settings)
    best = search.best(results)
    print(f"{'seed':>6} {'validation accuracy':>20}")
    for number, result in enumerate(results):
        kept = "  kept" if number == best else ""
        print(f"{seeds[number]:>6} {result.history[-1]['valid_accuracy']:>20.2%}{kept}")
    return results[best]


def _train(
    run: Run, name: str, genotype: Genotype, dataset: data.Dataset, options: Options
) -> dict[str, Any]:
    folder = run.path / name.replace(" ", "_")
    own = train.Options(
        genotype=str(folder / "genotype.json"),
        data=options.data,
        data_dir=options.data_dir,
        folder=str(folder),
        seed=options.seed,
        train=options.train,
    )
    if (folder / "config.json").exists():
        inner = Run.open(folder, "train")
    else:
        inner = train.create_run(own, genotype, dataset)
    return {"name": name, **train.train_in(inner, own, genotype, dataset, name)}


def _report(
    run: Run,
    options: Options,
    found: search.Result,
    space: search.Space,
    results: list[dict[str, Any]],
    *,
    finished: bool,
) -> None:
    write_report(
        run.path,
        title=f"DARTS search on {options.data}",
        config=asdict(options),
        rows=found.history,
        genotype=found.genotype,
        primitives=space.cells["normal"].vocabulary,
        results=results,
        finished=finished,
    )


def _summarize(results: list[dict[str, Any]]) -> None:
    print(f"{'network':<12} {'test accuracy':>14} {'parameters':>12} {'seconds':>9}")
    for row in results:
        print(
            f"{row['name']:<12} {row['test_accuracy']:>13.2%} {row['parameters']:>12,} "
            f"{row['seconds']:>9.0f}"
        )


if __name__ == "__main__":
    cli.main(command)
