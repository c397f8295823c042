"""The loop around a compiled chunk of steps: progress, metrics, checkpoints, Ctrl-C, resume."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from jaxcv.training import checkpoint
from jaxcv.training.parallel import agreed, of_first_process
from jaxcv.training.run import Run

# Long enough that the host costs nothing, short enough for a live progress bar and a quick Ctrl-C.
_CHUNK_SECONDS = 1.0
_CHECKPOINT_SECONDS = 300.0


class State(Protocol):
    """What the loop asks of a state: the steps taken, and this epoch's sums of metrics, each a
    scalar or, where several runs are one program, one number a run."""

    @property
    def step(self) -> jax.Array: ...

    @property
    def sums(self) -> Mapping[str, jax.Array]: ...


S = TypeVar("S", bound=State)


def add_metrics(
    sums: Mapping[str, jax.Array], metrics: Mapping[str, jax.Array], first: jax.Array
) -> dict[str, jax.Array]:
    """This epoch's sums after a step; ``first`` says whether it is the epoch's first."""
    return {name: jnp.where(first, 0, sums[name]) + metrics[name] for name in sums}


def fit(
    init: Callable[[], S],
    advance: Callable[[S, int], S],
    *,
    epochs: int,
    steps_per_epoch: int,
    images_per_step: int,
    unit: str = "images",
    end_epoch: Callable[[S], Mapping[str, Any]],
    description: str,
    run: Run | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[Sequence[Mapping[str, Any]]], bool] = lambda rows: False,
    progress: bool = True,
) -> S:
    """Takes a state through all its epochs, from the start or from the run's last checkpoint.

    How many steps one call of ``advance`` takes has no influence on what they compute.

    Args:
        init: makes a fresh state; called only if the run has no checkpoint.
        advance: takes a state a number of steps on, never past the end of an epoch.
        epochs, steps_per_epoch: when it is done.
        images_per_step: of images, or other things, trained on, for the images per second.
        unit: what they are.
        end_epoch: more metrics at the end of an epoch.
        description: what the progress bar says.
        run: where metrics and checkpoints go, if anywhere.
        log: called with each epoch's row of metrics.
        stop: of the rows so far, whether to end before all epochs are done.
        progress: whether to show a progress bar.

    Returns:
        The final state.

    Raises:
        ValueError: for a run that is none, such as the path of one.
        FloatingPointError: for a loss that is not finite; the last checkpoint is from before.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint.
    """
    if run is not None and not isinstance(run, Run):
        raise ValueError(f"folder={run!r}; allowed is a Run, such as Run.create(path, ...)")
    folder = None if run is None else run.path / "checkpoints"
    found = None
    if run is not None and folder is not None:
        # An epoch whose row of metrics is lost is run again.
        before = (run.rows[-1]["step"] if run.rows else 0) + steps_per_epoch
        found = checkpoint.restore_latest(folder, jax.eval_shape(init), before)
    state = of_first_process(init() if found is None else found[1])
    step, total = int(state.step), epochs * steps_per_epoch
    if run is not None and folder is not None:
        run.begin()
        run.rewind(step)
        checkpoint.clear_after(folder, None if found is None else step)

    rows = [] if run is None else list(run.rows)

    def check(finite: bool, what: str) -> None:
        if not finite:
            raise FloatingPointError(
                f"{what} by step {step} is not finite; a smaller learning rate may help"
                f"{_what_is_left(folder)}"
            )

    def save() -> None:
        if folder is not None:
            values = jax.device_get(state)
            # The loss of a step is from before its update, which may be what went wrong.
            check(all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values)), "a weight")
            checkpoint.save(folder, step, values)

    bar = tqdm(
        total=total,
        initial=step,
        desc=description,
        unit="step",
        disable=not progress or jax.process_index() > 0,
        dynamic_ncols=True,
        file=sys.stderr,
    )
    bar.set_postfix_str("compiling")
    with bar, _interruptible() as interrupted:
        save()
        saved = epoch_start = time.monotonic()
        chunk, counted = 1, 0
        while step < total and not (step % steps_per_epoch == 0 and stop(rows)):
            late = time.monotonic() - saved > _CHECKPOINT_SECONDS
            stopped, due, chunk = agreed(interrupted(), late, chunk)
            if stopped or due:
                save()
                saved = time.monotonic()
            if stopped:
                raise KeyboardInterrupt(f"stopped after step {step} of {total}")
            started = time.monotonic()
            steps = min(chunk, steps_per_epoch - step % steps_per_epoch)
            state = advance(state, steps)
            sums = jax.device_get(state.sums)
            step, counted = step + steps, counted + steps
            now = time.monotonic()
            taken = (step - 1) % steps_per_epoch + 1
            means = {name: np.asarray(value, float) / taken for name, value in sums.items()}
            check(all(np.isfinite(value).all() for value in means.values()), "the loss")
            speed = steps * images_per_step / (now - started)
            epoch = (step - 1) // steps_per_epoch + 1
            shown = {name: f"{value.mean():.3f}" for name, value in means.items()}
            bar.set_postfix({"epoch": epoch, **shown, f"{unit}/s": f"{speed:.0f}"}, refresh=False)
            bar.update(steps)
            chunk = _next_chunk(steps, now - started)
            if step % steps_per_epoch == 0:
                seconds = now - epoch_start
                row = {
                    "epoch": epoch,
                    "step": step,
                    **{name: value.tolist() for name, value in means.items()},
                    "seconds": round(seconds, 3),
                    f"{unit}_per_second": round(counted * images_per_step / seconds, 1),
                    **end_epoch(state),
                }
                epoch_start, counted = time.monotonic(), 0
                rows.append(row)
                if run is not None:
                    run.log(row)
                if log is not None:
                    log(row)
                save()
                saved = time.monotonic()
        # In the last epoch nothing above has looked; what comes after the loop is not to begin.
        if agreed(interrupted(), False, chunk)[0]:
            raise KeyboardInterrupt(f"stopped after step {step} of {total}")
    return state


def _what_is_left(folder: Path | None) -> str:
    if folder is None:
        return ""
    return f"; the last checkpoint, of step {checkpoint.steps(folder)[-1]}, is from before"


def _next_chunk(steps: int, seconds: float) -> int:
    """At most twice as many, so that a slow first call (it compiles) does not set the pace."""
    return int(np.clip(steps * _CHUNK_SECONDS / max(seconds, 1e-6), 1, 2 * steps))


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C (or SIGTERM) into a flag; the second one acts as usual."""
    received: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        print("\nStopping after this step; Ctrl-C once more stops at once.", file=sys.stderr)
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, receive)
    except ValueError:  # not the main thread, as in some notebooks: Ctrl-C acts as usual
        before.clear()
    try:
        yield lambda: bool(received)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
