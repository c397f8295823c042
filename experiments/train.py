"""Train the network of a genotype or other architecture, found or published, and evaluate it on the
test images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax

from experiments import cli
from experiments.presets import CLASSIFICATION
from experiments.report import write_report
from jaxcv import data
from jaxcv.analysis import count_parameters
from jaxcv.genotype import published, published_nasnet
from jaxcv.models import SKELETONS, Architecture
from jaxcv.models.architecture import parse
from jaxcv.training import classification, train
from jaxcv.training.run import Run


@dataclass(frozen=True)
class Options:
    """What to train, on what, and how."""

    genotype: str = "DARTS_V2"
    """A published genotype by name, or a file: the genotype.json of a search, whatever its space,
    or the reference implementation's Genotype(...). NASNET_A, AMOEBANET_A, AMOEBANET_B, PNAS and
    ENAS of the skeletons nasnet and enas have the outputs of their own papers."""
    data: str = "digits"
    """Data set: digits, a TFDS name such as cifar10, an image folder, or an .npz file. With an
    image size, a TFDS name such as imagenet2012 or a folder, of images of any size."""
    data_dir: str | None = None
    """Where TFDS data sets are; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    folder: str = "runs/train"
    """Where the run goes: metrics, checkpoints, pictures, report."""
    seed: int = 0
    """Of everything random."""
    train: classification.Config = field(default_factory=classification.Config)


PRESETS = {
    name: Options(
        data="imagenet2012" if name == "imagenet" else name.removesuffix("_small"),
        folder=f"runs/train_{name}",
        train=config,
    )
    for name, config in CLASSIFICATION.items()
}


def command(arguments: Sequence[str]) -> None:
    arguments = cli.joined(arguments)
    options, run = cli.start(arguments, "train", PRESETS, f"{__doc__} {cli.JOINING}")
    if run is None:
        # Cells have the outputs of their own papers where the network is that of the paper.
        skeleton = options.train.skeleton
        known, others = published, published_nasnet
        if SKELETONS[skeleton].form != "darts":
            known, others = others, known
        if options.genotype in others.keys() - known.keys():
            raise ValueError(
                f"train.skeleton={skeleton!r} with genotype={options.genotype!r}; allowed is a "
                f"file, or one of {', '.join(known)}"
            )
        architecture = cli.read_genotype(options.genotype, known, parse)
    else:
        architecture = train.read_architecture(run)
    read = data.stream if options.train.image_size else data.load
    dataset = read(options.data, options.data_dir)
    if run is None:
        check("train", architecture, dataset, options.train)
        run = create_run(options, architecture, dataset)
    with cli.resumable("train", run):
        row = train_in(run, options, architecture, dataset)
    if jax.process_index() > 0:
        return
    print(f"test accuracy {row['test_accuracy']:.2%}, {row['parameters']:,} parameters")
    print(f"report: {run.path / 'report.html'}")


def check(
    name: str,
    architecture: Architecture,
    dataset: data.Dataset | data.Stream,
    config: classification.Config,
) -> None:
    """Refuses a training that could not begin, before there is anything to lose.

    Args:
        name: that the flags of its configuration begin with.
        architecture: any one of those that may be trained.
        dataset, config: as for ``jaxcv.training.train.run``.
    """
    try:
        train.check(architecture, dataset, config)
    except ValueError as error:
        raise ValueError(cli.under(name, str(error))) from None


def create_run(
    options: Options, architecture: Architecture, dataset: data.Dataset | data.Stream
) -> Run:
    """A new run folder, as options say."""
    return train.create_run(
        options.folder, architecture, dataset, options.train, options=asdict(options)
    )


def trained(
    options: Options,
    architecture: Architecture,
    dataset: data.Dataset,
    name: str,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """A training that is part of a larger run: begun, or gone on with, in the folder of its
    options. Returns the row of ``train_in`` under "name"."""
    run = Run.within(options.folder, "train", lambda: create_run(options, architecture, dataset))
    return {"name": name, **train_in(run, options, architecture, dataset, name, progress=progress)}


def train_in(
    run: Run,
    options: Options,
    architecture: Architecture,
    dataset: data.Dataset | data.Stream,
    description: str = "train",
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains in a run folder, from its last checkpoint if there is one, and writes its report, if
    this is the first process.

    Returns:
        A row of results: test accuracy, parameters, and seconds of training.
    """
    result = train.run(
        architecture,
        dataset,
        options.train,
        jax.random.key(options.seed),
        folder=run,
        description=description,
        progress=progress,
    )
    row = {
        "test_accuracy": result.history[-1]["test_accuracy"],
        "parameters": count_parameters(result.model),
        "seconds": sum(epoch["seconds"] for epoch in result.history),
    }
    if jax.process_index() > 0:
        return row
    write_report(
        run.path,
        title=f"Training on {options.data}",
        config=asdict(options),
        rows=result.history,
        genotype=architecture,
        results=[{"name": description, **row}],
    )
    return row


if __name__ == "__main__":
    cli.main(command)
