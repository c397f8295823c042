"""The benchmark: its protocol with sides that only pretend, its table, and one true tiny run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.benchmark import command, table
from experiments.benchmark.cases import CASES, Case
from experiments.benchmark.measure import measure, units
from experiments.benchmark.trials import ROOT, Side, SideError, alternate, steps_for

FAKE = """
import sys, time
from experiments.benchmark.worker import Work, serve

def prepare(request):
    print("noise of a library")
    time.sleep(request.get("prepare", 0))
    if request.get("broken") == "prepare":
        raise ValueError("no such thing")
    def run(steps):
        if request.get("broken") == "run":
            sys.exit("gone for good")
        time.sleep(steps * request.get("step", 0.001))
    return Work(run, {"found": 7}, lambda: 12345)

serve(prepare)
"""


@pytest.fixture
def fake(tmp_path):
    """Starts a side that pretends, as its request says; all are ended after the test."""
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    with contextlib.ExitStack() as stack:

        def start(**request):
            return stack.enter_context(Side([sys.executable, str(path)], request))

        yield start


@pytest.fixture
def starter(fake):
    """A start for ``measure``; ``started`` holds what was asked for and the sides."""

    def start(name, case, *, form="", cold=False):
        request = case.sizes.get(form or name, {})
        side = fake(**request)
        start.started.append(((name, form, cold), side))
        return side

    start.started = []
    return start


def measured(case, start, **changes):
    settings = {"trials": 2, "seconds": 0.01, "compile_limit": 30, "done": lambda: None}
    return measure(case, start, **settings | changes)


def gone(pid):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            # A dead child of a dead parent may wait for someone to ask about it.
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
            os.kill(pid, 0)
        except (OSError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_side_answers(fake):
    side = fake(step=0.002)
    assert side.ready() == {"found": 7}
    assert side.run(10) >= 0.02
    assert steps_for(side, 0.05) in range(5, 26)
    assert side.stop() == 12345


def test_a_side_that_fails_says_why(fake):
    with pytest.raises(SideError, match="ValueError: no such thing"):
        fake(broken="prepare").ready()
    with pytest.raises(SideError, match=r"not ready within 0\.1 s"):
        fake(prepare=30).ready(limit=0.1)
    side = fake(broken="run")
    side.ready()
    with pytest.raises(SideError, match="ended with status 1: gone for good"):
        side.run(1)
    with (
        pytest.raises(SideError, match=r"ended with status 2: .*can't open file"),
        Side([sys.executable, "no_such_file.py"], {}) as side,
    ):
        side.ready()


def test_trials_are_taken_in_turns():
    calls = []

    class Counted:
        def __init__(self, name):
            self.name = name

        def run(self, steps):
            calls.append((self.name, steps))
            return 0.5 * steps

    times, failed = alternate({name: Counted(name) for name in "ab"}, 3, 2.0, lambda: None)
    assert times == {"a": [0.5] * 3, "b": [0.5] * 3} and not failed
    assert calls[-6:] == [(name, 4) for name in "abbaab"]


def test_a_row_has_all_sides_and_the_best_form(starter):
    slow, quick = {"step": 0.01}, {"step": 0.001}
    sizes = {"contiguous": slow, "channels_last": quick}
    sizes |= {"channels_last passive": slow, "channels_last compiled": slow}
    case = Case("a case", "kind", sizes)
    calls = []
    row = measured(case, starter, done=lambda: calls.append(1))
    assert [asked for asked, _ in starter.started] == [
        ("jaxcv", "", True),
        ("jaxcv", "", False),
        ("PyTorch", "contiguous", False),
        ("PyTorch", "channels_last", False),
        ("PyTorch", "channels_last passive", False),
        ("PyTorch", "channels_last compiled", False),
        ("PyTorch", "channels_last", False),  # the best one, for the trials
    ]
    assert len(calls) == units(case, 2)
    assert row["failed"] == {}
    assert row["sides"]["PyTorch"]["form"] == "channels_last"
    assert [form["form"] for form in row["forms"]] == list(sizes)
    for side in row["sides"].values():
        assert len(side["seconds"]) == 2 and side["peak_bytes"] == 12345 and side["found"] == 7
    assert json.loads(json.dumps(row)) == row


def test_a_side_that_fails_leaves_the_rest(starter):
    sizes = {"lax": {"broken": "run"}, "contiguous": {"broken": "prepare"}}
    row = measured(Case("a case", "kind", sizes, ("jaxcv", "PyTorch", "lax")), starter)
    assert row["failed"] == {"lax": "ended with status 1: gone for good"}
    assert row["forms"][0]["failed"] == "ValueError: no such thing"
    assert row["sides"].keys() == {"jaxcv", "PyTorch"}
    assert row["sides"]["PyTorch"]["form"].startswith("channels_last")

    sizes = {"contiguous": {"broken": "prepare"}, "channels_last": {"broken": "run"}}
    row = measured(Case("a case", "kind", sizes), starter)
    assert row["failed"] == {"PyTorch": "ValueError: no such thing"}
    assert len(row["sides"]["jaxcv"]["seconds"]) == 2


def test_compilation_alone(starter):
    row = measured(Case("a case", "kind", {}, ("jaxcv",), only_compiled=True), starter)
    assert "seconds" not in row["sides"]["jaxcv"] and row["sides"]["jaxcv"]["found"] == 7


def test_an_interrupt_ends_all_sides(starter):
    def interrupt():
        if len(starter.started) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(Case("a case", "kind"), starter, done=interrupt)
    for _, side in starter.started:
        assert side._process.returncode is not None


def test_sides_end_with_the_process_that_started_them(tmp_path):
    (tmp_path / "fake.py").write_text(FAKE)
    code = (
        "import sys; from experiments.benchmark.trials import Side\n"
        f"sides = [Side([sys.executable, {str(tmp_path / 'fake.py')!r}], request) for request in "
        "({}, {'prepare': 60})]\n"
        "sides[0].ready()\n"
        "print(*(side._process.pid for side in sides), flush=True)\n"
        "input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def row(case, ours, theirs, kind="search", **changes):
    sides = {
        "jaxcv": {
            "seconds": ours,
            "peak_bytes": 300e6,
            "trace_seconds": 1.0,
            "compile_seconds": 0.5,
            "cold": {"trace_seconds": 1.5, "compile_seconds": 9.0},
            "multiply_adds": 5 * 10**9,
            "operand_bytes": 10**8,
        },
        "PyTorch": {"seconds": theirs, "peak_bytes": 600e6, "form": "channels_last"},
    }
    forms = [{"form": "contiguous compiled", "failed": "not ready within <5> s"}]
    return {
        "case": case, "kind": kind, "sizes": {}, "sides": sides, "failed": {}, "forms": forms
    } | changes  # fmt: skip


def record(*rows, device="a machine", written="2026-01-01 10:00 UTC", **environment):
    return {
        "device": device,
        "environment": {"written": written, "system": "Linux", "python": "3.13", **environment},
        "commit": "abc1234",
        "machine": {"flops": 100e9, "bytes_per_second": 20e9, "load": 0.5},
        "rows": list(rows),
    }


def test_the_table():
    failed = row("alone", [1.0], [1.0], failed={"PyTorch": "no room"})
    del failed["sides"]["PyTorch"]
    text = table.markdown([record(row("both", [0.4, 0.5, 1.0], [1.0, 1.0, 1.0]), failed)])
    assert "**a machine**" in text and "at abc1234: Linux, Python 3.13." in text
    assert "100 GFLOP/s" in text and "20 GB/s" in text and "Load of the machine before: 0.5" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = dict(
        zip(*([c.strip() for c in lines[n].split("|")[1:-1]] for n in (0, 2)), strict=True)
    )
    assert cells == {
        "case": "both",
        "time jaxcv / PyTorch": "0.500 (0.400–1.00)",
        "jaxcv steps/s": "2.00 (1.00–2.50)",
        "PyTorch steps/s": "1.00 (1.00–1.00)",
        "PyTorch's best form": "channels_last",
        "jaxcv trace and compile, s, cold / cached": "10.5 / 1.50",
        "peak memory jaxcv / PyTorch, MB": "300 / 600",
        "multiply-adds a step, millions": "5,000",
        "of the product's speed": "20.0%",
        "operands and results a step, MB": "100",
    }
    assert len({line.count("|") for line in lines}) == 1
    assert "| alone | – | 1.00 (1.00–1.00) | failed |" in text
    assert "- alone: PyTorch failed: no room" in text
    assert "- both: PyTorch contiguous compiled left out: not ready within &lt;5> s" in text


def test_the_newest_of_each_case_and_device():
    old = record(row("first", [1.0], [1.0]), row("second", [1.0], [1.0]))
    new = record(row("second", [3.0], [1.0]), written="2026-01-02 10:00 UTC")
    other = record(row("first", [7.0], [1.0]), device="another")
    text = table.markdown([old, new, other])
    first, second = text.split("**another**")
    assert first.count("| second |") == 1 and "| second | 3.00" in first
    assert "| first | 1.00" in first and "| first | 7.00" in second
    assert "(1) 2026-01-02" in first and "(2) 2026-01-01" in first
    assert [line.split("|")[-2].strip() for line in first.splitlines() if "channels" in line] == [
        "(2)",
        "(1)",
    ]


def test_single_operations_stand_apart():
    sides = row("one", [1.0], [2.0])["sides"] | {"lax": {"seconds": [4.0]}}
    found = record(row("one", [1.0], [2.0], "depthwise", sides=sides), row("all", [1.0], [3.0]))
    text = table.markdown([found])
    together = (
        "depthwise_conv2d alone (1): time jaxcv / PyTorch 0.500 (0.500–0.500), "
        "time jaxcv / lax 0.250 (0.250–0.250)."
    )
    steps, single = text.split(together)
    assert "| all |" in steps and "| one |" in single and "| time jaxcv / lax |" in single
    brief = table.summary([found])
    assert together in brief and "| one |" not in brief


def test_the_summary():
    old = record(row("first", [2.0], [1.0]), jax="0.11")
    new = record(row("second", [3.0], [1.0]), jax="0.12")
    assert table.summary([old, new]).splitlines() == [
        "**a machine**, Python 3.13, JAX 0.11 and 0.12",
        "",
        "| case | time jaxcv / PyTorch | jaxcv trace and compile, s, cold / cached | "
        "peak memory jaxcv / PyTorch, MB |",
        "| --- | ---: | ---: | ---: |",
        "| first | 2.00 (2.00–2.00) | 10.5 / 1.50 | 300 / 600 |",
        "| second | 3.00 (3.00–3.00) | 10.5 / 1.50 | 300 / 600 |",
    ]
    turned = table.summary([old, new], ["second", "third", "first"])
    assert [line[:8] for line in turned.splitlines()[4:]] == ["| second", "| first "]
    assert "first" not in table.markdown([old, new], ["second"])


def test_the_place_of_the_table():
    text = "before\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nafter\n"
    assert table.insert(text, "new\n") == text.replace("old", "\nnew\n")
    with pytest.raises(ValueError, match="no place for the table"):
        table.insert("before\nafter\n", "new")
    table.insert((ROOT / "README.md").read_text(), "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "resnet51"], "only='resnet51' is found in no case"),
        (["--only", "("], "only='\\('; allowed is a regular expression"),
        (["--trials", "0"], "trials=0; allowed is a positive int"),
        (["--seconds", "0"], "seconds=0.0; allowed is a positive number"),
        (["--compile-limit", "-1"], "compile_limit=-1.0; allowed is 0 or more"),
        (["--torch-python", "no_such"], "torch_python='no_such' cannot import torch"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        command.command([*arguments, "--results", str(tmp_path / "results.jsonl")])
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"line 1 of .* is no record"):
        command.command(["--render", "--results", str(tmp_path / "results.jsonl")])


def test_cases_are_told_apart_by_name():
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_tiny_run(tmp_path, monkeypatch, capsys):
    sizes = {"window": 3, "dilation": 1, "stride": 2, "channels": 4, "gradients": True}
    tiny = Case("tiny", "depthwise", sizes | {"image": 8, "batch": 2}, ("jaxcv", "PyTorch", "lax"))
    monkeypatch.setattr(command, "CASES", (tiny, Case("large", "search", needs_gpu=True)))
    small = Case("machine", "machine", {"matrix": 64, "array": 1024}, ("jaxcv",))
    monkeypatch.setattr(command, "MACHINE", small)
    monkeypatch.setattr(command, "find_torch", lambda python: None)
    readme, results = tmp_path / "README.md", tmp_path / "results.jsonl"
    readme.write_text("<!-- benchmark -->\n<!-- /benchmark -->\n")
    arguments = ["--trials", "2", "--seconds", "0.01", "--results", str(results)]
    command.command([*arguments, "--readme", str(readme)])

    errors = capsys.readouterr().err
    assert "PyTorch is not installed here" in errors
    assert "Without a GPU these are left out: large" in errors
    (found,) = table.read(results)
    assert found["environment"]["jax"] and found["machine"]["flops"] > 0
    (measured_row,) = found["rows"]
    assert measured_row["failed"] == {} and measured_row["sides"].keys() == {"jaxcv", "lax"}
    for side in measured_row["sides"].values():
        assert len(side["seconds"]) == 2 and side["peak_bytes"] > 2**20
        # Forward, and both gradients: 2 images of 4 by 4, 9 places of the window, 4 channels.
        assert side["multiply_adds"] == 3 * 2 * 16 * 9 * 4
        assert side["compile_seconds"] > 0 and side["cold"]["compile_seconds"] > 0
    text = (tmp_path / "results.md").read_text()
    assert "| tiny |" in text and found["device"] in text
    assert found["device"] in readme.read_text()

    (tmp_path / "results.md").unlink()
    command.command(["--render", "--results", str(results), "--readme", str(readme)])
    assert (tmp_path / "results.md").read_text() == text
