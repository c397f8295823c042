"""Evaluate a trained network on test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import tyro

import jaxcv
from experiments import cli
from jaxcv import data
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
    if options.batch_size < 1:
        raise ValueError(f"batch_size={options.batch_size!r}; allowed is a positive int")
    model = jaxcv.load(options.folder)
    trained = Run.open(options.folder, "train").config
    before = trained["options"]
    dataset = data.load(options.data or before["data"], options.data_dir or before["data_dir"])
    known = trained["dataset"]
    if len(dataset.classes) > len(known["classes"]):
        raise ValueError(
            f"data={dataset.name!r} has {len(dataset.classes)} classes; allowed are at most the "
            f"{len(known['classes'])} that the network knows"
        )

    @jax.jit
    def right(images: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        logits = model(data.normalize(images, known["mean"], known["std"]))
        return ((logits.argmax(-1) == labels) * mask).sum()

    batches = data.padded_batches(dataset.test, options.batch_size)
    total = sum(float(right(*map(jnp.asarray, batch))) for batch in zip(*batches, strict=True))
    count = len(dataset.test.labels)
    print(f"test accuracy {total / count:.2%} ({total:.0f} of {count}) on {dataset.name}")


if __name__ == "__main__":
    cli.main(command)
