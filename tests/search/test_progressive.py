"""Searches in stages: what narrows, what counts on, what is limited, what is resumed."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import search
from jaxcv.training.run import Run
from search import progressive
from search.discretize import Limit
from search.progressive import Stages, run_stages, shrink
from search.space import CellSpace, Space

CONFIG = search.Config(channels=2, layers=9, epochs=2, batch_size=4)
STAGES = Stages(layers=(1, 2), primitives=(4, 2), skip_dropout=(0.0, 0.4), skips=0)
SPACE = search.darts(1, ("none", "skip_connect", "sep_conv_3x3", "avg_pool_3x3"))


def images():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 4


def test_edges_keep_their_heaviest_primitives():
    cell = CellSpace(
        ((0, 2), (1, 2)), (("none", "skip_connect", "sep_conv_3x3"), ("skip_connect", "none"))
    )
    space = Space({"normal": cell, "reduce": cell})
    mix = {
        "normal": np.array([[0.5, 0.2, 0.3], [0.1, 0.9, -1.0]]),
        "reduce": np.array([[0.2, 0.5, 0.3], [0.9, 0.1, -1.0]]),
    }
    narrow = shrink(space, mix, 2).cells
    both = ("none", "skip_connect")
    assert narrow["normal"].primitives == (("none", "sep_conv_3x3"), both)
    assert narrow["reduce"].primitives == (("skip_connect", "sep_conv_3x3"), both)
    assert narrow["normal"].edges == cell.edges


class StoppedError(Exception):
    pass


def test_stages_go_on_from_each_other_and_resume(tmp_path, monkeypatch):
    seen = []
    whole_run = progressive.run

    def watched(space, images, labels, config, *rest, **settings):
        seen.append((space, config, whole_run(space, images, labels, config, *rest, **settings)))
        return seen[-1][2]

    def stop(row):
        if row["epoch"] == 4:
            raise StoppedError

    arguments = (SPACE, *images(), CONFIG, jax.random.key(0), STAGES)
    with monkeypatch.context() as patch:
        patch.setattr(progressive, "run", watched)
        whole = run_stages(*arguments, progress=False)

    (first, first_config, one), (second, second_config, _) = seen
    assert (first_config.layers, second_config.layers) == (1, 2)
    assert (first_config.skip_dropout, second_config.skip_dropout) == (0.0, 0.4)
    assert first == SPACE
    for kind, cell in second.cells.items():
        vocabulary = SPACE.cells[kind].vocabulary
        heaviest = np.argsort(-np.array(one.history[-1]["mix"][kind]), 1)[:, :2]
        for columns, names in zip(heaviest, cell.primitives, strict=True):
            assert set(names) == {vocabulary[column] for column in columns}
    assert [row["epoch"] for row in whole.history] == [1, 2, 3, 4]
    assert [row["step"] for row in whole.history] == [2, 4, 6, 8]
    last = np.array(whole.history[-1]["mix"]["normal"])
    assert last.shape == (2, 4) and ((last > 0).sum(1) == 2).all()
    assert all(name != "skip_connect" for name, _ in whole.genotype.cells["normal"].nodes[0])

    folder = Run.create(tmp_path / "run", "search", {})
    with pytest.raises(StoppedError):
        run_stages(*arguments, folder=folder, on_epoch=stop, progress=False)
    folder = Run.open(folder.path, "search")
    resumed = run_stages(*arguments, folder=folder, progress=False)
    assert resumed.genotype == whole.genotype
    for kind in SPACE.cells:
        np.testing.assert_array_equal(resumed.alphas[kind], whole.alphas[kind])
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    assert (folder.path / "genotype.json").read_text() == whole.genotype.to_json()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": (5, 11)}, r"layers=\(5, 11\), primitives=\(\).*allowed are as many of each"),
        (
            {"layers": (5,), "primitives": (1,), "skip_dropout": (0.0,)},
            r"primitives=\(1,\); allowed is at least 2",
        ),
        ({"skips": -1}, "skips=-1; allowed is at least 0"),
    ],
)
def test_impossible_stages_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Stages(**settings)


def test_primitives_that_are_gone_come_back_only_if_they_must(monkeypatch):
    """One that is gone would cost nothing, and leave room for three heavy ones."""
    names = ("skip_connect", "sep_conv_3x3", "avg_pool_3x3")
    space, narrow = search.darts(1, names), search.darts(1, names[1:])
    mix = {"normal": [[0.0, 1.0], [0.0, 1.0]], "reduce": [[0.0, 1.0], [0.5, 0.5]]}
    alphas = {kind: 20 * np.array(weights) for kind, weights in mix.items()}
    found = search.Result(None, alphas, [{"epoch": 1, "step": 1, "mix": mix}], {})
    monkeypatch.setattr(progressive, "run", lambda *_, **settings: found)
    monkeypatch.setattr(progressive, "shrink", lambda *_: narrow)
    cheap, dear = [0, 1, 2], [0, 3, 3]
    costs = {"normal": np.array([cheap, cheap]), "reduce": np.array([cheap, dear])}

    def chosen(most):
        stages = Stages(layers=(1,), primitives=(2,), skip_dropout=(0.0,))
        limits = [Limit("cost", costs, most)]
        arguments = (space, *images(), CONFIG, jax.random.key(0), stages)
        genotype = run_stages(*arguments, limits=limits, progress=False).genotype
        return [name for kind in costs for name, _ in genotype.cells[kind].nodes[0]]

    _, separable, average = names
    assert chosen(9) == [average, average, average, separable]
    assert chosen(6) == [separable] * 4
    assert chosen(5).count("skip_connect") == 1


def test_what_cannot_be_is_refused_before_anything_is_searched(monkeypatch):
    monkeypatch.setattr(progressive, "run", None)
    arguments = (SPACE, *images())
    with pytest.raises(ValueError, match="allowed is at least one stage"):
        run_stages(*arguments, CONFIG, jax.random.key(0), Stages())
    for changes in ({"early_stop": True, "watch_every": 1}, {"selection": "perturbation"}):
        with pytest.raises(ValueError, match="allowed in stages is"):
            run_stages(*arguments, replace(CONFIG, **changes), jax.random.key(0), STAGES)
    skips = search.darts(1, ("none", "skip_connect"))
    with pytest.raises(ValueError, match="skip connections of 0 at most; allowed are those"):
        run_stages(skips, *images(), CONFIG, jax.random.key(0), STAGES)
