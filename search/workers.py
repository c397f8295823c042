"""Where trials run: in this process, in a pool of processes, or on Ray.

Workers are a function of an evaluator to a context that keeps them. What the context gives
evaluates jobs and yields each with its result as it ends.
"""

import contextlib
import functools
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from jaxcv.functional._arguments import positive
from search.evaluators import Evaluator, Outcome
from search.strategies import Proposal

# How often a trial begins anew because its worker died. What kills three workers kills more.
_TRIES = 3


class Job(NamedTuple):
    """A trial to run: its number, what to evaluate, and the seed of all that is random in it."""

    number: int
    proposal: Proposal
    seed: int


class Result(NamedTuple):
    """How a trial ended: with an outcome, or the reason why there is none."""

    outcome: Outcome | None
    reason: str | None
    seconds: float


Evaluate = Callable[[Sequence[Job]], Iterator[tuple[Job, Result]]]
Workers = Callable[[Evaluator], AbstractContextManager[Evaluate]]


def attempt(evaluator: Evaluator, job: Job) -> Result:
    """Evaluates a job; a score that is not finite counts as failed, as what raises does."""
    start = time.perf_counter()
    outcome = reason = None
    try:
        score, metrics = evaluator(job.proposal, job.seed)
        if math.isfinite(score):
            outcome = Outcome(float(score), {name: float(value) for name, value in metrics.items()})
        else:
            reason = f"the score is {score}"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    return Result(outcome, reason, time.perf_counter() - start)


@contextlib.contextmanager
def serial(evaluator: Evaluator) -> Iterator[Evaluate]:
    """Runs trials in this process, one after the other."""
    yield lambda jobs: ((job, attempt(evaluator, job)) for job in jobs)


def processes(count: int) -> Workers:
    """Workers that are processes of this machine.

    A process that dies is started again, and its trial with it. Where ``CUDA_VISIBLE_DEVICES``
    lists devices, each process sees one of them, in turn. Processes are spawned, so a script needs
    the guard ``if __name__ == "__main__"``, and the evaluator must be importable.

    Args:
        count: of processes.
    """
    positive(count=count)

    @contextlib.contextmanager
    def start(evaluator: Evaluator) -> Iterator[Evaluate]:
        pickled = pickle.dumps(evaluator)

        def pool(number: int) -> ProcessPoolExecutor:
            # One process each, so that one that dies breaks no trial of another.
            spawn = multiprocessing.get_context("spawn")
            return ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(pickled, number))

        pools = [pool(number) for number in range(count)]
        started: list[BaseProcess] = []

        def submit(number: int, job: Job) -> Future[Result]:
            before = multiprocessing.active_children()
            with _ctrl_c_waits():
                try:
                    future = pools[number].submit(_run, job)
                except BrokenProcessPool:
                    pools[number] = pool(number)
                    future = pools[number].submit(_run, job)
            started.extend(set(multiprocessing.active_children()) - set(before))
            return future

        try:
            yield functools.partial(dispatch, count, submit, BrokenProcessPool)
        except BaseException:
            for process in started:
                process.kill()
            raise
        finally:
            for one in pools:
                one.shutdown(wait=False, cancel_futures=True)
            for one in pools:
                one.shutdown()

    return start


def on_ray(count: int | None = None) -> Workers:
    """Workers that are actors on Ray: on the cluster that this process is connected to or that
    ``RAY_ADDRESS`` names, else on this machine.

    Each has one GPU where there are any, else one processor. One that dies is started again, and
    its trial with it.

    Args:
        count: of workers; by default one for each GPU, or where there is none each processor.

    Raises:
        ValueError: where Ray is not installed, for a count that is not positive, or as a search
            begins for one that is larger than the cluster.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("on_ray needs Ray; pip install 'jaxcv[ray]' brings it") from None
    if count is not None:
        positive(count=count)

    @contextlib.contextmanager
    def start(evaluator: Evaluator) -> Iterator[Evaluate]:
        own = not ray.is_initialized()
        if own:
            with warnings.catch_warnings():
                # What Ray forks becomes another program at once, so JAX's threads are not missed.
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
                ray.init(include_dashboard=False, log_to_driver=False)
        actors: list[Any] = []
        try:
            resources = ray.cluster_resources()
            device = "GPU" if resources.get("GPU") else "CPU"
            most = int(resources[device])
            if count is not None and count > most:
                # The rest would wait for a place forever.
                raise ValueError(
                    f"count={count!r}; allowed is at most {most}, one for each {device}"
                )
            # What is remote of a class is made as it is called, so there are no types for it.
            actor: Any = ray.remote(num_cpus=1, num_gpus=int(device == "GPU"), max_restarts=-1)(
                _Worker
            )
            pickled = ray.put(ray.cloudpickle.dumps(evaluator))
            actors += [actor.remote() for _ in range(count or most)]

            def submit(number: int, job: Job) -> Future[Result]:
                return actors[number].run.remote(lambda: ray.get(pickled), job).future()

            yield functools.partial(dispatch, len(actors), submit, ray.exceptions.RayActorError)
        finally:
            for one in actors:
                ray.kill(one)
            if own:
                ray.shutdown()

    return start


class _Worker:
    """What a worker keeps: the evaluator. It is made of its bytes when the first trial needs it, so
    that what goes wrong then is the reason of a trial, and the worker's device is chosen before."""

    def __init__(self) -> None:
        self._evaluator: Evaluator | None = None

    def run(self, pickled: Callable[[], bytes], job: Job) -> Result:
        def evaluate(proposal: Proposal, seed: int) -> Outcome:
            if self._evaluator is None:
                self._evaluator = pickle.loads(pickled())
            return self._evaluator(proposal, seed)

        return attempt(evaluate, job)


def dispatch(
    count: int,
    submit: Callable[[int, Job], Future[Result]],
    died: type[Exception],
    jobs: Sequence[Job],
) -> Iterator[tuple[Job, Result]]:
    """Keeps the workers 0 to ``count`` - 1 busy until all jobs have ended.

    Args:
        submit: gives a worker a job.
        died: what a future raises whose worker died.
    """
    waiting = deque((job, 1) for job in jobs)
    idle = deque(range(count))
    running: dict[Future[Result], tuple[int, Job, int]] = {}
    while waiting or running:
        while waiting and idle:
            number, (job, tries) = idle.popleft(), waiting.popleft()
            running[submit(number, job)] = number, job, tries
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            number, job, tries = running.pop(future)
            idle.append(number)
            try:
                result = future.result()
            except died:
                if tries < _TRIES:
                    waiting.appendleft((job, tries + 1))
                    continue
                result = Result(None, f"its worker died, {tries} times", 0.0)
            yield job, result


_run_here: Callable[[Job], Result]


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Holds Ctrl-C back, for good in processes that start meanwhile: it reaches the whole group,
    but what follows is decided by the process that started them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(pickled: bytes, number: int) -> None:
    """Makes this process the worker of a number."""
    global _run_here
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _run_here = functools.partial(_Worker().run, lambda: pickled)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(job: Job) -> Result:
    return _run_here(job)
