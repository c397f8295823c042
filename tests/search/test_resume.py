"""A search stopped at any moment goes on to the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

ROOT = Path(__file__).parents[2]

SCRIPT = textwrap.dedent(
    """
    import sys, warnings
    import jax, numpy as np
    from jaxcv.data import load
    from jaxcv.training.run import Run
    import search

    folder = sys.argv[1]
    images, labels = load("digits").train
    config = search.Config(channels=2, layers=1, epochs=6, batch_size=16)
    try:
        run = Run.open(folder, "search")
    except ValueError:
        run = Run.create(folder, "search", {})
    search.run(search.darts(1), images[:96], labels[:96], config, folder=run, progress=False)
    """
)


def start(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def outcome(folder):
    """Everything that a run leaves behind, times apart."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["images_per_second"]
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    arrays = {name: np.asarray(value) for name, value in ocp.load(newest).items()}
    return rows, (folder / "genotype.json").read_text(), arrays


def assert_same(folder, expected):
    rows, genotype, arrays = outcome(folder)
    assert rows == expected[0]
    assert genotype == expected[1]
    assert arrays.keys() == expected[2].keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[2][name], err_msg=name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(folder)
    return folder, outcome(folder)


def wait_for(condition, process):
    while process.poll() is None and not condition():
        time.sleep(0.001)
    return process.poll() is None


def in_a_checkpoint(folder, after):
    """Whether a checkpoint is being written, at least so many being whole."""
    names = [path.name for path in (folder / "checkpoints").glob("*")]
    whole = [name for name in names if name.isdecimal()]
    return len(whole) >= after and len(whole) < len(names)


@pytest.mark.filterwarnings("ignore")
def test_killed_runs_go_on_to_the_same_bits(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    moments = [
        lambda: folder.exists(),
        lambda: in_a_checkpoint(folder, 0),
        lambda: (folder / "metrics.jsonl").exists(),
        lambda: in_a_checkpoint(folder, 1),
        lambda: in_a_checkpoint(folder, 2),
    ]
    killed = 0
    for moment in moments:
        process = start(folder)
        if wait_for(moment, process):
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    finish(folder)
    assert killed >= 4
    assert_same(folder, uninterrupted[1])


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_checkpoint_is_said_and_the_one_before_used(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted[0], folder)
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    data = max((f for f in newest.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(bytes(content))
    errors = finish(folder)
    assert f"checkpoint {newest.name} is damaged" in errors
    assert_same(folder, uninterrupted[1])


@pytest.mark.filterwarnings("ignore")
def test_interrupt_saves_and_stops(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    process = start(folder)
    assert wait_for((folder / "metrics.jsonl").exists, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "KeyboardInterrupt: stopped after step" in errors
    finish(folder)
    assert_same(folder, uninterrupted[1])
