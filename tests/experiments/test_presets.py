"""Every preset takes real steps, is resumed and discretizes, at a size that a test can afford."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import search
from experiments.presets import PUBLISHED
from experiments.search import PRESETS, command
from jaxcv.genotype import Genotype
from jaxcv.models import CIFAR
from jaxcv.training.run import Run
from search.perturbation import tuning_epochs
from search.space import CellSpace, Space


def small(space):
    """The space of the first node."""
    return Space(
        {kind: CellSpace(cell.edges[:2], cell.primitives[:2]) for kind, cell in space.cells.items()}
    )


def images():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 4


class StoppedError(Exception):
    pass


def stop(row):
    if row["epoch"] == 2:
        raise StoppedError


@pytest.mark.parametrize("name", PRESETS)
def test_preset(name, tmp_path):
    options = PRESETS[name]
    config = replace(
        options.search,
        channels=2 * options.search.partial,
        layers=1,
        epochs=3,
        batch_size=4,
        alpha_warmup=min(options.search.alpha_warmup, 1),
        selection_epochs=1,
    )
    arguments = (small(search.create_space(options.space)), *images(), config, jax.random.key(0))
    run = search.run
    if options.stages.layers:
        # Its first two, a cell each.
        stages = replace(
            options.stages,
            layers=(1, 1),
            primitives=options.stages.primitives[:2],
            skip_dropout=options.stages.skip_dropout[:2],
        )
        arguments, run = (*arguments, stages), search.run_stages
    folder = Run.create(tmp_path / "run", "search", {})
    with pytest.raises(StoppedError):
        run(*arguments, folder=folder, progress=False, on_epoch=stop)
    found = run(*arguments, folder=Run.open(folder.path, "search"), progress=False)

    epochs = 3 * max(1, len(options.stages.layers[:2])) + tuning_epochs(arguments[0], config)
    assert [row["epoch"] for row in found.history] == list(range(1, epochs + 1))
    assert all(np.isfinite(row["valid_loss"]) for row in found.history)
    assert np.isfinite(found.alphas["reduce"]).all()
    first, last = (found.history[epoch]["mix"]["reduce"] for epoch in (0, -1))
    assert first != last
    assert Genotype.from_json((folder.path / "genotype.json").read_text()) == found.genotype


def test_published_settings_differ_from_each_other_and_from_the_defaults():
    configs = [published.search for published in PUBLISHED.values()]
    assert len(set(configs)) == len(configs) and search.Config() not in configs


def test_flags_choose_relaxation_space_and_limits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["--search.channels", "2", "--search.layers", "1", "--search.epochs", "1"]
    tiny += ["--train.channels", "4", "--train.layers", "2", "--no-then-train"]
    flags = ["--search.relaxation", "dirichlet", "--space", "s1", "--max-parameters", "2500"]
    command([*tiny, *flags])
    output = capsys.readouterr().out
    folder = tmp_path / "runs" / "search_digits"
    genotype = Genotype.from_json((folder / "genotype.json").read_text())
    count = search.network_counts(genotype, CIFAR, 4, 2, 10, (8, 8, 1))["parameters"]
    assert count <= 2500
    assert f"{count:,} parameters of at most 2,500" in output
    assert f"{count:,} parameters of at most 2,500" in (folder / "report.html").read_text()
    assert {name for node in genotype.cells["reduce"].nodes for name, _ in node} <= set(
        search.create_space("s1").cells["reduce"].vocabulary
    )
