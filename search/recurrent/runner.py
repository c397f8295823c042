"""A whole recurrent search, and the training of a cell, as one call each."""

import functools
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.genotype import Genotype
from jaxcv.training import checkpoint
from jaxcv.training.loop import fit
from jaxcv.training.run import Run, write_atomically
from search.discretize import discretize
from search.recurrent import step, training
from search.recurrent.corpus import Corpus
from search.recurrent.dropout import Dropout
from search.recurrent.evaluation import one_pass
from search.recurrent.model import LanguageModel
from search.recurrent.training import TrainState
from search.space import Space


class Found(NamedTuple):
    """What a search gives back.

    Attributes:
        genotype: the discrete cell.
        alphas: architecture weights [edges, activations] under "recurrent".
        history: a row of metrics for each epoch; ``mix`` holds the mixing weights after it.
    """

    genotype: Genotype
    alphas: dict[str, np.ndarray]
    history: list[dict[str, Any]]


class Trained(NamedTuple):
    """What a training gives back: the language model, and a row of metrics for each epoch."""

    model: LanguageModel
    history: list[dict[str, Any]]


def run(
    space: Space,
    corpus: Corpus,
    config: step.Config = step.Config(),  # noqa: B008 (frozen)
    key: jax.Array | None = None,
    *,
    folder: Run | None = None,
    progress: bool = True,
) -> Found:
    """Searches a space of ``recurrent`` by DARTS (arXiv:1806.09055): the weights learn from the
    training text, the architecture weights from the validation text.

    Args:
        space: what to search.
        corpus: of ``corpus.load``.
        config: how to search.
        key: a JAX random key for everything random; ``jax.random.key(0)`` by default.
        folder: a run to write metrics, checkpoints and the genotype to, and to go on with if it
            has a checkpoint.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for a space of other cells, or a batch larger than half of a part of the text.
        FloatingPointError: for a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    search = step.build(space, config, corpus)
    history: list[dict[str, Any]] = []

    def end_epoch(state: step.SearchState) -> dict[str, Any]:
        mix = jax.device_get(search.mix(state))
        means = {name: float(total) / search.steps_per_epoch for name, total in state.sums.items()}
        return {
            "perplexity": _perplexity(means["loss"]),
            "valid_perplexity": _perplexity(means["valid_loss"]),
            "mix": {kind: np.round(w.astype(float), 6).tolist() for kind, w in mix.items()},
        }

    state = fit(
        functools.partial(search.init, jax.random.key(0) if key is None else key),
        lambda state, steps: search.advance(state, search.texts, steps),
        epochs=config.epochs,
        steps_per_epoch=search.steps_per_epoch,
        images_per_step=2 * config.batch_size * config.bptt,
        unit="words",
        end_epoch=end_epoch,
        description="search",
        run=folder,
        log=history.append,
        progress=progress,
    )
    mix, alphas = jax.device_get((search.mix(state), state.alphas))
    genotype = discretize(space, mix)
    if folder is not None:
        history = folder.rows  # those of before a resume too
        write_atomically(folder.path / "genotype.json", genotype.to_json())
    return Found(genotype, alphas, history)


def train(
    genotype: Genotype,
    corpus: Corpus,
    config: training.Config = training.Config(),  # noqa: B008 (frozen)
    key: jax.Array | None = None,
    *,
    folder: Run | None = None,
    description: str = "train",
    progress: bool = True,
) -> Trained:
    """Trains the language model of a recurrent genotype, and tells the words of the validation and
    the test text after each epoch.

    Args:
        genotype: of the cell.
        corpus: of ``corpus.load``.
        config: how to train.
        key: a JAX random key for everything random; ``jax.random.key(0)`` by default.
        folder: a run, of ``create_run``, to write metrics and checkpoints to, and to go on with
            if it has a checkpoint.
        description: what the progress bar says.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for a genotype of other cells, or a batch larger than half of the text.
        FloatingPointError: for a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    built = training.build(
        genotype,
        config,
        vocabulary=len(corpus.vocabulary),
        words=corpus.train,
    )
    valid, test = (
        one_pass(words, config.evaluation_batch_size, config.bptt)
        for words in (corpus.valid, corpus.test)
    )
    history: list[dict[str, Any]] = []

    def advance(state: TrainState, steps: int) -> TrainState:
        state = built.advance(state, built.text, steps)
        if int(state.step) % built.steps_per_epoch == 0:
            # Within the state, since what it says decides about the steps that follow.
            state = built.record(state, built.evaluate(state.average, valid))
        return state

    def end_epoch(state: TrainState) -> dict[str, Any]:
        epoch = int(state.step) // built.steps_per_epoch
        losses = {
            "": float(state.sums["loss"]) / built.steps_per_epoch,
            "valid_": float(state.losses[epoch - 1]),
            "test_": float(built.evaluate(state.average, test)),
        }
        row = {f"{part}loss": loss for part, loss in losses.items() if part}
        row |= {f"{part}perplexity": _perplexity(loss) for part, loss in losses.items()}
        return row | {"averaged": int(state.averaged)}

    state = fit(
        functools.partial(built.init, jax.random.key(0) if key is None else key),
        advance,
        epochs=config.epochs,
        steps_per_epoch=built.steps_per_epoch,
        images_per_step=config.batch_size * config.bptt,
        unit="words",
        end_epoch=end_epoch,
        description=description,
        run=folder,
        log=history.append,
        progress=progress,
    )
    return Trained(built.model(state), history if folder is None else folder.rows)


def best(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The epoch of a training with the smallest perplexity on the validation text."""
    return min(history, key=lambda row: row["valid_perplexity"])


def create_run(
    path: Path | str, genotype: Genotype, corpus: Corpus, config: training.Config, **more: Any
) -> Run:
    """A new run folder for a training, with all that ``load`` needs.

    Raises:
        ValueError: if the folder is not empty, or cannot be written.
    """
    described = {"train": asdict(config), "corpus": corpus.name}
    files = {
        "genotype.json": genotype.to_json(),
        "vocabulary.txt": "".join(f"{word}\n" for word in corpus.vocabulary),
    }
    return Run.create(path, "language", described | more, files)


def load(folder: Path | str) -> tuple[LanguageModel, tuple[str, ...]]:
    """The language model in the run folder of a training, and its vocabulary.

    Raises:
        ValueError: for a folder that holds no training, or none with an undamaged checkpoint.
    """
    run = Run.open(folder, "language")
    try:
        described = run.config["train"]
        config = training.Config(**{**described, "dropout": Dropout(**described["dropout"])})
        genotype = Genotype.from_json((run.path / "genotype.json").read_text())
        vocabulary = tuple((run.path / "vocabulary.txt").read_text().splitlines())
    except (KeyError, TypeError, OSError):
        raise ValueError(
            f"folder={str(folder)!r} does not describe a training; allowed is what create_run of "
            "this version writes"
        ) from None
    built = training.build(
        genotype,
        config,
        vocabulary=len(vocabulary),
        # The text that it learnt from is not asked for, as it says nothing about the weights' form.
        words=np.zeros(2 * config.batch_size, np.int32),
    )
    like = jax.eval_shape(built.init, jax.random.key(0))
    found = checkpoint.restore_latest(run.path / "checkpoints", like)
    if found is None:
        raise ValueError(
            f"folder={str(folder)!r} has no undamaged checkpoint; allowed is a run that has one"
        )
    return built.model(jax.tree.map(jnp.asarray, found[1])), vocabulary


def _perplexity(loss: float) -> float:
    # A run that diverges says so in numbers that a float can hold.
    return math.exp(min(loss, 700.0))
