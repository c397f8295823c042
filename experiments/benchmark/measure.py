"""One case, measured: all its sides prepared, PyTorch in its best form, then trials in turns."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

from experiments.benchmark.cases import Case
from experiments.benchmark.trials import Side, SideError, alternate, steps_for


class Start(Protocol):
    """Starts a side of a case; a ``cold`` one finds nothing compiled."""

    def __call__(self, name: str, case: Case, *, form: str = "", cold: bool = False) -> Side: ...


def units(case: Case, trials: int) -> int:
    """How often ``measure`` calls ``done``."""
    return len(case.sides) * (1 if case.only_compiled else 1 + trials)


def measure(
    case: Case,
    start: Start,
    *,
    trials: int,
    seconds: float,
    compile_limit: float,
    done: Callable[[], None],
) -> dict[str, Any]:
    """A row of the result.

    Args:
        case: what to measure.
        start: starts its sides.
        trials: of each side.
        seconds: about how long one trial takes.
        compile_limit: seconds that ``torch.compile`` may take; 0 for not trying it.
        done: called after each preparation and each trial.

    Returns:
        The case's "case", "kind" and "sizes"; "sides", by name what was found, with "seconds" a
        step of each trial; "failed", by name of a side why; "forms" of PyTorch that were tried.
    """
    row: dict[str, Any] = {"case": case.name, "kind": case.kind, "sizes": case.sizes}
    row |= {"sides": {}, "failed": {}, "forms": []}
    ready: dict[str, Side] = {}
    with ExitStack() as stack:

        def begin(name: str, **how: Any) -> Side:
            return stack.enter_context(start(name, case, **how))

        for name in case.sides:
            try:
                if name == "PyTorch":
                    ready[name], figures = _best_form(
                        case, begin, seconds, compile_limit, row["forms"]
                    )
                else:
                    ready[name], figures = _compiled(name, begin)
                row["sides"][name] = figures
            except SideError as error:
                row["failed"][name] = str(error)
            done()
        if not case.only_compiled:
            times, failed = alternate(ready, trials, seconds, done)
            for name, values in times.items():
                row["sides"][name]["seconds"] = values
            _leave_out(row, failed)
        for name in list(row["sides"]):
            try:
                row["sides"][name]["peak_bytes"] = ready[name].stop()
            except SideError as error:
                _leave_out(row, {name: str(error)})
    return row


def _leave_out(row: dict[str, Any], failed: dict[str, str]) -> None:
    row["failed"] |= failed
    for name in failed:
        del row["sides"][name]


def _compiled(name: str, begin: Callable[..., Side]) -> tuple[Side, dict[str, Any]]:
    """A side in JAX that starts with what another process has compiled, and what both found."""
    first = begin(name, cold=True)
    cold = first.ready()
    first.end()
    side = begin(name)
    times = ("trace_seconds", "compile_seconds")
    cached = side.ready()
    return side, {**cached, "cold": {key: cold[key] for key in times if key in cold}}


def _best_form(
    case: Case,
    begin: Callable[..., Side],
    seconds: float,
    compile_limit: float,
    tried: list[dict[str, Any]],
) -> tuple[Side, dict[str, Any]]:
    """PyTorch in the form that a short trial finds the fastest; what was tried goes into the list.

    Raises:
        SideError: if no form works.
    """
    best: tuple[float, str] | None = None

    def attempt(form: str, limit: float | None) -> None:
        nonlocal best
        # One at a time, as two may need more memory than there is.
        with begin("PyTorch", form=form) as side:
            try:
                side.ready(limit)
                steps = steps_for(side, seconds / 2)
                taken = side.run(steps) / steps
            except SideError as error:
                tried.append({"form": form, "failed": str(error)})
                return
        tried.append({"form": form, "seconds": taken})
        if best is None or taken < best[0]:
            best = (taken, form)

    for form in case.forms:
        attempt(form, None)
    if best is None:
        raise SideError(tried[0]["failed"])
    attempt(f"{best[1]} passive", None)
    if case.torch_compile and compile_limit:
        attempt(f"{best[1]} compiled", compile_limit)
    side = begin("PyTorch", form=best[1])
    return side, {**side.ready(), "form": best[1]}
