"""The comparison of methods: interrupted, resumed, side by side, its table, wrong options."""

import itertools
import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

import search
from experiments import train
from experiments.compare_search import black_box, cheap, command, jobs, report
from experiments.compare_search.methods import METHODS
from experiments.compare_search.options import Options
from experiments.compare_search.picture import (
    draw_errors,
    draw_progress,
    draw_progress_apart,
)
from experiments.compare_search.table import HEAD, cells, summaries, tabular_cells
from experiments.page import markdown_table
from experiments.presets import CLASSIFICATION, PUBLISHED
from jaxcv import data
from jaxcv.genotype import SINGLE, Genotype
from jaxcv.models import SKELETONS
from jaxcv.models.macro import Macro
from jaxcv.models.motif import Motif
from jaxcv.models.nasbench201 import EDGES, OPERATIONS
from jaxcv.training import classification
from search import Config
from search.engine import run
from search.evaluators import Outcome
from search.strategies import RandomSearch

TINY = [
    *("--preset", "digits", "--seeds", "1", "--space", "s2"),
    *("--search.channels", "2", "--search.layers", "2"),
    *("--search.epochs", "3", "--search.batch-size", "512", "--train.channels", "2"),
    *("--train.layers", "1", "--train.epochs", "1", "--train.batch-size", "512"),
]


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch, capsys):
    folder, begun = tmp_path / "run", []

    def few(run, *arguments, **more):
        begun.append(run.path.parent.name)
        if len(begun) == 2:
            raise KeyboardInterrupt("stopped")
        return train_in(run, *arguments, **more)

    train_in, scored = train.train_in, []

    def proxies(*arguments):
        scored.append({"synflow": len(scored) + 0.5, "naswot": None})
        return scored[-1]

    monkeypatch.setattr(train, "train_in", few)
    monkeypatch.setattr(jobs, "network_proxies", proxies)
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
    # Before they are trained, and once.
    assert [row["proxies"] for row in rows] == scored[::-1] and len(scored) == 2
    # Stages share the epochs, and are on average as deep.
    assert len(searched.splitlines()) == 3
    assert "P-DARTS" in capsys.readouterr().out
    assert (folder / "report.html").exists() and (folder / "errors.png").exists()


def test_jobs_in_processes_train_the_cells_of_their_seeds(tmp_path):
    options = [*TINY, "--methods", "random", "--seeds", "2", "--jobs", "2", "--images", "1024"]
    options += ["--no-proxies"]
    command.command([*options, "--folder", str(tmp_path / "run")])
    for seed in (0, 1):
        text = (tmp_path / "run" / f"random_{seed}" / "train" / "genotype.json").read_text()
        expected = search.random_genotype(search.create_space("s2"), jax.random.key(seed))
        assert Genotype.from_json(text) == expected
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert [row["seed"] for row in rows] == [0, 1]
    config = json.loads((tmp_path / "run" / "random_0" / "train" / "config.json").read_text())
    assert config["dataset"]["count"] == 1024


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
    lines = markdown_table(HEAD, map(cells, [darts, random]), slice(1, -1)).splitlines()
    assert "20.00 ± 14.14" in lines[2] and "| 20.00 |" in lines[3]
    assert {line.count("|") for line in lines} == {len(HEAD) + 1}


def test_the_picture_has_the_best_first_and_a_mark_for_each_seed():
    rows = [*ROWS, row("random_search", 0, 0.04), row("gdas", 0, 0.05)]
    (axes,) = draw_errors(summaries(rows)).axes
    marks = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [np.round(line.get_xdata(), 6).tolist() for line in marks] == [[4], [5], [10, 30], [20]]
    assert [line.get_markerfacecolor() == "white" for line in marks] == [True, True, False, True]
    names = ["Random search", "GDAS", "DARTS (first order)", "Random cell"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    sizes = ["1 K", "1 K", "2 K", "1 K"]
    texts = [text.get_text() for text in axes.texts]
    # Of random cells and random search the former are what is compared with.
    assert texts == [*sizes[:3], "Random cell", sizes[3], "parameters"]
    bars = [line for line in axes.get_lines() if line.get_marker() == "|"]
    assert len(bars) == 1 and axes.get_xscale() == "log"
    assert draw_errors(summaries(ROWS)).axes[0].get_xscale() == "linear"


def found(method, error, synflow=None, **more):
    proxies = {} if synflow is None else {"proxies": {"synflow": synflow[0]}}
    return row(method, 0, error, **proxies, **more)


def test_cheap_evaluators_are_ranked_where_enough_networks_have_a_score():
    rows = [
        found("random", 0.1, (3.0,)),
        found("first_order", 0.2, (1.0,)),
        found("gdas", 0.3, (2.0,), valid_accuracy=0.1),
        found("ppo", 0.4, (None,), valid_accuracy=0.5),
        *(found("surrogate", 0.5 - a, valid_accuracy=a) for a in (0.1, 0.2, 0.3)),
        *(found("enas", 0.5 + a, valid_accuracy=a) for a in (0.1, 0.2, 0.3)),
    ]
    # Parameters are as many in all, and shared weights scored three.
    proxy, brief = cheap.correlations(rows)
    # Ranks 4, 2, 3, 1 beside 4, 3, 2, 1: the squares of their differences sum to 2.
    assert proxy == {
        "evaluator": "synflow",
        "spearman": pytest.approx(1 - 6 * 2 / (4 * 15)),
        "kendall": pytest.approx((5 - 1) / 6),
        "networks": 4,
    }
    # Ranks 4, 1, 2, 3 beside 1 or 2 (they tie), 1 or 2, 3, 4.
    assert (brief["evaluator"], brief["networks"]) == ("brief training", 4)
    assert cheap.correlations(rows[:3]) == []
    assert cheap.cells([proxy]) == [("synflow", "0.80", "0.67", "4")]


def test_proxies_are_of_the_network_that_is_trained_but_for_its_auxiliary_head(monkeypatch):
    seen = []

    def fake(network, images, labels):
        seen.append((network.auxiliary, network.skeleton, images.shape, labels.shape))
        return {"synflow": jax.numpy.float32(3), "naswot": -jax.numpy.inf}

    monkeypatch.setattr(cheap, "proxies", fake)
    training = classification.Config(skeleton="nasnet", channels=2, layers=1, dtype="bfloat16")
    space = search.create_space("s2")
    genotype = search.random_genotype(space, jax.random.key(0))
    values = cheap.network_proxies(genotype, Options(train=training), data.load("digits"))
    assert values == {"synflow": 3.0, "naswot": None}
    assert seen == [(None, SKELETONS["nasnet"], (64, 8, 8, 1), (64,))]


def test_bands_are_the_confidence_interval_of_the_mean():
    errors = np.array([[0.5, 0.3], [0.4, 0.2], [0.45, 0.28]])
    curves = {"three": black_box.mean_curve(errors), "two": black_box.mean_curve(errors[:2])}
    three, two = (curve.percent() for curve in curves.values())
    expected = stats.ttest_1samp(100 * errors, 0).confidence_interval()
    np.testing.assert_allclose(three[0] - three[1], expected.low)
    np.testing.assert_allclose(three[0] + three[1], expected.high)
    assert not two[1].any()
    figure = draw_progress_apart({**curves, "third": curves["two"], "fourth": curves["two"]}, "")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["three", "two", "third", "fourth"]
    for axes in panels:
        # In front of the means of all four its own.
        assert len(axes.get_lines()) == 5
    np.testing.assert_allclose(panels[1].get_lines()[-1].get_ydata(), [45, 25])


def test_curves_begin_once_no_search_has_failed_in_all_its_trials():
    errors = np.array([[np.nan, 0.5, 0.4], [0.6, 0.5, 0.3]])
    (axes,) = draw_progress({"a": black_box.mean_curve(errors)}, "error").axes
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [np.nan, 50, 35])
    assert axes.get_ylim()[0] < 35 and axes.get_ylim()[1] > 50


def test_names_stand_apart_beside_the_ends_of_curves():
    ends = {"a": 0.1, "b": 0.2, "c": 0.2, "d": 0.201}
    curves = {name: black_box.mean_curve(np.array([[0.3, end]] * 3)) for name, end in ends.items()}
    (axes,) = draw_progress(curves, "error").axes
    places = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert places["a"] == pytest.approx(10)
    assert np.diff([places[name] for name in "bcd"]).min() > 0.5
    assert np.mean([places[name] for name in "bcd"]) == pytest.approx(20.1 - 0.2 / 3)
    assert {line.get_drawstyle() for line in axes.get_lines()} == {"steps-post"}
    assert "means of 3 searches; bands: 95 %" in axes.get_xlabel()


def test_a_report_has_the_curves_of_black_box_searches(tmp_path):
    space = search.create_discrete("darts")
    rows = []
    for seed in range(4):
        own = jobs.folder_of(tmp_path, ("random_search", seed))
        own.mkdir()
        history = own / "history.sqlite"
        settings = {"trials": 3, "seed": seed, "history": history, "method": "random_search"}
        run(RandomSearch(), space, by_seed, progress=False, **settings)
        rows.append(row("random_search", seed, 0.1 * seed, valid_accuracy=0.1 * seed))
        rows[-1]["environment"] = {}
    text = report.write(tmp_path, Options(methods=("random_search",), seeds=4), rows[:3])
    assert "cheap evaluator" not in text
    text = report.write(tmp_path, Options(methods=("random_search",), seeds=4), rows)
    assert text == (tmp_path / "results.md").read_text()
    assert text.endswith("\n| brief training | -1.00 | -1.00 | 4 |\n")
    ranks = json.loads((tmp_path / "results.json").read_text())["correlations"]
    assert [each["evaluator"] for each in ranks] == ["parameters", "brief training"]
    assert (tmp_path / "progress_brief_training.png").exists()
    assert "over the trials, brief training" in (tmp_path / "report.html").read_text()


def by_seed(proposal, seed):
    return Outcome(seed % 100 / 100, {})


def test_methods_differ_from_their_presets_in_size_alone():
    """What makes a method that method is the same in both."""
    for name, published in PUBLISHED.items():
        changed = METHODS[name].change(Config())
        for setting in ("relaxation", "partial", "penalty_weight", "gradient", "selection"):
            # DrNAS's partial channels belong to its two stages.
            if (name, setting) != ("drnas", "partial"):
                assert getattr(changed, setting) == getattr(published.search, setting)
        assert METHODS[name].space == published.space


class Stub:
    """Scores by the number of the trial, and lets the third fail."""

    def __init__(self, decode, halves, config):
        self.decode, self.count = decode, 0

    def __call__(self, proposal, seed):
        self.count += 1
        self.decode(proposal.point)
        if self.count == 3:
            raise FloatingPointError("it diverged")
        return Outcome(self.count / 100, {})


@pytest.mark.parametrize(
    "name", [name for name, m in METHODS.items() if m.strategy and m.evaluator == "training"]
)
def test_a_strategy_searches_cells_and_its_failures_are_counted(name, tmp_path, monkeypatch):
    monkeypatch.setattr(black_box, "FromScratch", Stub)
    options = Options(trials=12)
    dataset = data.load("digits")
    found, figures = black_box.black_box(tmp_path, options, (name, 0), dataset, progress=False)
    assert isinstance(found, Genotype)
    assert figures["failed"] == 1 and figures["valid_accuracy"] == 0.12
    errors = [0.99, 0.98, 0.98, *np.arange(0.96, 0.875, -0.01)]
    np.testing.assert_allclose(black_box.valid_errors(tmp_path, (name, 0)), errors)
    # All of it is in the history: nothing is scored again.
    again, _ = black_box.black_box(tmp_path, options, (name, 0), dataset, progress=False)
    assert again == found


def test_a_search_in_which_nothing_can_be_scored_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(black_box, "FromScratch", lambda *_: nothing)
    with pytest.raises(ValueError, match=r"random_search with seed 0: all of the first 3 trials"):
        black_box.black_box(
            tmp_path, Options(trials=3), ("random_search", 0), data.load("digits"), progress=False
        )


def nothing(proposal, seed):
    raise ValueError("too small")


def test_shared_weights_are_trained_and_score(tmp_path):
    small = Config(channels=2, layers=1, epochs=2, batch_size=512)
    options = Options(trials=2, space="s2", search=small)
    for name in ("random_shared", "enas"):
        job = (name, 0)
        (tmp_path / name).mkdir()
        found, figures = black_box.black_box(
            tmp_path / name, options, job, data.load("digits"), progress=False
        )
        assert set(found.cells) == {"normal", "reduce"}
        assert figures["search_seconds"] > 0 and 0 < figures["valid_accuracy"] <= 1
        assert (tmp_path / name / "shared" / "checkpoints").exists()
    kept = (tmp_path / "enas" / "shared" / "scores.jsonl").read_text()
    assert [len(json.loads(line)["scores"]) for line in kept.splitlines()] == [2]


def test_a_table_is_searched_by_validation_and_judged_by_test(tmp_path, capsys):
    path = tmp_path / "table.csv"
    lines = ["arch,params_M,c10valid_val_ep12,c10valid_val_ep200,c10_test_ep200"]
    random = np.random.default_rng(0)
    for cell in itertools.product(OPERATIONS, repeat=6):
        parts = [f"{name}~{source}" for name, (source, _) in zip(cell, EDGES, strict=True)]
        text = "+".join(f"|{'|'.join(parts[a:b])}|" for a, b in ((0, 1), (1, 3), (3, 6)))
        valid = 100 * random.random()
        # The longer training's validation would mislead.
        lines.append(f"{text},0.5,{valid},{100 - valid},{valid / 2}")
    path.write_text("\n".join(lines))
    arguments = ["--preset", "nasbench201", "--table", str(path), "--trials", "20", "--seeds", "3"]
    arguments += ["--methods", "random_search", "local_search", "--jobs", "1"]
    command.command([*arguments, "--folder", str(tmp_path / "run")])
    found = json.loads((tmp_path / "run" / "random_search.json").read_text())
    # The largest of 20 uniform numbers is 20 / 21 on average.
    assert np.mean(found["test_errors"]) == pytest.approx(1 - 20 / 21 / 2, abs=0.06)
    assert np.all(np.diff(found["curve"]) <= 0) and len(found["curve"]) == 20
    assert found["curve"][-1] == pytest.approx(np.mean(found["test_errors"]), abs=1e-5)
    text = (tmp_path / "run" / "results.md").read_text()
    assert capsys.readouterr().out.startswith(text) and "Local search" in text
    # All have as many parameters, which says nothing.
    assert text.endswith("\n| validation after 12 epochs | 1.00 | 1.00 | 15,625 |\n")
    assert "Cheap evaluators" in (tmp_path / "run" / "report.html").read_text()
    with pytest.raises(ValueError, match="methods has 'enas'; allowed are random_search"):
        command.command([*arguments[:4], "--methods", "enas"])


def test_p_values_are_those_of_the_errors():
    own = {"parameters": [1.0] * 4}
    found = {
        "random_search": {**own, "test_errors": [0.3, 0.4, 0.35, 0.5]},
        "surrogate": {**own, "test_errors": [0.1, 0.2, 0.15, 0.05]},
    }
    random, surrogate = tabular_cells(found)
    # Of the 70 ways to part 8 numbers the two most extreme.
    assert surrogate[5] == f"{2 / 70:.1g}" and random[5] == "–" and surrogate[6] == "–"


@pytest.mark.parametrize("option", ["--data", "--table"])
def test_a_mistaken_path_leaves_the_folder_free(option, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.npz"):
        command.command([option, str(tmp_path / "nowhere.npz"), "--folder", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--methods", "drats", "methods has 'drats'; allowed are first_order"),
        ("--seeds", "0", "seeds=0; allowed is a positive int"),
        ("--jobs", "-1", "jobs=-1; allowed is a positive int"),
        ("--images", "-1", "images=-1; allowed is at least 0"),
        ("--space", "s5", "space='s5'; allowed are darts"),
        ("--space", "recurrent", "space='recurrent'; allowed are darts, .*hierarchical, macro"),
    ],
)
def test_wrong_options_are_named(option, value, message):
    with pytest.raises(ValueError, match=message):
        command.command([option, value])


@pytest.mark.parametrize(
    ("name", "space", "message"),
    [
        ("gdas", "macro", "methods has 'gdas', which needs a continuous space, of darts, .*; "),
        ("fairdarts", "pnas", "'fairdarts', which needs a continuous space, of darts, "),
        ("enas", "nasnet", "'enas', which needs a space with a supernet, of darts, "),
        ("progressive", "amoebanet", "'progressive', which needs the space pnas; allowed are "),
    ],
)
def test_methods_that_cannot_search_a_space_say_what_they_need(name, space, message):
    with pytest.raises(ValueError, match=f"{message}.*random_search"):
        Options(space=space, methods=(name,), **WITHOUT_HEADS)


WITHOUT_HEADS = {
    part: replace(CLASSIFICATION["digits"], auxiliary_weight=0.0) for part in ("brief", "train")
}


def test_by_default_all_methods_that_can_search_a_space_are_compared():
    chosen = {
        space: set(Options(space=space, **WITHOUT_HEADS).chosen)
        for space in ("s2", "pnas", "hierarchical")
    }
    assert chosen["s2"] == set(METHODS)
    trained = {name for name, m in METHODS.items() if m.strategy and m.evaluator == "training"}
    assert chosen["pnas"] == {"random", *trained}
    assert chosen["hierarchical"] == chosen["pnas"] - {"progressive"}


@pytest.mark.parametrize("part", ["brief", "train"])
def test_auxiliary_heads_that_networks_cannot_have_are_refused_at_once(part):
    options = WITHOUT_HEADS | {part: classification.Config()}
    options[part] = replace(options[part], channels=2, layers=1, batch_size=64, cutout=0)
    dataset = data.load("digits")
    with pytest.raises(ValueError, match=rf"{part}.auxiliary_weight=0.4; allowed is 0.0 here"):
        command.check(Options(space="macro", **options), dataset)
    with pytest.raises(ValueError, match=rf"{part}: x has height and width .8, 8.; allowed is at"):
        command.check(Options(space="nasnet", **options), dataset)
    # What trains no trials needs nothing of their training.
    unused = {"brief": classification.Config(), "methods": ("gdas",)}
    command.check(Options(**WITHOUT_HEADS | unused), dataset)


KINDS = {"nasbench201": Genotype, "macro": Macro, "hierarchical": Motif, "enas_micro": Genotype}


@pytest.mark.parametrize("space", KINDS)
def test_an_architecture_of_any_space_is_found_and_trained(space, tmp_path, monkeypatch, capsys):
    trained = []

    def train_in(run, options, architecture, *arguments, **more):
        trained.append((train.train.read_architecture(run), architecture))
        return {"test_accuracy": 0.5, "parameters": 1000, "seconds": 1.0}

    def create_run(*arguments):
        run = created(*arguments)
        run.begin()
        return run

    created = train.create_run
    monkeypatch.setattr(train, "create_run", create_run)
    monkeypatch.setattr(train, "train_in", train_in)
    monkeypatch.setattr(black_box, "FromScratch", Stub)
    arguments = ["--preset", "digits", "--space", space, "--trials", "4", "--seeds", "1"]
    arguments += ["--methods", "random", "local_search", "--folder", str(tmp_path / "run")]
    arguments += ["--no-proxies"]
    command.command(arguments)
    (drawn, _), (found, given) = trained
    assert type(drawn) is type(found) is KINDS[space] and found == given
    discrete = search.create_discrete(space)
    assert drawn == discrete.decode(discrete.sample(np.random.default_rng(0)))
    if space == "nasbench201":
        assert set(found.cells) == {SINGLE}
    assert "Local search" in capsys.readouterr().out


def test_every_method_is_seen_before_the_second_seed():
    options = Options(methods=("random", "gdas"), seeds=2, seed=5)
    assert jobs.jobs_of(options) == [("random", 5), ("gdas", 5), ("random", 6), ("gdas", 6)]
