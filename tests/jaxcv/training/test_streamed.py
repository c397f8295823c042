"""Training on a stream: interrupted and resumed, evaluated exactly, loaded back; one or more
processes."""

import contextlib
import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_data import write_folder

import jaxcv
from experiments import evaluate
from experiments import train as command
from jaxcv import data
from jaxcv.genotype import Genotype
from jaxcv.training import checkpoint, train
from jaxcv.training.loss import cross_entropy
from jaxcv.training.run import Run

ROOT = Path(__file__).parents[3]
GENOTYPE = Genotype.parse(
    "Genotype(normal=[('skip_connect', 0), ('max_pool_3x3', 1)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])"
)
CONFIG = dataclasses.replace(
    command.PRESETS["imagenet"].train,
    channels=4,
    layers=1,
    epochs=2,
    batch_size=8,
    auxiliary_weight=0.0,
    image_size=32,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "pets")


def trained(folder, path):
    """A run in a new folder, or what is left of one."""
    dataset = data.stream(str(folder))
    if (path / "config.json").exists():
        run = Run.open(path, "train")
    else:
        options = command.Options(data=str(folder), folder=str(path), train=CONFIG)
        run = command.create_run(options, GENOTYPE, dataset)
    return train.run(GENOTYPE, dataset, CONFIG, folder=run, progress=False)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The folder of a run of two epochs of two steps, never stopped, and its result."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return path, trained(folder, path)


def states(path):
    return nnx.to_pure_dict(nnx.state(jaxcv.load(path)))


def metrics(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in lines]


class StoppedError(Exception):
    pass


def stop_after(steps, folder, path, monkeypatch):
    """A run that fails after so many steps, with a checkpoint of the last."""

    def batches(*args, **settings):
        yield from itertools.islice(data.training_batches(*args, **settings), steps)
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(train, "training_batches", batches)
        patch.setattr("jaxcv.training.loop._CHUNK_SECONDS", 0.0)
        patch.setattr("jaxcv.training.loop._CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(StoppedError):
            trained(folder, path)
    assert checkpoint.steps(path / "checkpoints") == [steps - 1, steps]


def same_run(path, expected, **tolerance):
    chex.assert_trees_all_close(states(path), states(expected), **tolerance)
    # A sum of losses is not the sum of two sums, so to the last bits.
    for row, other in zip(metrics(path), metrics(expected), strict=True):
        assert row == pytest.approx(other, rel=max(1e-6, tolerance["rtol"]))


def test_a_stopped_run_goes_on_with_exactly_the_same_batches(
    folder, finished, tmp_path, monkeypatch
):
    # In the middle of the second epoch.
    stop_after(3, folder, tmp_path / "run", monkeypatch)
    trained(folder, tmp_path / "run")
    same_run(tmp_path / "run", finished[0], rtol=0, atol=0)


def test_it_is_evaluated_on_each_image_once_and_loads_back(folder, finished):
    path, result = finished
    assert [row["epoch"] for row in result.history] == [1, 2]
    assert [row["learning_rate"] for row in result.history] == pytest.approx([0.1, 0.097])
    dataset = data.stream(str(folder))
    # Five images in batches of eight: what fills the last batch must not count.
    images, labels, _ = next(data.evaluation_batches(dataset.test, size=5, image_size=32))
    logits = jaxcv.load(path)(data.normalize(jnp.asarray(images), dataset.mean, dataset.std))
    losses = -jax.nn.log_softmax(logits)[np.arange(5), labels]
    assert result.history[-1]["test_loss"] == pytest.approx(float(losses.mean()), rel=1e-4)
    right = float(np.mean(np.argmax(logits, -1) == labels))
    assert result.history[-1]["test_accuracy"] == pytest.approx(right, abs=1e-6)


def test_it_is_evaluated_by_the_command_too(folder, finished, capsys):
    path, result = finished
    evaluate.command([str(path), "--data", str(folder), "--batch-size", "2"])
    last = result.history[-1]
    assert f"test accuracy {last['test_accuracy']:.2%} (" in capsys.readouterr().out


@pytest.fixture
def free_port():
    with socket.socket() as bound:
        bound.bind(("localhost", 0))
        return bound.getsockname()[1]


def test_processes_and_their_devices_compute_what_one_does(
    folder, finished, tmp_path, monkeypatch, free_port
):
    """They go on with a run that one process began: two, with two devices each."""
    stop_after(1, folder, tmp_path / "run", monkeypatch)
    arguments = [sys.executable, "-m", "experiments.train", "--resume", "run"]
    arguments += ["--coordinator", f"localhost:{free_port}", "--processes", "2"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2",
    }
    with contextlib.ExitStack() as running:
        processes = []
        for number in range(2):
            process = subprocess.Popen(
                [*arguments, "--process-id", str(number)],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            processes.append(running.enter_context(process))
            running.callback(process.kill)
        outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "test accuracy" in outputs[0][0]
    # Only the first one says anything, Gloo apart, which tells on both that they are connected.
    assert outputs[1][1] == ""
    assert all(line.startswith("[Gloo]") for line in outputs[1][0].splitlines())
    same_run(tmp_path / "run", finished[0], rtol=2e-4, atol=2e-5)


def test_smoothed_labels():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(4, 5)).astype(np.float32), np.array([0, 3, 3, 1])
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = 0.9 * np.eye(5)[labels] + 0.1 / 5
    expected = -(targets * logs).sum(-1).mean()
    found = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), 0.1)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_stream_and_an_image_size_belong_together(folder):
    dataset = data.stream(str(folder))
    with pytest.raises(ValueError, match="image_size=0; allowed is more than 0 for a Stream"):
        train.run(GENOTYPE, dataset, dataclasses.replace(CONFIG, image_size=0))
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (8, 32, 32, 3), np.uint8), np.arange(8) % 2
    held = data.from_arrays(images, labels, images, labels)
    with pytest.raises(ValueError, match="image_size=32; allowed is 0 for a Dataset"):
        train.run(GENOTYPE, held, CONFIG)
