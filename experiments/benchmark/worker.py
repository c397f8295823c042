"""The far end of the protocol: a process with one side's work. Imports neither JAX nor PyTorch."""

import json
import os
import queue
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Work(NamedTuple):
    """One side of a case, prepared."""

    run: Callable[[int], None]
    """Takes a number of steps, and returns when they are done."""
    figures: dict[str, Any]
    """What was found while preparing."""
    peak_bytes: Callable[[], int]
    """The most memory that was used."""


def serve(prepare: Callable[[dict[str, Any]], Work]) -> None:
    """Prepares the work that the command line describes in JSON, and answers what is read."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        work = prepare(json.loads(sys.argv[1]))
        answer(ready=work.figures)
        while "run" in (request := requests.get()):
            start = time.perf_counter()
            work.run(request["run"])
            answer(seconds=time.perf_counter() - start)
        answer(peak_bytes=work.peak_bytes())
    except Exception as error:
        traceback.print_exc()
        first, *_ = str(error).strip().splitlines() or [""]
        answer(error=f"{type(error).__name__}: {first[:200]}")
        sys.stderr.flush()
        # The other thread waits within ``sys.stdin``, which an orderly end would close.
        os._exit(1)


def _read(requests: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    # Nobody is left to work for, whatever the other thread is at.
    os._exit(1)


def resident_peak() -> int:
    """The most memory, in bytes, that this process has had in RAM."""
    try:
        # Linux counts into ru_maxrss what the process that started this one had.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
