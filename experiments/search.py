"""Search cells on images, draw them, train the network that they make and say how good it is."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

import search
from experiments import cli, train
from experiments.environment import environment
from experiments.presets import CLASSIFICATION, PUBLISHED, SEARCH
from experiments.report import draw_pictures, write_report
from jaxcv import data
from jaxcv.functional._arguments import positive
from jaxcv.genotype import Genotype
from jaxcv.models import SKELETONS
from jaxcv.training import classification
from jaxcv.training.run import Run, write_atomically
from search import Config, Stages
from search.watch import verdict


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
    space: str = "darts"
    """What to search: darts, darts_without_none, or one of s1 to s4, in which DARTS collapses."""
    max_parameters: int | None = None
    """Parameters that the network to train may have at most; its auxiliary head does not count."""
    max_multiply_adds: int | None = None
    """Multiply-adds that it may take for an image at most."""
    search: Config = field(default_factory=Config)
    stages: Stages = field(default_factory=Stages)
    train: classification.Config = field(default_factory=classification.Config)

    def __post_init__(self) -> None:
        positive(seeds=self.seeds)
        search.create_space(self.space)
        if self.random_cells < 0:
            raise ValueError(f"random_cells={self.random_cells!r}; allowed is at least 0")
        if self.seeds > 1 and self.stages.layers:
            raise ValueError(f"seeds={self.seeds!r}; allowed is 1 for a search in stages")


PRESETS = {
    name: Options(
        data=name.removesuffix("_small"),
        folder=f"runs/search_{name}",
        random_cells=2 if name == "digits" else 0,
        search=SEARCH[name],
        train=CLASSIFICATION[name],
    )
    for name in SEARCH
} | {
    name: Options(
        data="cifar10",
        folder=f"runs/search_{name}",
        space=published.space,
        search=published.search,
        stages=published.stages,
        train=CLASSIFICATION["cifar10"],
    )
    for name, published in PUBLISHED.items()
}


def command(arguments: Sequence[str]) -> None:
    options, run = cli.start(arguments, "search", PRESETS, __doc__)
    if not options.then_train and options.random_cells and cli.given(arguments, "--random-cells"):
        raise ValueError(f"random_cells={options.random_cells!r} beside no training; allowed is 0")
    dataset = data.load(options.data, options.data_dir)
    space = search.create_space(options.space)
    key = jax.random.key(options.seed)
    if run is None:
        if options.then_train:
            some = search.random_genotype(space, key)
            train.check("train", some, dataset, options.train)
        run = Run.create(options.folder, "search", {"options": asdict(options)})
    with cli.resumable("search", run):
        found = _search(run, space, dataset, options)
        print(found.genotype)
        if options.search.watch_every:
            print(verdict(found.history))
        notes = _within_limits(found.genotype, dataset, options)
        if notes:
            print(notes)
        results: list[dict[str, Any]] = []
        report = _reporter(run, options, found, space, notes)
        report(finished=not options.then_train)
        if options.then_train:
            candidates = {"discovered": found.genotype}
            for number in range(1, options.random_cells + 1):
                candidates[f"random {number}"] = search.random_genotype(
                    space, jax.random.fold_in(key, number)
                )
            for name, genotype in candidates.items():
                results.append(_train(run, name, genotype, dataset, options))
                report(results=results, finished=len(results) == len(candidates))
            _summarize(results)
            # Of a run that was stopped too.
            seconds = sum(row["seconds"] for row in [*found.history, *results])
            record = {"seconds": seconds, "results": results}
            text = json.dumps(record | {"environment": environment()}, indent=1)
            write_atomically(run.path / "result.json", text + "\n")
    print(f"report: {run.path / 'report.html'}")


def _search(
    run: Run, space: search.Space, dataset: data.Dataset, options: Options
) -> search.Result:
    arguments = (space, *dataset.train, options.search)
    settings: dict[str, Any] = {
        "augmentation": dataset.augmentation,
        "statistics": (dataset.mean, dataset.std),
        "limits": search.network_limits(
            space,
            *_network(dataset, options),
            max_parameters=options.max_parameters,
            max_multiply_adds=options.max_multiply_adds,
        ),
        "folder": run,
    }
    key = jax.random.key(options.seed)
    if options.stages.layers:
        return search.run_stages(*arguments, key, options.stages, **settings)
    if options.seeds == 1:
        return search.run(*arguments, key, **settings)
    seeds = range(options.seed, options.seed + options.seeds)
    keys = jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))
    results = search.run_many(*arguments, keys, **settings)
    best = search.best(results)
    print(f"{'seed':>6} {'validation accuracy':>20}")
    for number, result in enumerate(results):
        kept = "  kept" if number == best else ""
        print(f"{seeds[number]:>6} {result.history[-1]['valid_accuracy']:>20.2%}{kept}")
    return results[best]


def _network(dataset: data.Dataset, options: Options) -> tuple[Any, ...]:
    """Of the network to train: skeleton, channels, layers, classes, shape of an image."""
    own = options.train
    shape = dataset.train.images.shape[1:]
    return SKELETONS[own.skeleton], own.channels, own.layers, len(dataset.classes), shape


def _within_limits(genotype: Genotype, dataset: data.Dataset, options: Options) -> str:
    """What a genotype's network has of what is limited; nothing without limits."""
    most = {"parameters": options.max_parameters, "multiply_adds": options.max_multiply_adds}
    limited = {name: number for name, number in most.items() if number is not None}
    if not limited:
        return ""
    counts = search.network_counts(genotype, *_network(dataset, options))
    return "; ".join(
        f"{counts[name]:,} {name.replace('_', '-')} of at most {number:,}"
        for name, number in limited.items()
    )


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
    return train.trained(own, genotype, dataset, name)


def _reporter(
    run: Run, options: Options, found: search.Result, space: search.Space, notes: str
) -> Callable[..., Any]:
    """What writes the report, with the pictures of now, given the results so far."""
    shown: dict[str, Any] = {
        "rows": found.history,
        "genotype": found.genotype,
        "primitives": {kind: cell.vocabulary for kind, cell in space.cells.items()},
    }
    return functools.partial(
        write_report,
        run.path,
        title=f"DARTS search on {options.data}",
        config=asdict(options),
        notes=notes,
        pictures=draw_pictures(run.path, **shown),
        **shown,
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
