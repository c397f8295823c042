"""The comparison of methods: interrupted, resumed, side by side, its table, wrong options."""

import json

import jax
import numpy as np
import pytest

import search
from experiments import train
from experiments.compare_search import command, jobs
from experiments.compare_search.methods import METHODS
from experiments.compare_search.picture import draw_errors
from experiments.compare_search.table import HEAD, markdown, summaries
from experiments.presets import PUBLISHED
from jaxcv.genotype import Genotype
from search import Config

TINY = [
    *("--preset", "digits", "--seeds", "1", "--space", "s2"),
    *("--search.channels", "2", "--search.layers", "2"),
    *("--search.epochs", "3", "--search.batch-size", "512", "--train.channels", "2"),
    *("--train.layers", "1", "--train.epochs", "1", "--train.batch-size", "512"),
]


def test_every_method_ends_and_what_was_interrupted_goes_on(tmp_path, monkeypatch, capsys):
    folder, begun = tmp_path / "run", []

    def few(run, *arguments, **more):
        begun.append(run.path.parent.name)
        if len(begun) == 2:
            raise KeyboardInterrupt("stopped")
        return train_in(run, *arguments, **more)

    train_in = train.train_in
    monkeypatch.setattr(train, "train_in", few)
    chosen = ["random", "pdarts"]
    with pytest.raises(KeyboardInterrupt, match=f"1 of 2 jobs .* --resume {folder}"):
        command.command([*TINY, "--methods", *chosen, "--folder", str(folder)])
    searched = (folder / "pdarts_0" / "search" / "metrics.jsonl").read_bytes()
    command.command(["--resume", str(folder)])
    assert begun == ["random_0", "pdarts_0", "pdarts_0"]
    assert (folder / "pdarts_0" / "search" / "metrics.jsonl").read_bytes() == searched

    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["pdarts", "random"]
    assert all(0 <= row["test_error"] <= 1 and row["parameters"] > 0 for row in rows)
    assert rows[0]["search_seconds"] > 0 == rows[1]["search_seconds"]
    # Stages share the epochs, and are on average as deep.
    assert len(searched.splitlines()) == 3
    assert "P-DARTS" in capsys.readouterr().out
    assert (folder / "report.html").exists() and (folder / "errors.png").exists()


def test_jobs_in_processes_train_the_cells_of_their_seeds(tmp_path):
    options = [*TINY, "--methods", "random", "--seeds", "2", "--jobs", "2"]
    command.command([*options, "--folder", str(tmp_path / "run")])
    for seed in (0, 1):
        text = (tmp_path / "run" / f"random_{seed}" / "genotype.json").read_text()
        expected = search.random_genotype(search.create_space("s2"), jax.random.key(seed))
        assert Genotype.from_json(text) == expected
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert [row["seed"] for row in rows] == [0, 1]


def row(method, seed, error, **more):
    return {
        "method": method,
        "seed": seed,
        "test_error": error,
        "parameters": 1000 * (seed + 1),
        "search_seconds": 60.0,
        **more,
    }


ROWS = [
    row("random", 0, 0.2),
    *(row("first_order", seed, e, skip_connections=seed) for seed, e in enumerate([0.1, 0.3])),
]


def test_the_table_has_means_and_deviations_of_a_sample():
    darts, random = summaries(ROWS)
    assert darts.mean == pytest.approx(0.2) and random.deviation == 0
    assert darts.deviation == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert (darts.parameters, darts.skips, random.skips) == (1500, 0.5, None)
    lines = markdown([darts, random]).splitlines()
    assert "20.00 ± 14.14" in lines[2] and "20.00 ± 0.00" in lines[3]
    assert {line.count("|") for line in lines} == {len(HEAD) + 1}


def test_the_picture_has_a_ring_for_each_seed():
    (axes,) = draw_errors(summaries(ROWS)).axes
    rings = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [list(np.round(ring.get_xdata(), 6)) for ring in rings] == [[10, 30], [20]]


def test_methods_differ_from_their_presets_in_size_alone():
    """What makes a method that method is the same in both."""
    for name, published in PUBLISHED.items():
        changed = METHODS[name].change(Config())
        for setting in ("relaxation", "partial", "penalty_weight", "gradient"):
            # DrNAS's partial channels belong to its two stages.
            if (name, setting) != ("drnas", "partial"):
                assert getattr(changed, setting) == getattr(published.search, setting)
        assert METHODS[name].space == published.space


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--methods", "drats", "methods has 'drats'; allowed are first_order"),
        ("--seeds", "0", "seeds=0; allowed is a positive int"),
        ("--jobs", "-1", "jobs=-1; allowed is a positive int"),
        ("--space", "s5", "space='s5'; allowed are darts"),
    ],
)
def test_wrong_options_are_named(option, value, message):
    with pytest.raises(ValueError, match=message):
        command.command([option, value])


def test_every_method_is_seen_before_the_second_seed():
    options = jobs.Options(methods=("random", "gdas"), seeds=2, seed=5)
    assert jobs.jobs_of(options) == [("random", 5), ("gdas", 5), ("random", 6), ("gdas", 6)]
