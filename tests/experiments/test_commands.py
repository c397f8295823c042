"""The commands as a person meets them: whole runs, wrong input, interrupts, resuming."""

import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from experiments import cli, search
from jaxcv.genotype import published

ROOT = Path(__file__).parents[2]
TINY_SEARCH = ["--search.channels", "2", "--search.layers", "1", "--search.epochs", "1"]
TINY_TRAIN = ["--train.channels", "2", "--train.layers", "1", "--train.epochs", "1"]


# Tests may run where Ctrl-C is ignored, as what a shell starts in the background does.
LISTENING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
"""


def command(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", LISTENING, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments, cwd, status=0):
    process = command(*arguments, cwd=cwd)
    output, errors = process.communicate(timeout=400)
    assert process.returncode == status, errors
    return output, errors


def test_search_trains_what_it_finds_resumes_and_is_evaluated(tmp_path):
    process = command(
        "experiments.search", *TINY_SEARCH, *TINY_TRAIN, "--random-cells", "1", cwd=tmp_path
    )
    folder = tmp_path / "runs" / "search_digits"
    while not (folder / "discovered" / "config.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Go on with: python -m experiments.search --resume runs/search_digits" in errors

    output, _ = run("experiments.search", "--resume", "runs/search_digits", cwd=tmp_path)
    rows = re.findall(r"^(discovered|random 1) +([\d.]+)%", output, re.MULTILINE)
    assert [name for name, _ in rows] == ["discovered", "random 1"]
    assert {path.name for path in folder.iterdir()} >= {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "genotype.json",
        "report.html",
        "result.json",
        "cell_normal.svg",
        "cell_reduce.png",
        "weights_normal.png",
    }

    output, _ = run("experiments.evaluate", folder / "discovered", cwd=tmp_path)
    assert f"test accuracy {rows[0][1]}%" in output
    result = json.loads((folder / "result.json").read_text())
    metrics = [folder / "metrics.jsonl", *folder.glob("*/metrics.jsonl")]
    lines = [line for path in metrics for line in path.read_text().splitlines()]
    # Of what was done before the interrupt, too.
    assert result["seconds"] == pytest.approx(sum(json.loads(line)["seconds"] for line in lines))
    recorded = result["results"][0]
    assert f"{recorded['test_accuracy']:.2%}" == f"{rows[0][1]}%"

    _, errors = run("experiments.search", *TINY_SEARCH, cwd=tmp_path, status=2)
    assert "is not empty" in errors and "--resume runs/search_digits" in errors


def test_several_seeds_at_once_keep_the_best_and_resume(tmp_path):
    # With two primitives an edge, which compile quickly.
    several = ["--space", "s2", "--seeds", "2", "--no-then-train", "--folder", "runs/two"]
    output, _ = run("experiments.search", *TINY_SEARCH, *several, cwd=tmp_path)
    accuracies = re.findall(r"^ +([01]) +([\d.]+)%(  kept)?$", output, re.MULTILINE)
    assert [seed for seed, _, _ in accuracies] == ["0", "1"]
    kept = max(range(2), key=lambda number: float(accuracies[number][1]))
    assert [bool(mark) for _, _, mark in accuracies] == [number == kept for number in range(2)]
    folder = tmp_path / "runs" / "two"
    best, own = (folder / name for name in ("genotype.json", f"genotype_{kept}.json"))
    assert best.read_bytes() == own.read_bytes()
    assert run("experiments.search", "--resume", "runs/two", cwd=tmp_path)[0] == output


@pytest.mark.parametrize("name", ["search", "train", "evaluate", "language"])
def test_help_is_for_people(name, tmp_path):
    output, _ = run(f"experiments.{name}", "--help", cwd=tmp_path)
    assert f"usage: python -m experiments.{name}" in output


@pytest.fixture
def files(tmp_path):
    genotype = json.loads(published["DARTS_V2"].to_json())
    (tmp_path / "malformed.json").write_text("{")
    genotype["cells"]["normal"]["nodes"][0][0][1] = 7
    (tmp_path / "range.json").write_text(json.dumps(genotype))
    genotype["cells"]["normal"]["nodes"][0][0] = ["sep_conv_9x9", 0]
    (tmp_path / "unknown.json").write_text(json.dumps(genotype))
    random = np.random.default_rng(0)
    for name, shape in (("small", (8, 3, 3, 3)), ("rank", (8, 6)), ("floats", (8, 8, 8, 3))):
        images = random.integers(0, 256, shape, np.uint8)
        images = images / 255 if name == "floats" else images
        labels = np.arange(8) % 2
        np.savez(tmp_path / name, train_images=images, train_labels=labels, test_images=images,
                 test_labels=labels)  # fmt: skip
    (tmp_path / "no_run").mkdir()
    for kind in ("search", "train"):
        (tmp_path / f"{kind}_run").mkdir()
        (tmp_path / f"{kind}_run" / "config.json").write_text(json.dumps({"kind": kind}))
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--preset", "cifar"], "preset='cifar'; allowed are digits, cifar10"),
        (["search", "--data", "digit"], "did you mean digits"),
        (["search", "--search.channels", "0"], "error: search.channels=0; allowed is a positive"),
        (["search", "--train.channels", "0"], "error: train.channels=0; allowed is a positive int"),
        (["search", "--seeds", "0"], "error: seeds=0; allowed is a positive int"),
        (["search", "--search.epochs", "-1"], "search.epochs=-1; allowed is a positive int"),
        (["search", "--seed", "-1"], "seed=-1; allowed are 0 to 2147483647"),
        (["search", "--seed", "2147483648"], "seed=2147483648; allowed are 0 to 2147483647"),
        (["search", "--random-cells", "2", "--no-then-train"], "random_cells=2 beside no training"),
        (["search", "--train.image-size", "32"], "error: train.image_size=32; allowed is 0 for a"),
        (["search", "--train.skeleton", "imagenet"], "error: train: x has height and width (8, 8)"),
        (["search", "--train.auxiliary-weight", "1"], "train: x has height and width (8, 8)"),
        (["search", "--train.batch-size", "5000"], "train.batch_size=5000; allowed are 1 to 1437"),
        (["search", "--train.cutout", "99"], "train.cutout=99; allowed are 0 to 8"),
        (
            ["reproduce", "--preset", "digits", "--brief.batch-size", "719"],
            "brief.batch_size=719; allowed are 1 to 718",
        ),
        (
            ["reproduce", "--preset", "digits", "--train.batch-size", "1438"],
            "train.batch_size=1438; allowed are 1 to 1437",
        ),
        (["reproduce", "--data", "nowhere.npz"], "name='nowhere.npz' cannot be read"),
        (
            ["compare_search", "--brief.batch-size", "719"],
            "brief.batch_size=719; allowed are 1 to 718",
        ),
        (
            ["compare_search", "--images", "64", "--methods", "gdas", "--train.batch-size", "65"],
            "train.batch_size=65; allowed are 1 to 64",
        ),
        (["compare_search", "--images", "1438"], "images=1438; allowed are 1 to 1437, or 0 for"),
        (["compare_search", "--methods", "gdas", "gdas"], "methods has 'gdas' twice; allowed is"),
        (["compare_search", "--data", "nowhere.npz"], "name='nowhere.npz' cannot be read"),
        (["compare_search", "--preset", "nasbench201"], "path='nb201.npz' cannot be read"),
        (["zero_cost"], "Missing from python -m experiments.zero_cost: --table"),
        (["search", "--search.relaxation", "hard"], "relaxation='hard'; allowed are softmax,"),
        (["search", "--search.partial", "3"], "partial=3; allowed are divisors of channels=8"),
        (["search", "--space", "s5"], "space='s5'; allowed are darts, darts_without_none, s1"),
        (
            ["search", "--max-parameters", "9"],
            "error: max_parameters=9 for 16 channels and 3 layers",
        ),
        (["search", "--preset", "pdarts", "--seeds", "2"], "seeds=2; allowed is 1 for a search in"),
        (["search", "--stages.layers", "5"], "primitives=() and skip_dropout=(); allowed are as"),
        (["search", "--search.batch-size", "900"], "batch_size=900; allowed are 1 to 718"),
        (
            ["search", "--data", "small.npz", "--search.batch-size", "2", "--no-then-train"],
            "allowed is at least 4 by 4",
        ),
        (["search", "--data", "rank.npz"], "train_images has shape (8, 6)"),
        (["search", "--data", "floats.npz"], "train_images has type float64; allowed is uint8"),
        (["search", "--folder", "file/run"], "folder='file/run' cannot be written"),
        (["search", "--resume", "no_run"], "folder='no_run' is no run folder"),
        (["search", "--resume", "no_run", "--seed", "1"], "--seed 1 beside --resume"),
        (["train", "--genotype", "malformed.json"], "'malformed.json': genotype is not JSON"),
        (
            ["train", "--genotype", "unknown.json"],
            "'unknown.json': operation='sep_conv_9x9'",
        ),
        (["train", "--genotype", "range.json"], "node 2 has input 7; allowed are 0 to 1"),
        (["train", "--genotype", "DARTS_V3"], "genotype='DARTS_V3' cannot be read"),
        (["train", "--train.auxiliary-weight", "0.4"], "allowed is at least 29 by 29"),
        (["train", "--train.skeleton", "resnet"], "skeleton='resnet'; allowed are cifar, imagenet"),
        (["train", "--train.skeleton", "nasnet"], "error: train.skeleton='nasnet' with genotype="),
        (["train", "--train.image-size", "9"], "name='digits' is held in memory"),
        (["train", "--train.drop-path", "1"], "drop_path=1.0; allowed is a probability"),
        (["train", "--train.image-size", "-1"], "image_size=-1; allowed is at least 0"),
        (["train", "--train.label-smoothing", "2"], "label_smoothing=2.0; allowed is a number in"),
        (["train", "--preset", "imagenet", "--data-dir", "."], "name='imagenet2012' is not there"),
        (["train", "--coordinator", "a:1"], "--process-id=None; allowed are two whole numbers"),
        (["train", "--processes", "2"], "error: --processes 2 alone; allowed is beside --coord"),
        (["search", "--resume", "search_run"], "config.json without the options of this command"),
        (["search", "--resume", "train_run"], "holds a train run; allowed is a search run"),
        (["evaluate", "train_run"], "config.json that does not describe a training"),
        (["evaluate", "no_run"], "folder='no_run' is no run folder"),
        (["language", "--data", "no_run"], "data='no_run' has no train.txt or train.txt.gz"),
        (["language", "--genotype", "DARTS_V3"], "genotype='DARTS_V3' cannot be read"),
        (["language", "--genotype", "unknown.json"], "operation='sep_conv_9x9'; allowed are"),
        (["language", "--random-cells", "2", "--no-then-train"], "random_cells=2 beside no"),
        (["language", "--search.dropout.words", "1"], "words=1.0; allowed is a probability"),
        (
            ["language", "--resume", "search_run"],
            "holds a search run; allowed is a language_search",
        ),
    ],
)
def test_wrong_input_is_one_clear_line(arguments, message, files, monkeypatch, capsys):
    name, *rest = map(str, arguments)
    module = {"compare_search": "compare_search.command"}.get(name, name)
    before = sorted(path.name for path in files.iterdir())
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "argv", [name, *rest])
    # Put back as it was, since the command changes it.
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    # In this process, as starting one takes longer than all else.
    with pytest.raises(SystemExit) as stop:
        cli.main(importlib.import_module(f"experiments.{module}").command)
    assert stop.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    lines = errors.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), errors
    assert message in lines[0]
    # A folder is left, if any, where the search itself refuses what it is to search.
    assert all(path.name.startswith("search_") for path in files.glob("runs/*"))
    assert not [*files.glob("runs/*/*")]
    assert sorted(path.name for path in files.iterdir() if path.name != "runs") == before


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search.layers", "0"], "search.layers=0; allowed is a positive int"),
        (["--search.epochs", "x"], "search.epochs='x'; allowed is an int"),
        (["--search.alpha_beta1", "1,0"], "search.alpha_beta1='1,0'; allowed is a number"),
        (["--stages.layers", "5", "y"], "stages.layers='5', 'y'; allowed is ints"),
        (["--max-parameters", "x"], "max_parameters='x'; allowed is an int or None"),
        (["--nope"], "Unrecognized options: --nope"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_flag(arguments, message, encoding, monkeypatch):
    # tyro draws its frames by what can be written there.
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    with pytest.raises(ValueError) as error:
        cli.parse(arguments, search.PRESETS, "", "program")
    assert str(error.value) == message


def test_ctrl_c_while_a_command_loads_is_one_line(tmp_path):
    (tmp_path / "jax.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    output, errors = run("experiments.search", cwd=tmp_path, status=130)
    assert (output, errors) == ("", "stopped\n")


def test_without_a_command_the_commands_are_listed(tmp_path):
    output, _ = run("experiments", "--help", cwd=tmp_path)
    names = re.findall(r"^  (\w+)  +\S", output, re.MULTILINE)
    assert {"search", "train", "evaluate", "reproduce", "compare_search", "zero_cost"} <= {*names}
    assert "  search           Search cells on images, draw them" in output
    assert run("experiments", cwd=tmp_path, status=2) == ("", output)


def test_a_loss_that_is_not_finite_stops_with_a_usable_checkpoint(tmp_path):
    arguments = ["--train.learning-rate", "1e30", "--train.clip", "1e30", "--train.epochs", "2"]
    _, errors = run("experiments.train", *TINY_TRAIN, *arguments, cwd=tmp_path, status=1)
    assert "not finite" in errors and "checkpoint, of step 0, is from before" in errors
    assert "Traceback" not in errors
    output, _ = run("experiments.evaluate", "runs/train_digits", cwd=tmp_path)
    assert "test accuracy" in output
