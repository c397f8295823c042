"""Train a published recurrent cell with jaxcv and with PyTorch, on the same segments of the same
text with the same settings, and compare the perplexity on the validation text. Both begin with the
weights that jaxcv draws and drop what it draws. What is left is rounding, which the learning rate
of 20 makes grow: on the way the perplexities are up to a tenth apart, now one way, now the other.
Needs PyTorch; the network there is that of the tests."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import cli
from experiments.environment import environment
from jaxcv.functional._arguments import positive
from jaxcv.genotype import RECURRENT, published_recurrent
from jaxcv.training.randomness import Keys
from jaxcv.training.run import write_atomically
from search import recurrent
from search.recurrent import training
from search.recurrent.corpus import streams
from search.recurrent.evaluation import one_pass
from search.recurrent.segments import Lengths

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """What to train, on what, and how long."""

    data: str = "data/ptb"
    """Folder with train.txt, valid.txt and test.txt, which may have the ending .gz."""
    folder: str = str(ROOT / "experiments" / "results" / "recurrent_parity")
    """Where the logs of both go, and the result."""
    genotype: str = "DARTS_V2"
    """A published recurrent genotype."""
    steps: int = 250
    """Of gradient descent."""
    every: int = 50
    """Steps between the lines of the logs."""
    seed: int = 0
    """Of everything random."""
    train: recurrent.TrainConfig = field(
        default_factory=lambda: recurrent.TrainConfig(units=100, evaluation_batch_size=64)
    )

    def __post_init__(self) -> None:
        positive(steps=self.steps, every=self.every)
        if self.genotype not in published_recurrent:
            raise ValueError(
                f"genotype={self.genotype!r}; allowed are {', '.join(published_recurrent)}"
            )


def command(arguments: Sequence[str]) -> None:
    options = cli.typed(Options, arguments, "python -m experiments.language_parity", __doc__ or "")
    corpus = recurrent.load_corpus(options.data)
    lengths = segment_lengths(options)
    rows = len(streams(corpus.train, options.train.batch_size))
    if sum(lengths) >= rows:
        raise ValueError(
            f"steps={options.steps!r}; allowed are those of one pass over the text, about "
            f"{options.steps * rows // sum(lengths)}"
        )
    last = {}
    built = training.build(
        published_recurrent[options.genotype],
        options.train,
        vocabulary=len(corpus.vocabulary),
        words=corpus.train,
    )
    for name, train in (("jaxcv", train_jaxcv), ("pytorch", train_torch)):
        lines = []
        with tqdm(total=options.steps, desc=name, unit="step", file=sys.stderr) as bar:
            for line in log(train(options, corpus, built, lengths), lengths, options):
                bar.update(line["step"] - bar.n)
                bar.set_postfix({"loss": f"{line['loss']:.3f}"})
                lines.append(json.dumps(line) + "\n")
        Path(options.folder).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(options.folder) / f"{name}.jsonl", "".join(lines))
        last[name] = line
    ratio = last["jaxcv"]["valid_perplexity"] / last["pytorch"]["valid_perplexity"]
    result = {
        "words": last["jaxcv"]["words"],
        "valid_perplexity": {name: line["valid_perplexity"] for name, line in last.items()},
        "ratio": ratio,
        "corpus": corpus.name,
        "options": {k: v for k, v in asdict(options).items() if k not in ("data", "folder")},
        "environment": environment(),
    }
    write_atomically(Path(options.folder) / "result.json", json.dumps(result, indent=1) + "\n")
    for name, line in last.items():
        print(f"{name:<8} validation perplexity {line['valid_perplexity']:.2f}")
    print(f"ratio {ratio:.4f}, after {result['words']:,} words")


def segment_lengths(options: Options) -> list[int]:
    """The lengths that a training of jaxcv draws."""
    keys, lengths = (
        Keys(jax.random.key(options.seed)),
        Lengths(options.train.bptt, options.train.bptt_deviation),
    )
    drawn = jax.vmap(lambda step: lengths.draw(keys("length", step)))(jnp.arange(options.steps))
    return [int(length) for length in np.asarray(drawn)]


# Takes a number of steps; the mean of their losses.
Advance = Callable[[int], float]
# The loss on the validation text.
Evaluate = Callable[[], float]


def log(
    sides: tuple[Advance, Evaluate], lengths: Sequence[int], options: Options
) -> Iterator[dict[str, Any]]:
    """A line for each stretch of a training: what it learnt from, and how well."""
    advance, evaluate = sides
    seconds, before = 0.0, 0
    while before < options.steps:
        step = min(before + options.every, options.steps)
        started = time.monotonic()
        loss = advance(step - before)
        seconds += time.monotonic() - started
        yield {
            "step": step,
            "words": options.train.batch_size * sum(lengths[:step]),
            "loss": loss,
            "valid_perplexity": math.exp(evaluate()),
            "seconds": round(seconds, 2),
        }
        before = step


def train_jaxcv(
    options: Options, corpus: recurrent.Corpus, built: training.Training, lengths: Sequence[int]
) -> tuple[Advance, Evaluate]:
    valid = one_pass(corpus.valid, options.train.evaluation_batch_size, options.train.bptt)
    state = built.init(jax.random.key(options.seed))

    def advance(steps: int) -> float:
        nonlocal state
        before = float(state.sums["loss"])
        state = built.advance(state, built.text, steps)
        return (float(state.sums["loss"]) - before) / steps

    return advance, lambda: float(built.evaluate(state.average, valid))


def train_torch(
    options: Options, corpus: recurrent.Corpus, built: training.Training, lengths: Sequence[int]
) -> tuple[Advance, Evaluate]:
    import torch

    sys.path.append(str(ROOT / "tests"))
    import torch_recurrent

    config, vocabulary = options.train, len(corpus.vocabulary)
    key = jax.random.key(options.seed)
    keys = Keys(key)
    edges = [edge for (edge,) in published_recurrent[options.genotype].cells[RECURRENT].nodes]
    cell = torch_recurrent.Cell(edges, config.units)
    model = torch_recurrent.LanguageModel(cell, vocabulary)
    weights = jax.device_get(built.init(key).weights)
    kernels = weights["cell"]["kernels"]
    first = np.concatenate([kernels["word"], kernels["hidden"]])
    with torch.no_grad():
        for parameter, value in (
            (cell.first, first),
            *zip(cell.others, kernels["nodes"], strict=True),
            (model.embedding, weights["embedding"]),
            (model.bias, weights["bias"]),
        ):
            parameter.copy_(torch.tensor(value))
    text = torch.from_numpy(streams(corpus.train, config.batch_size).astype(np.int64))
    valid = torch.from_numpy(corpus.valid.astype(np.int64))
    hidden = torch.zeros(config.batch_size, config.units)
    step = position = 0

    def advance(steps: int) -> float:
        nonlocal hidden, step, position
        total = 0.0
        for _ in range(steps):
            length = lengths[step]
            window = text[position : position + length + 1]
            sizes = (vocabulary, config.batch_size, config.units)
            masks = config.dropout.masks(keys("dropout", step), *sizes)._asdict()
            loss, hidden = torch_recurrent.train_step(
                model,
                (window[:-1], window[1:], hidden),
                config.learning_rate * length / config.bptt,
                {name: torch.tensor(np.asarray(mask)) for name, mask in masks.items()},
                clip=config.clip,
                weight_decay=config.weight_decay,
                temporal=config.temporal,
            )
            step, position = step + 1, position + length
            total += float(loss)
        return total / steps

    def evaluate() -> float:
        return torch_recurrent.mean_loss(model, valid, config.evaluation_batch_size, config.bptt)

    return advance, evaluate


if __name__ == "__main__":
    cli.main(command)
