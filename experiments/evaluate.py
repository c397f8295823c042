"""Evaluate a trained network on test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from flax import nnx

import jaxcv
from experiments import cli
from jaxcv import data
from jaxcv.functional._arguments import positive
from jaxcv.training.evaluation import evaluator, stream_evaluator
from jaxcv.training.run import Run


@dataclass(frozen=True)
class Options:
    """Which network, on what."""

    folder: Annotated[str, tyro.conf.Positional]
    """Run folder of a training, such as runs/search_digits/discovered."""
    data: str | None = None
    """Another data set than the one it was trained on, with images of the same kind."""
    data_dir: str | None = None
    """Where TFDS data sets are; by default where they were in training."""
    batch_size: int = 256
    """Images at once."""


def command(arguments: Sequence[str]) -> None:
    options = cli.typed(Options, arguments, "python -m experiments.evaluate", __doc__ or "")
    positive(batch_size=options.batch_size)
    model = jaxcv.load(options.folder)
    trained = Run.open(options.folder, "train").config
    before = trained.get("options", {})
    name = options.data or before.get("data")
    if name is None:
        raise ValueError(f"folder={options.folder!r} names no data set; allowed is one by --data")
    known, image_size = trained["dataset"], trained["train"].get("image_size", 0)
    read = data.stream if image_size else data.load
    dataset = read(name, options.data_dir or before.get("data_dir"))
    if len(dataset.classes) > len(known["classes"]):
        raise ValueError(
            f"data={dataset.name!r} has {len(dataset.classes)} classes; allowed are at most the "
            f"{len(known['classes'])} that the network knows"
        )

    graph, state = nnx.split(model)
    statistics = known["mean"], known["std"]
    if isinstance(dataset, data.Stream):
        count = len(dataset.test)
        stream = data.evaluation_batches(
            dataset.test, size=options.batch_size, image_size=image_size
        )
        result = stream_evaluator(graph, *statistics)(stream, state)
    else:
        count = len(dataset.test.labels)
        batches = data.padded_batches(dataset.test, options.batch_size)
        result = evaluator(graph, *statistics)(batches, state)
    right = round(float(result["accuracy"]) * count)
    print(
        f"test accuracy {result['accuracy']:.2%} ({right} of {count}), loss "
        f"{result['loss']:.4f}, on {dataset.name}"
    )


if __name__ == "__main__":
    cli.main(command)
