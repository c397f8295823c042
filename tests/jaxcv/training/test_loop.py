"""The loop alone, around a state that counts."""

import json
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from jaxcv.training import checkpoint
from jaxcv.training.loop import add_metrics, fit
from jaxcv.training.run import Run


class Counter(NamedTuple):
    step: jax.Array
    weight: jax.Array
    sums: dict


def init():
    return Counter(jnp.int32(0), jnp.float32(1), {"loss": jnp.float32(0)})


def advance_with(change):
    """A compiled-like advance: at each step the loss is the weight, which then changes."""

    def advance(state, steps):
        for _ in range(steps):
            first = state.step % 4 == 0
            sums = add_metrics(state.sums, {"loss": state.weight}, first)
            state = Counter(state.step + 1, change(state.step, state.weight), sums)
        return state

    return advance


def run_fit(folder, change, log=None, end_epoch=lambda state: {"weight": float(state.weight)}):
    run = None if folder is None else Run.within(folder, "train")
    return fit(
        init,
        advance_with(change),
        epochs=3,
        steps_per_epoch=4,
        images_per_step=1,
        end_epoch=end_epoch,
        description="test",
        run=run,
        log=log,
        progress=False,
    )


def test_metrics_are_means_over_their_epoch_whatever_the_chunks():
    rows = []
    state = run_fit(None, lambda step, weight: weight + 1, rows.append)
    assert int(state.step) == 12
    assert [(row["epoch"], row["step"], row["loss"], row["weight"]) for row in rows] == [
        (1, 4, 2.5, 5.0),
        (2, 8, 6.5, 9.0),
        (3, 12, 10.5, 13.0),
    ]


@pytest.mark.parametrize(("step", "what"), [(5, "the loss by step"), (7, "a weight by step 8")])
def test_nothing_that_is_not_finite_is_kept(tmp_path, step, what):
    """A weight lost in the last step of an epoch is not in that epoch's loss yet."""

    def change(now, weight):
        return jnp.where(now == step, jnp.nan, weight)

    with pytest.raises(FloatingPointError, match=f"{what}.* checkpoint, of step 4, is from before"):
        run_fit(tmp_path, change)
    assert checkpoint.steps(tmp_path / "checkpoints") == [0, 4]
    step, state = checkpoint.restore_latest(tmp_path / "checkpoints", init())
    assert step == 4 and state.weight == 1


@pytest.mark.filterwarnings("ignore:the last line:UserWarning")
@pytest.mark.parametrize("kept", [2, 1])
def test_epochs_whose_metrics_are_lost_are_run_again(tmp_path, kept):
    """Of three; checkpoints are left of the last two."""
    run_fit(tmp_path, lambda step, weight: weight + 1)
    path = tmp_path / "metrics.jsonl"
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    path.write_text("".join(lines[:kept]) + lines[kept][:9])
    state = run_fit(tmp_path, lambda step, weight: weight + 1)
    assert (int(state.step), float(state.weight)) == (12, 13.0)
    names = ("epoch", "step", "loss", "weight")
    rows = [[json.loads(line)[name] for name in names] for line in path.read_text().splitlines()]
    assert rows == [[json.loads(line)[name] for name in names] for line in lines]


def test_an_interrupt_in_the_last_epoch_lets_nothing_else_begin(tmp_path):
    def end_epoch(state):
        if state.step == 12:
            signal.raise_signal(signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt, match="stopped after step 12 of 12"):
        run_fit(tmp_path, lambda step, weight: weight, end_epoch=end_epoch)
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == 12


def test_a_path_is_no_run():
    with pytest.raises(ValueError, match="folder='runs/mine'; allowed is a Run"):
        fit(
            init,
            advance_with(lambda step, weight: weight),
            epochs=1,
            steps_per_epoch=1,
            images_per_step=1,
            end_epoch=lambda state: {},
            description="test",
            run="runs/mine",
        )
