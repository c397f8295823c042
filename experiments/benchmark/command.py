"""Measure jaxcv against PyTorch on this machine, in turns, at equal sizes. Each side runs in a
process of its own; PyTorch in the best of its forms. A summary goes into the README."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments import cli
from experiments.benchmark import table
from experiments.benchmark.cases import CASES, MACHINE, Case
from experiments.benchmark.measure import measure, units
from experiments.benchmark.trials import ROOT, Side, SideError
from jaxcv.functional._arguments import positive
from jaxcv.training.run import write_atomically

_HOW = """\
Steps of jaxcv and of PyTorch, taken in turns on one machine at equal sizes, PyTorch in the fastest
of its forms. Every figure is a median with its smallest and largest value; a ratio of times below 1
says that jaxcv is faster. "Of the product's speed" is a step's multiply-adds a second, by those
of a product of two large matrices on this machine. "Operands and results" are the bytes that all
convolutions and products of a step take and give. "Changed" says that not all files were committed.
Written by `python -m experiments.benchmark`."""


@dataclass(frozen=True)
class Options:
    """What to measure, and where to write."""

    only: str = ""
    """Only cases in whose name this regular expression is found."""
    trials: int = 7
    """Of each side."""
    seconds: float = 1.0
    """About how long a trial takes; at least two steps."""
    torch_python: str | None = None
    """Interpreter that has PyTorch; by default this one, if it has."""
    compile_limit: float = 300.0
    """Seconds that torch.compile may take for a case; 0 for not trying it."""
    render: bool = False
    """Only write the tables anew, from what was measured before."""
    results: str = "experiments/results/benchmarks.jsonl"
    """Where each run adds a line. A file beside it that ends in .md shows them as tables."""
    readme: str = "README.md"
    """Where a summary goes, between two markers."""

    def __post_init__(self) -> None:
        positive(trials=self.trials)
        if not self.seconds > 0:
            raise ValueError(f"seconds={self.seconds!r}; allowed is a positive number")
        if not self.compile_limit >= 0:
            raise ValueError(f"compile_limit={self.compile_limit!r}; allowed is 0 or more")


def command(arguments: Sequence[str]) -> None:
    options = cli.typed(Options, arguments, "python -m experiments.benchmark", __doc__ or "")
    # Before hours of measuring: that there is a place for the result.
    table.insert(Path(options.readme).read_text(), "")
    table.read(Path(options.results))
    if not options.render:
        cases, torch_python = selected(options.only), find_torch(options.torch_python)
        run(cases, options, torch_python)
    render(options)


def render(options: Options) -> None:
    """Writes the tables of all results, and their summary into the README."""
    readme, results = Path(options.readme), Path(options.results)
    records, tables = table.read(results), results.with_suffix(".md")
    # What no command measures any more is not shown.
    names = [case.name for case in CASES]
    write_atomically(tables, f"# Benchmarks\n\n{_HOW}\n\n{table.markdown(records, names)}")
    write_atomically(readme, table.insert(readme.read_text(), table.summary(records, names)))
    print(f"tables: {tables}, {readme}")


def selected(pattern: str) -> list[Case]:
    """The cases in whose name a pattern is found.

    Raises:
        ValueError: for no pattern, or one that is found in none.
    """
    try:
        found = [case for case in CASES if re.search(pattern, case.name)]
    except re.error as error:
        raise ValueError(f"only={pattern!r}; allowed is a regular expression ({error})") from None
    if not found:
        names = "; ".join(case.name for case in CASES if case.kind != "depthwise")
        raise ValueError(
            f"only={pattern!r} is found in no case; allowed are parts of {names}; depthwise_conv2d"
        )
    return found


def find_torch(python: str | None) -> str | None:
    """An interpreter that has PyTorch, or None if none is given and this one has not.

    Raises:
        ValueError: for an interpreter that has not.
    """
    if python is None:
        return sys.executable if find_spec("torch") else None
    # Sides are started in another folder. Links stay, as that of a virtual environment counts.
    found = os.path.abspath(shutil.which(python) or python)
    try:
        subprocess.run([found, "-c", "import torch"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(
            f"torch_python={python!r} cannot import torch; allowed is a Python interpreter that can"
        ) from None
    return found


def run(cases: Sequence[Case], options: Options, torch_python: str | None) -> None:
    """Measures cases and adds what was measured, however it ends, to the results.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
        ValueError: if not even the machine can be measured.
    """
    rows: list[dict[str, Any]] = []
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxcv-benchmark-"))
        bar = stack.enter_context(
            tqdm(desc="machine", unit="trial", dynamic_ncols=True, file=sys.stderr)
        )
        starter = Starter(torch_python, Path(cache), bar.set_postfix_str)

        def done() -> None:
            bar.set_postfix_str("", refresh=False)
            bar.update()

        try:
            with starter("jaxcv", MACHINE) as side:
                machine = side.ready()
        except SideError as error:
            raise ValueError(f"the machine cannot be measured: {error}") from None
        starter.platform = machine.pop("platform")
        if load is not None:
            # Of what else went on, which a reader of the figures should know.
            machine["load"] = round(load, 2)
        cases = runnable(cases, starter, bar)
        bar.reset(sum(units(case, options.trials) for case in cases))
        try:
            for case in cases:
                bar.set_description(case.name)
                before = bar.n
                row = measure(
                    case,
                    starter,
                    trials=options.trials,
                    seconds=options.seconds,
                    compile_limit=options.compile_limit,
                    done=done,
                )
                rows.append(row)
                # Also what a failed side left out, so that the time left is right.
                bar.update(before + units(case, options.trials) - bar.n)
                for name, why in row["failed"].items():
                    bar.write(f"{case.name}: {name} failed: {why}", file=sys.stderr)
        except KeyboardInterrupt:
            kept = f"{len(rows)} of {len(cases)} cases are in {options.results}, and in the README "
            raise KeyboardInterrupt(
                f"stopped; {kept}with --render" if rows else "stopped before a case was done"
            ) from None
        finally:
            record = recorded(machine, rows, starter.platform)
            if rows:
                add(Path(options.results), record)
    print(table.markdown([record]))


class Starter:
    """Starts the sides of cases.

    Args:
        torch_python: interpreter for PyTorch, if there is one.
        cache: folder for what JAX compiles.
        say: called with what is started.
    """

    def __init__(self, torch_python: str | None, cache: Path, say: Callable[[str], object]):
        self.torch_python, self.platform, self._say = torch_python, "cpu", say
        self._cache = self._folder = str(cache)

    def __call__(self, name: str, case: Case, *, form: str = "", cold: bool = False) -> Side:
        self._say(f"preparing {name} {form}".rstrip())
        request = {"side": name, "kind": case.kind, "sizes": case.sizes}
        if name == "PyTorch":
            assert self.torch_python is not None
            return Side(
                [self.torch_python, "-m", "experiments.benchmark.torch_side"],
                {**request, "form": form, "platform": self.platform},
                {"OMP_WAIT_POLICY": "PASSIVE"} if "passive" in form.split() else {},
            )
        if cold:
            # What other cases have compiled must not help.
            self._folder = tempfile.mkdtemp(dir=self._cache)
        environment = {
            "JAX_COMPILATION_CACHE_DIR": self._folder,
            # The sides of a case share a GPU.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        command = [sys.executable, "-m", "experiments.benchmark.jax_side"]
        return Side(command, request, environment)


def runnable(cases: Sequence[Case], starter: Starter, bar: Any) -> list[Case]:
    """The cases, and of them the sides, that this machine can run; says what it leaves out."""
    if starter.torch_python is None:
        bar.write("PyTorch is not installed here, so it is left out.", file=sys.stderr)
        cases = [
            replace(case, sides=tuple(side for side in case.sides if side != "PyTorch"))
            for case in cases
        ]
    if starter.platform == "cpu" and (left_out := [case for case in cases if case.needs_gpu]):
        names = "; ".join(case.name for case in left_out)
        bar.write(f"Without a GPU these are left out: {names}.", file=sys.stderr)
        cases = [case for case in cases if not case.needs_gpu]
    return list(cases)


def recorded(
    machine: Mapping[str, Any], rows: Sequence[dict[str, Any]], platform_name: str
) -> dict[str, Any]:
    """A run as it is kept: "device", "environment", "commit", "machine", "rows"."""
    figures = dict(machine)
    environment = {**figures.pop("environment"), "processor": processor()}
    for row in rows:
        side = row["sides"].get("PyTorch", {})
        environment |= {key: side.pop(key) for key in ("torch", "torch_threads") if key in side}
    device = environment["device"]
    if platform_name == "cpu":
        device = f"{environment['processor']}, {environment['processors']} cores"
    return {
        "device": device,
        "environment": environment,
        **commit(),
        "machine": figures,
        "rows": list(rows),
    }


def processor() -> str:
    """The name of the CPU, with its family and model, since virtual machines call many the same."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    first = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    fields = {name.strip(): value.strip() for name, _, value in first}
    name = fields.get("model name") or platform.processor() or platform.machine()
    if {"cpu family", "model"} <= set(fields):
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def commit() -> dict[str, str]:
    """The commit of the checkout, if it is one and git is there."""
    try:
        head, changes = (
            subprocess.run(
                ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "--short", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": f"{head}, changed" if changes else head}


def add(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line to a file of records."""
    before = path.read_text() if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{before}{json.dumps(record)}\n")
