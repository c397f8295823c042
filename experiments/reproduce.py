"""Search as papers report it: several searches, the best of their cells by a brief training, and
its network trained from several seeds, with the mean and the deviation of its test accuracy."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
    """What to search on, and how often what is done. The defaults are those of
    arXiv:1806.09055."""

    data: str = "cifar10"
    """Data set: digits, a TFDS name such as cifar10, an image folder, or an .npz file."""
    data_dir: str | None = None
    """Where TFDS data sets are; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    folder: str = "runs/reproduce"
    """Where the run goes: a folder for the searches and for each training, and the report."""
    space: str = "darts"
    """What to search: darts, darts_without_none, or one of s1 to s4, in which DARTS collapses."""
    seed: int = 0
    """The first seed, of searches and of trainings."""
    searches: int = 4
    """Searches, at once in one program."""
    trainings: int = 10
    """Trainings of the cells that are kept."""
    random_cells: int = 0
    """Random cells to treat as those that are found, beside them."""
    search: Config = field(default_factory=Config)
    brief: classification.Config = field(
        default_factory=lambda: replace(classification.Config(), epochs=100)
    )
    """Of the trainings that choose among the cells, on one half of the training images, by the
    accuracy on the other."""
    train: classification.Config = field(default_factory=classification.Config)
    """Of the trainings that are reported, on all training images, by the test images."""

    def __post_init__(self) -> None:
        search.create_space(self.space)
        positive(searches=self.searches, trainings=self.trainings)
        if self.random_cells < 0:
            raise ValueError(f"random_cells={self.random_cells!r}; allowed is at least 0")


PRESETS = {
    "cifar10": Options(folder="runs/reproduce_cifar10"),
    "cifar10_small": Options(
        folder="runs/reproduce_cifar10_small",
        searches=2,
        trainings=3,
        random_cells=2,
        search=SEARCH["cifar10_small"],
        brief=replace(CLASSIFICATION["cifar10_small"], epochs=1),
        train=CLASSIFICATION["cifar10_small"],
    ),
    "digits": Options(
        data="digits",
        folder="runs/reproduce_digits",
        searches=3,
        trainings=3,
        random_cells=3,
        search=SEARCH["digits"],
        brief=replace(CLASSIFICATION["digits"], epochs=5),
        train=CLASSIFICATION["digits"],
    ),
}


def command(arguments: Sequence[str]) -> None:
    options, run = cli.start(arguments, "reproduce", PRESETS, __doc__)
    dataset = data.load(options.data, options.data_dir)
    if run is None:
        key = jax.random.key(options.seed)
        some = search.random_genotype(search.create_space(options.space), key)
        train.check("brief", some, data.halved(dataset, key), options.brief)
        train.check("train", some, dataset, options.train)
        run = Run.create(options.folder, "reproduce", {"options": asdict(options)})
    run.begin()
    with cli.resumable("reproduce", run):
        summaries = reproduce(run.path, options, dataset)
    for summary in summaries:
        print(
            f"{summary['name']}: test accuracy {summary['test_accuracy']:.2%} on average, standard "
            f"deviation {summary['deviation']:.2%}, {summary['parameters']:,} parameters"
        )
    print(f"report: {run.path / 'report.html'}")


def reproduce(folder: Path, options: Options, dataset: data.Dataset) -> list[dict[str, Any]]:
    """Does what is still to do in a run folder, and writes ``result.json`` and the report.

    Returns:
        For the cells found, and for random ones if there are any: "name", "test_accuracy" (mean),
        "deviation" (of a sample), "parameters", and "candidates", the accuracies that chose.
    """
    space = search.create_space(options.space)
    found = _search(folder / "search", space, options, dataset)
    groups = {"discovered": [result.genotype for result in found]}
    if options.random_cells:
        keys = jax.random.split(jax.random.key(options.seed), options.random_cells)
        groups["random"] = [search.random_genotype(space, key) for key in keys]
    halves = data.halved(dataset, jax.random.key(options.seed))
    rows, summaries = [], []
    best: dict[str, Genotype] = {}
    for name, genotypes in groups.items():
        candidates = [
            _train(folder / f"{name}_{number}_brief", genotype, options, halves)
            for number, genotype in enumerate(genotypes)
        ]
        accuracies = [row["test_accuracy"] for row in candidates]
        best[name] = genotypes[int(np.argmax(accuracies))]
        seeds = range(options.seed, options.seed + options.trainings)
        trained = [
            _train(folder / f"{name}_final_{seed}", best[name], options, dataset, seed)
            for seed in seeds
        ]
        rows += trained
        final = [row["test_accuracy"] for row in trained]
        summaries.append(
            {
                "name": name,
                "test_accuracy": float(np.mean(final)),
                "deviation": float(np.std(final, ddof=1)) if len(final) > 1 else 0.0,
                "parameters": trained[0]["parameters"],
                "candidates": accuracies,
            }
        )
    record = {"summary": summaries, "trainings": rows, "environment": environment()}
    write_atomically(folder / "result.json", json.dumps(record, indent=1) + "\n")
    write_atomically(folder / "genotype.json", best["discovered"].to_json())
    write_report(
        folder,
        title=f"DARTS on {options.data}, {options.searches} searches",
        config=asdict(options),
        rows=[],
        genotype=best["discovered"],
        results=rows,
        notes="\n\n".join(_sentence(summary) for summary in summaries),
    )
    return summaries


def _search(
    folder: Path, space: search.Space, options: Options, dataset: data.Dataset
) -> list[search.Result]:
    seeds = jnp.uint32(options.seed) + jnp.arange(options.searches, dtype=jnp.uint32)
    return search.run_many(
        space,
        *dataset.train,
        options.search,
        jax.vmap(jax.random.key)(seeds),
        augmentation=dataset.augmentation,
        statistics=(dataset.mean, dataset.std),
        folder=Run.within(folder, "search"),
    )


def _train(
    folder: Path,
    genotype: Genotype,
    options: Options,
    dataset: data.Dataset,
    seed: int | None = None,
) -> dict[str, Any]:
    """A training that is reported, of a seed, or else a brief one."""
    own = train.Options(
        genotype=str(folder / "genotype.json"),
        data=options.data,
        data_dir=options.data_dir,
        folder=str(folder),
        seed=options.seed if seed is None else seed,
        train=options.brief if seed is None else options.train,
    )
    return train.trained(own, genotype, dataset, folder.name.replace("_", " "))


def _sentence(summary: dict[str, Any]) -> str:
    candidates = ", ".join(f"{accuracy:.2%}" for accuracy in summary["candidates"])
    return (
        f"{summary['name'].capitalize()} cells: {summary['test_accuracy']:.2%} test accuracy on "
        f"average, standard deviation {summary['deviation']:.2%}. Briefly trained, the candidates "
        f"reached {candidates} on the validation half."
    )


if __name__ == "__main__":
    cli.main(command)
