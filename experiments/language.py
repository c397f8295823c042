"""Search a recurrent cell on text, draw it, train the language model that it makes and say how good
it is; or train one of a published cell."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax

import search
from experiments import cli
from experiments.environment import environment
from experiments.presets import RECURRENT_SEARCH, RECURRENT_TRAINING
from experiments.report import draw_pictures, write_report
from jaxcv.analysis import count_parameters
from jaxcv.functional._arguments import positive
from jaxcv.genotype import RECURRENT, Genotype, published_recurrent
from jaxcv.training.run import Run, write_atomically
from search import recurrent
from search.recurrent import Corpus, SearchConfig, TrainConfig
from search.recurrent.corpus import streams


@dataclass(frozen=True)
class Options:
    """What to search on, and how."""

    data: str = "data/ptb"
    """Folder with train.txt, valid.txt and test.txt, which may have the ending .gz."""
    folder: str = "runs/language"
    """Where the run goes: metrics, checkpoints, genotype, pictures, report."""
    seed: int = 0
    """Of everything random."""
    genotype: str | None = None
    """A cell to train in place of searching one: DARTS_V1 or DARTS_V2, or a file, the
    genotype.json of a search or the reference implementation's Genotype(...)."""
    nodes: int = 8
    """Of the cells that are searched, and of random ones."""
    random_cells: int = 0
    """How many random cells to train in the same way, to compare with."""
    then_train: bool = True
    """Whether to train what was found."""
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        positive(nodes=self.nodes)
        if self.random_cells < 0:
            raise ValueError(f"random_cells={self.random_cells!r}; allowed is at least 0")
        if self.genotype is not None and not self.then_train:
            raise ValueError(
                f"genotype={self.genotype!r} beside no training; allowed is a genotype to train"
            )


PRESETS = {
    name: Options(
        folder=f"runs/language_{name}",
        random_cells=1 if name == "ptb_small" else 0,
        search=RECURRENT_SEARCH[name],
        train=RECURRENT_TRAINING[name],
    )
    for name in RECURRENT_SEARCH
}


def command(arguments: Sequence[str]) -> None:
    options, run = cli.start(arguments, "language", PRESETS, __doc__, "language_search")
    if not options.then_train and options.random_cells and cli.given(arguments, "--random-cells"):
        raise ValueError(f"random_cells={options.random_cells!r} beside no training; allowed is 0")
    files = {}
    if run is None and options.genotype is not None:
        known = cli.read_genotype(options.genotype, published_recurrent, Genotype.parse)
        recurrent.recurrent_cell(known)  # refused here if it is for images
        files["genotype.json"] = known.to_json()
    corpus = recurrent.load_corpus(options.data)
    if run is None:
        check(options, corpus)
        run = Run.create(options.folder, "language_search", {"options": asdict(options)}, files)
    space = recurrent.recurrent(options.nodes)
    key = jax.random.key(options.seed)
    with cli.resumable("language", run):
        if options.genotype is None:
            found = recurrent.run(space, corpus, options.search, key, folder=run)
            name, genotype = "discovered", found.genotype
        else:
            run.begin()
            name = Path(options.genotype).stem
            genotype = Genotype.from_json((run.path / "genotype.json").read_text())
        print(genotype)
        results: list[dict[str, Any]] = []
        report = _reporter(run, options, genotype)
        report(finished=not options.then_train)
        if options.then_train:
            candidates = {name: genotype}
            for number in range(1, options.random_cells + 1):
                candidates[f"random {number}"] = search.random_genotype(
                    space, jax.random.fold_in(key, number)
                )
            for each, cell in candidates.items():
                results.append(_train(run, each, cell, corpus, options))
                report(results=results, finished=len(results) == len(candidates))
            _summarize(results)
            # Of a run that was stopped too.
            seconds = sum(row["seconds"] for row in [*run.rows, *results])
            record = {"seconds": seconds, "results": results}
            text = json.dumps(record | {"environment": environment()}, indent=1)
            write_atomically(run.path / "result.json", text + "\n")
    print(f"report: {run.path / 'report.html'}")


def check(options: Options, corpus: Corpus) -> None:
    """Refuses batches that the texts are too short for, before there is anything to lose."""
    uses = {"train": (options.train.batch_size, [corpus.train])}
    if options.genotype is None:
        uses["search"] = (options.search.batch_size, [corpus.train, corpus.valid])
    for name, (size, texts) in uses.items():
        try:
            for words in texts:
                streams(words, size)
        except ValueError as error:
            raise ValueError(cli.under(name, str(error))) from None


def _train(
    run: Run, name: str, genotype: Genotype, corpus: Corpus, options: Options
) -> dict[str, Any]:
    """Trains in a folder of its own, from its last checkpoint if there is one, and writes its
    report. The perplexities are those of the epoch that was best on the validation text."""
    folder = run.path / name.replace(" ", "_")
    trained = recurrent.train(
        genotype,
        corpus,
        options.train,
        jax.random.key(options.seed),
        folder=Run.within(
            folder,
            "language",
            lambda: recurrent.create_run(folder, genotype, corpus, options.train),
        ),
        description=name,
    )
    best = recurrent.best(trained.history)
    row = {
        "name": name,
        "valid_perplexity": best["valid_perplexity"],
        "test_perplexity": best["test_perplexity"],
        "epoch": best["epoch"],
        "parameters": count_parameters(trained.model),
        "seconds": sum(epoch["seconds"] for epoch in trained.history),
    }
    write_report(
        folder,
        title=f"Language model of {options.data}",
        config=asdict(options.train),
        rows=trained.history,
        genotype=genotype,
        results=[row],
        measure="perplexity",
    )
    return row


def _reporter(run: Run, options: Options, genotype: Genotype) -> Callable[..., Any]:
    """What writes the report, with the pictures of now, given the results so far."""
    verb = "DARTS search" if options.genotype is None else "Language model"
    shown: dict[str, Any] = {
        "rows": run.rows,
        "genotype": genotype,
        "primitives": {RECURRENT: recurrent.recurrent().cells[RECURRENT].vocabulary},
        "measure": "perplexity",
    }
    return functools.partial(
        write_report,
        run.path,
        title=f"{verb} on {options.data}",
        config=asdict(options),
        pictures=draw_pictures(run.path, **shown),
        **shown,
    )


def _summarize(results: list[dict[str, Any]]) -> None:
    print(f"{'network':<12} {'validation':>11} {'test perplexity':>16} {'parameters':>12}")
    for row in results:
        print(
            f"{row['name']:<12} {row['valid_perplexity']:>11.2f} {row['test_perplexity']:>16.2f} "
            f"{row['parameters']:>12,}"
        )


if __name__ == "__main__":
    cli.main(command)
