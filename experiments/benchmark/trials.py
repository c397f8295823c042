"""The near end of the protocol: sides as processes, and their trials in turns."""

import contextlib
import functools
import json
import math
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

# Of a trial, so that what a call costs beside its steps hardly counts.
_FEWEST_STEPS = 2


class SideError(Exception):
    """A side that cannot go on; the text says why."""


class Side:
    """A process with one side's work. As a context it is ended whatever happens.

    Args:
        command: what to start: an interpreter and its arguments.
        request: what to prepare, given to it as JSON.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        request: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
    ):
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (end closes)
        self._process = subprocess.Popen(
            [*command, json.dumps(request)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # A group of its own, so that Ctrl-C reaches it through this process only, and what it
            # starts ends with it.
            start_new_session=True,
        )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._answers.put(json.loads(line))
            except json.JSONDecodeError:
                self._answers.put({"error": f"said {line.strip()!r}"})
        self._answers.put(None)

    def ready(self, limit: float | None = None) -> dict[str, Any]:
        """What the side found while preparing, for which it may take ``limit`` seconds.

        Raises:
            SideError: if it cannot, or not in that time.
        """
        return self._answer("ready", limit)

    def run(self, steps: int) -> float:
        """The seconds that so many steps took.

        Raises:
            SideError: if it cannot.
        """
        self._ask({"run": steps})
        return self._answer("seconds")

    def stop(self) -> int:
        """Ends it; the most memory that it used, in bytes.

        Raises:
            SideError: if it cannot.
        """
        self._ask({"stop": True})
        peak = self._answer("peak_bytes")
        self.end()
        return peak

    def end(self) -> None:
        """Ends it, and whatever it started, at once."""
        if self._errors.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # a question that it will never read
                stream.close()
        self._errors.close()

    def _ask(self, question: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which the answer tells
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()

    def _answer(self, name: str, limit: float | None = None) -> Any:
        try:
            answer = self._answers.get(timeout=limit)
        except queue.Empty:
            raise SideError(f"not ready within {limit:g} s") from None
        if answer is None:
            raise SideError(self._last_words())
        if name not in answer:
            raise SideError(str(answer.get("error", f"said {answer}")))
        return answer[name]

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"ended with status {status}{last and f': {last}'}"


def steps_for(side: Side, seconds: float) -> int:
    """The number of steps that take about so long, once the side is warm."""
    # The first call may still allocate what later ones have.
    side.run(1)
    taken, steps = side.run(1), 1
    # One step of microseconds says little about many.
    while taken < seconds / 10:
        steps *= 8
        taken = side.run(steps)
    return max(_FEWEST_STEPS, math.ceil(seconds * steps / taken))


def alternate(
    sides: Mapping[str, Side], trials: int, seconds: float, done: Callable[[], None]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds a step of warm sides, in turns: one trial of each, then one of each again, the other
    way round.

    Args:
        sides: by name.
        trials: of each.
        seconds: about how long one trial takes.
        done: called after each trial.

    Returns:
        For each side the seconds a step, trial by trial; and for those that failed, why. A side
        that fails has no trials.
    """
    steps: dict[str, int] = {}
    times: dict[str, list[float]] = {name: [] for name in sides}
    failed: dict[str, str] = {}

    def attempt(name: str, what: Callable[[], None]) -> None:
        try:
            what()
        except SideError as error:
            failed[name] = str(error)
            del times[name]

    def prepare(name: str) -> None:
        steps[name] = steps_for(sides[name], seconds)

    def trial(name: str) -> None:
        times[name].append(sides[name].run(steps[name]) / steps[name])
        done()

    for name in sides:
        attempt(name, functools.partial(prepare, name))
    for number in range(trials):
        names = list(times)
        for name in reversed(names) if number % 2 else names:
            attempt(name, functools.partial(trial, name))
    return times, failed
