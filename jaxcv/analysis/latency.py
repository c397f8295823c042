"""How long a computation takes on this machine."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxcv.functional._arguments import positive


class Latency(NamedTuple):
    """Seconds of a call: the median of the trials, the shortest and the longest."""

    median: float
    shortest: float
    longest: float


def measure_latency(function: Callable[..., Any], *args: Any, trials: int = 20) -> Latency:
    """Seconds that a compiled ``function(*args)`` takes, from the call until its results are ready.

    Compilation, the copy of the arguments to the device and a first call come before. What the
    function closes over becomes constants of the program; give weights as arguments.

    Args:
        function: any that ``jax.jit`` takes.
        args: its arguments, concrete.
        trials: calls that are timed, one after the other.

    Raises:
        ValueError: for trials below 1.
    """
    positive(trials=trials)
    args = jax.block_until_ready(jax.device_put(args))
    compiled = jax.jit(function).lower(*args).compile()
    jax.block_until_ready(compiled(*args))
    seconds = []
    for _ in range(trials):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        seconds.append(time.perf_counter() - start)
    return Latency(statistics.median(seconds), min(seconds), max(seconds))
