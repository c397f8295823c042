"""The command of the recurrent cell: a run stopped and resumed, a published cell, presets."""

import json
import re

import numpy as np
import pytest

from experiments import language
from jaxcv.genotype import Genotype, published, published_recurrent
from jaxcv.training.run import Run
from search import recurrent

TINY = [
    f"--{part}.{name}={value}"
    for part in ("search", "train")
    for name, value in {"units": 4, "epochs": 2, "batch-size": 4, "bptt": 6}.items()
] + ["--nodes", "2"]


@pytest.fixture
def text(tmp_path, monkeypatch):
    """A folder with three texts, in which the command is."""
    random = np.random.default_rng(0)
    for name, lines in (("train", 60), ("valid", 20), ("test", 20)):
        words = random.choice([*"abcd", "<unk>"], (lines, 9))
        (tmp_path / f"{name}.txt").write_text("".join(f"{' '.join(line)}\n" for line in words))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_search_trains_what_it_finds_and_resumes(text, monkeypatch, capsys):
    arguments = ["--data", ".", "--folder", "run", *TINY]
    log, count = Run.log, []

    def stop(self, row):
        log(self, row)
        count.append(row)
        # In the first epoch of the second training, that of a random cell.
        if len(count) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "log", stop)
    with pytest.raises(KeyboardInterrupt, match=r"Go on with: .*language --resume run"):
        language.command(arguments)
    language.command(["--resume", "run"])
    output = capsys.readouterr().out
    found = re.findall(r"^(discovered|random 1) +([\d.]+) +([\d.]+) +([\d,]+)$", output, re.M)
    assert [row[0] for row in found] == ["discovered", "random 1"]

    folder = text / "run"
    assert {path.name for path in folder.iterdir()} >= {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "genotype.json",
        "report.html",
        "result.json",
        "cell_recurrent.svg",
        "weights_recurrent.png",
        "curves.svg",
    }
    genotype = Genotype.from_json((folder / "genotype.json").read_text())
    assert str(genotype) in output
    results = json.loads((folder / "result.json").read_text())["results"]
    for result, row in zip(results, found, strict=True):
        inner = folder / result["name"].replace(" ", "_")
        rows = [json.loads(line) for line in (inner / "metrics.jsonl").read_text().splitlines()]
        assert result["test_perplexity"] == recurrent.best(rows)["test_perplexity"]
        assert row[2] == f"{result['test_perplexity']:.2f}"
        # Six words: embedding, bias, and the matrices of the cell.
        assert result["parameters"] == 6 * 4 + 6 + 8 * 8 + 2 * 4 * 8
        assert (inner / "report.html").exists()
    model, vocabulary = recurrent.load(folder / "discovered")
    assert len(vocabulary) == 6 and model.cell.edges == tuple(
        edge for (edge,) in genotype.cells["recurrent"].nodes
    )


def test_a_published_cell_is_trained_without_a_search(text, capsys):
    arguments = ["--data", ".", "--folder", "run", *TINY, "--genotype", "DARTS_V2"]
    language.command([*arguments, "--random-cells", "0"])
    assert re.search(r"^DARTS_V2 +[\d.]+ +[\d.]+", capsys.readouterr().out, re.M)
    assert not (text / "run" / "metrics.jsonl").exists()
    kept = Genotype.from_json((text / "run" / "DARTS_V2" / "genotype.json").read_text())
    assert kept == published_recurrent["DARTS_V2"]
    assert "test perplexity" in (text / "run" / "report.html").read_text()


def test_cells_for_images_are_refused(text):
    (text / "images.json").write_text(published["DARTS_V2"].to_json())
    with pytest.raises(ValueError, match="genotype has cells of kind normal, reduce; allowed is"):
        language.command(["--data", ".", *TINY, "--genotype", "images.json"])


@pytest.mark.parametrize("part", ["search", "train"])
def test_batches_larger_than_the_text_are_refused_before_a_search(text, part):
    message = rf"{part}\.batch_size=9999; allowed are 1 to \d+, half of the words"
    with pytest.raises(ValueError, match=message):
        language.command(["--data", ".", "--folder", "run", *TINY, f"--{part}.batch-size", "9999"])
    assert not (text / "run").exists()


def test_a_loss_that_is_not_finite_is_said(text):
    arguments = ["--data", ".", "--folder", "run", *TINY, "--search.learning-rate", "1e38"]
    with pytest.raises(
        FloatingPointError, match=r"not finite.*checkpoint, of step 0, is from before"
    ):
        language.command([*arguments, "--search.clip", "1e30"])


@pytest.mark.parametrize("name", language.PRESETS)
def test_presets_take_real_steps_resume_and_discretize(name, text, monkeypatch):
    """With less text and thinner, as their own sizes take their time."""
    log = Run.log

    def stop(self, row):
        log(self, row)
        if len(self.rows) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", stop)
        with pytest.raises(KeyboardInterrupt):
            arguments = ["--data", ".", "--folder", name, *TINY, "--no-then-train"]
            language.command(["--preset", name, *arguments])
    language.command(["--resume", name])
    rows = (text / name / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2]
    Genotype.from_json((text / name / "genotype.json").read_text())
